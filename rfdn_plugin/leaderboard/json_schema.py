"""The option files of `rfdn leaderboard` as a JSON schema, by which editors complete keys and mark problems."""

from __future__ import annotations

from typing import Any

from rfdn_plugin.options.json_schema import DIALECT


def leaderboard_schema() -> dict[str, Any]:
    """JSON Schema 2020-12, generated from what checks the files, with the networks of this package put in."""
    from rfdn_plugin.archs import NETWORKS
    from rfdn_plugin.leaderboard.options import LeaderboardOptions

    schema = LeaderboardOptions.model_json_schema()
    network = schema['$defs']['NetworkEntry']['properties']['type']
    network.pop('anyOf')
    network['enum'] = [*NETWORKS, None]
    return {'$schema': DIALECT, **schema}
