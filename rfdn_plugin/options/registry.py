"""What an option file may name: registered networks, losses, metrics and models, and the arguments that they take."""

from __future__ import annotations

import inspect
import typing
import warnings
from collections.abc import Callable, Mapping, Set
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, StrictBool, ValidationError, create_model

from rfdn_plugin.options.pyiqa import check_pyiqa, is_without_reference
from rfdn_plugin.options.yaml_io import did_you_mean

PYIQA = 'pyiqa'
"""The type of a metric of that package."""


def _registry(kind: str) -> Any:
    import basicsr  # noqa: F401 (fills the registries)
    from basicsr.utils import registry

    return getattr(registry, f'{kind}_REGISTRY')


def check_name(kind: str, name: str) -> str:
    """The name, where BasicSR's registry of that kind ('ARCH', 'LOSS', 'METRIC', 'MODEL', 'DATASET') has it.

    Raises:
        ValueError: No such thing is registered.
    """
    if registered(kind, name) is None:
        known = [key.removesuffix('_basicsr') for key in _registry(kind).keys()]
        what = {'ARCH': 'network'}.get(kind, kind.lower())
        hint = did_you_mean(name, known) or ': name the package that registers it in custom_imports'
        if kind == 'METRIC':
            hint += '; metrics of pyiqa are written {type: pyiqa, metric: lpips}'
        raise ValueError(f'no {what} {name!r} is registered{hint}')
    return name


def registered(kind: str, name: str) -> Any:
    """The class or function of that name in BasicSR's registry of that kind; None where there is none."""
    registry = _registry(kind)
    found = next((key for key in (name, f'{name}_basicsr') if key in registry), None)
    return None if found is None else registry.get(found)


def registered_names(kind: str) -> list[str]:
    """Names in one of BasicSR's registries, as an option file writes them."""
    return [name.removesuffix('_basicsr') for name in _registry(kind).keys()]


def check_registered(kind: str, section: dict[str, Any], given: set[str] | None = None) -> dict[str, Any]:
    """Check a `type` and its arguments against the signature of the registered class or function.

    Args:
        kind: As in `check_name`.
        section: The section of an option file: `type` and arguments.
        given: Parameters that the caller supplies, which the section must not have.

    Returns:
        The section with its arguments in the types of the signature.

    Raises:
        ValueError: The name is not registered, or arguments are unknown, missing or of another type; all are named.
    """
    if not isinstance(section.get('type'), str):
        raise ValueError('type is missing: name what is registered')
    name = check_name(kind, section['type'])
    found = registered(kind, name)
    arguments = {key: value for key, value in section.items() if key != 'type'}
    model = arguments_model(name, found, given or set())
    try:
        checked = model.model_validate(arguments)
    except ValidationError as error:
        known = model.model_fields
        raise ValueError('; '.join(_describe_argument(problem, known) for problem in error.errors())) from None
    return {'type': name, **checked.model_dump(exclude_unset=True)}


def default_argument(network: str, name: str, otherwise: Any) -> Any:
    """The default of an argument of a registered network; `otherwise` where it has no such argument or no default."""
    parameter = parameters(registered('ARCH', network)).get(name)
    if parameter is None or parameter.default is inspect.Parameter.empty:
        return otherwise
    return parameter.default


def _describe_argument(problem: Any, known: Mapping[str, Any]) -> str:
    name = str(problem['loc'][0])
    if problem['type'] == 'extra_forbidden':
        return f'unknown argument {name}{did_you_mean(name, known)}'
    return f'{name}: {problem["msg"][0].lower()}{problem["msg"][1:]}'


_BETTER = {'calculate_psnr': 'higher', 'calculate_ssim': 'higher', 'calculate_niqe': 'lower', 'calculate_fid': 'lower'}


def better_direction(metric: str) -> str | None:
    """Direction in which results of a metric are better, 'higher' or 'lower'; None where that is not known here."""
    return _BETTER.get(metric)


def needs_reference(metric: Mapping[str, Any]) -> bool:
    """Whether a metric of an option file compares with an HR image; NIQE, for example, does not."""
    if metric['type'] == PYIQA:
        return not is_without_reference(metric['metric'])
    return 'img2' in parameters(registered('METRIC', metric['type']))


