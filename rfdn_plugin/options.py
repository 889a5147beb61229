"""The schema of the option files: plain BasicSR YAML, read by a safe loader and checked before anything happens.

`load_training_options` and `load_test_options` give back the file's content with its numbers as numbers; they raise one
error that lists every fault by its path (`train.optim_g.lr`). Nothing is added that the file does not say. Registered
networks, losses and metrics are looked up, and their arguments checked against their signatures.
"""

from __future__ import annotations

import difflib
import inspect
import re
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, create_model, model_validator

from rfdn_plugin.errors import RFDNError


# --- reading YAML --------------------------------------------------------------------------------------------------
class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with YAML 1.2's floats (`1e-3` is a number), refusing a key that is given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen: set[str] = set()
        for key_node, _ in node.value:
            if key_node.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f'key {key_node.value!r} twice', key_node.start_mark
                )
            seen.add(key_node.value)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    'tag:yaml.org,2002:float', re.compile(r'^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$'), list('-+.0123456789')
)


def read_yaml(path: str | Path) -> dict:
    """The mapping that a YAML file holds.

    Raises:
        RFDNError: The file is missing, is no YAML, holds a Python object (which BasicSR's own loader would execute), or
            is no mapping.
    """
    path = Path(path)
    if not path.is_file():
        raise RFDNError(f'no option file {path}: check the path (relative to {Path.cwd()}).')
    try:
        content = yaml.load(path.read_text(encoding='utf-8'), Loader=_Loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark, problem = getattr(error, 'problem_mark', None), getattr(error, 'problem', None) or str(error)
        where = f'{path}, line {mark.line + 1}' if mark else str(path)
        raise RFDNError(f'{where}: no safe YAML ({problem}).') from error
    if not isinstance(content, dict):
        raise RFDNError(f'{path} is no option file: it must be a mapping with name, datasets, network_g, ...')
    return content


def apply_overrides(options: dict, overrides: Sequence[str]) -> None:
    """Set `--force_yml` entries, `train:optim_g:lr=1e-4`: the value is read as YAML, never executed.

    Raises:
        RFDNError: An entry without `=`, or whose parent section does not exist.
    """
    for entry in overrides:
        keys, equals, value = entry.partition('=')
        *parents, leaf = (key.strip() for key in keys.split(':'))
        if not equals or not leaf:
            raise RFDNError(f'--force_yml {entry}: write SECTION:KEY=VALUE, for example train:total_iter=1000.')
        section = options
        for depth, key in enumerate(parents):
            if not isinstance(section.get(key), dict):
                where = ':'.join(parents[: depth + 1])
                raise RFDNError(f'--force_yml {entry}: there is no section {where}{_did_you_mean(key, section)}.')
            section = section[key]
        try:
            section[leaf] = yaml.load(value, Loader=_Loader)
        except yaml.YAMLError as error:
            raise RFDNError(f'--force_yml {entry}: {value!r} is no YAML value.') from error


# --- the sections --------------------------------------------------------------------------------------------------
class _Section(BaseModel):
    model_config = ConfigDict(extra='forbid', protected_namespaces=(), use_attribute_docstrings=True)


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
    persistent_workers: bool = False


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
    lr: Annotated[float, Field(gt=0)]
    """Learning rate."""

    @model_validator(mode='after')
    def _known(self) -> Optimizer:
        import torch

        cls = getattr(torch.optim, self.type, None)
        if not (isinstance(cls, type) and issubclass(cls, torch.optim.Optimizer)):
            raise ValueError(
                f'{self.type!r} is no optimizer of torch.optim{_did_you_mean(self.type, dir(torch.optim))}'
            )
        _check_arguments(self.type, cls.__init__, self.__pydantic_extra__ or {}, given={'self', 'params', 'lr'})
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


class TrainSection(_Section):
    ema_decay: Share = 0
    """Decay of the exponential moving average of the weights; 0 for none. Where it is on, validation uses it."""
    optim_g: Optimizer
    scheduler: Annotated[MultiStepScheduler | CosineScheduler, Field(discriminator='type')]
    total_iter: PositiveInt
    warmup_iter: int = -1
    """Iterations over which the learning rate rises linearly; -1 for none."""
    pixel_opt: Annotated[dict[str, Any], AfterValidator(lambda value: _check_registered('LOSS', value))] | None = None
    """A loss of BasicSR's registry and its arguments."""
    perceptual_opt: Annotated[dict[str, Any], AfterValidator(lambda value: _check_registered('LOSS', value))] | None = (
        None
    )
    upsampler_start: Literal['resampled', 'random'] = 'random'
    """When fine-tuning from another scale: resample the upsampler's kernel (ours), or leave it random (BasicSR's way)."""


class ValSection(_Section):
    val_freq: PositiveInt | None = None
    """Iterations between validations (training only)."""
    save_img: bool
    """Write every upscaled picture."""
    suffix: str | None = None
    """Added to the names of written pictures; `~` for the experiment's name."""
    pbar: bool = False
    metrics: dict[str, Annotated[dict[str, Any], AfterValidator(lambda value: _check_metric(value))]] | None = None
    """Metrics of BasicSR's registry by the name to show them under."""


class Wandb(_Section):
    project: str | None = None
    resume_id: str | None = None


class LoggerSection(_Section):
    print_freq: PositiveInt
    """Iterations between lines of the log."""
    save_checkpoint_freq: PositiveInt
    """Iterations between checkpoints."""
    use_tb_logger: bool
    """Write for TensorBoard (package `tensorboard`)."""
    wandb: Wandb | None = None


class DistParams(_Section):
    backend: Literal['nccl', 'gloo'] = 'nccl'
    port: int | None = None


class _Options(_Section):
    name: Annotated[str, Field(pattern=r'^[^/\\]+$')]
    """Of the experiment: the folder below experiments/ or results/."""
    model_type: Annotated[str, AfterValidator(lambda value: _check_name('MODEL', value))]
    """`RFDNModel`, or a model of BasicSR's registry."""
    scale: PositiveInt
    num_gpu: Annotated[int, Field(ge=0)] | Literal['auto'] = 'auto'
    """`auto`: every GPU that is visible, none where none is."""
    manual_seed: int | None = None
    network_g: Annotated[dict[str, Any], AfterValidator(lambda value: _check_registered('ARCH', value))]
    """The network: `type` and its arguments."""
    path: PathOptions = PathOptions()
    dist_params: DistParams | None = None
    find_unused_parameters: bool = False

    @model_validator(mode='after')
    def _network_has_scale(self) -> _Options:
        upscale = self.network_g.get('upscale', self.scale)
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
        return schema.model_validate(content).model_dump(exclude_unset=True, mode='json')
    except ValidationError as error:
        # Of a union (a number or `auto`) each member complains about one place; the first says enough.
        first = {
            tuple(part for part in fault['loc'] if not _is_union_tag(part)): fault for fault in reversed(error.errors())
        }
        faults = [_describe(schema, fault) for fault in reversed(first.values())]
    raise RFDNError(list_faults(path, faults))


def list_faults(path: str | Path, faults: Sequence[str]) -> str:
    """One line where there is one fault, else a line each below a heading."""
    if len(faults) == 1:
        return f'{path}: {faults[0]}'
    return '\n  '.join([f'{path}: {len(faults)} faults:', *faults])


def _describe(schema: type[BaseModel], fault: Any) -> str:
    location = [str(part) for part in fault['loc'] if not _is_union_tag(part)]
    where, kind, given = '.'.join(location), fault['type'], fault['input']
    if kind == 'extra_forbidden':
        return f'{where}: unknown key{_did_you_mean(location[-1], _siblings(schema, location))}.'
    if kind == 'missing':
        return f'{where}: missing.'
    if kind == 'value_error':  # our own words
        message, shown = fault['msg'].removeprefix('Value error, '), ''
    else:
        message = fault['msg'][0].lower() + fault['msg'][1:]
        shown = '' if isinstance(given, dict | list) else f', not {given!r}'
    return f'{where}: {message}{shown}.' if where else f'{message}{shown}.'


def _is_union_tag(part: Any) -> bool:
    return part in (
        'MultiStepLR',
        'MultiStepRestartLR',
        'CosineAnnealingRestartLR',
        'int',
        "literal['auto']",
        'constrained-int',
    )


def _siblings(schema: type[BaseModel], location: Sequence[str]) -> list[str]:
    """The keys that the section of an unknown key has."""
    known: list[type[BaseModel]] = [schema]
    for part in location[:-1]:
        known = [inner for model in known for inner in _models_in(_field_type(model, part))]
    return [name for model in known for name in model.model_fields]


def _field_type(model: type[BaseModel], name: str) -> Any:
    if name in model.model_fields:
        return model.model_fields[name].annotation
    return EvaluationDataset if issubclass(model, _Datasets) else None


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in typing.get_args(annotation) for model in _models_in(part)]


