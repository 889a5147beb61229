"""What an installed package brings along: the wheel, unpacked where nothing of the checkout is near."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest


@pytest.fixture(scope='module')
def installed(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The content of the wheel, built from a source distribution as `python -m build` does it."""
    pytest.importorskip('setuptools', minversion='77')
    work = tmp_path_factory.mktemp('wheel')
    files = subprocess.run(['git', 'ls-files', '-z'], cwd=repository, capture_output=True, text=True)
    if files.returncode:
        pytest.skip('not a checkout of git')
    for name in filter(None, files.stdout.split('\0')):
        if (repository / name).is_file() and not name.startswith(('tests/', 'docs/', 'zoo/')):
            (work / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(repository / name, work / name)
    code = """
import os, tarfile
from setuptools import build_meta
source = build_meta.build_sdist('dist')
tarfile.open(f'dist/{source}').extractall('source', filter='data')
os.chdir(os.path.join('source', source.removesuffix('.tar.gz')))
build_meta.build_wheel('../../dist')
"""
    built = subprocess.run([sys.executable, '-c', code], cwd=work, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr[-2000:]
    (wheel,) = (work / 'dist').glob('*.whl')
    site = tmp_path_factory.mktemp('site')
    zipfile.ZipFile(wheel).extractall(site)
    return site


def test_every_file_of_the_package_is_installed(installed: Path, repository: Path):
    def files(folder: Path) -> set[Path]:
        found = (path for path in (folder / 'rfdn_plugin').rglob('*') if path.is_file())
        return {path.relative_to(folder) for path in found if '__pycache__' not in path.parts}

    options = {path.relative_to(repository / 'options') for path in (repository / 'options').rglob('*.*')}
    expected = {path for path in files(repository) if path.parts[1] != 'option_files'}
    assert files(installed) == expected | {Path('rfdn_plugin/option_files') / path for path in options if path.suffix}


def test_its_option_files_are_found(installed: Path, tmp_path: Path):
    environment = {**os.environ, 'PYTHONPATH': str(installed)}
    words = [sys.executable, '-m', 'rfdn_plugin', 'options']
    listed = subprocess.run([*words, 'list', '--json'], cwd=tmp_path, env=environment, capture_output=True, text=True)
    files = json.loads(listed.stdout)
    assert len(files) > 30 and all(Path(one['file']).is_relative_to(installed) for one in files)
    assert all(
        (Path(one['file']).parents[2 if one['kind'] != 'leaderboard' else 1] / 'schemas').is_dir() for one in files
    )