def check_metric(section: dict[str, Any]) -> dict[str, Any]:
    """Check a metric of an option file as `check_registered` does; it is given its images and may say which way is better.

    Returns:
        The section, with `better` where lower results are better or the file says it.

    Raises:
        ValueError: As `check_registered`, or `better` or `crop_border` has no such value.
    """
    section = dict(section)
    better = section.pop('better', None)
    if better not in (None, 'higher', 'lower'):
        raise ValueError(f"better: must be 'higher' or 'lower', not {better!r}")
    if section.get('type') == PYIQA:
        return check_pyiqa(section if better is None else {**section, 'better': better})
    checked = check_registered('METRIC', section, given={'img', 'img2'})
    border = checked.get('crop_border', 0)
    if not isinstance(border, int) or border < 0:
        raise ValueError(f'crop_border: must be a whole number from 0, not {border!r}')
    if better is None and better_direction(checked['type']) == 'lower':
        better = 'lower'  # BasicSR takes every metric for one whose higher results are better
    return checked if better is None else {**checked, 'better': better}


def check_arguments(name: str, function: Callable, arguments: Mapping[str, Any], given: set[str]) -> None:
    """Raise ValueError where `function` has no parameter of a name; `given` are those that the caller supplies."""
    known = set(inspect.signature(function).parameters) - given - {'self', 'params'}
    for key in arguments:
        if key not in known:
            raise ValueError(
                f'{name} has no argument {key!r}{did_you_mean(key, {*known, "lr"} if "lr" in given else known)}'
            )


def parameters(found: Any) -> dict[str, inspect.Parameter]:
    """Parameters of a registered class or function; empty where it does not tell them."""
    try:
        if not inspect.isclass(found):
            return dict(inspect.signature(found).parameters)
        from rfdn_plugin.archs import constructor_parameters

        return constructor_parameters(found)
    except (ValueError, TypeError):  # a class or function that is not written in Python
        return {}


def arguments_model(name: str, registered: Any, given: Set[str] = frozenset()) -> type[BaseModel]:
    """A pydantic model of the arguments of a registered class or function, from its signature and annotations.

    Args:
        name: Name of the model.
        registered: A class (its constructor counts) or a function.
        given: Parameters that the caller supplies, which an option file must not.
    """
    fields: dict[str, Any] = {}
    taken = parameters(registered)
    open_ended = not taken or _takes_any_keyword(registered)
    hints = _hints(registered)
    is_known = getattr(registered, '__module__', '').partition('.')[0] in ('basicsr', 'rfdn_plugin') and name != PYIQA
    for key, parameter in taken.items():
        if key in given or parameter.kind in (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL):
            continue
        default = ... if parameter.default is inspect.Parameter.empty else parameter.default
        # `'no'` in quotes is true to who only asks `if`: BasicSR's metrics have no annotations that would tell.
        fields[key] = (hints.get(key, StrictBool if isinstance(default, bool) and is_known else Any), default)
    # A function that takes any keyword (BasicSR's metrics) is typo-safe only because its own names are listed here.
    extra: Literal['allow', 'forbid'] = 'allow' if open_ended and not (fields and is_known) else 'forbid'
    config = ConfigDict(extra=extra, protected_namespaces=(), strict=False, arbitrary_types_allowed=True)
    try:
        with warnings.catch_warnings():  # of arguments that have the name of a method of pydantic
            warnings.simplefilter('ignore', UserWarning)
            return create_model(name, __config__=config, **fields)
    except Exception:  # names or types that pydantic cannot describe, in another package: any argument is passed on
        return create_model(name, __config__=ConfigDict(extra='allow'))


def _takes_any_keyword(found: Any) -> bool:
    """Whether a function, or each constructor of a class down to that of `torch.nn.Module`, takes `**keywords`."""
    functions = [found]
    if inspect.isclass(found):
        own = [cls for cls in found.__mro__ if '__init__' in vars(cls) and cls.__module__.partition('.')[0] != 'torch']
        functions = [vars(cls)['__init__'] for cls in own if cls is not object]
    kinds = [[parameter.kind for parameter in inspect.signature(one).parameters.values()] for one in functions]
    return all(inspect.Parameter.VAR_KEYWORD in of_one for of_one in kinds)


def registered_models(kind: str, given: Set[str] = frozenset()) -> dict[str, type[BaseModel]]:
    """For everything in BasicSR's registry of that kind, by the name for an option file: the model of its arguments."""
    registry = _registry(kind)
    return {name.removesuffix('_basicsr'): arguments_model(name, registered, given) for name, registered in registry}


def _hints(registered: Any) -> dict[str, Any]:
    functions = [registered]
    if inspect.isclass(registered):
        functions = [
            vars(cls)['__init__']
            for cls in reversed(registered.__mro__)
            if '__init__' in vars(cls) and cls is not object
        ]
    hints: dict[str, Any] = {}
    for function in functions:
        try:
            hints.update(typing.get_type_hints(function))
        except Exception:  # annotations of another package that name what is not there: its arguments have no types
            continue
    return hints
