"""The problems that pydantic finds in an option file, in words for who wrote the file."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Tag, ValidationError

from rfdn_plugin.options.yaml_io import did_you_mean

Place = tuple[str | int, ...]
"""Keys and indices from the whole file to a value."""


def write_place(place: Place) -> str:
    """Write the place of a value in an option file, for example `train.optim_g.betas[0]`."""
    return ''.join(f'[{part}]' if isinstance(part, int) else f'.{part}' for part in place).removeprefix('.')


def places_of_unknown_keys(schema: type[BaseModel], error: ValidationError) -> list[Place]:
    """Places of keys that no section knows."""
    unknown = [problem['loc'] for problem in error.errors() if problem['type'] == 'extra_forbidden']
    return list(dict.fromkeys(_locate(schema, location)[0] for location in unknown))


def describe_problems(schema: type[BaseModel], error: ValidationError) -> list[str]:
    """A line for each problem: its place (`train.optim_g.lr`, `entries[0].scale`), what is wrong, and the nearest known key.

    Args:
        schema: Model of the whole file.
        error: What it raised.
    """
    described: dict[Place, str] = {}
    for problem in error.errors():
        place, siblings = _locate(schema, problem['loc'])
        described.setdefault(place, _describe(problem, place, siblings))
    # Of a union (a number or `auto`) each member complains: the first of one place says enough, and the one that says
    # what is wrong inside says more than the one that would not have it at all.
    return [
        line
        for place, line in described.items()
        if not any(len(other) > len(place) and other[: len(place)] == place for other in described)
    ]


def _describe(problem: Any, place: Sequence[str | int], siblings: Sequence[str]) -> str:
    where = write_place(tuple(place))
    kind, given = problem['type'], problem['input']
    if kind == 'extra_forbidden':
        return f'{where}: unknown key{did_you_mean(str(place[-1]), siblings)}.'
    if kind == 'missing':
        return f'{where}: missing.'
    if kind == 'value_error':  # our own words
        message, shown = problem['msg'].removeprefix('Value error, '), ''
    else:
        message = problem['msg'][0].lower() + problem['msg'][1:]
        shown = '' if isinstance(given, dict | list) else f', not {"~" if given is None else repr(given)}'
    if kind in ('model_type', 'model_attributes_type', 'dict_type'):
        message = 'must be a section with keys of its own'  # pydantic names a class of ours
        shown += ': give them, or leave the section out' if given is None else ''
    return f'{where}: {message}{shown}.' if where else f'{message}{shown}.'


def _locate(schema: type[BaseModel], location: Sequence[str | int]) -> tuple[Place, list[str]]:
    """The place in the file, without pydantic's names for the members of unions, and the keys that are known there."""
    place: list[str | int] = []
    here: list[Any] = [schema]
    siblings: list[str] = []
    for part in location:
        members = [member for annotation in here for member in _union_members(annotation)]
        if members:  # the part says which of them complains
            here = [member for member in members if part in _names(member)] or members
            continue
        place.append(part)
        siblings = [name for model in map(_bare, here) if _is_model(model) for name in model.model_fields]
        here = [inner for annotation in here for inner in _inside(annotation, part)]
    return tuple(place), siblings


def _inside(annotation: Any, part: str | int) -> list[Any]:
    """The types of what stands under a key or an index of a value of that type."""
    bare = _bare(annotation)
    if not _is_model(bare):
        arguments = typing.get_args(bare)
        return [*arguments[1:]] if typing.get_origin(bare) is dict else [*arguments[:1]]
    if part in bare.model_fields:
        return [bare.model_fields[part].annotation]
    extra = typing.get_type_hints(bare).get('__pydantic_extra__')  # sections whose names the file chooses
    return [*typing.get_args(extra)[1:]]


def _union_members(annotation: Any) -> list[Any]:
    """The members of a union; nothing where it is none, or only allows to leave a value out (`X | None`)."""
    bare = _bare(annotation)
    if typing.get_origin(bare) not in (typing.Union, types.UnionType):
        return []
    return [member for member in typing.get_args(bare) if member is not types.NoneType]


def _names(member: Any) -> set[Any]:
    """What pydantic may call a member of a union, as far as it is a section: by its tag, its class, or its `type`."""
    bare = _bare(member)
    names = {mark.tag for mark in getattr(member, '__metadata__', ()) if isinstance(mark, Tag)}
    if _is_model(bare):
        names.add(bare.__name__)
        fields = [field.annotation for field in bare.model_fields.values()]
        names |= {name for field in fields if typing.get_origin(field) is Literal for name in typing.get_args(field)}
    return names


def _bare(annotation: Any) -> Any:
    """The type without what is annotated, and without the `| None` of what may be left out."""
    if typing.get_origin(annotation) is Annotated:
        return _bare(typing.get_args(annotation)[0])
    members = [member for member in typing.get_args(annotation) if member is not types.NoneType]
    is_union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    return _bare(members[0]) if is_union and len(members) == 1 else annotation


def _is_model(annotation: Any) -> bool:
    return inspect.isclass(annotation) and issubclass(annotation, BaseModel)
