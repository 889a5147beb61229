"""`rfdn quickstart`: the main job on any machine, by the commands that a user would type."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from pathlib import Path

from rfdn_plugin.cli.registry import Action, command
from rfdn_plugin.utils.errors import RFDNError

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
"""dB above bicubic that every scale reaches."""

_PREPARE = 'prepare --hr images/{0} --out datasets/{1} --scales 2 3 4 --crop-size {2}'
STEPS = (
    (
        'Photographs to LMDBs',
        (
            _PREPARE.format('train', 'photographs', '240 --step 120 --encoding bmp'),
            _PREPARE.format('heldout', 'heldout', '0'),
        ),
    ),
    (
        'RFDN x2 from scratch, x3 and x4 fine-tuned from it',
        tuple(f'train -opt quickstart/quickstart_RFDN_x{scale}.yml --auto_resume' for scale in (2, 3, 4)),
    ),
    (
        'Against bicubic, on images that training never saw',
        ('leaderboard -opt leaderboard/quickstart.yml --out results',),
    ),
)


@command('quickstart', 'photographs to LMDBs, three trainings and a table: 10 minutes')
def _quickstart(parser: argparse.ArgumentParser) -> Action:
    """Prepare LMDBs from photographs that scikit-image ships, train RFDN x2, fine-tune x3 and x4, compare with bicubic.

    About 10 minutes on 2 processor cores. Interrupted or run again, it goes on where it stopped.
    Exit code 1: a step failed, or a scale ended less than 0.3 dB above bicubic.
    """
    parser.add_argument('folder', type=Path, metavar='DIR', help='for images, LMDBs, experiments and results')

    def run(args: argparse.Namespace) -> int:
        started = time.monotonic()
        photographs(args.folder / 'images')
        for number, (title, commands) in enumerate(STEPS, start=1):
            print(f'\n== {number}. {title}', flush=True)
            for words in commands:
                print(f'$ rfdn {words}', flush=True)
                _rfdn(words, args.folder)
        code = verdict(args.folder / 'results/leaderboard.json')
        minutes, seconds = divmod(round(time.monotonic() - started), 60)
        print(f'\nDone in {minutes} min {seconds} s. In {args.folder}:')
        print('  datasets/      the LMDBs')
        print('  experiments/   weights (models/net_g_latest.pth) and logs of the three trainings')
        print('  results/       leaderboard.json, .md, .html and the images side by side')
        return code

    return run


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
    """Say how far above bicubic each scale ended; 1 where one is less than `MARGIN` above it."""
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


def _rfdn(words: str, folder: Path) -> None:
    """Run one command in a process of its own, as BasicSR's trainings expect it.

    Interrupted or asked to end, it waits until the command has saved and ended.

    Raises:
        RFDNError: It failed, and its own output says why, or was stopped by a signal.
    """
    import signal
    import subprocess

    asked: list[int] = []

    def stop(number: int, _frame: object) -> None:
        asked.append(number)
        if number != signal.SIGINT:  # Ctrl+C reaches the command by itself
            process.send_signal(number)

    process = subprocess.Popen([sys.executable, '-m', 'rfdn_plugin', *shlex.split(words)], cwd=folder)
    numbers = {signal.SIGINT, signal.SIGTERM, getattr(signal, 'SIGHUP', signal.SIGTERM)}  # Windows has no SIGHUP
    before = {
        number: signal.signal(number, stop) for number in numbers if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        code = process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if asked:
        raise RFDNError(f'rfdn {words} was stopped by {signal.Signals(asked[0]).name}: run this again to go on.')
    if code:
        raise RFDNError(f'rfdn {words} failed ({code}), its output is above; run this again to go on.')
