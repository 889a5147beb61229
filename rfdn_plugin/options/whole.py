"""Whole option files of training and testing: the sections, and what goes across them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from rfdn_plugin.options.base import OfTwoNetworks, Ours, Section
from rfdn_plugin.options.custom_imports import CustomImportsOption
from rfdn_plugin.options.datasets import PAIRED, EvaluationDataset, TestDatasets, TrainDataset, TrainingDatasets
from rfdn_plugin.options.models import model_kind, other_task
from rfdn_plugin.options.registry import (
    better_direction,
    check_name,
    check_registered,
    default_argument,
    parameters,
    registered,
)
from rfdn_plugin.options.sections import (
    CosineScheduler,
    DistParams,
    LoggerSection,
    PathOptions,
    TrainSection,
    ValSection,
)

SCALE_ARGUMENTS = ('upscale', 'scale', 'upscale_factor', 'scale_factor', 'upsampling', 'up_scale', 'upscaling_factor')
"""Names by which networks call their scale."""
_LONGEST_NAME = 150
"""Bytes: a name of a file has 255, and BasicSR's names of logs and archived folders are longer than the experiment's."""


def _plain_name(name: str) -> str:
    if len(name.encode()) > _LONGEST_NAME:
        raise ValueError(f'{name[:40]!r}... has {len(name.encode())} bytes: take {_LONGEST_NAME} at most')
    if not name.strip('. ') or '/' in name or '\\' in name or not name.isprintable():
        raise ValueError(f'{name[:40]!r} is no name of a folder: use letters, digits, _ and -')
    return name


class _Options(Section):
    """What the files of training and testing have in common."""

    name: Annotated[str, AfterValidator(_plain_name), Field(json_schema_extra={'pattern': r'^[^/\\]+$'})]
    """Name of the experiment: its folder below experiments/ or results/."""
    custom_imports: CustomImportsOption = None
    """Modules of other packages that register what this file names: a list, or {imports: [...]}."""
    model_type: Annotated[str, AfterValidator(lambda value: check_name('MODEL', value))]
    """`RFDNModel`, or a model of BasicSR's registry; what only that model knows is passed on unchecked."""
    scale: Annotated[int, Field(ge=1, le=64)]
    """HR pixels for each LR pixel, in height and width."""
    num_gpu: Annotated[int, Field(ge=0)] | Literal['auto'] = 'auto'
    """`auto`: every GPU that is visible, none where none is."""
    manual_seed: Annotated[int, Field(ge=0, lt=2**32)] | None = None
    """Seed of all random numbers; `~` for another one each time."""
    network_g: Annotated[dict[str, Any], AfterValidator(lambda value: check_registered('ARCH', value))]
    """The network: `type` and its arguments."""
    path: PathOptions = PathOptions()
    """Which weights or training state is read first."""
    dist_params: DistParams | None = None
    """How several processes talk (`--launcher slurm`)."""
    find_unused_parameters: bool = False
    """With several processes: allow parameters that a step does not use."""

    @model_validator(mode='after')
    def _network_has_scale(self) -> _Options:
        taken = parameters(registered('ARCH', self.network_g['type']))
        key = next((key for key in SCALE_ARGUMENTS if key in taken or key in self.network_g), None)
        if key is not None:
            scale = self.network_g.get(key, default_argument(self.network_g['type'], key, self.scale))
            if scale != self.scale:
                raise ValueError(f'network_g.{key} is {scale} but scale is {self.scale}: make them equal')
        return self

    @model_validator(mode='after')
    def _model_does_this(self) -> _Options:
        reason = other_task(self.model_type)
        if reason is not None and any(getattr(section, 'type', None) in PAIRED for section in self._sections()):
            raise ValueError(f'model_type {self.model_type} {reason}: take RFDNModel, or SRModel')
        return self

    def _sections(self) -> Iterator[Any]:
        datasets = getattr(self, 'datasets', None)
        if datasets is not None:
            yield from datasets.evaluated()
            yield getattr(datasets, 'train', None)


