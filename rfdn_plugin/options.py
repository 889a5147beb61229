"""The schema of the option files: plain BasicSR YAML, read by a safe loader and checked before anything happens.

`load_training_options` and `load_test_options` give back the file's content with its numbers as numbers; they raise one
error that lists every fault by its path (`train.optim_g.lr`). Only defaults that BasicSR wants written out are added. Registered
networks, losses and metrics are looked up, and their arguments checked against their signatures.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from rfdn_plugin.errors import RFDNError
from rfdn_plugin.option_faults import describe_faults
from rfdn_plugin.registered import check_arguments, check_metric, check_name, check_registered, default_argument
from rfdn_plugin.yaml_files import apply_overrides, did_you_mean, list_faults, read_yaml


# --- the sections --------------------------------------------------------------------------------------------------
class _Section(BaseModel):
    model_config = ConfigDict(extra='forbid', protected_namespaces=(), use_attribute_docstrings=True)


class _Ours:
    """Marks a key that RFDNModel knows and BasicSR's models would silently ignore."""


Registered = Annotated[dict[str, Any], AfterValidator(lambda value: check_registered('LOSS', value))]
PositiveInt = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, lt=1)]


class IoBackend(_Section):
    type: Literal['disk', 'lmdb']
    """Where the pictures are: a folder of files, or an LMDB."""


class _Dataset(_Section):
    name: str
    """Shown in logs and tables."""
    type: Literal['PairedImageDataset', 'FastPairedImageDataset']
    """BasicSR's dataset, or ours with the same samples and less work."""
    dataroot_gt: str
    """High-resolution pictures: a folder or a `.lmdb`."""
    dataroot_lq: str
    """Low-resolution pictures: a folder or a `.lmdb`."""
    meta_info_file: str | None = None
    """A list of the pictures to use, one name a line (`disk` only)."""
    filename_tmpl: str = '{}'
    """How a low-resolution file is named after its high-resolution one, `{}x2` for DIV2K's names (`disk` only)."""
    io_backend: IoBackend
    mean: list[float] | None = None
    """Subtracted from each colour; RFDN uses none."""
    std: list[float] | None = None
    """Divides each colour; RFDN uses none."""
    color: Literal['y'] | None = None
    """`y`: only the luma channel."""


class TrainDataset(_Dataset):
    gt_size: PositiveInt
    """Side of the high-resolution patches in pixels: a multiple of the scale."""
    use_hflip: bool
    """Horizontal flips at random."""
    use_rot: bool
    """Vertical flips and transposition at random."""
    use_shuffle: bool = True
    """Known from BasicSR's files; its sampler shuffles always."""
    num_worker_per_gpu: Annotated[int, Field(ge=0)]
    """Processes that read pictures."""
    batch_size_per_gpu: PositiveInt
    """Patches an iteration, on each GPU or process."""
    dataset_enlarge_ratio: PositiveInt = 1
    """How often an epoch goes through the pictures: an epoch's start costs time."""
    prefetch_mode: Literal['cpu', 'cuda'] | None = None
    num_prefetch_queue: PositiveInt = 1
    sample_seed: int | None = None
    """With `FastPairedImageDataset`: crops and flips that do not repeat each epoch nor depend on the worker (ours)."""
    pin_memory: bool = False
    """Page-locked batches, which a GPU copies while it computes."""
    persistent_workers: bool = False
    """Workers that live on from epoch to epoch."""
    resident: bool = False
    """Keep all training pictures decoded in the memory of the device, and cut and flip the patches there (ours)."""

    @model_validator(mode='after')
    def _what_goes_together(self) -> TrainDataset:
        if self.prefetch_mode == 'cuda' and not self.pin_memory:
            raise ValueError('prefetch_mode cuda needs pin_memory: true')
        if self.sample_seed is not None and self.type != 'FastPairedImageDataset':
            raise ValueError(
                f'sample_seed is not known to {self.type}: take type FastPairedImageDataset, or leave it out'
            )
        if self.resident:
            if self.sample_seed is None:
                raise ValueError('resident needs type FastPairedImageDataset and a sample_seed, for example 0')
            unused = [name for name in ('color', 'mean', 'std', 'prefetch_mode') if getattr(self, name) is not None]
            if unused:
                raise ValueError(f'resident does not go together with {", ".join(unused)}: leave one of them out')
        return self


class EvaluationDataset(_Dataset):
    pass


