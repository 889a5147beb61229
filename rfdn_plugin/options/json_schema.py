"""`rfdn schema`: the option files as a JSON schema, from which editors complete keys and mark problems while one types.

It is generated from what checks the files (`options`, `leaderboard.options`), with every registered network, loss and
metric and its own arguments put in. `options/schemas/` holds what it prints, and the first line of every option file
names its schema there; `scripts/write_options.py` writes both.
"""

from __future__ import annotations

import warnings
from typing import Any, Literal

from pydantic.json_schema import PydanticJsonSchemaWarning

Kind = Literal['train', 'test', 'leaderboard']
KINDS: tuple[Kind, ...] = ('train', 'test', 'leaderboard')


def json_schema(kind: Kind) -> dict[str, Any]:
    """The schema of the option files of `rfdn train`, `rfdn test` or `rfdn leaderboard`, as JSON Schema 2020-12."""
    if kind == 'leaderboard':
        from rfdn_plugin.archs import NETWORKS
        from rfdn_plugin.leaderboard.options import LeaderboardOptions

        schema = LeaderboardOptions.model_json_schema()
        schema['$defs']['NetworkEntry']['properties']['type'] = {'title': 'Type', 'enum': [*NETWORKS, None]}
    else:
        from rfdn_plugin.options.load import TestOptions, TrainingOptions

        options = TrainingOptions if kind == 'train' else TestOptions
        schema = options.model_json_schema()
        schema['properties']['network_g'] = _choice('ARCH', schema['properties']['network_g'])
        sections = schema['$defs']
        for name in ('pixel_opt', 'perceptual_opt', 'fft_opt'):
            if kind == 'train':
                loss = sections['TrainSection']['properties'][name]
                sections['TrainSection']['properties'][name] = _choice('LOSS', loss, optional=True)
        metrics = sections['ValSection']['properties']['metrics']
        better = {'better': {'enum': ['higher', 'lower'], 'description': 'Which way a result is good.'}}
        one = _choice('METRIC', {}, given={'img', 'img2'}, further=better)
        metrics['anyOf'] = [{'type': 'object', 'additionalProperties': one}, {'type': 'null'}]
    return {'$schema': 'https://json-schema.org/draft/2020-12/schema', **schema}


def _choice(
    kind: str, described: dict[str, Any], *, optional: bool = False, given: Any = (), further: dict | None = None
) -> dict[str, Any]:
    """One of what BasicSR's registry of that kind holds: its name as `type`, and its arguments."""
    from rfdn_plugin.options.registry import registered_models

    choices = []
    for name, model in sorted(registered_models(kind, set(given)).items()):
        with warnings.catch_warnings():  # a default that JSON cannot express is left out
            warnings.simplefilter('ignore', PydanticJsonSchemaWarning)
            schema = model.model_json_schema()
        choices.append(
            {
                'title': name,
                'type': 'object',
                'properties': {'type': {'const': name}, **schema.get('properties', {}), **(further or {})},
                'required': ['type', *schema.get('required', [])],
                'additionalProperties': schema.get('additionalProperties', False),
                **({'$defs': schema['$defs']} if '$defs' in schema else {}),
            }
        )
    kept = {key: value for key, value in described.items() if key in ('title', 'description', 'default')}
    return {**kept, 'anyOf': [*choices, {'type': 'null'}]} if optional else {**kept, 'oneOf': choices}