def _did_you_mean(name: str, known: Any) -> str:
    matches = difflib.get_close_matches(name, [str(key) for key in known], n=1, cutoff=0.5)
    return f' (did you mean {matches[0]}?)' if matches else ''


# --- what is registered --------------------------------------------------------------------------------------------
def _registry(kind: str) -> Any:
    import basicsr  # noqa: F401 (fills the registries)
    from basicsr.utils import registry

    return getattr(registry, f'{kind}_REGISTRY')


def _check_name(kind: str, name: str) -> str:
    registry = _registry(kind)
    if name not in registry and f'{name}_basicsr' not in registry:
        what = {'ARCH': 'network', 'LOSS': 'loss', 'METRIC': 'metric', 'MODEL': 'model'}[kind]
        raise ValueError(f'no {what} {name!r} is registered{_did_you_mean(name, registry.keys())}')
    return name


def _check_registered(kind: str, section: dict[str, Any], given: set[str] | None = None) -> dict[str, Any]:
    """A `type` and arguments against the signature of the registered class or function."""
    if not isinstance(section.get('type'), str):
        raise ValueError('type is missing: name what is registered')
    name = _check_name(kind, section['type'])
    registry = _registry(kind)
    registered = registry.get(name) if name in registry else registry.get(f'{name}_basicsr')
    arguments = {key: value for key, value in section.items() if key != 'type'}
    try:
        checked = arguments_model(name, registered, given or set()).model_validate(arguments)
    except ValidationError as error:
        known = _parameters(registered)
        raise ValueError('; '.join(_describe_argument(fault, known) for fault in error.errors())) from None
    return {'type': name, **checked.model_dump(exclude_unset=True)}


