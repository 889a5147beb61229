"""Saving a training and going on with it: files that are whole, and a state that has all that the next iteration needs."""

from __future__ import annotations

import contextlib
import os
from typing import Any

import torch
from basicsr.utils import get_root_logger
from basicsr.utils.dist_util import master_only
from torch import nn

from rfdn_plugin.models.step import Speed
from rfdn_plugin.models.validation import ValidatedModel
from rfdn_plugin.training import checkpoints, rates, resume, settings
from rfdn_plugin.training.monitor import DivergedError, LossWatch
from rfdn_plugin.training.session import Session
from rfdn_plugin.utils.errors import RFDNError


class SavedModel(ValidatedModel):
    """A model with watched losses that is saved, resumed and given up as a whole.

    A subclass sets `speed`, `scaler` and `loss_watch`, and keeps `iteration` and `intact` true.
    """

    speed: Speed
    scaler: torch.amp.GradScaler
    loss_watch: LossWatch
    saved_iteration = 0
    """The last of them with a training state on the disk."""
    intact = True
    """Whether weights, optimizer and average belong to one iteration and are worth saving."""

    def __init__(self, opt: dict[str, Any]) -> None:
        self._rates = rates.said(opt.get('train') or {})
        self._settings = settings.settings_of(opt)
        self.session = Session()
        super().__init__(opt)

    def join(self, session: Session) -> None:
        """Take part in a training: heed its signals, and give it the model to save after an error."""
        self.session, session.model = session, self
        if session.sampler is not None:
            self._settings |= settings.images_of(session.sampler.dataset)

    def save(self, epoch: int, current_iter: int | str) -> None:
        """Write the weights and, for a numbered iteration, the training state; remove what is not to be kept.

        Args:
            epoch: Epoch that the training is in.
            current_iter: The iteration, -1 for `latest`, or another word for the name of the file.

        Raises:
            DivergedError: The weights are not worth it.
            RFDNError: A file cannot be written (SRModel would go on and lose the run).
        """
        with self._explained_divergence():
            self.loss_watch.check()
        self._write(epoch, current_iter)

    def save_alone(self) -> None:
        """Save the present iteration without the other processes, which may not answer any more.

        Raises:
            DivergedError, RFDNError: As `save`.
        """
        with self._explained_divergence():
            self.loss_watch.look()
        self._write(self.session.epoch(), self.iteration)

    def _write(self, epoch: int, current_iter: int | str) -> None:
        """`save`, of weights whose losses have been looked at."""
        try:
            self.session.check_lock()
            super().save(epoch, current_iter)
        except RFDNError:
            self.intact = False  # what could not be written now is not tried again on the way out
            raise
        if isinstance(current_iter, int) and current_iter > 0:
            self.saved_iteration = current_iter
            self._keep_newest()

    def after_validation(self, dataset: str) -> None:
        """Keep the weights of the best result that `logger.save_best` names, and the results in the training state."""
        best = self.opt['logger'].get('save_best')
        if best is not None and best['dataset'] == dataset:
            if self.best_metric_results[dataset][best['metric']]['iter'] == self.iteration:
                self.save(-1, 'best')
        if self.saved_iteration == self.iteration:  # BasicSR saves before it validates
            self.save_training_state(self.session.epoch(), self.iteration)

    @master_only
    def _keep_newest(self) -> None:
        count = self.opt.get('logger', {}).get('keep_checkpoints')
        if count is not None:
            checkpoints.keep_newest(self.opt['path']['models'], self.opt['path']['training_states'], count)

    @master_only
    def save_network(
        self,
        net: nn.Module | list[nn.Module],
        net_label: str,
        current_iter: int | str,
        param_key: str | list[str] = 'params',
    ) -> None:
        """Write `models/{net_label}_{current_iter}.pth`, whole or not at all, with what it is under `metadata`.

        Raises:
            RFDNError: It cannot be written.
        """
        nets = net if isinstance(net, list) else [net]
        keys = param_key if isinstance(param_key, list) else [param_key]
        content: dict[str, Any] = {
            key: {name: tensor.cpu().contiguous() for name, tensor in self.get_bare_model(item).state_dict().items()}
            for key, item in zip(keys, nets, strict=True)
        }
        content['metadata'] = checkpoints.card(self.opt, self.iteration, self.optimizer_g, self.best_results())
        name = 'latest' if current_iter == -1 else current_iter
        checkpoints.write(content, os.path.join(self.opt['path']['models'], f'{net_label}_{name}.pth'))

    @master_only
    def save_training_state(self, epoch: int, current_iter: int | str) -> None:
        """Write `training_states/{current_iter}.state`, whole or not at all, after the networks of that iteration.

        Raises:
            RFDNError: It cannot be written.
        """
        if not isinstance(current_iter, int) or current_iter == -1:
            return
        state = {
            'epoch': epoch,
            'iter': current_iter,
            'optimizers': [optimizer.state_dict() for optimizer in self.optimizers],
            'schedulers': [scheduler.state_dict() for scheduler in self.schedulers],
            'rates': self._rates,
            'settings': self._settings,
            'best_metric_results': self.best_results(),
            'validated': self.validated,
            'random': resume.random_state(),
            'losses': self.loss_watch.state(),
            'scaler': self.scaler.state_dict(),
        }
        checkpoints.write(state, os.path.join(self.opt['path']['training_states'], f'{current_iter}.state'))

    def resume_training(self, resume_state: dict[str, Any]) -> None:
        """Resume as SRModel does, with the best validation results and the random numbers of where the run stopped.

        Where the options have changed the learning rate or its schedule since, what they say now holds.

        Raises:
            RFDNError: The optimizer is another.
        """
        super().resume_training(resume_state)
        rates.go_on_with(self, self._rates, resume_state.get('rates', self._rates))
        changes = settings.describe_changes(resume_state.get('settings', {}), self._settings)
        if changes is not None:
            get_root_logger().warning(changes)
        self.iteration = self.saved_iteration = resume_state['iter']
        if resume_state.get('best_metric_results'):
            self.best_metric_results = resume_state['best_metric_results']
        self.validated = resume_state.get('validated', {})
        if 'random' in resume_state and not self.opt['dist']:
            resume.set_random_state(resume_state['random'])
        if 'losses' in resume_state:
            self.loss_watch.restore(resume_state['losses'])
        if resume_state.get('scaler') and self.scaler.is_enabled():
            self.scaler.load_state_dict(resume_state['scaler'])
        self.session.catch_up()

    @contextlib.contextmanager
    def _explained_divergence(self) -> Any:
        """Say what to do about a loss that has run away; the weights are not to be saved."""
        try:
            yield
        except DivergedError as error:
            self.intact = False
            models, states = self.opt['path']['models'], self.opt['path']['training_states']
            state = resume.newest_whole_state(states, models)
            iteration = None if state is None else os.path.basename(state).removesuffix('.state')
            good = 'there is no checkpoint yet'
            if iteration is not None:
                good = f'the last good checkpoint is {os.path.join(models, f"net_g_{iteration}.pth")}'
            rate = max(group.get('initial_lr', group['lr']) for group in self.optimizer_g.param_groups)
            advice = [f'lower train.optim_g.lr ({rate:g})']
            advice += ['set train.grad_clip, for example to 1'] if self.speed.grad_clip is None else []
            advice += ['set train.precision to bf16 or fp32'] if self.speed.precision == 'fp16' else []
            raise DivergedError(f'{error}: {good}; {", ".join(advice)}, and go on with --auto_resume.') from None
