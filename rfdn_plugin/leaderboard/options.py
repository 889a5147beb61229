"""The leaderboard's option file: strict, so that a mistyped key is refused with the nearest known name."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    ValidationError,
    field_validator,
    model_validator,
)

from rfdn_plugin.options.base import Name
from rfdn_plugin.options.datasets import Place
from rfdn_plugin.options.messages import describe_problems
from rfdn_plugin.options.yaml_io import did_you_mean, list_problems, read_yaml
from rfdn_plugin.utils.errors import RFDNError

Scale = Annotated[int, Field(strict=True, ge=1, le=16)]
Backend = Literal['torch', 'onnxruntime', 'openvino', 'ncnn']
Precision = Literal['fp32', 'fp16', 'bf16', 'int8']
Scales = Annotated[tuple[Scale, ...], Field(min_length=1)]


class _Section(BaseModel):
    model_config = ConfigDict(extra='forbid', frozen=True, use_attribute_docstrings=True)


class SetOptions(_Section):
    """One test set: folders, or BasicSR's LMDBs. `{scale}` in a path or template is filled in."""

    hr: Place
    """High-resolution images: a folder or a `.lmdb`."""
    lr: Place
    """Low-resolution images of one scale: a folder or a `.lmdb`."""
    filename_tmpl: str | None = None
    """BasicSR's template for the LR names, e.g. '{}x{scale}'; found from the files where it is not given."""


class _ScaledEntry(_Section):
    scale: Scales
    """One scale or a list: the entry then stands in the table of each, and `{scale}` in its paths is filled in."""

    @field_validator('scale', mode='before', json_schema_input_type=int | list[int])
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return value if isinstance(value, list | tuple) else (value,)


class _MeasuredEntry(_ScaledEntry):
    name: Name
    """Name of the row."""
    metrics: dict[Name, dict[str, Any]] = {}
    """Further BasicSR metrics for this entry alone; see `LeaderboardOptions.metrics`."""


class NetworkEntry(_MeasuredEntry):
    """A network of this package, or another one that is registered in BasicSR, with its weights, a file of any layout."""

    weights: Place
    """The weights file, of any layout, or `zoo:NAME`."""
    type: Name | None = None
    """The network, where the file does not say it."""
    backend: Backend = 'torch'
    """What runs it. Its results and its speed are those of this runtime; costs are counted from the network."""
    precision: Precision | None = None
    """What it computes in: on the CPU, in its inference form. Without it, as in training, in 32-bit floats."""
    img_range: Annotated[float, Field(gt=0)] | None = None
    """Largest value of the input, 1 or 255, where the file does not say it."""
    param_key: str | None = None
    """Which weights of a file with several: `params`, or `params_ema` for the averaged ones."""
    arguments: dict[str, Any] = {}
    """Further arguments of the network's constructor that the file does not show."""
    ntire_baseline: Literal[2024, 2025, 2026] | None = None
    """This entry is the baseline of that year's challenge: runtimes of the same run are scored against it."""

    @field_validator('type')
    @classmethod
    def _known_type(cls, value: str | None) -> str | None:
        if value is not None and value not in _network_names():
            raise ValueError(f'no network {value!r}{_nearest(value)}')
        return value

    @property
    def is_plain(self) -> bool:
        """Whether the network runs as it is, in PyTorch on the board's device."""
        return self.backend == 'torch' and self.precision is None


class SpandrelEntry(_MeasuredEntry):
    """Weights of any network for single images that spandrel recognises: SPAN, SAFMN, SwinIR, DAT, Compact, ..."""

    type: Literal['spandrel']
    """spandrel finds the network by the weights."""
    weights: Place
    """The weights file."""
    param_key: str | None = None
    """Which weights of a file with several."""
    ntire_baseline: Literal[2024, 2025, 2026] | None = None
    """This entry is the baseline of that year's challenge."""


class ExportedEntry(_MeasuredEntry):
    """An exported model: N x 3 x H x W in RGB in, N x 3 x (scale H) x (scale W) out."""

    type: Literal['onnx', 'openvino', 'ncnn']
    """The kind of file."""
    weights: Place
    """The .onnx file, the .xml of OpenVINO, or the .param of ncnn."""
    backend: Backend | None = None
    """What runs it: `onnxruntime` (where not given) or `openvino` for an ONNX file; else what it is made for."""
    precision: Precision | None = None
    """What it computes in; where not given, what it was exported in."""
    img_range: Annotated[float, Field(gt=0)] = 1.0
    """The file takes and gives values from 0 to this."""
    ntire_baseline: Literal[2024, 2025, 2026] | None = None
    """This entry is the baseline of that year's challenge."""


