"""What the tables of a board show of its rows."""

from __future__ import annotations

from rfdn_plugin.leaderboard.report.view import ScaleView, citations


def test_a_model_whose_costs_cannot_be_counted_is_still_timed():
    """An OpenVINO or ncnn file: no parameters are counted, and its latency is what it is ranked for."""
    timing = {'median': 250.0, 'p10': 249.0, 'p90': 260.0}
    rows = [
        {'name': 'network', 'params': 433448, 'latency_ms': {**timing, 'median': 950.0}},
        {'name': 'int8', 'params': None, 'latency_ms': timing, 'backend': 'openvino', 'precision': 'int8'},
        {'name': 'images', 'params': None},
    ]
    titles, shown = ScaleView(4, rows, [], {}, [], []).costs()
    assert [row['name'] for row, _ in shown] == ['network', 'int8']
    assert titles == ['Params', 'Latency, ms (p10–p90)', 'Run by']
    assert [cell.text for cell in shown[1][1]] == ['–', '250.0 (249.0–260.0)', 'openvino int8']


def test_rows_of_one_source_stand_together():
    kept = {'source': 'published', 'citation': 'A report', 'secondary': True}
    rows = [
        {'source': 'measured', 'name': 'mine'},
        {**kept, 'name': 'one', 'note': '5 ms'},
        {**kept, 'name': 'two', 'secondary': False},
        {**kept, 'name': 'three'},
    ]
    assert citations(rows) == {
        'A report [secondary source]': [('one', ' (5 ms)'), ('three', '')],
        'A report': [('two', '')],
    }
