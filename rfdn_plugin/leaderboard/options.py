"""The leaderboard's option file: strict, so that a mistyped key is refused with the nearest known name."""

from __future__ import annotations

from collections.abc import Mapping
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

from rfdn_plugin.options.messages import describe_problems
from rfdn_plugin.options.yaml_io import did_you_mean, list_problems, read_yaml
from rfdn_plugin.utils.errors import RFDNError

Name = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]
Scale = Annotated[int, Field(strict=True, ge=1, le=16)]
Scales = Annotated[tuple[Scale, ...], Field(min_length=1)]


class _Section(BaseModel):
    model_config = ConfigDict(extra='forbid', frozen=True)


class SetOptions(_Section):
    """One test set: folders, or BasicSR's LMDBs. `{scale}` in a path or template is filled in."""

    hr: str
    lr: str
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
    metrics: dict[Name, dict[str, Any]] = {}
    """Further BasicSR metrics for this entry alone; see `LeaderboardOptions.metrics`."""


class NetworkEntry(_MeasuredEntry):
    """A network of this package with its weights, a file of any layout."""

    weights: str
    type: Name | None = None
    img_range: Annotated[float, Field(gt=0)] | None = None
    param_key: str | None = None
    arguments: dict[str, Any] = {}
    """Further arguments of the network's constructor that the file does not show."""
    ntire_baseline: Literal[2024, 2025, 2026] | None = None
    """This entry is the baseline of that year's challenge: runtimes of the same run are scored against it."""

    @field_validator('type')
    @classmethod
    def _known_type(cls, value: str | None) -> str | None:
        from rfdn_plugin.archs import NETWORKS

        if value is not None and value not in NETWORKS:
            raise ValueError(f'no network {value!r}{did_you_mean(value, [*NETWORKS, *_SPECIAL_ENTRIES])}')
        return value


class OnnxEntry(_MeasuredEntry):
    """An ONNX file: N x 3 x H x W in RGB in, N x 3 x (scale H) x (scale W) out, run by ONNX Runtime."""

    type: Literal['onnx']
    weights: str
    img_range: Annotated[float, Field(gt=0)] = 1.0
    """The file takes and gives values from 0 to this."""
    ntire_baseline: Literal[2024, 2025, 2026] | None = None


class BicubicEntry(_MeasuredEntry):
    """MATLAB's bicubic interpolation: what every network has to beat."""

    type: Literal['bicubic']
    name: Name = 'Bicubic'


class ImagesEntry(_MeasuredEntry):
    """A folder of images that something else has super-resolved; `{set}` and `{scale}` are filled in."""

    type: Literal['images']
    dir: str


class PublishedEntry(_ScaledEntry):
    """A row of the published tables, by the name of its network."""

    published: Name
    name: Name | None = None


EntryOptions = NetworkEntry | OnnxEntry | BicubicEntry | ImagesEntry | PublishedEntry
_SPECIAL_ENTRIES: dict[str, type[EntryOptions]] = {'bicubic': BicubicEntry, 'images': ImagesEntry, 'onnx': OnnxEntry}


def _entry_kind(content: Any) -> type[EntryOptions]:
    if not isinstance(content, Mapping):
        raise ValueError('an entry is a mapping with name, scale and what to measure')
    if 'published' in content:
        return PublishedEntry
    kind = content.get('type')
    if kind in _SPECIAL_ENTRIES:
        return _SPECIAL_ENTRIES[kind]
    if kind is None and str(content.get('weights', '')).endswith('.onnx'):
        raise ValueError('weights is an ONNX file: add `type: onnx`')
    from rfdn_plugin.archs import NETWORKS

    if kind is None or 'weights' in content or kind in NETWORKS:
        return NetworkEntry
    raise ValueError(f'no type {kind!r}{did_you_mean(str(kind), [*NETWORKS, *_SPECIAL_ENTRIES])}')


def _has_a_kind(content: Any) -> Any:
    _entry_kind(content)
    return content


