"""`model_type: RFDNModel`: what training these networks needs beyond BasicSR's SRModel."""

from __future__ import annotations

import json
import os
from typing import Any

import torch
from basicsr.models.sr_model import SRModel
from basicsr.utils import get_root_logger
from basicsr.utils.dist_util import master_only
from basicsr.utils.registry import MODEL_REGISTRY
from torch import Tensor, nn

from rfdn_plugin import __version__, compat
from rfdn_plugin.archs import NETWORKS, full_arguments
from rfdn_plugin.errors import RFDNError
from rfdn_plugin.files import atomic_write
from rfdn_plugin.models import resume
from rfdn_plugin.weights.checkpoint import read_checkpoint
from rfdn_plugin.weights.matching import starting_state


class RFDNModel(SRModel):
    """SRModel with loading that is reported and refused where it would go wrong, and files that are whole.

    Options beyond SRModel's:
        train.upsampler_start: 'resampled' or 'random' (BasicSR's behaviour, the default). How the upsampler starts when
            `path.pretrain_network_g` holds weights of another scale and `path.strict_load_g` is false.
    """

    iteration = 0
    """Iterations that the weights have been trained for."""

    def init_training_settings(self) -> None:
        """As SRModel, but a fine-tuning starts with an EMA copy equal to the network.

        SRModel builds the copy anew and loads the file into it: what the file does not set (the upsampler of another
        scale) then differs between the two, and validation sees a random layer until the average has washed it out.
        """
        super().init_training_settings()
        if self.ema_decay > 0 and not self.opt['path'].get('resume_state'):
            self.model_ema(0)

    def model_ema(self, decay: float = 0.999) -> None:
        """As SRModel, with an average that is shorter at first: of about the last tenth of the iterations so far.

        With a fixed decay of 0.999 the average holds on to the weights of the start for thousands of iterations:
        measured (RFDN x2 from scratch, Set5, PSNR-Y) 32.9 dB averaged against 36.4 dB raw after 600 of them. From
        9,000 iterations on it is the decay that was asked for.
        """
        super().model_ema(min(decay, (1 + self.iteration) / (10 + self.iteration)) if decay else decay)

    @master_only
    def print_network(self, net: nn.Module) -> None:
        """Say which network it is and how large, in a line instead of SRModel's hundred."""
        wrapper = '' if net is self.get_bare_model(net) else f' in {type(net).__name__}'
        parameters = sum(parameter.numel() for parameter in net.parameters())
        get_root_logger().info(
            f'Network: {type(self.get_bare_model(net)).__name__}{wrapper}, {parameters:,} parameters.'
        )

    def load_network(
        self, net: nn.Module, load_path: str, strict: bool = True, param_key: str | None = 'params'
    ) -> None:
        """Load a checkpoint of any layout and say what was loaded.

        Args:
            net: The network, possibly wrapped for several devices.
            load_path: The file: flat, `params`, `params_ema`, `state_dict`, or with `module.` prefixes.
            strict: False allows the upsampler, and nothing else, to have other shapes.
            param_key: The wrapper key to prefer where the file has several.

        Raises:
            RFDNError: The file cannot be read, or belongs to another network: the message lists the weights.
        """
        if net is getattr(self, 'net_g_ema', None) and not self.opt['path'].get('resume_state'):
            return  # init_training_settings copies the network, which has been loaded, into it
        net = self.get_bare_model(net)
        checkpoint = read_checkpoint(load_path, param_key)
        resample = self.opt.get('train', {}).get('upsampler_start') == 'resampled'
        state, others = starting_state(net, checkpoint, strict=strict, resample=resample)
        net.load_state_dict(state, strict=False)  # starting_state has seen to it that nothing else differs

        logger = get_root_logger()
        name, total = type(net).__name__, len(net.state_dict())
        logger.info(f'{name}: loaded {total - len(others)} of {total} tensors from {load_path} [{checkpoint.layout}].')
        if others:
            how = "resampled from the file's" if resample else 'left random'
            logger.info(f'{name}: not loaded, of another scale, {how}: {", ".join(others)}.')

    def optimize_parameters(self, current_iter: int) -> None:
        """As SRModel; afterwards, where a signal asked for it, save and leave.

        Raises:
            SystemExit: With code `resume.INTERRUPTED`, after the checkpoint is written.
        """
        super().optimize_parameters(current_iter)
        self.iteration = current_iter
        asked = resume.asked_to_leave(self.device, together=self.opt['dist'])
        if asked is not None:
            self.save(resume.current_epoch(), current_iter)
            get_root_logger().warning(f'{asked}: saved iteration {current_iter}; --auto_resume goes on from there.')
            raise SystemExit(resume.INTERRUPTED)

    def resume_training(self, resume_state: dict[str, Any]) -> None:
        """As SRModel, with the best validation results and the random numbers of where the run stopped."""
        super().resume_training(resume_state)
        self.iteration = resume_state['iter']
        if resume_state.get('best_metric_results'):
            self.best_metric_results = resume_state['best_metric_results']
        if 'random' in resume_state and not self.opt['dist']:
            resume.set_random_state(resume_state['random'])

    @master_only
    def save_network(
        self, net: nn.Module | list[nn.Module], net_label: str, current_iter: int, param_key: str | list[str] = 'params'
    ) -> None:
        """Write `models/{net_label}_{current_iter}.pth`, whole or not at all, with what it is under `metadata`.

        Raises:
            RFDNError: It cannot be written (SRModel would go on and lose the run).
        """
        nets = net if isinstance(net, list) else [net]
        keys = param_key if isinstance(param_key, list) else [param_key]
        content = {key: _on_cpu(self.get_bare_model(item).state_dict()) for key, item in zip(keys, nets, strict=True)}
        content['metadata'] = self._metadata()
        name = 'latest' if current_iter == -1 else current_iter
        _save(content, os.path.join(self.opt['path']['models'], f'{net_label}_{name}.pth'))

    def _metadata(self) -> dict[str, str]:
        """What the weights alone do not say, as plain text; `weights.detect` reads it."""
        arguments = dict(self.opt['network_g'])
        name = arguments.pop('type')
        if name in NETWORKS:
            arguments = full_arguments(name, arguments)
        return {
            'network': name,
            'arguments': json.dumps(arguments),
            'upscale': str(self.opt['scale']),
            'iterations': str(self.iteration),
            'training_data': self.opt.get('datasets', {}).get('train', {}).get('name', ''),
            'made_by': f'rfdn_plugin {__version__}',
        }

    def _best_results(self) -> dict[str, Any]:
        """The best validation results in plain floats: NumPy's own are refused when the file is read safely."""
        return {
            dataset: {metric: {**record, 'val': float(record['val'])} for metric, record in metrics.items()}
            for dataset, metrics in getattr(self, 'best_metric_results', {}).items()
        }

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
            'best_metric_results': self._best_results(),
            'random': resume.random_state(),
        }
        _save(state, os.path.join(self.opt['path']['training_states'], f'{current_iter}.state'))


compat.register(MODEL_REGISTRY, RFDNModel)


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
