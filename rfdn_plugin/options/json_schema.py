"""The option files of training and testing as a JSON schema, by which editors complete keys and mark problems.

It is generated from what checks the files (`options.whole`), with every registered network, loss and metric and its own
arguments put in. `options/schemas/` holds what `rfdn schema` prints, and the first line of every option file names its
schema there; `scripts/write_options.py` writes both.
"""

from __future__ import annotations

import functools
import warnings
from typing import Any, Literal

from pydantic.json_schema import PydanticJsonSchemaWarning

DIALECT = 'https://json-schema.org/draft/2020-12/schema'
_LOSSES = ('pixel_opt', 'perceptual_opt', 'fft_opt', 'gan_opt', 'ldl_opt')


def json_schema(kind: Literal['train', 'test']) -> dict[str, Any]:
    """The schema of the option files of `rfdn train` or `rfdn test`, as JSON Schema 2020-12."""
    from rfdn_plugin.options.whole import TestOptions, TrainingOptions

    schema = (TrainingOptions if kind == 'train' else TestOptions).model_json_schema()
    whole, sections = schema['properties'], schema['$defs']
    whole['network_g'] = _choice('ARCH', whole['network_g'])
    names = {'type': 'array', 'items': {'type': 'string'}}
    whole['custom_imports']['anyOf'] = [names, {'type': 'string'}, *whole['custom_imports']['anyOf']]
    if kind == 'train':
        whole['network_d'] = _choice('ARCH', whole['network_d'], optional=True)
        train = sections['TrainSection']['properties']
        for name in _LOSSES:
            train[name] = _choice('LOSS', train[name], optional=True)
    metrics = sections['ValSection']['properties']['metrics']
    better = {'better': {'enum': ['higher', 'lower'], 'description': 'Which way a result is good.'}}
    one = _choice('METRIC', {}, given={'img', 'img2'}, further=better)
    metrics['anyOf'] = [{'type': 'object', 'additionalProperties': one}, {'type': 'null'}]
    return {'$schema': DIALECT, **schema}


def _choice(
    kind: str, described: dict[str, Any], *, optional: bool = False, given: Any = (), further: dict | None = None
) -> dict[str, Any]:
    """One of what BasicSR's registry of that kind holds: its name as `type`, and its arguments."""
    choices = [
        {**one, 'properties': {**one['properties'], **(further or {})}} for one in _registered(kind, frozenset(given))
    ]
    kept = {key: value for key, value in described.items() if key in ('title', 'description', 'default')}
    return {**kept, 'anyOf': [*choices, {'type': 'null'}]} if optional else {**kept, 'oneOf': choices}


@functools.lru_cache
def _registered(kind: str, given: frozenset[str]) -> list[dict[str, Any]]:
    """A schema for each member of a registry of BasicSR."""
    from rfdn_plugin.options.registry import registered_models

    choices = []
    for name, model in sorted(registered_models(kind, given).items()):
        with warnings.catch_warnings():  # a default that JSON cannot express is left out
            warnings.simplefilter('ignore', PydanticJsonSchemaWarning)
            schema = model.model_json_schema()
        choices.append(
            {
                'title': name,
                'type': 'object',
                'properties': {'type': {'const': name}, **schema.get('properties', {})},
                'required': ['type', *schema.get('required', [])],
                'additionalProperties': schema.get('additionalProperties', False),
                **({'$defs': schema['$defs']} if '$defs' in schema else {}),
            }
        )
    return choices
