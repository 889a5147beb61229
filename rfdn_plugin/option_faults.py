"""The faults that pydantic finds in an option file, in words for who wrote the file."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from rfdn_plugin.yaml_files import did_you_mean


def describe_faults(schema: type[BaseModel], error: ValidationError) -> list[str]:
    """A line for each fault: its path (`train.optim_g.lr`), what is wrong, and the nearest known key where one is unknown.

    Args:
        schema: Of the whole file.
        error: What it raised.
    """
    # Of a union (a number or `auto`) each member complains about one place; the first says enough.
    first = {
        tuple(part for part in fault['loc'] if not _is_union_tag(part)): fault for fault in reversed(error.errors())
    }
    return [_describe(schema, fault) for fault in reversed(first.values())]


def _describe(schema: type[BaseModel], fault: Any) -> str:
    location = [str(part) for part in fault['loc'] if not _is_union_tag(part)]
    where, kind, given = '.'.join(location), fault['type'], fault['input']
    if kind == 'extra_forbidden':
        return f'{where}: unknown key{did_you_mean(location[-1], _siblings(schema, location))}.'
    if kind == 'missing':
        return f'{where}: missing.'
    if kind == 'value_error':  # our own words
        message, shown = fault['msg'].removeprefix('Value error, '), ''
    else:
        message = fault['msg'][0].lower() + fault['msg'][1:]
        shown = '' if isinstance(given, dict | list) else f', not {given!r}'
    return f'{where}: {message}{shown}.' if where else f'{message}{shown}.'


def _is_union_tag(part: Any) -> bool:
    """Whether a part of a fault's place names a member of a union, not a key of the file."""
    schedulers = ('MultiStepLR', 'MultiStepRestartLR', 'CosineAnnealingRestartLR')
    return part in (*schedulers, 'int', 'bool', 'constrained-int') or str(part).startswith('literal[')


def _siblings(schema: type[BaseModel], location: Sequence[str]) -> list[str]:
    """The keys that the section of an unknown key has."""
    known: list[type[BaseModel]] = [schema]
    for part in location[:-1]:
        known = [inner for model in known for inner in _models_in(_field_type(model, part))]
    return [name for model in known for name in model.model_fields]


def _field_type(model: type[BaseModel], name: str) -> Any:
    if name in model.model_fields:
        return model.model_fields[name].annotation
    return typing.get_type_hints(model).get('__pydantic_extra__')  # sections whose names the file chooses


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in typing.get_args(annotation) for model in _models_in(part)]