class _Datasets(BaseModel):
    """Sections `PREFIX`, `PREFIX_1`, `PREFIX_2`, ... beside what a subclass names."""

    model_config = ConfigDict(extra='allow')
    __pydantic_extra__: dict[str, EvaluationDataset]

    def _check_names(self, prefix: str) -> None:
        for name in self.__pydantic_extra__ or ():
            if not re.fullmatch(rf'{prefix}(_\w+)?', name):
                raise ValueError(f'unknown section {name!r}: name it {prefix}, {prefix}_1, {prefix}_2, ...')
        names = [section.name for section in (self.__pydantic_extra__ or {}).values()]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f'two {prefix} sections have the name {twice[0]!r}, by which results are kept: rename one')


class TrainingDatasets(_Datasets):
    train: TrainDataset

    @model_validator(mode='after')
    def _names(self) -> TrainingDatasets:
        self._check_names('val')
        return self


class TestDatasets(_Datasets):
    __test__ = False  # no test case, whatever pytest makes of the name

    @model_validator(mode='after')
    def _names(self) -> TestDatasets:
        self._check_names('test')
        return self


class PathOptions(_Section):
    pretrain_network_g: str | None = None
    """Weights to start from, of any layout; `~` for none."""
    param_key_g: str | None = 'params'
    """Which weights of the file: `params`, or `params_ema` for the averaged ones."""
    strict_load_g: bool = True
    """`false` allows the upsampler to be of another scale."""
    resume_state: str | None = None
    """A `.state` file to go on from; `--auto_resume` finds the newest."""
    ignore_resume_networks: list[str] | None = None


class Optimizer(BaseModel):
    model_config = ConfigDict(extra='allow')
    type: str
    """A class of `torch.optim`; its arguments stand beside it."""
    lr: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    """Learning rate."""

    @model_validator(mode='after')
    def _known(self) -> Optimizer:
        import torch

        cls = getattr(torch.optim, self.type, None)
        if not (isinstance(cls, type) and issubclass(cls, torch.optim.Optimizer)):
            raise ValueError(f'{self.type!r} is no optimizer of torch.optim{did_you_mean(self.type, dir(torch.optim))}')
        arguments = self.__pydantic_extra__ or {}
        check_arguments(self.type, cls.__init__, arguments, given={'self', 'params', 'lr'})
        try:
            cls([torch.nn.Parameter(torch.zeros(1))], lr=self.lr, **arguments)
        except (ValueError, TypeError, IndexError, RuntimeError) as error:
            raise ValueError(f'{self.type} does not take these arguments ({error})') from None
        return self


class MultiStepScheduler(_Section):
    type: Literal['MultiStepLR', 'MultiStepRestartLR']
    milestones: list[PositiveInt]
    """Iterations at which the learning rate is multiplied by gamma."""
    gamma: Annotated[float, Field(gt=0)] = 0.1
    restarts: list[int] = [0]
    restart_weights: list[float] = [1]


class CosineScheduler(_Section):
    type: Literal['CosineAnnealingRestartLR']
    periods: list[PositiveInt]
    """Iterations of each cosine."""
    restart_weights: list[float] = [1]
    eta_min: Annotated[float, Field(ge=0)] = 0
    """The learning rate at the end of a cosine."""

    @model_validator(mode='after')
    def _one_weight_a_period(self) -> CosineScheduler:
        if len(self.periods) != len(self.restart_weights):
            raise ValueError(
                f'{len(self.periods)} periods need as many restart_weights, not {len(self.restart_weights)}'
            )
        return self


