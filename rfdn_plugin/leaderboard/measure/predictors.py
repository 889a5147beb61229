"""What an entry does with a LR image: a network, an exported model, bicubic interpolation, or an image made elsewhere.

Every predictor takes a `sets.SetImage` and gives the super-resolved one, (scale H) x (scale W) x 3, RGB, uint8, whole:
no tiles and no self-ensemble.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from rfdn_plugin.data.images import IMAGE_SUFFIXES, ImageError, read_image
from rfdn_plugin.data.pairing import fill_template, lr_templates
from rfdn_plugin.deploy.backends import Runner
from rfdn_plugin.leaderboard.measure.sets import SetImage, TestSet
from rfdn_plugin.utils.errors import RFDNError
from rfdn_plugin.utils.text import some_of

Predictor = Callable[[SetImage], np.ndarray]


def bicubic(image: SetImage) -> np.ndarray:
    """BasicSR's `imresize` of LR, in floating point, rounded once at the end: the field's baseline."""
    from basicsr.utils.matlab_functions import imresize

    enlarged = imresize(image.lr.permute(1, 2, 0).numpy(), image.scale)
    return _to_uint8(enlarged)


def _to_uint8(image: np.ndarray) -> np.ndarray:
    return np.rint(image.clip(0, 1) * 255).astype(np.uint8)


class NetworkPredictor:
    """A network of this package, or any module from N x 3 (or 1) x H x W to the enlarged, values from 0 to 1.

    A network with one input channel gets Y (BT.601, 16/255 to 235/255); Cb and Cr are enlarged by bicubic interpolation.

    Args:
        network: In eval mode.
        device: Where it runs, in 32-bit floats.
        gain: The input is multiplied by it and the output divided: `255` tries a network made for 0..255.
    """

    def __init__(self, network: nn.Module, device: str | torch.device = 'cpu', gain: float = 1.0) -> None:
        self.network = network.to(device)
        self.device = torch.device(device)
        self.gain = gain
        self.luma_only = input_channels(network) == 1

    @torch.inference_mode()
    def __call__(self, image: SetImage) -> np.ndarray:
        from basicsr.utils import tensor2img

        if self.luma_only:
            return self._with_bicubic_chroma(image)
        output = self._run(image.lr)
        return tensor2img(output, rgb2bgr=False)

    def _run(self, x: Tensor) -> Tensor:
        with torch.backends.cudnn.flags(allow_tf32=False):
            output = self.network(x.unsqueeze(0).to(self.device) * self.gain) / self.gain
        output = output.float().cpu()
        if not torch.isfinite(output).all():
            raise RFDNError('the output holds values that are no finite numbers: the weights are damaged.')
        return output

    def _with_bicubic_chroma(self, image: SetImage) -> np.ndarray:
        from basicsr.utils.color_util import rgb2ycbcr, ycbcr2rgb
        from basicsr.utils.matlab_functions import imresize

        ycbcr = rgb2ycbcr(image.lr.permute(1, 2, 0).numpy())
        y = self._run(torch.from_numpy(np.ascontiguousarray(ycbcr[..., 0]))[None])[0, 0].numpy()
        enlarged = imresize(ycbcr, image.scale)
        enlarged[..., 0] = y.clip(16 / 255, 235 / 255)
        return _to_uint8(ycbcr2rgb(enlarged.astype(np.float32)))


def input_channels(network: nn.Module) -> int:
    """Channels that a network takes: as it says itself, else those of its first convolution, else 3."""
    if isinstance(own := getattr(network, 'in_channels', None), int):
        return own
    return next((layer.in_channels for layer in network.modules() if isinstance(layer, nn.Conv2d)), 3)


class RunnerPredictor:
    """A model that one of the backends of `rfdn_plugin.deploy` runs, on the CPU."""

    def __init__(self, runner: Runner) -> None:
        self.runner = runner

    def __call__(self, image: SetImage) -> np.ndarray:
        output = self.runner(np.ascontiguousarray(image.lr.numpy()[None]))
        if not np.isfinite(output).all():
            raise RFDNError('the output holds values that are no finite numbers.')
        return _to_uint8(output[0].transpose(1, 2, 0))


class ImagesPredictor:
    """Images that something else has made; `files` is what `find_images` gives, by (set, image)."""

    def __init__(self, files: Mapping[tuple[str, str], str]) -> None:
        self.files = files

    def __call__(self, image: SetImage) -> np.ndarray:
        path = self.files[image.set_name, image.name]
        try:
            return read_image(path).rgb
        except ImageError as error:
            raise RFDNError(f'{path}: {error}: make it again.') from error


def find_images(directory: str, test_set: TestSet) -> dict[tuple[str, str], str]:
    """The image of `directory` for each one of a set, by (set, image).

    An image `baby` is looked for as baby.png, by the names that LR has (babyx4.png of x4), and with an ending, as
    BasicSR's test writes it (`baby_....png`, `babyx4_....png`); by the first of these that is there.

    Raises:
        RFDNError: The folder is missing, or an image is, or there are two for one.
    """
    folder = Path(directory.replace('{set}', test_set.name).replace('{scale}', str(test_set.scale)))
    if not folder.is_dir():
        raise RFDNError(f'no folder {folder} with the images of {test_set.name}.')
    stems: dict[str, list[Path]] = {}
    for file in sorted(folder.iterdir()):
        if file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith('.'):
            stems.setdefault(file.stem, []).append(file)
    found, problems = {}, []
    for name in test_set.names:
        names = [fill_template(template, name) for template in ('{}', *lr_templates(test_set.scale))]
        files = next((stems[stem] for stem in names if stem in stems), [])
        for beginning in names:
            files = files or [
                file for stem, found in stems.items() if stem.startswith(f'{beginning}_') for file in found
            ]
        if len(files) != 1:
            problems.append(f'{name} ({", ".join(file.name for file in files[:3]) or "none"})')
        else:
            found[test_set.name, name] = str(files[0])
    if problems:
        raise RFDNError(f'{folder}: needs one image each for {some_of(problems)}: add or remove.')
    return found
