"""The registered networks and what they cost: `rfdn list`."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from rfdn_plugin.archs import NETWORKS
from rfdn_plugin.leaderboard.measure.complexity import HR_SIZE, MULTI_ADDS_NOTE, count, lr_size
from rfdn_plugin.leaderboard.report.view import multi_adds

SCALES = (2, 3, 4)


@lru_cache
def network_costs() -> list[dict[str, Any]]:
    """For each registered network and scale: `type`, `scale`, `params`, `conv_macs_hr720`, in its default configuration."""
    import torch

    costs = []
    for name, cls in NETWORKS.items():
        for scale in SCALES:
            with torch.device('meta'):
                network = cls(upscale=scale)
            params = sum(parameter.numel() for parameter in network.parameters())
            macs = count(network, lr_size(scale)).conv_macs
            costs.append({'type': name, 'scale': scale, 'params': params, 'conv_macs_hr720': macs})
    return costs


def print_networks(*, as_json: bool = False, console: Console | None = None) -> None:
    """Print them as a table, or as JSON."""
    costs = network_costs()
    if as_json:
        print(json.dumps(costs, indent=1))
        return
    console = console or Console()
    title = 'Registered networks: parameters and multi-adds'
    table = Table(title=title, title_justify='left', box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column('type', no_wrap=True)
    for scale in SCALES:
        table.add_column(f'x{scale}', justify='right', no_wrap=True)
        table.add_column('', justify='right', no_wrap=True)
    for name in NETWORKS:
        own = [cost for cost in costs if cost['type'] == name]
        cells = [(f'{cost["params"]:,}', multi_adds(cost['conv_macs_hr720']).replace(' ', '')) for cost in own]
        table.add_row(name, *(text for pair in cells for text in pair))
    console.print(table)
    console.print(
        f'[dim]Multi-adds: multiply-adds of the convolutions for an output of {HR_SIZE[1]}x{HR_SIZE[0]}. {MULTI_ADDS_NOTE}[/dim]',
        highlight=False,
    )