class TrainingOptions(_Options):
    """An option file of `rfdn train`."""

    datasets: TrainingDatasets
    """The images to train on and to validate on."""
    network_d: Annotated[
        Annotated[dict[str, Any], AfterValidator(lambda value: check_registered('ARCH', value))] | None, OfTwoNetworks()
    ] = None
    """The discriminator of models with two networks: `type` and its arguments."""
    train: TrainSection
    """Optimizer, schedule, losses and what else makes a training."""
    val: ValSection | None = None
    """What is measured in validations; `~` for none."""
    logger: LoggerSection
    """Lines of the log, checkpoints and the best weights."""

    @model_validator(mode='after')
    def _train_is_whole(self) -> TrainingOptions:
        scheduler = self.train.scheduler
        if isinstance(scheduler, CosineScheduler) and sum(scheduler.periods) < self.train.total_iter:
            raise ValueError(
                f'train.scheduler.periods end after {sum(scheduler.periods)} of {self.train.total_iter} iterations: '
                'make them as long as total_iter'
            )
        return self

    @model_validator(mode='after')
    def _keys_belong_to_the_model(self) -> TrainingOptions:
        kind = model_kind(self.model_type)
        allowed = {Ours: self.model_type == 'RFDNModel', OfTwoNetworks: kind != 'one network'}
        cures = {Ours: 'take model_type RFDNModel', OfTwoNetworks: 'take model_type SRGANModel or leave it out'}
        for where, section in (('', self), ('train.', self.train), ('logger.', self.logger), ('path.', self.path)):
            for name, field in type(section).model_fields.items():
                for mark in field.metadata:
                    given = getattr(section, name) != field.default
                    if given and not allowed.get(type(mark), True):
                        raise ValueError(f'{where}{name} is not known to {self.model_type}: {cures[type(mark)]}')
        needed = {'network_d': self.network_d, 'train.optim_d': self.train.optim_d, 'train.gan_opt': self.train.gan_opt}
        missing = [name for name, value in needed.items() if value is None]
        if kind == 'two networks' and missing:
            raise ValueError(f'{self.model_type} trains two networks: give {", ".join(missing)}')
        return self

    @model_validator(mode='after')
    def _patches_fit(self) -> TrainingOptions:
        train = self.datasets.train
        if isinstance(train, TrainDataset):
            if train.gt_size % self.scale:
                below = max(train.gt_size // self.scale, 1) * self.scale
                raise ValueError(
                    f'datasets.train.gt_size is {train.gt_size}, no multiple of scale {self.scale}: take {below}'
                )
            batch, parts = train.batch_size_per_gpu, self.train.accum_iter
            if parts > batch:
                raise ValueError(f'train.accum_iter is {parts}, but a batch has {batch} patches: take {batch} or less')
        if self.val is not None and self.val.val_freq is None:
            raise ValueError('val.val_freq is missing: give the iterations between validations, or leave val out')
        if self.datasets.evaluated() and self.val is None:
            raise ValueError('datasets has a val section but there is no section val: give val_freq, save_img, metrics')
        return self

    @model_validator(mode='after')
    def _best_is_validated(self) -> TrainingOptions:
        best = self.logger.save_best
        if best is None:
            return self
        metrics = (self.val.metrics or {}) if self.val is not None else {}
        sets = [section.name for section in self.datasets.evaluated() if isinstance(section, EvaluationDataset)]
        for key, value, known in (('dataset', best.dataset, sets), ('metric', best.metric, list(metrics))):
            if value not in known:
                hint = f'take one of {", ".join(known)}' if known else 'there is none to choose from'
                raise ValueError(f'logger.save_best.{key} is {value}, which is not validated: {hint}')
        metric = metrics[best.metric]
        if 'better' not in metric and better_direction(metric['type']) is None:
            raise ValueError(
                f'val.metrics.{best.metric} has no better, and which results of {metric["type"]} are better is not known '
                'here: write `better: higher` or `better: lower`, for logger.save_best'
            )
        return self


class TestOptions(_Options):
    """An option file of `rfdn test`."""

    __test__ = False
    datasets: TestDatasets
    """The images to test on."""
    val: ValSection
    """Metrics, and whether images are saved."""
