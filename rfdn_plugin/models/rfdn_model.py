"""`model_type: RFDNModel`: what training these networks needs beyond BasicSR's SRModel."""

from __future__ import annotations

import contextlib
import functools
import operator
import signal
from collections.abc import Sequence
from typing import Any

from basicsr.losses import build_loss
from basicsr.utils import get_root_logger
from basicsr.utils.dist_util import master_only
from basicsr.utils.registry import MODEL_REGISTRY
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import get_ema_multi_avg_fn

from rfdn_plugin import compat
from rfdn_plugin.models.saving import SavedModel
from rfdn_plugin.models.step import Speed
from rfdn_plugin.training.monitor import LossWatch
from rfdn_plugin.training.signals import INTERRUPTED
from rfdn_plugin.weights.checkpoint import read_checkpoint
from rfdn_plugin.weights.matching import starting_state


class RFDNModel(SavedModel):
    """SRModel with fast steps, losses that are watched, and files that are whole.

    The options beyond SRModel's stand in `option_sections.TrainSection` and `option_sections.LoggerSection`, marked as ours;
    docs/training.md explains them.
    """

    net_g_ema: nn.Module

    def __init__(self, opt: dict[str, Any]) -> None:
        self.speed = Speed.of(opt.get('train') or {}, 'cuda' if opt['num_gpu'] != 0 else 'cpu')
        super().__init__(opt)

    # --- starting ----------------------------------------------------------------------------------------------------
    def init_training_settings(self) -> None:
        """Set up losses, optimizer and average as SRModel does; a fine-tuning starts with an average equal to the network.

        SRModel builds the copy anew and loads the file into it: what the file does not set (the upsampler of another
        scale) then differs between the two, and validation sees a random layer until the average has washed it out.
        """
        super().init_training_settings()
        if self.ema_decay > 0:
            self.net_g_ema = self.speed.to_memory_format(self.net_g_ema)
            if not self.opt['path'].get('resume_state'):
                self.model_ema(0)
        train = self.opt['train']
        self.fft_loss = build_loss(train['fft_opt']).to(self.device) if train.get('fft_opt') else None
        self.scaler = self.speed.scaler(self.device)
        self.loss_watch = LossWatch(train.get('loss_limit', 100), self.opt.get('world_size', 1))
        self._network = self.speed.compile_network(self.net_g)
        get_root_logger().info(self.speed.describe(self.optimizer_g, self.device))

    def model_to_device(self, net: nn.Module) -> nn.Module:
        """Put a network on the device as SRModel does, in the memory layout of `train.channels_last`."""
        return super().model_to_device(self.speed.to_memory_format(net))

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
            how = "resampled from the file's" if others[0] in state else 'left random'
            logger.info(f'{name}: not loaded, of another scale, {how}: {", ".join(others)}.')

    # --- a step ------------------------------------------------------------------------------------------------------
    def feed_data(self, data: dict[str, Any]) -> None:
        """Take a batch: `lq` and, but for tests without it, `gt`; page-locked ones are copied while others work."""
        if self.is_validating:
            self._stop_validation()
        for name in ('lq', 'gt'):
            if name in data:
                setattr(self, name, self.speed.to_memory_format(data[name].to(self.device, non_blocking=True)))

    def update_learning_rate(self, current_iter: int, warmup_iter: int = -1) -> None:
        """The scheduled learning rate, times `current_iter / warmup_iter` during the warm-up.

        BasicSR's warm-up writes its rate where MultiStepLR reads the rate that it goes on from: the whole training then
        has (warmup_iter - 1) / warmup_iter of it, and a milestone inside the warm-up is lost.
        """
        for scheduler in self.schedulers:
            self._set_rates(scheduler.optimizer, scheduler.get_last_lr())
        super().update_learning_rate(current_iter)
        if current_iter < warmup_iter:
            for scheduler in self.schedulers:
                rates = [rate * current_iter / warmup_iter for rate in scheduler.get_last_lr()]
                self._set_rates(scheduler.optimizer, rates)

    @staticmethod
    def _set_rates(optimizer: Optimizer, rates: Sequence[float]) -> None:
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group['lr'] = rate

    def optimize_parameters(self, current_iter: int) -> None:
        """One iteration; afterwards, where a signal asked for it, save and leave.

        Raises:
            DivergedError: The losses say that going on is useless.
            SystemExit: With code `signals.INTERRUPTED`, after the checkpoint is written.
        """
        losses = self._gradients()
        self.intact = False
        self._step()
        self.iteration = current_iter
        if self.ema_decay > 0:
            self.model_ema(decay=self.ema_decay)
        self.intact = True
        with self._explained_divergence():
            self.loss_watch.add(current_iter, losses)
        asked = self.session.signals.stop_requested(self.device, current_iter, together=self.opt['dist'])
        if asked is not None:
            self.save(self.session.epoch(), current_iter)
            self._leave(asked)

    def _leave(self, asked: str) -> None:
        """End the process after a signal of that name, whose iteration is saved."""
        get_root_logger().warning(f'{asked}: saved iteration {self.iteration}; --auto_resume goes on from there.')
        raise SystemExit(INTERRUPTED)

    def _stop_validation(self) -> None:
        """A signal during a validation, which may take longer than SLURM waits: save now what was trained.

        One process leaves at once, and makes up for the validation when it is resumed; several leave together after the
        next iteration.
        """
        asked = self.session.signals.first
        if asked is None or not self.intact:
            return
        if self.iteration > self.saved_iteration and self.opt['rank'] == 0:
            self.save_alone()
        if not self.opt['dist']:
            self._leave(signal.Signals(asked).name)

    def _gradients(self) -> dict[str, Tensor]:
        """Set the gradients of the batch and return its losses."""
        self.optimizer_g.zero_grad()
        losses: dict[str, Tensor] = {}
        for is_last, share, (lq, gt) in self.speed.micro_batches(self.lq, self.gt):
            # Several processes add up their gradients once, after the last part.
            waiting = self.net_g.no_sync() if self.opt['dist'] and not is_last else contextlib.nullcontext()
            with waiting:
                with self.speed.autocast(self.device):
                    output = self._network(lq)
                of_part = {name: loss * share for name, loss in self._losses(output.float(), gt).items()}
                total = functools.reduce(operator.add, of_part.values())
                self.scaler.scale(total).backward()
            losses = {name: losses.get(name, 0) + loss.detach() for name, loss in of_part.items()}
        return losses

    def _losses(self, output: Tensor, gt: Tensor) -> dict[str, Tensor]:
        """Each loss that the options name, by BasicSR's name for it."""
        losses = {}
        if self.cri_pix is not None:
            losses['l_pix'] = self.cri_pix(output, gt)
        if self.cri_perceptual is not None:
            losses['l_percep'], losses['l_style'] = self.cri_perceptual(output, gt)
        if self.fft_loss is not None:
            losses['l_fft'] = self.fft_loss(output, gt)
        return {name: loss for name, loss in losses.items() if loss is not None}

    def _step(self) -> None:
        if self.speed.grad_clip is not None:
            self.scaler.unscale_(self.optimizer_g)
            nn.utils.clip_grad_norm_(self.net_g.parameters(), self.speed.grad_clip)
        self.scaler.step(self.optimizer_g)
        self.scaler.update()

    def model_ema(self, decay: float = 0.999) -> None:
        """Update the average as SRModel does, all weights at once; at first it covers the last tenth of the iterations.

        With a fixed decay of 0.999 the average holds on to the weights of the start for thousands of iterations:
        measured (RFDN x2 from scratch, Set5, PSNR-Y) 32.9 dB averaged against 36.4 dB raw after 600 of them. From
        9,000 iterations on it is the decay that was asked for.
        """
        decay = min(decay, (1 + self.iteration) / (10 + self.iteration)) if decay else decay
        average, weights = (list(net.parameters()) for net in (self.net_g_ema, self.get_bare_model(self.net_g)))
        get_ema_multi_avg_fn(decay)(average, weights, None)

    def get_current_log(self) -> dict[str, float]:
        """The mean of each loss since the last line of the log, over all processes.

        Raises:
            DivergedError: The losses say that going on is useless.
        """
        with self._explained_divergence():
            return self.loss_watch.means()


compat.register(MODEL_REGISTRY, RFDNModel)
