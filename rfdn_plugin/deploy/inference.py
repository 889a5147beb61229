"""The inference form of a network: the same function, computed faster, and able to run part by part.

* SRB's identity is inside its convolution, the input range inside the first and the last one (see `weights.convert`).
* The fusion of all blocks, a 1x1 convolution of their concatenation, is a sum of one 1x1 convolution a block: the
  outputs need neither be kept nor copied together. So is the fusion of an RFDB's branches.
* IMDN's convolutions before a split are two convolutions each (IMDN-R's way).
* Convolutions are packed, channels last, with their activations inside (`layers`).
* Where the precision is bf16, the first convolution, sums over blocks and skips are in 32 bits. The first convolution
  costs nothing measurable and more than half of the loss would be its: 255 grey levels do not fit into 8 bits of mantissa
  (Set5 x4, RFDN_AIM: 32.1589 in fp32, 32.1529, and 32.1504 with it in bf16; the last one in fp32: 32.1574, 5 % slower).

Channels are not padded to the vector width: measured, 50 channels in and out take 33 ms, 64 and 64 take 37 (320 x 180
pixels, fp32); only padded outputs would gain, which the next layer would then have to read.

Networks of other families run as they are, in channels last.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from rfdn_plugin.archs.blocks import CCA, ESA, NEGATIVE_SLOPE, pad_to_minimum
from rfdn_plugin.archs.imdn import IMDB, IMDBR, IMDN
from rfdn_plugin.archs.rfdn import RFDB, RFDN
from rfdn_plugin.deploy.layers import Attention, ChannelAttention, Convolution, Region, SpatialAttention
from rfdn_plugin.deploy.pattern import pattern
from rfdn_plugin.utils.errors import RFDNError

PRECISIONS = {'fp32': torch.float32, 'bf16': torch.bfloat16}
TOLERANCE = {'fp32': 2e-3, 'bf16': 16.0}
"""Grey levels by which the form may differ from the plain network in fp32; bf16 has 8 bits of mantissa."""


class Block:
    """An RFDB or IMDB: `body`, which looks 4 pixels around, its attention, and `finish`, which looks at one pixel.

    Args:
        module: The block, an `archs.rfdn.RFDB` or `archs.imdn.IMDB`.
        dtype, device: As for `layers.Convolution`.
    """

    REACH = 4
    """Four 3x3 convolutions one after the other."""

    def __init__(self, module: Any, dtype: torch.dtype, device: torch.device) -> None:
        def packed(weight: Tensor, bias: Tensor | None, activation: str | None = 'leaky_relu') -> Convolution:
            return Convolution(weight, bias, activation, dtype=dtype, device=device)

        self.dtype = dtype
        self.steps = [
            (None if distil is None else packed(*distil), packed(*refine)) for distil, refine in _steps_of(module)
        ]
        is_rfdb = isinstance(module, RFDB)
        self.last = packed(module.c4.weight, module.c4.bias, 'leaky_relu' if is_rfdb else None)
        weight, bias = module.c5.weight, module.c5.bias
        self.body_channels = module.c5.out_channels if is_rfdb else module.c5.in_channels
        # RFDB fuses, a share of the convolution for each branch, then gates; IMDB gates, then fuses.
        widths = [len(distil[0]) for distil, _ in _steps_of(module) if distil is not None] + [module.c4.out_channels]
        shares = weight.split(widths, dim=1) if is_rfdb else ()
        self.shares = [packed(share, None if at else bias, None) for at, share in enumerate(shares)]
        self.fuse_last: Convolution | None = None if is_rfdb else packed(weight, bias, None)
        self.residual = module.block_residual if is_rfdb else True
        self.attention: Attention | None = None
        gate = getattr(module, module.attention) if is_rfdb and module.attention else getattr(module, 'cca', None)
        if isinstance(gate, CCA):
            self.attention = ChannelAttention(gate, dtype=dtype, device=device)
        elif isinstance(gate, ESA):
            self.attention = SpatialAttention(gate, dtype=dtype, device=device)

    def body(self, x: Tensor) -> Tensor:
        """What the attention gates."""
        features, branches = x.to(self.dtype), []
        for distil, refine in self.steps:
            if distil is not None:
                branches.append(distil(features))
            features = refine(features)
        branches.append(self.last(features))
        if not self.shares:
            return torch.cat(branches, dim=1)
        fused = self.shares[0](branches[0])
        for share, branch in zip(self.shares[1:], branches[1:], strict=True):
            fused = share.plus(branch, fused)
        return fused

    def finish(
        self, body: Tensor, x: Tensor, concluded: Tensor | None, region: Region, height: int, width: int
    ) -> Tensor:
        """The block's output for a region, from its body and its input there and what the attention concluded."""
        if self.attention is not None:
            assert concluded is not None  # an attention concludes before it is applied
            body = self.attention.apply(body, concluded, region, height, width)
        if self.fuse_last is not None:
            return self.fuse_last.plus(body, x)
        return x + body if self.residual else body


