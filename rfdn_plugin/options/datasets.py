"""The sections of `datasets`: pairs of images, single images, and datasets that other packages register."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

from rfdn_plugin.options.base import Section
from rfdn_plugin.options.registry import check_name

PAIRED = ('PairedImageDataset', 'FastPairedImageDataset')
SINGLE = 'SingleImageDataset'

PositiveInt = Annotated[int, Field(ge=1)]


def _place(path: str) -> str:
    """A path as BasicSR can use it: `~` filled in, and no slash at its end, by which it knows an LMDB."""
    if not path.strip() or '\0' in path:
        raise ValueError('no path: name a folder or file')
    try:
        return str(Path(path).expanduser())
    except RuntimeError as error:  # ~somebody who is not there
        raise ValueError(f'{str(error).rstrip(".")}: write the whole path') from None


Place = Annotated[str, AfterValidator(_place)]


class IoBackend(Section):
    """Kind of storage that the images of a dataset are read from."""

    type: Literal['disk', 'lmdb']
    """Where the images are: a folder of files, or an LMDB."""


class _Images(Section):
    """What sections of datasets have in common."""

    name: str
    """Shown in logs and tables."""
    dataroot_lq: Place
    """Low-resolution images: a folder or a `.lmdb`."""
    meta_info_file: Place | None = None
    """A list of the images to use, one name a line (`disk` only)."""
    io_backend: IoBackend
    """Whether the images are files or in an LMDB."""
    mean: list[float] | None = None
    """Subtracted from each colour; RFDN uses none."""
    std: list[Annotated[float, Field(gt=0)]] | None = None
    """Divides each colour; RFDN uses none."""
    color: Literal['y'] | None = None
    """`y`: only the luma channel."""

    @model_validator(mode='after')
    def _mean_and_std(self) -> _Images:
        given = [name for name in ('mean', 'std') if getattr(self, name) is not None]
        if len(given) == 1:
            other = 'std' if given == ['mean'] else 'mean'
            raise ValueError(f'{given[0]} is given without {other}: give both, or leave both out')
        wanted = (1,) if self.color == 'y' else (1, 3)
        for name in given:
            if len(getattr(self, name)) not in wanted:
                raise ValueError(
                    f'{name} has {len(getattr(self, name))} values: give one for each colour, {wanted[-1]}'
                )
        return self


class EvaluationDataset(_Images):
    """Pairs of images to validate or test on."""

    type: Literal['PairedImageDataset', 'FastPairedImageDataset']
    """BasicSR's dataset, or ours with the same samples and less work."""
    dataroot_gt: Place
    """High-resolution images: a folder or a `.lmdb`."""
    filename_tmpl: str = '{}'
    """How a low-resolution file is named after its high-resolution one, `{}x2` for DIV2K's names (`disk` only)."""


class SingleImages(_Images):
    """Low-resolution images alone, which are upscaled and saved; there is nothing to measure them against."""

    type: Literal['SingleImageDataset']
    """BasicSR's dataset of images without HR."""


class TrainDataset(EvaluationDataset):
    """The pairs of images to train on."""

    gt_size: PositiveInt
    """Side of the high-resolution patches in pixels: a multiple of the scale."""
    use_hflip: bool
    """Horizontal flips at random."""
    use_rot: bool
    """Vertical flips and transposition at random."""
    use_shuffle: bool = True
    """Known from BasicSR's files; its sampler shuffles always."""
    num_worker_per_gpu: Annotated[int, Field(ge=0, le=1024)]
    """Processes that read images."""
    batch_size_per_gpu: PositiveInt
    """Patches an iteration, on each GPU or process."""
    dataset_enlarge_ratio: PositiveInt = 1
    """How often an epoch goes through the images: an epoch's start costs time."""
    prefetch_mode: Literal['cpu', 'cuda'] | None = None
    """Read the next batches beforehand: into the memory (`cpu`), or copy the next one to the GPU (`cuda`)."""
    num_prefetch_queue: PositiveInt = 1
    """Batches that `prefetch_mode: cpu` reads beforehand."""
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
        if self.persistent_workers and self.num_worker_per_gpu == 0:
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


