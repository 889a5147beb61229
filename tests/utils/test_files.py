"""Files of JSON lines, which grow while a run may be killed."""

from __future__ import annotations

from pathlib import Path

import pytest

from rfdn_plugin.utils.files import append_json_line, read_json_lines

VALUES = [['baby', {'psnr_y': 32.1}], {'output': 'name with \u2028 and \u00fc.png'}, [1, None]]


def test_what_is_added_is_read(tmp_path: Path):
    path = tmp_path / 'new' / 'lines.jsonl'
    assert list(read_json_lines(path)) == []
    for value in VALUES:
        append_json_line(path, value)
    assert list(read_json_lines(path)) == VALUES


@pytest.mark.parametrize('kept', range(1, 12))
def test_a_line_that_was_cut_short_is_left_out_and_spoils_no_other(tmp_path: Path, kept: int):
    path = tmp_path / 'lines.jsonl'
    append_json_line(path, VALUES[0])
    path.write_bytes(path.read_bytes() + b'["butterfly", 1]'[:kept])
    append_json_line(path, VALUES[1])
    assert list(read_json_lines(path)) == VALUES[:2]
