"""`rfdn autoload` in an environment of its own: BasicSR's unchanged scripts work, until it is off again."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
import yaml
from helpers import REPOSITORY
from helpers.training import OURS, option_file, small


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """The interpreter of a new environment that sees the packages of this one and the plugin."""
    venv.create(tmp_path / 'venv', with_pip=False, symlinks=True)
    python = tmp_path / 'venv/bin/python'
    packages = Path(
        subprocess.run(
            [python, '-c', 'import sysconfig; print(sysconfig.get_path("purelib"))'],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    )
    assert tmp_path in packages.parents
    # The last line is what setuptools does at each start from Python 3.12 on: basicsr needs its `distutils`.
    distutils = 'import sys; sys.version_info >= (3, 12) and __import__("_distutils_hack").add_shim()'
    (packages / 'a_shared.pth').write_text(f'{sysconfig.get_path("purelib")}\n{REPOSITORY}\n{distutils}\n')
    return python


def run(python: Path, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    env = {key: value for key, value in os.environ.items() if key != 'PYTHONPATH'}
    env['OMP_NUM_THREADS'] = '1'
    return subprocess.run([python, *words], capture_output=True, text=True, cwd=cwd, env=env, timeout=300)


def autoload(python: Path, *words: str, cwd: Path) -> str:
    outcome = run(python, '-m', 'rfdn_plugin', 'autoload', *words, cwd=cwd)
    assert outcome.returncode == 0, outcome.stderr
    return outcome.stdout.strip()


def test_it_is_off_then_on_then_off(python, tmp_path):
    loaded = 'import sys; print("rfdn_plugin" in sys.modules, "torch" in sys.modules)'
    assert autoload(python, cwd=tmp_path) == 'off'
    assert run(python, '-c', loaded, cwd=tmp_path).stdout.strip() == 'False False'
    said = autoload(python, 'on', cwd=tmp_path)
    assert said.startswith(f'on: {tmp_path}') and said.endswith('.pth')
    assert autoload(python, 'on', cwd=tmp_path) == autoload(python, cwd=tmp_path) == said
    assert run(python, '-c', loaded, cwd=tmp_path).stdout.strip() == 'True False'
    assert autoload(python, 'off', cwd=tmp_path) == f'off: removed {said.removeprefix("on: ")}.'
    assert autoload(python, 'off', cwd=tmp_path) == 'off, as before.'
    assert run(python, '-c', loaded, cwd=tmp_path).stdout.strip() == 'False False'


def test_basicsrs_own_script_trains_with_it_and_not_without(python, tmp_path, tiny_data, photographs):
    from rfdn_plugin.options.load import load_training_options

    changes = small(tiny_data, photographs, **OURS, **{'train:total_iter': 2, 'val:val_freq': 2})
    options = load_training_options(option_file(), [*changes, 'name=own'])
    (tmp_path / 'own.yml').write_text(yaml.safe_dump(options, sort_keys=False))
    command = ('-m', 'basicsr.train', '-opt', 'own.yml')
    assert 'functional_tensor' in run(python, *command, cwd=tmp_path).stderr
    autoload(python, 'on', cwd=tmp_path)
    # BasicSR writes below the folder above its own package: a link to it here keeps that in this folder.
    (tmp_path / 'checkout').mkdir()
    import importlib.util

    origin = Path(importlib.util.find_spec('basicsr').origin).parent
    (tmp_path / 'checkout/basicsr').symlink_to(origin)
    code = 'import runpy, sys; sys.path.insert(0, "checkout"); sys.argv = ["train.py", "-opt", "own.yml"]; '
    code += 'runpy.run_module("basicsr.train", run_name="__main__", alter_sys=True)'
    outcome = run(python, '-c', code, cwd=tmp_path)
    assert outcome.returncode == 0, outcome.stderr[-2000:]
    assert (tmp_path / 'checkout/experiments/own/models/net_g_latest.pth').is_file()
    assert 'it/s' in outcome.stderr  # our progress line


def test_a_plugin_that_was_removed_is_no_obstacle(python, tmp_path):
    autoload(python, 'on', cwd=tmp_path)
    shared = next((tmp_path / 'venv').rglob('a_shared.pth'))
    shared.unlink()
    outcome = run(python, '-c', 'print("fine")', cwd=tmp_path)
    assert outcome.stdout.strip() == 'fine' and outcome.stderr == ''


def test_this_python_is_as_it_was():
    """The tests above must not have touched the environment that runs them."""
    assert (
        not (Path(sysconfig.get_path('purelib')) / 'rfdn_plugin_autoload.pth').exists() or sys.prefix == sys.base_prefix
    )
