"""The schema of the option files: plain BasicSR YAML, read by a safe loader and checked before anything happens.

`load_training_options` and `load_test_options` give back the file's content with its numbers as numbers; they raise one
error that lists every problem by its path (`train.optim_g.lr`). Only defaults that BasicSR wants written out are added.
`option_sections` holds the sections; what goes across sections is checked here.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field, ValidationError, model_validator

from rfdn_plugin.options.messages import describe_problems
from rfdn_plugin.options.registry import check_name, check_registered, default_argument
from rfdn_plugin.options.renamed import use_new_names
from rfdn_plugin.options.sections import (
    CosineScheduler,
    DistParams,
    LoggerSection,
    Ours,
    PathOptions,
    PositiveInt,
    Section,
    TestDatasets,
    TrainingDatasets,
    TrainSection,
    ValSection,
)
from rfdn_plugin.options.yaml_io import apply_overrides, list_problems, read_yaml
from rfdn_plugin.utils.errors import RFDNError


# --- whole files ---------------------------------------------------------------------------------------------------
def _plain_name(name: str) -> str:
    if not name.strip('. ') or '/' in name or '\\' in name:
        raise ValueError(f'{name!r} is no name of a folder: use letters, digits, _ and -')
    return name


class _Options(Section):
    name: Annotated[str, AfterValidator(_plain_name), Field(json_schema_extra={'pattern': r'^[^/\\]+$'})]
    """Of the experiment: the folder below experiments/ or results/."""
    model_type: Annotated[str, AfterValidator(lambda value: check_name('MODEL', value))]
    """`RFDNModel`, or a model of BasicSR's registry with one network and SRModel's options."""
    scale: PositiveInt
    num_gpu: Annotated[int, Field(ge=0)] | Literal['auto'] = 'auto'
    """`auto`: every GPU that is visible, none where none is."""
    manual_seed: Annotated[int, Field(ge=0, lt=2**32)] | None = None
    network_g: Annotated[dict[str, Any], AfterValidator(lambda value: check_registered('ARCH', value))]
    """The network: `type` and its arguments."""
    path: PathOptions = PathOptions()
    dist_params: DistParams | None = None
    find_unused_parameters: bool = False

    @model_validator(mode='after')
    def _network_has_scale(self) -> _Options:
        upscale = self.network_g.get('upscale', default_argument(self.network_g['type'], 'upscale', self.scale))
        if upscale != self.scale:
            raise ValueError(f'network_g.upscale is {upscale} but scale is {self.scale}: make them equal')
        return self


class TrainingOptions(_Options):
    """An option file of `rfdn train`."""

    datasets: TrainingDatasets
    train: TrainSection
    val: ValSection | None = None
    logger: LoggerSection

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
    def _ours_needs_our_model(self) -> TrainingOptions:
        for where, section in (('train', self.train), ('logger', self.logger)):
            for name, field in type(section).model_fields.items():
                changed = getattr(section, name) != field.default
                if (
                    changed
                    and self.model_type != 'RFDNModel'
                    and any(isinstance(mark, Ours) for mark in field.metadata)
                ):
                    raise ValueError(f'{where}.{name} is not known to {self.model_type}: take model_type RFDNModel')
        batch, parts = self.datasets.train.batch_size_per_gpu, self.train.accum_iter
        if parts > batch:
            raise ValueError(f'train.accum_iter is {parts}, but a batch has {batch} patches: take {batch} or less')
        return self

    @model_validator(mode='after')
    def _patches_fit(self) -> TrainingOptions:
        gt_size = self.datasets.train.gt_size
        if gt_size % self.scale:
            below = max(gt_size // self.scale, 1) * self.scale
            raise ValueError(f'datasets.train.gt_size is {gt_size}, no multiple of scale {self.scale}: take {below}')
        if self.val is not None and self.val.val_freq is None:
            raise ValueError('val.val_freq is missing: give the iterations between validations, or leave val out')
        if self.datasets.__pydantic_extra__ and self.val is None:
            raise ValueError('datasets has a val section but there is no section val: give val_freq, save_img, metrics')
        return self

    @model_validator(mode='after')
    def _best_is_validated(self) -> TrainingOptions:
        best = self.logger.save_best
        if best is None:
            return self
        sets = [section.name for section in (self.datasets.__pydantic_extra__ or {}).values()]
        metrics = list(self.val.metrics or ()) if self.val is not None else []
        for key, value, known in (('dataset', best.dataset, sets), ('metric', best.metric, metrics)):
            if value not in known:
                hint = f'take one of {", ".join(known)}' if known else 'there is none to choose from'
                raise ValueError(f'logger.save_best.{key} is {value}, which is not validated: {hint}')
        return self


class TestOptions(_Options):
    """An option file of `rfdn test`."""

    __test__ = False
    datasets: TestDatasets
    val: ValSection


# --- checking ------------------------------------------------------------------------------------------------------
def load_training_options(path: str | Path, overrides: Sequence[str] = ()) -> dict:
    """Read and check an option file of `rfdn train`; see the module's docstring.

    Args:
        path: The YAML file.
        overrides: `--force_yml` entries.

    Returns:
        The options as plain dicts, lists, numbers and text.

    Raises:
        RFDNError: Every problem of the file, by its path.
    """
    return _load(TrainingOptions, path, overrides)


def load_test_options(path: str | Path, overrides: Sequence[str] = ()) -> dict:
    """As `load_training_options`, for an option file of `rfdn test`."""
    return _load(TestOptions, path, overrides)


def _load(schema: type[BaseModel], path: str | Path, overrides: Sequence[str]) -> dict:
    content = read_yaml(path)
    apply_overrides(content, overrides)
    for note in use_new_names(content):
        print(f'{path}: note: {note}', file=sys.stderr)
    try:
        options = schema.model_validate(content).model_dump(exclude_unset=True, mode='json')
    except ValidationError as error:
        raise RFDNError(list_problems(path, describe_problems(schema, error))) from error
    options.setdefault('num_gpu', 'auto')
    options.setdefault('path', {}).setdefault('resume_state', None)
    if options.get('val'):
        options['val'].setdefault('suffix', None)
    return options