class TrainSection(_Section):
    ema_decay: Share = 0
    """Decay of the exponential moving average of the weights; 0 for none. Where it is on, validation uses it."""
    optim_g: Optimizer
    scheduler: Annotated[MultiStepScheduler | CosineScheduler, Field(discriminator='type')]
    total_iter: PositiveInt
    warmup_iter: int = -1
    """Iterations over which the learning rate rises linearly; -1 for none."""
    pixel_opt: Registered | None = None
    """A loss of BasicSR's registry and its arguments."""
    perceptual_opt: Registered | None = None
    frequency_opt: Annotated[Registered | None, _Ours()] = None
    """A further loss, added to the others: `FrequencyL1Loss` with a weight of 0.05 as in SAFMN (ours)."""
    precision: Annotated[Literal['fp32', 'bf16', 'fp16'], _Ours()] = 'fp32'
    """Of the network's arithmetic (autocast); weights, optimizer and losses stay in fp32 (ours)."""
    channels_last: Annotated[bool, _Ours()] = False
    """Keep pictures and weights with the channels innermost: faster convolutions on most devices (ours)."""
    compile: Annotated[
        Literal['default', 'reduce-overhead', 'max-autotune', 'max-autotune-no-cudagraphs'] | bool, _Ours()
    ] = False
    """Train through torch.compile, with the mode of that name: minutes at the start, faster steps on a GPU (ours)."""
    accumulate: Annotated[PositiveInt, _Ours()] = 1
    """Parts in which a batch goes through the network: the same gradient with less memory (ours)."""
    grad_clip: Annotated[Annotated[float, Field(gt=0)] | None, _Ours()] = None
    """Largest norm of all gradients together; longer ones are shortened to it (ours)."""
    loss_limit: Annotated[Annotated[float, Field(gt=1)] | None, _Ours()] = 100
    """A loss that is so many times its median stops the training, as NaN does; `~` for NaN only (ours)."""
    upsampler_start: Annotated[Literal['resampled', 'random'], _Ours()] = 'random'
    """When fine-tuning from another scale: resample the upsampler's kernel (ours), or leave it random (BasicSR's way)."""

    @model_validator(mode='after')
    def _has_a_loss(self) -> TrainSection:
        if self.pixel_opt is None and self.perceptual_opt is None:
            raise ValueError('neither pixel_opt nor perceptual_opt: give a loss, for example pixel_opt: {type: L1Loss}')
        return self


class ValSection(_Section):
    val_freq: PositiveInt | None = None
    """Iterations between validations (training only)."""
    save_img: bool
    """Write every upscaled picture."""
    suffix: str | None = None
    """Added to the names of written pictures; `~` for the experiment's name."""
    pbar: bool = False
    metrics: dict[str, Annotated[dict[str, Any], AfterValidator(lambda value: check_metric(value))]] | None = None
    """Metrics of BasicSR's registry by the name to show them under."""


class Wandb(_Section):
    project: str | None = None
    resume_id: str | None = None


class Best(_Section):
    metric: str
    """A name in `val.metrics`."""
    dataset: str
    """The `name` of a validation set."""


class LoggerSection(_Section):
    print_freq: PositiveInt
    """Iterations between lines of the log."""
    save_checkpoint_freq: PositiveInt
    """Iterations between checkpoints."""
    keep_checkpoints: Annotated[PositiveInt | None, _Ours()] = None
    """How many of them to keep, the newest; `~` for all. The last and the best are kept in any case (ours)."""
    save_best: Annotated[Best | None, _Ours()] = None
    """Keep the weights of the best validation as `net_g_best.pth` (ours)."""
    use_tb_logger: bool
    """Write for TensorBoard (package `tensorboard`)."""
    wandb: Wandb | None = None

    @model_validator(mode='after')
    def _wandb_reads_tensorboard(self) -> LoggerSection:
        if self.wandb is not None and self.wandb.project is not None and not self.use_tb_logger:
            raise ValueError('wandb is fed by the TensorBoard logger: set use_tb_logger: true, or wandb.project: ~')
        return self


class DistParams(_Section):
    backend: Literal['nccl', 'gloo'] = 'nccl'
    port: int | None = None


def _plain_name(name: str) -> str:
    if not name.strip('. ') or '/' in name or '\\' in name:
        raise ValueError(f'{name!r} is no name of a folder: use letters, digits, _ and -')
    return name


class _Options(_Section):
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
                    and any(isinstance(mark, _Ours) for mark in field.metadata)
                ):
                    raise ValueError(f'{where}.{name} is not known to {self.model_type}: take model_type RFDNModel')
        batch, parts = self.datasets.train.batch_size_per_gpu, self.train.accumulate
        if parts > batch:
            raise ValueError(f'train.accumulate is {parts}, but a batch has {batch} patches: take {batch} or less')
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
        RFDNError: Every fault of the file, by its path.
    """
    return _load(TrainingOptions, path, overrides)


def load_test_options(path: str | Path, overrides: Sequence[str] = ()) -> dict:
    """As `load_training_options`, for an option file of `rfdn test`."""
    return _load(TestOptions, path, overrides)


def _load(schema: type[BaseModel], path: str | Path, overrides: Sequence[str]) -> dict:
    content = read_yaml(path)
    apply_overrides(content, overrides)
    try:
        options = schema.model_validate(content).model_dump(exclude_unset=True, mode='json')
    except ValidationError as error:
        raise RFDNError(list_faults(path, describe_faults(schema, error))) from error
    options.setdefault('num_gpu', 'auto')
    options.setdefault('path', {}).setdefault('resume_state', None)
    if options.get('val'):
        options['val'].setdefault('suffix', None)
    return options