class BicubicEntry(_MeasuredEntry):
    """MATLAB's bicubic interpolation: what every network has to beat."""

    type: Literal['bicubic']
    """BasicSR's `imresize`."""
    name: Name = 'Bicubic'
    """Name of the row."""


class ImagesEntry(_MeasuredEntry):
    """A folder of images that something else has super-resolved; `{set}` and `{scale}` are filled in."""

    type: Literal['images']
    """Images that are there already."""
    dir: Place
    """The folder; `{set}` and `{scale}` are filled in."""


class PublishedEntry(_ScaledEntry):
    """A row of the published tables, by the name of its network."""

    published: Name
    """Name of a row in `rfdn_plugin/leaderboard/report/published.yml`."""
    name: Name | None = None
    """Another name for the row."""


EntryOptions = NetworkEntry | SpandrelEntry | ExportedEntry | BicubicEntry | ImagesEntry | PublishedEntry
MeasuredOptions = NetworkEntry | SpandrelEntry | ExportedEntry | BicubicEntry | ImagesEntry
_SPECIAL_ENTRIES: dict[str, type[EntryOptions]] = {
    'bicubic': BicubicEntry,
    'images': ImagesEntry,
    'spandrel': SpandrelEntry,
    **dict.fromkeys(('onnx', 'openvino', 'ncnn'), ExportedEntry),
}
_EXPORTED_ENDINGS = {'.onnx': 'onnx', '.xml': 'openvino', '.param': 'ncnn'}


@lru_cache
def _network_names() -> list[str]:
    """Networks that an entry may name: ours first, then the others that are registered in BasicSR."""
    from rfdn_plugin.archs import NETWORKS
    from rfdn_plugin.options.registry import registered_names

    return list(dict.fromkeys([*NETWORKS, *registered_names('ARCH')]))


def _nearest(kind: str) -> str:
    """The nearest type that there is; where none is near, those of this package."""
    from rfdn_plugin.archs import NETWORKS

    ours = [*NETWORKS, *_SPECIAL_ENTRIES]
    return did_you_mean(kind, [*_network_names(), *ours]) or did_you_mean(kind, ours)


def _entry_kind(content: Any) -> type[EntryOptions]:
    if not isinstance(content, Mapping):
        raise ValueError('an entry is a mapping with name, scale and what to measure')
    if 'published' in content:
        return PublishedEntry
    kind = content.get('type')
    if kind in _SPECIAL_ENTRIES:
        return _SPECIAL_ENTRIES[kind]
    exported = _EXPORTED_ENDINGS.get(Path(str(content.get('weights', ''))).suffix)
    if kind is None and exported is not None:
        raise ValueError(f'weights is an exported model: add `type: {exported}`')
    if kind is None or 'weights' in content or kind in _network_names():
        return NetworkEntry
    raise ValueError(f'no type {kind!r}{_nearest(str(kind))}')


def _has_a_kind(content: Any) -> Any:
    _entry_kind(content)
    return content


_Entry = Annotated[
    Annotated[NetworkEntry, Tag('NetworkEntry')]
    | Annotated[SpandrelEntry, Tag('SpandrelEntry')]
    | Annotated[ExportedEntry, Tag('ExportedEntry')]
    | Annotated[BicubicEntry, Tag('BicubicEntry')]
    | Annotated[ImagesEntry, Tag('ImagesEntry')]
    | Annotated[PublishedEntry, Tag('PublishedEntry')],
    Discriminator(lambda content: _entry_kind(content).__name__),
    BeforeValidator(_has_a_kind),
]
"""An entry, judged by what its own kind knows."""


class ComplexityOptions(_Section):
    """Section `complexity`: how the costs of a network are counted."""

    mmengine: bool = True
    """Run mmengine.analysis beside our own count."""


class LatencyOptions(_Section):
    """How speed is measured; without this section it is not."""

    threads: Annotated[int, Field(ge=1)] = 1
    """Threads on a CPU."""
    runs: Annotated[int, Field(ge=3)] = 20
    """Runs that are timed, of each entry."""
    warmup: Annotated[int, Field(ge=0)] = 2
    """Runs before them that are not timed."""
    input: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] = (256, 256)
    """Height and width of the LR input."""
    precision: Literal['float32', 'float16', 'bfloat16'] = 'float32'
    """Arithmetic of the timed runs."""
    channels_last: bool = False
    """Images and weights with the channels innermost."""
    memory: bool = True
    """Measure the peak memory of one run beside the time."""