class OtherDataset(BaseModel):
    """A dataset of BasicSR's registry that is described nowhere here: its own keys are passed on unchecked."""

    model_config = ConfigDict(extra='allow', use_attribute_docstrings=True)
    name: str
    """Shown in logs and tables."""
    type: Annotated[
        str,
        AfterValidator(lambda value: check_name('DATASET', value)),
        Field(json_schema_extra={'not': {'enum': [*PAIRED, SINGLE]}}),
    ]
    """A name of BasicSR's registry of datasets, as another package may register it (`custom_imports`)."""


class OtherTrainDataset(OtherDataset):
    """Training set of another type, as `OtherDataset`, with what BasicSR's loaders read."""

    num_worker_per_gpu: Annotated[int, Field(ge=0, le=1024)]
    """Processes that read images."""
    batch_size_per_gpu: PositiveInt
    """Samples an iteration, on each GPU or process."""
    dataset_enlarge_ratio: PositiveInt = 1
    """How often an epoch goes through the samples."""


def is_described(section: dict[str, Any]) -> bool:
    """Whether the keys of a section are known here, so that its images can be found and tried."""
    return section.get('type') in (*PAIRED, SINGLE)


def _which(section: Any) -> str:
    """The tag of the description that a section follows, by its `type`."""
    kind = section.get('type') if isinstance(section, dict) else getattr(section, 'type', None)
    if kind == SINGLE:
        return 'single'
    return 'paired' if kind in PAIRED or not isinstance(kind, str) else 'other'


AnyTrainDataset = Annotated[
    Annotated[TrainDataset, Tag('paired')]
    | Annotated[SingleImages, Tag('single')]
    | Annotated[OtherTrainDataset, Tag('other')],
    Discriminator(_which),
]
AnyEvaluationDataset = Annotated[
    Annotated[EvaluationDataset, Tag('paired')]
    | Annotated[SingleImages, Tag('single')]
    | Annotated[OtherDataset, Tag('other')],
    Discriminator(_which),
]


class _Datasets(BaseModel):
    """Sections `PREFIX`, `PREFIX_1`, `PREFIX_2`, ... beside what a subclass names."""

    model_config = ConfigDict(extra='allow', use_attribute_docstrings=True)
    __pydantic_extra__: dict[str, AnyEvaluationDataset]

    def evaluated(self) -> list[EvaluationDataset | SingleImages | OtherDataset]:
        """The sections to validate or test on."""
        return list((self.__pydantic_extra__ or {}).values())

    def _check_names(self, prefix: str) -> None:
        for name in self.__pydantic_extra__ or ():
            if not re.fullmatch(rf'{prefix}(_\w+)?', name):
                raise ValueError(f'unknown section {name!r}: name it {prefix}, {prefix}_1, {prefix}_2, ...')
        names = [section.name for section in self.evaluated()]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f'two {prefix} sections have the name {twice[0]!r}, by which results are kept: rename one')


class TrainingDatasets(_Datasets):
    """Data of a training: `train`, and sections `val`, `val_1`, ... for validation."""

    train: AnyTrainDataset
    """What is trained on."""

    @model_validator(mode='after')
    def _names(self) -> TrainingDatasets:
        self._check_names('val')
        if isinstance(self.train, SingleImages):
            raise ValueError('train has SingleImageDataset, which has no HR to learn from: take PairedImageDataset')
        return self


class TestDatasets(_Datasets):
    """Sections `test`, `test_1`, ... of what is tested on, in the order of their names."""

    __test__ = False  # no test case, whatever pytest makes of the name

    @model_validator(mode='after')
    def _names(self) -> TestDatasets:
        self._check_names('test')
        if not self.evaluated():
            raise ValueError('no section: name what is to be tested on, test_1 for example')
        return self
