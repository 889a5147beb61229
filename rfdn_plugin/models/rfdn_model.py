"""`model_type: RFDNModel`: what training these networks needs beyond BasicSR's SRModel."""

from __future__ import annotations

import os
from typing import Any

import torch
from basicsr.models.sr_model import SRModel
from basicsr.utils import get_root_logger
from basicsr.utils.dist_util import master_only
from torch import Tensor, nn

from rfdn_plugin.errors import RFDNError
from rfdn_plugin.files import atomic_write
from rfdn_plugin.weights.checkpoint import Checkpoint, read_checkpoint
from rfdn_plugin.weights.transfer import resample_state

UPSAMPLER = 'upsampler.'
"""Prefix of the weights whose shapes depend on the scale: the only ones that may differ from a checkpoint's."""


class RFDNModel(SRModel):
    """SRModel with loading that is reported and refused where it would go wrong, and files that are whole.

    Options beyond SRModel's:
        train.upsampler_start: 'resampled' or 'random' (BasicSR's behaviour, the default). How the upsampler starts when
            `path.pretrain_network_g` holds weights of another scale and `path.strict_load_g` is false.
    """

    def init_training_settings(self) -> None:
        """As SRModel, but a fine-tuning starts with an EMA copy equal to the network.

        SRModel builds the copy anew and loads the file into it: what the file does not set (the upsampler of another
        scale) differs between the two, and validation sees a random layer until the average has washed it out.
        """
        super().init_training_settings()
        if self.ema_decay > 0 and not self.opt['path'].get('resume_state'):
            self.model_ema(0)

    def load_network(self, net: nn.Module, load_path: str, strict: bool = True, param_key: str | None = 'params') -> None:
        """Load a checkpoint of any layout and say what was loaded.

        Args:
            net: The network, possibly wrapped for several devices.
            load_path: The file: flat, `params`, `params_ema`, `state_dict`, or with `module.` prefixes.
            strict: False allows the upsampler, and nothing else, to have other shapes.
            param_key: The wrapper key to prefer where the file has several.

        Raises:
            RFDNError: The file cannot be read, or belongs to another network: the message lists the weights.
        """
        net = self.get_bare_model(net)
        checkpoint = read_checkpoint(load_path, param_key)
        state, own = dict(checkpoint.tensors), net.state_dict()
        resized = [name for name in own if name in state and own[name].shape != state[name].shape]
        foreign = [name for name in resized if not name.startswith(UPSAMPLER)]
        missing, unexpected = own.keys() - state.keys(), state.keys() - own.keys()
        if foreign or missing or unexpected:
            raise RFDNError(_describe_difference(net, checkpoint, own, sorted(missing), sorted(unexpected), foreign))
        if resized and strict:
            raise RFDNError(
                f'{load_path} holds weights of another scale ({_shapes(resized[0], own, state)}): '
                'set path.strict_load_g to false to fine-tune from them, or correct scale and network_g.upscale.'
            )
        start = self.opt.get('train', {}).get('upsampler_start', 'random')
        if resized and start == 'resampled':
            state = resample_state(state, own)
        elif resized:
            state = {name: tensor for name, tensor in state.items() if name not in resized}
        net.load_state_dict(state, strict=False)

        logger = get_root_logger()
        logger.info(
            f'{type(net).__name__}: loaded {len(own) - len(resized)} of {len(own)} tensors from {load_path} '
            f'[{checkpoint.layout}].'
        )
        if resized:
            how = 'resampled from its kernel' if start == 'resampled' else 'random'
            logger.info(f'{type(net).__name__}: of another scale, so {how}: {", ".join(resized)}.')

    @master_only
    def save_network(
        self, net: nn.Module | list[nn.Module], net_label: str, current_iter: int, param_key: str | list[str] = 'params'
    ) -> None:
        """Write `models/{net_label}_{current_iter}.pth`, whole or not at all.

        Raises:
            RFDNError: It cannot be written (SRModel would go on and lose the run).
        """
        nets = net if isinstance(net, list) else [net]
        keys = param_key if isinstance(param_key, list) else [param_key]
        content = {key: _on_cpu(self.get_bare_model(item).state_dict()) for key, item in zip(keys, nets, strict=True)}
        name = 'latest' if current_iter == -1 else current_iter
        _save(content, os.path.join(self.opt['path']['models'], f'{net_label}_{name}.pth'))

    @master_only
    def save_training_state(self, epoch: int, current_iter: int) -> None:
        """Write `training_states/{current_iter}.state`, whole or not at all, after the networks of that iteration.

        Raises:
            RFDNError: It cannot be written.
        """
        if current_iter == -1:
            return
        state = {
            'epoch': epoch,
            'iter': current_iter,
            'optimizers': [optimizer.state_dict() for optimizer in self.optimizers],
            'schedulers': [scheduler.state_dict() for scheduler in self.schedulers],
        }
        _save(state, os.path.join(self.opt['path']['training_states'], f'{current_iter}.state'))


def _on_cpu(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu() for name, tensor in state.items()}


def _save(content: Any, path: str) -> None:
    try:
        with atomic_write(path) as stream:
            torch.save(content, stream)
    except (OSError, RuntimeError) as error:  # torch reports a failed write of its zip file as a RuntimeError
        raise RFDNError(
            f'cannot write {path} ({error}): the checkpoints before it are whole; make room and go on with --auto_resume.'
        ) from error


def _shapes(name: str, own: dict[str, Tensor], state: dict[str, Tensor]) -> str:
    return f'{name}: network {tuple(own[name].shape)}, file {tuple(state[name].shape)}'


def _describe_difference(
    net: nn.Module,
    checkpoint: Checkpoint,
    own: dict[str, Tensor],
    missing: list[str],
    unexpected: list[str],
    foreign: list[str],
) -> str:
    parts = [
        ('not in the file', missing),
        ('not in the network', unexpected),
        ('of another shape', [_shapes(name, own, checkpoint.tensors) for name in foreign]),
    ]
    described = [f'{len(names)} {what} ({_some(names)})' for what, names in parts if names]
    return f'{checkpoint.path} belongs to another network than {type(net).__name__}: {"; ".join(described)}.'


def _some(names: list[str], most: int = 6) -> str:
    return ', '.join(names[:most]) + (', ...' if len(names) > most else '')
