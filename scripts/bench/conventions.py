"""What each convention of a table is worth in dB: one network, one set, one thing done differently at a time.

    python scripts/bench/conventions.py --weights RFDN_AIM.pth --hr datasets/Set5/HR      # the table of docs/conventions.md

The first line is the field's way: LR by MATLAB's bicubic, PSNR on Y (BT.601, not rounded), crop = scale, 8-bit images.
"""

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image

import rfdn_plugin
from rfdn_plugin.data.bicubic import downscale, mod_crop
from rfdn_plugin.weights.loading import load_network


def luma(image: np.ndarray) -> np.ndarray:
    """Y of BT.601 from 16 to 235, not rounded."""
    return image.astype(np.float64) @ np.array([65.481, 128.553, 24.966]) / 255 + 16


def psnr(one: np.ndarray, other: np.ndarray, crop: int) -> float:
    one, other = (image[crop : image.shape[0] - crop, crop : image.shape[1] - crop] for image in (one, other))
    return float(10 * np.log10(255**2 / np.mean((one.astype(np.float64) - other) ** 2)))


def pillow(hr: np.ndarray, scale: int) -> np.ndarray:
    size = (hr.shape[1] // scale, hr.shape[0] // scale)
    return np.asarray(Image.fromarray(hr).resize(size, Image.Resampling.BICUBIC))


def opencv(hr: np.ndarray, scale: int) -> np.ndarray:
    return cv2.resize(hr, (hr.shape[1] // scale, hr.shape[0] // scale), interpolation=cv2.INTER_CUBIC)


def basicsr(hr: np.ndarray, scale: int) -> np.ndarray:
    from basicsr.utils.matlab_functions import imresize

    return (imresize(hr.astype(np.float64) / 255, 1 / scale) * 255).round().clip(0, 255).astype(np.uint8)


def measure(hr: np.ndarray, network: torch.nn.Module, scale: int, img_range: float) -> dict[str, float]:
    """PSNR of one image in each way."""

    def upscaled(lr: np.ndarray) -> np.ndarray:
        return rfdn_plugin.upscale(np.ascontiguousarray(lr), network)

    lr = downscale(hr, scale)
    sr = upscaled(lr)
    values = {
        'as the field measures': psnr(luma(sr), luma(hr), scale),
        'Y rounded to 8 bits': psnr(luma(sr).round(), luma(hr).round(), scale),
        'RGB instead of Y': psnr(sr, hr, scale),
        'no pixels cropped': psnr(luma(sr), luma(hr), 0),
        'crop = scale + 6': psnr(luma(sr), luma(hr), scale + 6),
        'red and blue exchanged at the input': psnr(luma(upscaled(lr[..., ::-1])[..., ::-1]), luma(hr), scale),
    }
    for name, resize in (
        ("BasicSR's imresize", basicsr),
        ("Pillow's BICUBIC", pillow),
        ("OpenCV's INTER_CUBIC", opencv),
    ):
        values[f'LR by {name}'] = psnr(luma(upscaled(resize(hr, scale))), luma(hr), scale)
    other = 255.0 if img_range == 1 else 1.0
    x = torch.from_numpy(lr.transpose(2, 0, 1).copy()).float()[None] / 255
    with torch.inference_mode():  # what a network sees that takes its input in the other range
        wrong = network(x * (other / img_range)) * (img_range / other)
    image = (wrong[0].clamp(0, 1) * 255).round().numpy().transpose(1, 2, 0)
    values['the other value range (0..1 for 0..255)'] = psnr(luma(image), luma(hr), scale)
    return values


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--weights', required=True)
    parser.add_argument('--hr', type=Path, required=True)
    arguments = parser.parse_args()

    network, identity = load_network(arguments.weights)
    network.eval()
    scale, img_range = identity.upscale, float(identity.arguments.get('img_range', 1))
    every: dict[str, list[float]] = {}
    for path in sorted(arguments.hr.glob('*.*')):
        hr = mod_crop(cv2.imread(str(path))[..., ::-1], scale)
        for name, value in measure(np.ascontiguousarray(hr), network, scale, img_range).items():
            every.setdefault(name, []).append(value)
    means = {name: float(np.mean(values)) for name, values in every.items()}
    first, count = next(iter(means.values())), len(next(iter(every.values())))
    print(f'| {arguments.weights}, x{scale}, {count} images | dB | difference |\n|---|---|---|')
    for name, value in means.items():
        print(f'| {name} | {value:.2f} | {"" if value == first else f"{value - first:+.2f}"} |')
    return 0


if __name__ == '__main__':
    sys.exit(main())
