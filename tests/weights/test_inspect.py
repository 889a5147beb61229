"""`rfdn inspect`."""

from __future__ import annotations

import json

import pytest

from rfdn_plugin.cli import main


def test_json_says_all_of_it(data_root, capsys: pytest.CaptureFixture):
    assert main(['inspect', str(data_root / 'weights/official/RFDN_AIM.pth'), '--json']) == 0
    report = json.loads(capsys.readouterr().out)
    assert report['sha256'] == '11af8ec8ebd68689e90ef1e29044f9804c72d3bd9f7573820b7b26035782760c'
    assert (report['network'], report['scale'], report['img_range']) == ('E_RFDN', 4, 255)
    assert (report['layout'], report['tensors'], report['parameters']) == ('flat', 128, 433_448)
    assert report['licence'] == 'MIT' and report['sources']['img_range'] == 'known weights'


def test_a_lookalike_is_described_with_the_reason(data_root, capsys: pytest.CaptureFixture):
    assert main(['inspect', str(data_root / 'weights/lookalikes/team25_frfdn.pth')]) == 0
    out = capsys.readouterr().out
    assert 'unknown: ' in out and 'B1.c2_r.weight' in out and 'network: ' not in out and 'parameters: 376432' in out


def test_lines_fit_the_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    monkeypatch.setenv('COLUMNS', '80')
    assert main(['inspect', 'zoo:RFDN_x2']) == 0
    card = capsys.readouterr().out.split('metadata:')[1].splitlines()
    assert all(len(line) <= 80 or line.count(' ') == 3 for line in card)  # a checksum stays whole
    assert any(line.endswith(' characters)') for line in card)