def _steps_of(module: Any) -> list[tuple[tuple[Tensor, Tensor] | None, tuple[Tensor, Tensor]]]:
    """Weight and bias of the distilling (or None) and of the refining convolution of each step."""
    steps: list[tuple[tuple[Tensor, Tensor] | None, tuple[Tensor, Tensor]]] = []
    for step in ('c1', 'c2', 'c3'):
        if isinstance(module, IMDB) and not isinstance(module, IMDBR):
            layer, cut = getattr(module, step), module.num_distilled
            steps.append(((layer.weight[:cut], layer.bias[:cut]), (layer.weight[cut:], layer.bias[cut:])))
            continue
        distil, refine = getattr(module, f'{step}_d', None), getattr(module, f'{step}_r')
        weight = refine.weight
        if getattr(module, 'shallow_residual', False):
            weight = weight.detach().clone()
            weight[:, :, 1, 1] += torch.eye(weight.shape[0], dtype=weight.dtype, device=weight.device)
        steps.append((None if distil is None else (distil.weight, distil.bias), (weight, refine.bias)))
    return steps


class InferenceForm(nn.Module):
    """A network of the RFDN or IMDN family in its inference form.

    Args:
        network: An RFDN or IMDN or a network derived from them, in eval mode; its weights are copied.
        precision: 'fp32' or 'bf16'.
        device: Where it runs; where the network is, if not given.

    Shapes: as the network's: N x C x H x W with values from 0 to 1 in any float type, to N x C x (scale H) x (scale W),
    32-bit, not clamped; any size from 1 x 1. The images of a batch are computed one by one.
    """

    backend = 'torch'
    scale: int
    minimum_size: int
    in_channels: int
    out_channels: int
    num_feat: int
    precision: str
    dtype: torch.dtype
    device: torch.device

    def __init__(self, network: Any, *, precision: str = 'fp32', device: str | torch.device | None = None) -> None:
        super().__init__()
        device = torch.device(device) if device is not None else next(network.parameters()).device
        self.precision, self.dtype, self.device = precision, PRECISIONS[precision], device
        self.scale, self.minimum_size = network.upscale, network.minimum_size
        head, tail, last = network.fea_conv, network.LR_conv, network.upsampler[0]

        def packed(weight: Tensor, bias: Tensor | None, dtype: torch.dtype = self.dtype) -> Convolution:
            return Convolution(weight, bias, dtype=dtype, device=device)

        self.head = packed(head.weight.double() * network.img_range, head.bias, torch.float32)
        self.blocks = [Block(getattr(network, name), self.dtype, device) for name in network.blocks]
        fusion = network.c[0]
        shares = fusion.weight.chunk(len(self.blocks), dim=1)
        self.fusions = [packed(share, None if at else fusion.bias) for at, share in enumerate(shares)]
        self.tail = packed(tail.weight, tail.bias)
        self.last = packed(last.weight.double() / network.img_range, last.bias.double() / network.img_range)
        self.in_channels, self.num_feat = head.in_channels, head.out_channels
        self.out_channels = last.out_channels // self.scale**2

    @torch.inference_mode()
    def forward(self, x: Tensor) -> Tensor:
        if len(x) != 1:
            return torch.cat([self.forward(image[None]) for image in x])
        rows, columns = x.shape[-2:]
        x = self.prepare(x)
        height, width = x.shape[-2:]
        everything = Region(0, height, 0, width)
        head = features = self.head(x)
        fused: Tensor | None = None
        for block, fusion in zip(self.blocks, self.fusions, strict=True):
            body = block.body(features)
            concluded = None
            if block.attention is not None:
                statistics = block.attention.start(height, width)
                block.attention.gather(statistics, body, everything)
                concluded = block.attention.conclude(statistics, height, width)
            features = block.finish(body, self.wide(features), concluded, everything, height, width)
            del body
            fused = self.add_fused(fused, fusion, features)
        assert fused is not None
        return self.finish(fused, head)[..., : rows * self.scale, : columns * self.scale]

    @property
    def reach(self) -> int:
        """How many LR pixels an output looks around, the attention left out."""
        return self.HEAD_REACH + Block.REACH * len(self.blocks) + self.FINISH_REACH

    def prepare(self, x: Tensor, *, pad: bool = True) -> Tensor:
        """The input in the form's type and layout, with `pad` extended to the smallest size."""
        x = x.to(self.device, torch.float32)
        x = pad_to_minimum(x, self.minimum_size) if pad else x
        return x.contiguous(memory_format=torch.channels_last)

    def wide(self, features: Tensor) -> Tensor:
        """Features as the residual stream keeps them: in 32 bits."""
        return features.float()

    def add_fused(self, fused: Tensor | None, fusion: Convolution, features: Tensor) -> Tensor:
        """The sum of the blocks' shares of the fusion, in 32 bits, with another block's."""
        features = features.to(self.dtype)
        if fused is None:
            return fusion(features).float()
        if self.dtype == torch.float32:
            return fusion.plus(features, fused)
        return fused.add_(fusion(features))

    def finish(self, fused: Tensor, head: Tensor) -> Tensor:
        """From the fused sum and the head to the output; looks 2 pixels around. `fused` is used up."""
        fused = nn.functional.leaky_relu_(fused, NEGATIVE_SLOPE).to(self.dtype)
        features = self.tail.plus(fused, self.wide(head)).to(self.dtype)
        return nn.functional.pixel_shuffle(self.last(features).float(), self.scale)

    FINISH_REACH = 2
    HEAD_REACH = 1


