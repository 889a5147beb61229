"""Writes weights of a training into the package, with a card that says how they were made and what they reach.

    python scripts/zoo/ship.py net_g_best.pth --name RFDN_x2 --iterations 100000 --recipe "..." --sets datasets

The averaged weights are measured by the leaderboard on Set5, Set14 and B100 (folders below --sets) before they are
written; the figures go into the card, beside the sha256 of the table of images that they were trained on.
"""

import argparse
import hashlib
import json
import sys
import tempfile
from pathlib import Path

import yaml

from rfdn_plugin import cli
from rfdn_plugin.weights.loading import load_network

REPOSITORY = Path(__file__).resolve().parents[2]
TABLE = REPOSITORY / 'scripts/zoo/images.tsv'
SETS = ('Set5', 'Set14', 'B100')


def measure(weights: Path, scale: int, sets: Path, param_key: str | None) -> dict[str, dict[str, float]]:
    """PSNR-Y and SSIM-Y on the benchmark sets, by the leaderboard; crop = scale."""
    choice = {'param_key': param_key} if param_key else {}
    options = {
        'name': 'ship',
        'sets': {
            name: {'hr': str(sets / name / 'HR'), 'lr': str(sets / name / 'LR_bicubic/X{scale}')}
            for name in SETS if (sets / name).is_dir()
        },
        'entries': [{'name': 'weights', 'scale': scale, 'weights': str(weights)} | choice],
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, 'board.yml')
        path.write_text(yaml.safe_dump(options))
        if cli.main(['leaderboard', '-opt', str(path), '--out', folder]):
            sys.exit(1)
        (entry,) = json.loads(Path(folder, 'leaderboard.json').read_text())['entries']
    return {name: {key: values[key] for key in ('psnr_y', 'ssim_y')} for name, values in entry['sets'].items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('weights', type=Path)
    parser.add_argument('--name', required=True, help='the name in the zoo, as RFDN_x2')
    parser.add_argument('--iterations', required=True)
    parser.add_argument('--recipe', required=True)
    parser.add_argument('--param-key', help='which weights of several, as params_ema')
    parser.add_argument('--sets', type=Path, required=True, help='the folder that holds Set5, Set14 and B100')
    arguments = parser.parse_args()

    _, identity = load_network(arguments.weights, param_key=arguments.param_key)
    figures = measure(arguments.weights, identity.upscale, arguments.sets, arguments.param_key)
    said = ', '.join(f'{name} {value["psnr_y"]:.2f} dB / {value["ssim_y"]:.4f}' for name, value in figures.items())
    card = {
        'training_data': 'photographs of Debian packages, scripts/zoo/images.tsv',
        'training_data_sha256': hashlib.sha256(TABLE.read_bytes()).hexdigest(),
        'iterations': arguments.iterations,
        'recipe': arguments.recipe,
        'metrics': f'PSNR / SSIM on Y, crop = scale, LR by MATLAB bicubic: {said}',
        'licence': 'MIT',
        'source': 'trained by rfdn_plugin, docs/weights.md',
    }
    target = REPOSITORY / f'rfdn_plugin/zoo/{arguments.name}.safetensors'
    words = ['convert', '--weights', str(arguments.weights), '-o', str(target)]
    if arguments.param_key:
        words += ['--param-key', arguments.param_key]
    for key, value in card.items():
        words += ['--card', f'{key}={value}']
    sys.exit(cli.main(words))


if __name__ == '__main__':
    main()