_Entry = Annotated[
    Annotated[NetworkEntry, Tag('NetworkEntry')]
    | Annotated[OnnxEntry, Tag('OnnxEntry')]
    | Annotated[BicubicEntry, Tag('BicubicEntry')]
    | Annotated[ImagesEntry, Tag('ImagesEntry')]
    | Annotated[PublishedEntry, Tag('PublishedEntry')],
    Discriminator(lambda content: _entry_kind(content).__name__),
    BeforeValidator(_has_a_kind),
]
"""An entry, judged by what its own kind knows."""


class ComplexityOptions(_Section):
    mmengine: bool = True
    """Run mmengine.analysis beside our own count."""


class LatencyOptions(_Section):
    """How speed is measured; without this section it is not."""

    threads: Annotated[int, Field(ge=1)] = 1
    runs: Annotated[int, Field(ge=3)] = 20
    warmup: Annotated[int, Field(ge=0)] = 2
    input: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] = (256, 256)
    """Height and width of the LR input."""
    precision: Literal['float32', 'float16', 'bfloat16'] = 'float32'
    channels_last: bool = False
    memory: bool = True
    """Measure the peak memory of one run beside the time."""


class ReportOptions(_Section):
    images: Annotated[int, Field(ge=0)] | dict[Name, list[Name]] = 3
    """How many images a scale are shown side by side (those on which the entries differ most), or which of which set."""
    crop: Annotated[int, Field(ge=16)] = 96
    """Side of the crop that is shown, in HR pixels."""
    notes: str = ''
    """A paragraph above the tables."""


class SignificanceOptions(_Section):
    resamples: Annotated[int, Field(ge=1000)] = 10_000
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95


class LeaderboardOptions(_Section):
    name: Annotated[str, StringConstraints(pattern=r'^[\w.-]+$')]
    sets: Annotated[dict[Name, SetOptions], Field(min_length=1)]
    entries: Annotated[list[_Entry], Field(min_length=1)]
    metrics: dict[Name, dict[str, Any]] = {}
    """Further metrics for every entry, as in BasicSR's `val.metrics`: {niqe: {type: calculate_niqe, better: lower}}.
    `crop_border` is the scale where it is not given. `{type: pyiqa, metric: lpips}` runs a metric of pyiqa."""
    device: Literal['auto', 'cpu', 'cuda'] = 'auto'
    workers: Annotated[int, Field(ge=1)] | None = None
    """Processes on a CPU; as many as it has cores where not given."""
    complexity: ComplexityOptions = ComplexityOptions()
    latency: LatencyOptions | None = None
    significance: SignificanceOptions = SignificanceOptions()
    report: ReportOptions = ReportOptions()

    @model_validator(mode='after')
    def _names_are_unique(self) -> LeaderboardOptions:
        seen: set[tuple[str, int]] = set()
        for entry in self.entries:
            name = entry.published if isinstance(entry, PublishedEntry) and entry.name is None else entry.name
            kind = 'published' if isinstance(entry, PublishedEntry) else 'measured'
            for scale in entry.scale:
                if (name, scale, kind) in seen:
                    raise ValueError(f'two entries are named {name!r} at x{scale}: rename one')
                seen.add((name, scale, kind))
        return self

    @model_validator(mode='after')
    def _metrics_have_types(self) -> LeaderboardOptions:
        measured = [entry for entry in self.entries if isinstance(entry, _MeasuredEntry)]
        for metrics in (self.metrics, *(entry.metrics for entry in measured)):
            for name, metric in metrics.items():
                if not isinstance(metric.get('type'), str):
                    raise ValueError(
                        f'metrics.{name} has no type: name a metric of BasicSR, e.g. calculate_niqe, or pyiqa'
                    )
                if name in RECORD_METRICS:
                    raise ValueError(f'metrics.{name} is measured anyway: give the further metric another name')
        return self

    @property
    def scales(self) -> list[int]:
        return sorted({scale for entry in self.entries for scale in entry.scale})


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