def _describe_argument(fault: Any, known: Mapping[str, Any]) -> str:
    name = str(fault['loc'][0])
    if fault['type'] == 'extra_forbidden':
        return f'unknown argument {name}{_did_you_mean(name, known)}'
    return f'{name}: {fault["msg"][0].lower()}{fault["msg"][1:]}'


def _check_metric(section: dict[str, Any]) -> dict[str, Any]:
    better = section.pop('better', None)
    if better not in (None, 'higher', 'lower'):
        raise ValueError(f"better: must be 'higher' or 'lower', not {better!r}")
    checked = _check_registered('METRIC', section, given={'img', 'img2'})
    return checked if better is None else {**checked, 'better': better}


def _check_arguments(name: str, function: Callable, arguments: Mapping[str, Any], given: set[str]) -> None:
    parameters = set(inspect.signature(function).parameters)
    for key in arguments:
        if key not in parameters - given:
            raise ValueError(f'{name} has no argument {key!r}{_did_you_mean(key, parameters - {"self", "params"})}')


def _parameters(registered: Any) -> dict[str, inspect.Parameter]:
    if not inspect.isclass(registered):
        return dict(inspect.signature(registered).parameters)
    from rfdn_plugin.archs import constructor_parameters

    return constructor_parameters(registered)


def arguments_model(name: str, registered: Any, given: set[str] = frozenset()) -> type[BaseModel]:
    """A pydantic model of the arguments of a registered class or function, from its signature and annotations.

    Args:
        name: Of the model.
        registered: A class (its constructor counts) or a function.
        given: Parameters that the caller supplies, which an option file must not.
    """
    fields: dict[str, Any] = {}
    parameters = _parameters(registered)
    open_ended = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())
    hints = _hints(registered)
    for key, parameter in parameters.items():
        if key in given or parameter.kind in (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL):
            continue
        default = ... if parameter.default is inspect.Parameter.empty else parameter.default
        fields[key] = (hints.get(key, Any), default)
    # A function that takes any keyword (BasicSR's metrics) is typo-safe only because its own names are listed here.
    config = ConfigDict(extra='forbid', protected_namespaces=(), strict=False)
    if open_ended and not fields:
        config = ConfigDict(extra='allow')
    return create_model(name, __config__=config, **fields)


def _hints(registered: Any) -> dict[str, Any]:
    if not inspect.isclass(registered):
        return typing.get_type_hints(registered)
    hints: dict[str, Any] = {}
    for cls in reversed(registered.__mro__):
        if '__init__' in vars(cls) and cls is not object:
            hints.update(typing.get_type_hints(cls.__init__))
    return hints
