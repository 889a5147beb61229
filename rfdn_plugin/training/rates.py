"""Learning rate and schedule of a training that goes on: those of the options, also where they have changed meanwhile.

BasicSR takes both from the training state, so that a smaller learning rate after a loss that ran away, or a longer
schedule, would be ignored without a word.
"""

from __future__ import annotations

import copy
import warnings
from typing import Any

from basicsr.models.base_model import BaseModel
from basicsr.utils import get_root_logger

from rfdn_plugin.utils.errors import RFDNError


def said(train: dict[str, Any]) -> dict[str, Any]:
    """Settings of the learning rate in section `train`, to be kept in the training state: SRModel takes parts out of it."""
    return copy.deepcopy({key: train.get(key) for key in ('optim_g', 'scheduler')})


def go_on_with(model: BaseModel, now: dict[str, Any], before: dict[str, Any]) -> None:
    """Give a resumed model the learning rate and schedule that `now` says, as if it had been so from the beginning.

    Args:
        model: With the optimizer and the schedule of its training state.
        now: Settings of the options, from `said`.
        before: Settings of the training state, from `said`. Where the two are equal, nothing is done.

    Raises:
        RFDNError: The optimizer is another, to which the state means nothing.
    """
    changed = [key for key in now if now[key] != before[key]]
    if not changed:
        return
    settings = copy.deepcopy(now['optim_g'])
    if settings.pop('type') != before['optim_g']['type']:
        raise RFDNError(
            f'train.optim_g.type was {before["optim_g"]["type"]} and is {now["optim_g"]["type"]}: give it back, or start '
            'anew from the weights by path.pretrain_network_g.'
        )
    steps = model.schedulers[0].last_epoch
    for optimizer in model.optimizers:
        for group in optimizer.param_groups:
            group.update({key: value for key, value in settings.items() if key in group})
            group['initial_lr'] = group['lr']
    model.schedulers = []
    model.opt['train']['scheduler'] = copy.deepcopy(now['scheduler'])
    model.setup_schedulers()
    with warnings.catch_warnings():  # torch wants the optimizer to step first, which it did before the interruption
        warnings.simplefilter('ignore', UserWarning)
        for scheduler in model.schedulers:
            for _ in range(steps):
                scheduler.step()
    get_root_logger().warning(
        f'train.{" and train.".join(changed)} changed since the training began: going on with what the options say now, '
        f'a learning rate of {model.get_current_learning_rate()[0]:g}.'
    )
