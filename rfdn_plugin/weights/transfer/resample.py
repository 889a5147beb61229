"""Weights for another scale: only the upsampler depends on it.

The r x r phases of an upsampler (`rfdn_plugin.weights.transfer.phases`) are samples of one continuous kernel, taken at
(centre of the phase) - (centre of the tap). Over the n taps of an axis these positions are n r points with equal
steps, so the kernel is an image of n r x n r pixels, and the kernel for another scale is that image resized. Solving
the upsampler from images instead is `rfdn_plugin.weights.transfer.fit`.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from rfdn_plugin.archs import NETWORKS
from rfdn_plugin.archs.network import UpscalingNetwork
from rfdn_plugin.utils.errors import RFDNError
from rfdn_plugin.weights.checkpoint import Checkpoint
from rfdn_plugin.weights.identify import Identity, check_exact_match
from rfdn_plugin.weights.identify.known import KNOWN_WEIGHTS
from rfdn_plugin.weights.identify.shapes import read_shapes, shapes_of
from rfdn_plugin.weights.loading import build_network
from rfdn_plugin.weights.transfer.phases import Phases, read_phases, write_phases


def to_scale(identity: Identity, scale: int) -> UpscalingNetwork:
    """The network of a checkpoint for another scale: its body as it is, its upsampler resampled.

    Args:
        identity: The checkpoint and what it is.
        scale: The wanted scale.

    Returns:
        The network in eval mode.

    Raises:
        RFDNError: The network cannot have that scale.
    """
    source = build_network(identity)
    try:
        network = NETWORKS[identity.type](**{**identity.arguments, 'upscale': scale})
    except ValueError as error:
        raise RFDNError(f'{identity.type} at x{scale}: {error}') from error
    _copy_body(source, network)
    write_phases(network, resample_phases(read_phases(source), source.upscale, scale))
    return network.eval()


def scale_of(checkpoint: Checkpoint) -> int | None:
    """The scale of a checkpoint of any network here: from its shapes, for IDN from its card or its fingerprint.

    Returns:
        The scale factor; None where the shapes do not show it (IDN) and neither card nor fingerprint says it.

    Raises:
        RFDNError: The weights belong to no network here.
    """
    shown = read_shapes(shapes_of(checkpoint.tensors), str(checkpoint.path)).arguments.get('upscale')
    known = KNOWN_WEIGHTS.get(checkpoint.fingerprint)
    stated = checkpoint.metadata.get('upscale', '')
    return shown or (int(stated) if stated.isdigit() else known.undetermined.get('upscale') if known else None)


def transferred_state(network: UpscalingNetwork, checkpoint: Checkpoint) -> dict[str, Tensor]:
    """The state dict with which `network` starts from weights of the same network at another scale.

    Args:
        network: As it will be trained; it is not changed.
        checkpoint: The weights.

    Returns:
        A state dict that `network` loads strictly: the body of the weights, their upsampler resampled.

    Raises:
        RFDNError: The weights belong to another network (the message names the tensor), or do not say their scale.
    """
    old = scale_of(checkpoint)
    if old is None:
        raise RFDNError(f'{checkpoint.path} does not say its scale, which its weights do not show: add it to its card.')
    reading, name = read_shapes(shapes_of(checkpoint.tensors)), type(network).__name__
    if name not in reading.types:
        raise RFDNError(f'{checkpoint.path} holds {reading.description}: no {name} starts from it.')
    arguments = {**reading.arguments, 'upscale': old}
    check_exact_match(checkpoint, name, arguments)
    source, result = (type(network)(**{**arguments, 'upscale': scale}) for scale in (old, network.upscale))
    wanted, built = shapes_of(network.state_dict()), shapes_of(result.state_dict())
    for name in wanted:
        if wanted[name] != built.get(name):
            raise RFDNError(
                f'{checkpoint.path} holds another {type(network).__name__} than is to be trained: at x{network.upscale} '
                f'its {name} is {built.get(name, "not there")}, the one to be trained has {wanted[name]}.'
            )
    source.load_state_dict(checkpoint.tensors)
    _copy_body(source, result)
    write_phases(result, resample_phases(read_phases(source), old, network.upscale))
    return result.state_dict()


_UPSAMPLER = ('upsampler.', 'upsample.')


def _copy_body(source: nn.Module, target: nn.Module) -> None:
    body = {name: tensor for name, tensor in source.state_dict().items() if not name.startswith(_UPSAMPLER)}
    target.load_state_dict(body, strict=False)


def resample_phases(phases: Phases, old: int, new: int) -> Phases:
    """The phases for scale `new` from those for scale `old`, by resizing their kernel.

    Measured without training (docs/transfer.md): towards a smaller scale linear interpolation is better, towards a
    larger one cubic; so that is what is used.

    Args:
        phases: (colours * old**2) x features x n x n, and the bias.

    Returns:
        (colours * new**2) x features x n x n, and the bias, the mean over the old phases of a colour.
    """
    if old == new:
        return phases
    mode = 'bilinear' if new < old else 'bicubic'
    kernel = _as_kernel(phases.weight.double(), old)
    size = phases.weight.shape[-1] * new
    kernel = F.interpolate(kernel, size=(size, size), mode=mode, align_corners=False)
    colours = phases.bias.reshape(-1, old**2).mean(dim=1)
    return Phases(_as_phases(kernel, new), colours.repeat_interleave(new**2))


def _as_kernel(weight: Tensor, scale: int) -> Tensor:
    """Phases to kernel: (C r r) x F x n x n to C x F x n r x n r.

    The position of phase i at tap t is (i + 0.5) / r - 0.5 - t: it grows with the phase and falls with the tap, so the
    taps are reversed before the two are interleaved.
    """
    colours, features, taps = weight.shape[0] // scale**2, weight.shape[1], weight.shape[-1]
    phases = weight.reshape(colours, scale, scale, features, taps, taps).flip(-1, -2)
    return phases.permute(0, 3, 4, 1, 5, 2).reshape(colours, features, taps * scale, taps * scale)


def _as_phases(kernel: Tensor, scale: int) -> Tensor:
    colours, features = kernel.shape[:2]
    taps = kernel.shape[-1] // scale
    phases = kernel.reshape(colours, features, taps, scale, taps, scale).permute(0, 3, 5, 1, 2, 4).flip(-1, -2)
    return phases.reshape(colours * scale**2, features, taps, taps).contiguous()
