"""What makes results of earlier runs unusable."""

from __future__ import annotations

import shutil
from pathlib import Path

import rfdn_plugin
from rfdn_plugin.leaderboard.measure import code_version


def test_it_changes_with_a_module_that_computes_and_with_no_other(tmp_path, monkeypatch):
    package = tmp_path / 'package'
    shutil.copytree(Path(rfdn_plugin.__file__).parent, package, ignore=shutil.ignore_patterns('zoo', '__pycache__'))
    monkeypatch.setattr(code_version, '_PACKAGE', package)

    def version_after(changed: str) -> str:
        (package / changed).write_text('SLOPE = 0.1\n')
        return code_version.code_version.__wrapped__()

    first = code_version.code_version.__wrapped__()
    assert version_after('cli/doctor.py') == first
    assert len({first, version_after('archs/blocks.py'), version_after('data/bicubic.py')}) == 3
