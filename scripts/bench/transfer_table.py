#!/usr/bin/env python3
"""Quality of transferred weights: every scale from every weights file, the upsampler resampled and fitted.

    python scripts/bench/transfer_table.py --weights IMDN_x2.pth IMDN_x3.pth IMDN_x4.pth \
        --benchmarks datasets --fit datasets/DIV2K/HR_sub.lmdb --images 100 -o transfer.json

Below --benchmarks lie SET/HR and SET/LR_bicubic/X{scale}. The results are kept in the JSON file as they come: the same
command goes on where it was stopped. At the end, or with --show, the table is printed as Markdown. PSNR on Y (BT.601),
a border of `scale` pixels left out, the mean over each set, by BasicSR's function.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from rfdn_plugin.data.bicubic import mod_crop
from rfdn_plugin.data.images import read_image
from rfdn_plugin.utils.files import atomic_write
from rfdn_plugin.weights.loading import identify_file
from rfdn_plugin.weights.transfer.fit import fit_upsampler
from rfdn_plugin.weights.transfer.resample import to_scale
from rfdn_plugin.weights.transfer.run import FitImages


def psnr_y(output: torch.Tensor, high: np.ndarray, scale: int) -> float:
    from basicsr.metrics import calculate_psnr

    rgb = (output[0].clamp(0, 1) * 255).round().byte().numpy().transpose(1, 2, 0)
    bgr, high_bgr = np.ascontiguousarray(rgb[..., ::-1]), np.ascontiguousarray(high[..., ::-1])
    return calculate_psnr(bgr, high_bgr, crop_border=scale, test_y_channel=True)


def measure(networks: dict[str, nn.Module], folder: Path, scale: int) -> dict[str, float]:
    """Mean PSNR-Y of each network over a benchmark set."""
    values: dict[str, list[float]] = {name: [] for name in networks}
    for path in sorted((folder / 'HR').glob('*.png')):
        high = mod_crop(read_image(path).rgb, scale)
        low = read_image(folder / 'LR_bicubic' / f'X{scale}' / f'{path.stem}x{scale}.png').rgb
        x = torch.from_numpy(np.ascontiguousarray(low.transpose(2, 0, 1))[None]).float() / 255
        for name, network in networks.items():
            with torch.inference_mode():
                values[name].append(psnr_y(network(x), high, scale))
    return {name: float(np.mean(psnr)) for name, psnr in values.items()}


def as_markdown(results: dict[str, dict], sets: list[str]) -> str:
    lines = [f'| from | to | upsampler | {" | ".join(sets)} |', '|---|---|---|' + '---|' * len(sets)]
    for entry in results.values():
        for how in ('resampled', 'fitted'):
            cells = [f'{entry[name][how]:.3f}' if how in entry.get(name, {}) else '' for name in sets]
            if any(cells):
                lines.append(f'| {entry["from"]} | x{entry["to"]} | {how} | {" | ".join(cells)} |')
    return '\n'.join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--weights', nargs='+', type=Path, required=True)
    parser.add_argument('--scales', nargs='+', type=int, default=[2, 3, 4])
    parser.add_argument('--benchmarks', type=Path, required=True)
    parser.add_argument('--sets', nargs='+', default=['Set5', 'Set14', 'BSD100'])
    parser.add_argument('--fit', type=Path, required=True)
    parser.add_argument('--images', type=int)
    parser.add_argument('--threads', type=int, default=torch.get_num_threads())
    parser.add_argument('--show', action='store_true', help='only print what is there')
    parser.add_argument('-o', '--output', type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    results = json.loads(args.output.read_text()) if args.output.exists() else {}
    for path in args.weights if not args.show else []:
        identity = identify_file(path)
        for scale in args.scales:
            key = f'{path.stem} to x{scale}'
            entry = results.setdefault(key, {'from': f'{path.stem} (x{identity.upscale})', 'to': scale})
            if scale == identity.upscale or all(name in entry for name in args.sets):
                results = {name: value for name, value in results.items() if len(value) > 2}
                continue
            networks = {'resampled': to_scale(identity, scale), 'fitted': to_scale(identity, scale)}
            start = time.process_time()
            fit = fit_upsampler(networks['fitted'], FitImages(args.fit, scale, args.images))
            entry |= {'images': fit.images, 'fit_cpu_seconds': round(time.process_time() - start, 1)}
            for name in args.sets:
                entry[name] = measure(networks, args.benchmarks / name, scale)
                print(f'{key}, {name}: {entry[name]}', flush=True)
                with atomic_write(args.output, 'w') as stream:
                    json.dump(results, stream, indent=2)
    print(as_markdown(results, args.sets))


if __name__ == '__main__':
    main()
