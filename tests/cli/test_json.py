"""`--json`: stdout is one JSON document and nothing else, in every command that has it."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from rfdn_plugin import cli


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    """Run a command in a folder with `hr/a.png` and `hr/broken.png`; the exit code and what it printed."""
    monkeypatch.chdir(tmp_path)
    Path('hr').mkdir()
    cv2.imwrite('hr/a.png', np.random.randint(0, 255, (24, 24, 3), dtype=np.uint8))
    Path('hr/broken.png').write_bytes(b'\x89PNG\r\n')

    def run(words: str) -> tuple[int, object]:
        code = cli.main([*words.split(), '--json'])
        return code, json.loads(capsys.readouterr().out)

    return run


def test_prepare_merge_and_verify(ask):
    code, summary = ask('prepare --hr hr -o lmdb --scales 2 --crop-size 0 --workers 1')
    assert code == 0 and summary['used'] == 1 and summary['databases'][0] == 'lmdb/HR.lmdb'
    assert summary['skipped'][0][0].endswith('broken.png')
    code, summary = ask('prepare --hr hr --out folders --scales 2 --folders')
    assert code == 0 and summary['used'] == 1 and 'folders/HR' in summary['databases'][0]
    code, summary = ask('merge lmdb -o merged')
    assert code == 0 and summary['entries'] == 1
    code, report = ask('verify lmdb --workers 1')
    assert code == 0 and report['pairs'] == 1 and report['problems'] == 0
    code, report = ask('verify hr --workers 1')
    assert code == 1 and report['problems'] == 1 and report['findings'][0]['key'] == 'broken.png'


def test_upscale(ask):
    code, outcome = ask('upscale hr -o big')
    assert code == 1 and outcome['written'] == 1 and 'broken.png' in outcome['problems'][0][0]


def test_export(capsys: pytest.CaptureFixture):
    """The printing alone: an export takes long, and tests/deploy has them."""
    from rfdn_plugin.cli.export import _print_json
    from rfdn_plugin.deploy.export import Exported

    _print_json(Exported([Path('m.onnx')], {'upscale': '2'}, {'onnxruntime': {(15, 20): 0.01}}))
    exported = json.loads(capsys.readouterr().out)
    assert exported == {
        'paths': ['m.onnx'],
        'card': {'upscale': '2'},
        'grey_levels': {'onnxruntime': {'15x20': 0.01}},
        'computed_in': {},
    }


@pytest.mark.parametrize('words', ['inspect zoo:RFDN_x2', 'list --zoo', 'options list'])
def test_what_is_there(ask, words: str):
    code, content = ask(words)
    assert code == 0 and content
