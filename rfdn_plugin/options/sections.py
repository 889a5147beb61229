"""The sections of the option files of training and testing as typed structs: keys, types, ranges, and what each means.

`options` puts them together and checks what goes across sections; the docstring under a key is its text in editors.
Registered losses, metrics and the classes of torch.optim are looked up, and their arguments checked.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from rfdn_plugin.options.registry import check_arguments, check_metric, check_registered
from rfdn_plugin.options.yaml_io import did_you_mean


class Section(BaseModel):
    model_config = ConfigDict(extra='forbid', protected_namespaces=(), use_attribute_docstrings=True)


class Ours:
    """Marks a key that RFDNModel knows and BasicSR's models would silently ignore."""


Registered = Annotated[dict[str, Any], AfterValidator(lambda value: check_registered('LOSS', value))]
PositiveInt = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, lt=1)]
# BasicSR knows an LMDB by the end of its path, which tab completion follows with a slash.
Root = Annotated[str, AfterValidator(lambda path: path.rstrip('/') or path)]


class IoBackend(Section):
    type: Literal['disk', 'lmdb']
    """Where the images are: a folder of files, or an LMDB."""


class _Dataset(Section):
    name: str
    """Shown in logs and tables."""
    type: Literal['PairedImageDataset', 'FastPairedImageDataset']
    """BasicSR's dataset, or ours with the same samples and less work."""
    dataroot_gt: Root
    """High-resolution images: a folder or a `.lmdb`."""
    dataroot_lq: Root
    """Low-resolution images: a folder or a `.lmdb`."""
    meta_info_file: str | None = None
    """A list of the images to use, one name a line (`disk` only)."""
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
    """Processes that read images."""
    batch_size_per_gpu: PositiveInt
    """Patches an iteration, on each GPU or process."""
    dataset_enlarge_ratio: PositiveInt = 1
    """How often an epoch goes through the images: an epoch's start costs time."""
    prefetch_mode: Literal['cpu', 'cuda'] | None = None
    num_prefetch_queue: PositiveInt = 1
    sample_seed: int | None = None
    """With `FastPairedImageDataset`: crops and flips that do not repeat each epoch nor depend on the worker (ours)."""
    pin_memory: bool = False
    """Page-locked batches, which a GPU copies while it computes."""
    persistent_workers: bool = False
    """Workers that live on from epoch to epoch."""
    resident: bool = False
    """Keep all training images decoded in the memory of the device, and cut and flip the patches there (ours)."""

    @model_validator(mode='after')
    def _what_goes_together(self) -> TrainDataset:
        if self.prefetch_mode == 'cuda' and not self.pin_memory:
            raise ValueError('prefetch_mode cuda needs pin_memory: true')
        if self.persistent_workers and not self.num_worker_per_gpu:
            raise ValueError('persistent_workers needs workers: set num_worker_per_gpu to 1 or more, or leave it out')
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


class PathOptions(Section):
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


class MultiStepScheduler(Section):
    type: Literal['MultiStepLR', 'MultiStepRestartLR']
    milestones: list[PositiveInt]
    """Iterations at which the learning rate is multiplied by gamma."""
    gamma: Annotated[float, Field(gt=0)] = 0.1
    restarts: list[int] = [0]
    restart_weights: list[float] = [1]


class CosineScheduler(Section):
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


class TrainSection(Section):
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
    fft_opt: Annotated[Registered | None, Ours()] = None
    """A further loss, added to the others: `FFTLoss` with a weight of 0.05 as in SAFMN (ours)."""
    precision: Annotated[Literal['auto', 'fp32', 'bf16', 'fp16'], Ours()] = 'fp32'
    """Precision of the network's arithmetic (autocast); weights, optimizer and losses stay in fp32. `auto`: bf16 where the
    processor or GPU is fast with it, else fp32 (ours)."""
    channels_last: Annotated[bool, Ours()] = False
    """Keep images and weights with the channels innermost: faster convolutions on most devices (ours)."""
    compile: Annotated[
        Literal['default', 'reduce-overhead', 'max-autotune', 'max-autotune-no-cudagraphs'] | bool, Ours()
    ] = False
    """Train through torch.compile, with the mode of that name: minutes at the start, faster steps on a GPU (ours)."""
    accum_iter: Annotated[PositiveInt, Ours()] = 1
    """Parts in which a batch goes through the network: the same gradient with less memory (ours)."""
    grad_clip: Annotated[Annotated[float, Field(gt=0)] | None, Ours()] = None
    """Largest norm of all gradients together; longer ones are shortened to it (ours)."""
    loss_limit: Annotated[Annotated[float, Field(gt=1)] | None, Ours()] = 100
    """A loss that is so many times its median stops the training, as NaN does; `~` for NaN only (ours)."""
    upsampler_start: Annotated[Literal['resampled', 'random'], Ours()] = 'random'
    """When fine-tuning from another scale: resample the upsampler's kernel (ours), or leave it random (BasicSR's way)."""

    @model_validator(mode='after')
    def _has_a_loss(self) -> TrainSection:
        if self.pixel_opt is None and self.perceptual_opt is None:
            raise ValueError('neither pixel_opt nor perceptual_opt: give a loss, for example pixel_opt: {type: L1Loss}')
        return self


class ValSection(Section):
    val_freq: PositiveInt | None = None
    """Iterations between validations (training only)."""
    save_img: bool
    """Write every upscaled image."""
    suffix: str | None = None
    """Added to the names of written images; `~` for the experiment's name."""
    pbar: bool = False
    metrics: dict[str, Annotated[dict[str, Any], AfterValidator(lambda value: check_metric(value))]] | None = None
    """Metrics of BasicSR's registry by the name to show them under."""


class Wandb(Section):
    project: str | None = None
    resume_id: str | None = None


class Best(Section):
    metric: str
    """A name in `val.metrics`."""
    dataset: str
    """The `name` of a validation set."""


class LoggerSection(Section):
    print_freq: PositiveInt
    """Iterations between lines of the log."""
    save_checkpoint_freq: PositiveInt
    """Iterations between checkpoints."""
    keep_checkpoints: Annotated[PositiveInt | None, Ours()] = None
    """How many of them to keep, the newest; `~` for all. The last and the best are kept in any case (ours)."""
    save_best: Annotated[Best | None, Ours()] = None
    """Keep the weights of the best validation as `net_g_best.pth` (ours)."""
    use_tb_logger: bool
    """Write for TensorBoard (package `tensorboard`)."""
    wandb: Wandb | None = None

    @model_validator(mode='after')
    def _wandb_reads_tensorboard(self) -> LoggerSection:
        if self.wandb is not None and self.wandb.project is not None and not self.use_tb_logger:
            raise ValueError('wandb is fed by the TensorBoard logger: set use_tb_logger: true, or wandb.project: ~')
        return self


class DistParams(Section):
    backend: Literal['nccl', 'gloo'] = 'nccl'
    port: int | None = None
