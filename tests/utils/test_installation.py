"""What `rfdn doctor` finds, each with its cure: broken installations are built as folders with pip's metadata."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rfdn_plugin import cli
from rfdn_plugin.utils import installation


def install(site: Path, name: str, version: str, package: str, *files: str, requires: str = '') -> None:
    """A distribution in `site`: pip's metadata and some empty files of a package."""
    info = site / f'{name.replace("-", "_")}-{version}.dist-info'
    info.mkdir(parents=True)
    text = f'Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n'
    (info / 'METADATA').write_text(text + (f'Requires-Dist: {requires}\n' if requires else ''))
    (info / 'top_level.txt').write_text(package + '\n')
    for file in files:
        path = site / package / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment with nothing in it but what the test installs."""
    monkeypatch.setattr(installation.sys, 'path', [str(tmp_path)])
    for name in ('basicsr', 'cv2'):
        for module in [module for module in installation.sys.modules if module.split('.')[0] == name]:
            monkeypatch.delitem(installation.sys.modules, module)
    return tmp_path


WHOLE = ('__init__.py', 'version.py', 'train.py', 'archs/__init__.py')


def test_basicsr_missing(site: Path):
    (finding,) = installation.check_basicsr()
    assert finding.state == 'problem' and finding.cure == 'pip install --no-build-isolation basicsr'


def test_basicsr_itself(site: Path):
    install(site, 'basicsr', '1.4.2', 'basicsr', *WHOLE)
    (finding,) = installation.check_basicsr()
    assert finding.state == 'ok' and 'basicsr 1.4.2' in finding.text


def test_basicsr_of_a_fork(site: Path):
    install(site, 'basicsr-fixed', '1.4.3', 'basicsr', *WHOLE)
    (finding,) = installation.check_basicsr()
    assert finding.state == 'note' and 'basicsr-fixed' in finding.text


def test_basicsr_of_two_packages(site: Path):
    install(site, 'basicsr', '1.4.2', 'basicsr', *WHOLE)
    install(site, 'basicsr-fixed', '1.4.3', 'basicsr', *WHOLE)
    (finding,) = installation.check_basicsr()
    assert finding.state == 'problem' and finding.cure.startswith('pip uninstall basicsr basicsr-fixed, then')


def test_basicsr_with_lost_files(site: Path):
    install(site, 'basicsr', '1.4.2', 'basicsr', '__init__.py', 'version.py')
    (finding,) = installation.check_basicsr()
    assert finding.state == 'problem' and 'lacks train.py, archs' in finding.text


def test_basicsr_as_a_folder(site: Path):
    for file in WHOLE:
        (site / 'basicsr' / file).parent.mkdir(parents=True, exist_ok=True)
        (site / 'basicsr' / file).touch()
    (finding,) = installation.check_basicsr()
    assert finding.state == 'note' and 'pip does not know' in finding.text


@pytest.mark.parametrize('names', [[], ['opencv-python'], ['opencv-python', 'opencv-python-headless']])
def test_opencv_none_one_and_two(site: Path, names: list[str]):
    for name in names:
        install(site, name, '4.12.0', 'cv2', '__init__.py')
    (finding,) = installation.check_cv2()
    assert finding.state == ('ok' if len(names) == 1 else 'problem')
    assert not names[1:] or finding.cure.startswith(f'pip uninstall {" ".join(names)}, then')


@pytest.mark.parametrize('torch, state', [('2.14.1', 'ok'), ('2.14.1+cpu', 'ok'), ('2.10.0', 'problem')])
def test_torch_and_torchvision(site: Path, torch: str, state: str):
    install(site, 'torch', torch, 'torch')
    install(site, 'torchvision', '0.29.1', 'torchvision', requires='torch==2.14.1')
    (finding,) = installation.check_torch()
    assert finding.state == state
    assert state == 'ok' or 'pip install torch==2.14.1' in finding.cure


def test_torch_missing(site: Path):
    (finding,) = installation.check_torch()
    assert finding.state == 'problem' and 'torch is not installed' in finding.text


@pytest.mark.parametrize('version, state', [((3, 9), 'note'), ((3, 11), 'ok'), ((3, 99), 'note')])
def test_python(monkeypatch: pytest.MonkeyPatch, version: tuple[int, int], state: str):
    monkeypatch.setattr(installation.sys, 'version_info', (*version, 0, 'final', 0))
    (finding,) = installation.check_python()
    assert finding.state == state


@pytest.mark.parametrize('kind', ['nfs4', 'cifs', 'fuse.sshfs', 'lustre', 'ext4', 'tmpfs'])
def test_network_disks_by_the_mount_that_is_nearest(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch):
    mounts = tmp_path / 'mounts'
    mounts.write_text(f'/dev/a / ext4 rw 0 0\nserver:/x {tmp_path}/my\\040data {kind} rw 0 0\n')
    (tmp_path / 'my data').mkdir()
    assert installation.file_system(tmp_path / 'my data/HR.lmdb', mounts) == kind
    assert installation.file_system(tmp_path, mounts) == 'ext4'
    monkeypatch.setattr(installation, 'file_system', lambda path: kind)
    assert installation.is_network_disk(tmp_path) == (kind not in ('ext4', 'tmpfs'))


def test_a_full_disk(tmp_path: Path):
    finding = installation.check_disks([tmp_path], minimum=float('inf'))[0]
    assert finding.state == 'problem' and finding.cure == 'make room'


@pytest.mark.parametrize('flags', [{'avx2', 'avx512_bf16'}, {'avx2'}, set()])
def test_the_processor(monkeypatch: pytest.MonkeyPatch, flags: set[str]):
    monkeypatch.setattr(installation, 'processor_flags', lambda: flags)
    found = {finding.text for finding in installation.check_processor() if finding.state == 'ok'}
    assert len(found) == len(flags)
    assert ('avx512_bf16' in flags) == any('precision: bf16' in text for text in found)


@pytest.mark.parametrize('name', installation.EXTRAS)
def test_a_missing_extra_names_how_it_is_installed(monkeypatch: pytest.MonkeyPatch, name: str):
    monkeypatch.setattr(installation.importlib.util, 'find_spec', lambda module: None if module == name else object())
    (finding,) = [finding for finding in installation.check_extras() if finding.state == 'note']
    assert finding.text.startswith(name) and f'[{installation.EXTRAS[name][0]}]' in finding.cure


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch):
    """This environment passes; an option file that asks for what is not there is a problem, with exit code 1."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(installation, 'check_disks', lambda folders: [])
    assert cli.main(['doctor']) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[-1] == 'no problem' and max(map(len, out.splitlines())) <= 80 + len(str(tmp_path))
    (tmp_path / 'o.yml').write_text('num_gpu: 99\ndatasets: {train: {dataroot_gt: nowhere.lmdb}}\n')
    monkeypatch.setattr(installation, 'examine', list)  # as above, and it takes seconds
    assert cli.main(['doctor', '-opt', 'o.yml', '--json']) == 1
    problems = [finding for finding in json.loads(capsys.readouterr().out) if finding['state'] == 'problem']
    assert len(problems) == 2 and '99 GPUs' in problems[0]['text'] and 'nowhere.lmdb' in problems[1]['text']
