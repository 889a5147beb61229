"""The two steps of quickstart.sh that are no command of the package: its photographs, and its last word."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

HELD_OUT = ('chelsea.png', 'coffee.png', 'rocket.jpg')
TRAINING = (
    'astronaut.png',
    'hubble_deep_field.jpg',
    'ihc.png',
    'motorcycle_left.png',
    'motorcycle_right.png',
    'retina.jpg',
)
MARGIN = 0.3


def photographs(folder: Path) -> None:
    """Copy the colour photographs that scikit-image ships: `train` and, never seen in training, `heldout`."""
    import shutil

    import skimage

    source = Path(skimage.__file__).parent / 'data'
    for part, names in (('train', TRAINING), ('heldout', HELD_OUT)):
        (folder / part).mkdir(parents=True, exist_ok=True)
        for name in names:
            shutil.copyfile(source / name, folder / part / name)


def verdict(board: Path) -> int:
    """Say how far above bicubic each scale ended; 1 where one is less than MARGIN dB above it."""
    entries = json.loads(board.read_text(encoding='utf-8'))['entries']
    by_scale: dict[int, dict[str, float]] = {}
    for entry in entries:
        (figures,) = entry['sets'].values()
        by_scale.setdefault(entry['scale'], {})['bicubic' if entry['type'] == 'bicubic' else 'rfdn'] = figures['psnr_y']
    failed = False
    for scale, figures in sorted(by_scale.items()):
        gain = figures['rfdn'] - figures['bicubic']
        failed |= gain < MARGIN
        print(f'x{scale}: RFDN {figures["rfdn"]:.2f} dB, bicubic {figures["bicubic"]:.2f} dB: {gain:+.2f} dB (PSNR-Y)')
    if failed:
        print(f'At least one scale is less than {MARGIN} dB above bicubic, which should not happen.', file=sys.stderr)
    return int(failed)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    steps = parser.add_subparsers(dest='step', required=True)
    steps.add_parser('photographs').add_argument('folder', type=Path)
    steps.add_parser('verdict').add_argument('board', type=Path)
    args = parser.parse_args()
    if args.step == 'verdict':
        return verdict(args.board)
    photographs(args.folder)
    return 0


if __name__ == '__main__':
    sys.exit(main())
