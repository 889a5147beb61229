"""What the parts of one training share: one object, which whoever starts the training makes and passes to them."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from rfdn_plugin.training.signals import StopSignals

if TYPE_CHECKING:
    from torch.utils.data import DataLoader

    from rfdn_plugin.data.training.dataset import EpochSampler
    from rfdn_plugin.utils.lock import Lock


class Trained(Protocol):
    """Interface that a session needs of its model, `models.rfdn_model.RFDNModel`."""

    opt: dict[str, Any]
    iteration: int
    saved_iteration: int
    intact: bool

    def validation(self, dataloader: DataLoader, current_iter: int, tb_logger: Any, save_img: bool) -> None: ...

    def save_alone(self) -> None: ...


class Session:
    """One training of this process: what asks it to stop, what it reads, what it trains and where it writes.

    Args:
        lock: The lock of the experiment; None in all processes but the first, and where nobody took one.

    Attributes:
        reading: Until it is closed, each checkpoint is read from the disk once, by the checks or by the model.
        resume_from: Path of the state that `--auto_resume` goes on from, where `is_decided`: the first process looks for all.
        is_decided: Whether the checks have looked for it.
        signals: The signals that asked it to stop.
        sampler: Names the samples of each epoch; None until the loaders are built.
        validation_loaders: One for each validation set.
        tb_logger: TensorBoard's writer, or None.
        model: What is trained; None until it is built, and for models that are not ours.
    """

    def __init__(self, lock: Lock | None = None) -> None:
        self.lock = lock
        self.reading = contextlib.ExitStack()
        self.resume_from: str | None = None
        self.is_decided = False
        self.signals = StopSignals()
        self.sampler: EpochSampler | None = None
        self.validation_loaders: Sequence[DataLoader] = ()
        self.tb_logger: Any = None
        self.model: Trained | None = None

    def epoch(self) -> int:
        """The epoch that the training is in, which BasicSR's loop keeps in a local variable."""
        return self.sampler.epoch if self.sampler is not None else 0

    def check_lock(self) -> None:
        """See, before something is written, that the experiment is still this training's own.

        Raises:
            RFDNError: Another process has taken it over.
        """
        if self.lock is not None:
            self.lock.check()

    def catch_up(self) -> None:
        """Validate what an interruption kept from it: BasicSR saves an iteration first and validates it then."""
        model = self.model
        val = None if model is None else model.opt.get('val')
        if model is None or val is None or model.iteration == 0 or model.iteration % val['val_freq']:
            return
        for loader in self.validation_loaders:  # the model leaves out what it has validated
            model.validation(loader, model.iteration, self.tb_logger, val['save_img'])

    def rescue(self) -> int | None:
        """After an error that is not the model's (its data, another process): save what has been trained since.

        Returns:
            The iteration that was saved; None where there was nothing new, or nothing worth saving.

        Raises:
            RFDNError: It cannot be written.
        """
        model, self.model = self.model, None
        if model is None or not model.intact or model.iteration <= model.saved_iteration or model.opt['rank'] != 0:
            return None
        from rfdn_plugin.training.monitor import DivergedError

        try:
            model.save_alone()
        except DivergedError:
            return None
        return model.iteration
