"""What an option file may name: registered networks, losses, metrics and models, and the arguments that they take."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from rfdn_plugin.options.yaml_io import did_you_mean


def _registry(kind: str) -> Any:
    import basicsr  # noqa: F401 (fills the registries)
    from basicsr.utils import registry

    return getattr(registry, f'{kind}_REGISTRY')


def check_name(kind: str, name: str) -> str:
    """The name, where BasicSR's registry of that kind ('ARCH', 'LOSS', 'METRIC', 'MODEL') has it; else ValueError."""
    registry = _registry(kind)
    if name not in registry and f'{name}_basicsr' not in registry:
        what = {'ARCH': 'network', 'LOSS': 'loss', 'METRIC': 'metric', 'MODEL': 'model'}[kind]
        raise ValueError(f'no {what} {name!r} is registered{did_you_mean(name, registry.keys())}')
    return name


def check_registered(kind: str, section: dict[str, Any], given: set[str] | None = None) -> dict[str, Any]:
    """A `type` and arguments against the signature of the registered class or function; ValueError says what differs."""
    if not isinstance(section.get('type'), str):
        raise ValueError('type is missing: name what is registered')
    name = check_name(kind, section['type'])
    registry = _registry(kind)
    registered = registry.get(name) if name in registry else registry.get(f'{name}_basicsr')
    arguments = {key: value for key, value in section.items() if key != 'type'}
    try:
        checked = arguments_model(name, registered, given or set()).model_validate(arguments)
    except ValidationError as error:
        known = _parameters(registered)
        raise ValueError('; '.join(_describe_argument(problem, known) for problem in error.errors())) from None
    return {'type': name, **checked.model_dump(exclude_unset=True)}


def default_argument(network: str, name: str, otherwise: Any) -> Any:
    """The default of an argument of a registered network; `otherwise` where it has no such argument or no default."""
    registry = _registry('ARCH')
    registered = registry.get(network) if network in registry else registry.get(f'{network}_basicsr')
    parameter = _parameters(registered).get(name)
    if parameter is None or parameter.default is inspect.Parameter.empty:
        return otherwise
    return parameter.default


def _describe_argument(problem: Any, known: Mapping[str, Any]) -> str:
    name = str(problem['loc'][0])
    if problem['type'] == 'extra_forbidden':
        return f'unknown argument {name}{did_you_mean(name, known)}'
    return f'{name}: {problem["msg"][0].lower()}{problem["msg"][1:]}'


def check_metric(section: dict[str, Any]) -> dict[str, Any]:
    """As `check_registered`, for a metric, which is given its images and may say which way is better."""
    better = section.pop('better', None)
    if better not in (None, 'higher', 'lower'):
        raise ValueError(f"better: must be 'higher' or 'lower', not {better!r}")
    checked = check_registered('METRIC', section, given={'img', 'img2'})
    border = checked.get('crop_border', 0)
    if not isinstance(border, int) or border < 0:
        raise ValueError(f'crop_border: must be a whole number from 0, not {border!r}')
    return checked if better is None else {**checked, 'better': better}


def check_arguments(name: str, function: Callable, arguments: Mapping[str, Any], given: set[str]) -> None:
    """Raise ValueError where `function` has no parameter of a name; `given` are those that the caller supplies."""
    parameters = set(inspect.signature(function).parameters)
    for key in arguments:
        if key not in parameters - given:
            raise ValueError(f'{name} has no argument {key!r}{did_you_mean(key, parameters - {"self", "params"})}')


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


def registered_models(kind: str, given: set[str] = frozenset()) -> dict[str, type[BaseModel]]:
    """For everything in BasicSR's registry of that kind, by the name for an option file: the model of its arguments."""
    registry = _registry(kind)
    return {name.removesuffix('_basicsr'): arguments_model(name, registered, given) for name, registered in registry}


def _hints(registered: Any) -> dict[str, Any]:
    if not inspect.isclass(registered):
        return typing.get_type_hints(registered)
    hints: dict[str, Any] = {}
    for cls in reversed(registered.__mro__):
        if '__init__' in vars(cls) and cls is not object:
            hints.update(typing.get_type_hints(cls.__init__))
    return hints
