"""The image at the top of README: bicubic and the shipped weights on a photograph that no training saw.

    python scripts/zoo/showcase.py --out docs/showcase.png        # again after the weights have changed

The photograph is scikit-image's `astronaut` (NASA, public domain), which scripts/zoo/images.tsv does not list. Its LR is
made by MATLAB's bicubic; PSNR is on Y of the whole image, crop = scale.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import skimage.data

import rfdn_plugin
from rfdn_plugin.data.bicubic import downscale, mod_crop
from rfdn_plugin.leaderboard.report.comparison import Crop, write_comparison

SHOWN = Crop(top=344, left=124, size=96)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--out', type=Path, required=True)
    arguments = parser.parse_args()

    from basicsr.metrics import calculate_psnr
    from basicsr.utils.matlab_functions import imresize

    hr = mod_crop(skimage.data.astronaut(), 12)
    images, captions = {}, {'HR': 'the original'}
    for scale in (2, 4):
        lr = downscale(hr, scale)
        bicubic = imresize(lr.astype(np.float64) / 255, scale)
        images[f'Input x{scale}'] = lr.repeat(scale, 0).repeat(scale, 1)
        images[f'Bicubic x{scale}'] = (bicubic * 255).round().clip(0, 255).astype(np.uint8)
        images[f'RFDN x{scale}'] = rfdn_plugin.upscale(np.ascontiguousarray(lr), f'zoo:RFDN_x{scale}')
        for name in (f'Bicubic x{scale}', f'RFDN x{scale}'):
            value = calculate_psnr(images[name][..., ::-1], hr[..., ::-1], crop_border=scale, test_y_channel=True)
            captions[name] = f'{value:.2f} dB'
            print(f'{name}: {value:.2f} dB')
    del images['Input x2']  # three panels a row: HR and x2, then x4
    captions['Input x4'] = 'a sixteenth of the pixels'
    write_comparison(arguments.out, hr, images, captions=captions, crop=SHOWN, columns=3)
    return 0


if __name__ == '__main__':
    sys.exit(main())
