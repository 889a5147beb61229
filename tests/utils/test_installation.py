"""What `rfdn doctor` finds, each with its cure: broken installations are built as folders with pip's metadata."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from rfdn_plugin import cli
from rfdn_plugin.cli.doctor import check_options
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
    assert finding.state == 'problem' and finding.cure.startswith('make room')


@pytest.mark.parametrize('flags', [{'avx2', 'avx512_bf16'}, {'avx2', 'avx_vnni'}, {'avx2'}, set()])
def test_the_processor(monkeypatch: pytest.MonkeyPatch, flags: set[str]):
    """What is there has its use; what is missing, and nothing like it is there, what that means."""
    monkeypatch.setattr(installation, 'processor_flags', lambda: flags)
    texts = {state: [f.text for f in installation.check_processor() if f.state == state] for state in ('ok', 'note')}
    assert len(texts['ok']) == len(flags)
    for flag, word in {'avx512_bf16': 'precision bf16', 'avx_vnni': 'int8'}.items():
        assert (flag in flags) == any(word in text for text in texts['ok'])
        assert (bool(flags) and flag not in flags) == any(word in text for text in texts['note'])


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


@pytest.mark.parametrize(
    ('output', 'cure'),
    [
        (
            '  File "/s/basicsr/archs/__init__.py", line 1\nModuleNotFoundError: No module named \'torch\'',
            'pytorch.org',
        ),
        (
            '  File "/s/rfdn_plugin/x.py", line 1\nModuleNotFoundError: No module named \'cv2\'',
            'pip install opencv-python',
        ),
        (
            '  File "/s/x/x.py", line 1\nModuleNotFoundError: No module named \'basicsr.archs\'',
            'pip install --no-build',
        ),
        ('  File "/s/basicsr/utils/img_util.py", line 4\nSyntaxError: invalid syntax', '--force-reinstall'),
        ('  File "/s/cv2/__init__.py", line 9\nImportError: libGL.so.1: cannot open shared object file', 'libgl1'),
        ('  File "/s/torch/__init__.py", line 9\nOSError: libcudart.so.12: cannot open', 'pytorch.org'),
        ('  File "/s/scipy/special/__init__.py", line 9\nImportError: numpy.core', 'reinstall the package of /s/scipy'),
        ('', 'anew'),
    ],
)
def test_a_basicsr_that_does_not_import(output: str, cure: str, monkeypatch: pytest.MonkeyPatch):
    class Child:
        returncode, stdout, stderr = -4, '', output and f'Traceback (most recent call last):\n{output}\n'

    monkeypatch.setattr(installation.subprocess, 'run', lambda *words, **settings: Child)
    (finding,) = installation.check_imports()
    assert finding.state == 'problem' and cure in finding.cure
    assert (output.splitlines() or ['code -4'])[-1] in finding.text


def test_a_network_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(installation, 'file_system', lambda path: 'nfs4')
    finding = installation.check_disks([tmp_path], minimum=0)[0]
    assert finding.state == 'note' and 'nfs4' in finding.text and 'local disk' in finding.cure


def test_too_little_shared_memory():
    assert [finding.state for finding in installation.check_shared_memory(0, 'nobody')] in (['ok'], [])
    for finding in installation.check_shared_memory(1e18, 'all workers'):
        assert finding.state == 'problem' and 'all workers want' in finding.text and '--shm-size' in finding.cure


TRAIN = {'gt_size': 128, 'batch_size_per_gpu': 64, 'num_worker_per_gpu': 6}


@pytest.mark.parametrize(
    ('options', 'gpus', 'said'),
    [
        ({'num_gpu': 2}, 1, 'asks for 2 GPUs, 1 found'),
        ({'train': {'precision': 'fp16'}}, 0, 'train.precision: fp16 needs a GPU'),
        ({'datasets': {'train': {'prefetch_mode': 'cuda'}}}, 0, 'prefetch_mode: cuda needs a GPU'),
        ({'device': 'cuda'}, 0, 'device: cuda needs a GPU'),
        ({'datasets': {'val': {'dataroot_gt': 'there'}}}, 0, 'there lies on a network disk (nfs4)'),
        ({'datasets': {'val': {'dataroot_gt': 'there.lmdb'}}}, 0, 'there.lmdb lies on a network disk (nfs4)'),
        ({'sets': {'Set5': {'hr': 1, 'dataroot_gt': 'nowhere'}}}, 0, 'nowhere does not exist'),
        ({'scale': 2, 'datasets': {'train': TRAIN | {'num_worker_per_gpu': 10**9}}}, 0, 'of shared memory'),
        ({'scale': 2, 'datasets': {'train': TRAIN | {'num_worker_per_gpu': 10**9, 'resident': True}}}, 0, ''),
        ({'num_gpu': 1, 'device': 'cuda', 'train': {'precision': 'fp16'}}, 1, ''),
        ({'num_gpu': 'auto', 'train': None, 'datasets': []}, 0, ''),
    ],
)
def test_what_an_option_file_asks_for(
    options: dict, gpus: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Each with a cure, or nothing but one `ok`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(installation, 'file_system', lambda path: 'nfs4')
    for name in ('there', 'there.lmdb'):
        (tmp_path / name).mkdir()
    (finding,) = check_options(Path('o.yml'), options, gpus)
    assert (said in finding.text and finding.cure and finding.state != 'ok') if said else finding.state == 'ok'


def test_the_doctor_needs_nothing_that_may_be_broken(repository: Path, tmp_path: Path):
    """In an interpreter that finds the standard library and this package alone."""
    words = [sys.executable, '-I', '-S', '-c']
    code = f'import sys; sys.path.insert(0, {str(repository)!r}); from rfdn_plugin.cli import main; sys.exit(main(sys.argv[1:]))'
    result = subprocess.run([*words, code, 'doctor', '--json'], capture_output=True, text=True, cwd=tmp_path)
    found = {one['subject']: one for one in json.loads(result.stdout) if one['state'] == 'problem'}
    assert result.returncode == 1 and {'torch', 'basicsr', 'cv2'} <= set(found), result.stderr
    assert all(one['cure'] for one in found.values())
    result = subprocess.run([*words, code, 'upscale', 'x.png', '-o', 'y'], capture_output=True, text=True, cwd=tmp_path)
    assert (
        result.returncode == 1 and result.stderr.count('\n') == 1 and 'is not installed: rfdn doctor' in result.stderr
    )