class ReportOptions(_Section):
    """Section `report`: what the report shows beside the tables."""

    images: Annotated[int, Field(ge=0)] | dict[Name, list[Name]] = 3
    """How many images a scale are shown side by side (those on which the entries differ most), or which of which set."""
    crop: Annotated[int, Field(ge=16)] = 96
    """Side of the crop that is shown, in HR pixels."""
    notes: str = ''
    """A paragraph above the tables."""


class SignificanceOptions(_Section):
    """Section `significance`: the paired bootstrap over the images of a set."""

    resamples: Annotated[int, Field(ge=1000)] = 10_000
    """How often the images are drawn anew."""
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    """Share of the draws that the interval covers."""


class LeaderboardOptions(_Section):
    """An option file of `rfdn leaderboard`."""

    name: Annotated[str, StringConstraints(pattern=r'^[\w.-]+$')]
    """Name of the board: its folder below results/leaderboard/."""
    sets: dict[Name, SetOptions] = {}
    """Test sets by name. Only a board of published rows alone needs none."""
    entries: Annotated[list[_Entry], Field(min_length=1)]
    """What is compared."""
    metrics: dict[Name, dict[str, Any]] = {}
    """Further metrics for every entry, as in BasicSR's `val.metrics`: {niqe: {type: calculate_niqe, better: lower}}.
    `crop_border` is the scale where it is not given. `{type: pyiqa, metric: lpips}` runs a metric of pyiqa."""
    device: Literal['auto', 'cpu', 'cuda'] = 'auto'
    """`auto`: a GPU where there is one."""
    workers: Annotated[int, Field(ge=1)] | None = None
    """Processes on a CPU; as many as it has cores where not given."""
    complexity: ComplexityOptions = ComplexityOptions()
    """Whether costs are counted in a second way."""
    latency: LatencyOptions | None = None
    """How speed is measured; without this section it is not."""
    significance: SignificanceOptions = SignificanceOptions()
    """When a difference is more than chance."""
    report: ReportOptions = ReportOptions()
    """Images and text beside the tables."""

    @model_validator(mode='after')
    def _names_are_unique(self) -> LeaderboardOptions:
        seen: set[tuple[str | None, int, str]] = set()
        for entry in self.entries:
            name = entry.published if isinstance(entry, PublishedEntry) and entry.name is None else entry.name
            kind = 'published' if isinstance(entry, PublishedEntry) else 'measured'
            for scale in entry.scale:
                if (name, scale, kind) in seen:
                    raise ValueError(f'two entries are named {name!r} at x{scale}: rename one')
                seen.add((name, scale, kind))
        return self

    @model_validator(mode='after')
    def _measured_entries_have_sets(self) -> LeaderboardOptions:
        if self.measured and not self.sets:
            raise ValueError('sets is missing: name the test sets, for example {Set5: {hr: FOLDER, lr: FOLDER}}')
        return self

    @model_validator(mode='after')
    def _metrics_have_types(self) -> LeaderboardOptions:
        for metrics in (self.metrics, *(entry.metrics for entry in self.measured)):
            for name, metric in metrics.items():
                if not isinstance(metric.get('type'), str):
                    raise ValueError(
                        f'metrics.{name} has no type: name a metric of BasicSR, e.g. calculate_niqe, or pyiqa'
                    )
                if name in RECORD_METRICS:
                    raise ValueError(f'metrics.{name} is measured anyway: give the further metric another name')
        return self

    @property
    def measured(self) -> list[MeasuredOptions]:
        """The entries that are not published rows."""
        return [entry for entry in self.entries if not isinstance(entry, PublishedEntry)]


RECORD_METRICS = ('psnr_y', 'ssim_y', 'psnr_rgb')
"""What every entry is measured by, in the order of the tables."""


def load_options(path: str | Path) -> LeaderboardOptions:
    """Read and check an option file.

    Raises:
        RFDNError: It is missing, no YAML, or has problems: all of them are named, with the place and the nearest name.
    """
    return parse_options(read_yaml(path), path)


def parse_options(content: Mapping[str, Any], where: str | Path = 'options') -> LeaderboardOptions:
    """Check options that are already a mapping; `where` names them in errors. Raises as `load_options`."""
    try:
        return LeaderboardOptions.model_validate(content)
    except ValidationError as error:
        raise RFDNError(list_problems(where, describe_problems(LeaderboardOptions, error))) from error