class PlainForm(nn.Module):
    """A network of another family, as it is, in channels last; the attributes are those of `InferenceForm`."""

    backend = 'torch'
    scale: int
    in_channels: int
    precision: str
    device: torch.device

    def __init__(self, network: Any, *, precision: str = 'fp32', device: str | torch.device | None = None) -> None:
        super().__init__()
        first = next(network.parameters())
        self.precision, self.device = precision, torch.device(device) if device is not None else first.device
        # A copy: `to` would move the network of the caller.
        self.network = copy.deepcopy(network).to(self.device, memory_format=torch.channels_last)
        self.scale = network.upscale
        self.in_channels = next(layer for layer in network.modules() if isinstance(layer, nn.Conv2d)).in_channels

    @torch.inference_mode()
    def forward(self, x: Tensor) -> Tensor:
        x = x.to(self.device, torch.float32).contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == 'bf16'):
            return self.network(x).float()


def inference_form(
    network: nn.Module, *, precision: str = 'auto', device: str | torch.device | None = None
) -> InferenceForm | PlainForm:
    """The fastest form of a network that computes the same, compared with the network itself on a small image.

    Args:
        network: A network of this package, in eval mode.
        precision: 'fp32'; 'bf16', which is faster on processors that have it and costs about 0.01 dB; 'auto' is fp32,
            for it is exact.
        device: Where it shall run; where the network is, if not given.

    Returns:
        Takes and gives values from 0 to 1, N x C x H x W.

    Raises:
        RFDNError: There is no such precision.
    """
    if precision == 'auto':
        precision = 'fp32'
    if precision not in PRECISIONS:
        cure = 'take one of these'
        if precision in ('fp16', 'int8'):
            cure += f', or export the weights with rfdn export --precision {precision} and take that model'
        raise RFDNError(f'precision {precision!r}: PyTorch computes in {" or ".join(PRECISIONS)}: {cure}.')
    if not isinstance(network, RFDN | IMDN):
        return PlainForm(network, precision=precision, device=device)
    form = InferenceForm(network, precision=precision, device=device)
    difference = difference_from(network, form)
    if difference <= TOLERANCE[precision]:
        return form
    warnings.warn(
        f'the inference form of {type(network).__name__} differs from it by {difference:.2g} grey levels in {precision}: '
        'the network itself is used.',
        stacklevel=2,
    )
    return PlainForm(network, precision=precision, device=device)


@torch.inference_mode()
def difference_from(network: nn.Module, form: Callable[[Tensor], Tensor]) -> float:
    """The largest difference between a network and its form on a hard image of 40 x 56 pixels, in grey levels."""
    channels = next(layer for layer in network.modules() if isinstance(layer, nn.Conv2d)).in_channels
    image = torch.from_numpy(pattern(40, 56))[:, :channels].to(next(network.parameters()).device)
    return float((network(image).float().cpu() - form(image).float().cpu()).abs().max() * 255)
