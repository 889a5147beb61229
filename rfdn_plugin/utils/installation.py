"""What `rfdn doctor` looks at: the packages, the processor, the disks. Each check returns what it found, with a cure.

Nothing is imported into this process that a broken installation could break: torch and basicsr are tried in a child.
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from rfdn_plugin.utils import autoload
from rfdn_plugin.utils.machine import processor_flags
from rfdn_plugin.utils.version import __version__

TRIED_PYTHON = ((3, 10), (3, 14))  # the oldest and the newest on which all tests are run
NETWORK_FILE_SYSTEMS = (
    'nfs',
    'cifs',
    'smb',
    'fuse.sshfs',
    'lustre',
    'beegfs',
    'gpfs',
    'ceph',
    'glusterfs',
    'afs',
    '9p',
)
EXTRAS = {
    'isal': ('fast', 'faster PNG writing in rfdn prepare'),
    'onnxruntime': ('onnx', 'ONNX files in rfdn upscale, export and leaderboard'),
    'openvino': ('openvino', 'a faster backend, and int8 models'),
    'ncnn': ('ncnn', 'ncnn models, which upscayl and phones run'),
    'spandrel': ('spandrel', 'networks of other projects'),
    'tensorboard': ('tensorboard', 'use_tb_logger in option files'),
}
_BF16 = '`train.precision: auto`, `rfdn upscale --precision bf16`'
_INT8 = '`rfdn upscale --precision int8` with a model of `rfdn export`'
# What a flag of /proc/cpuinfo means for this package.
PROCESSOR_FEATURES = {
    'avx2': ('AVX2', 'fp32 convolutions'),
    'avx512f': ('AVX-512', 'faster fp32 convolutions'),
    'avx512_bf16': ('AVX-512 BF16', _BF16),
    'avx512_vnni': ('AVX-512 VNNI', _INT8),
    'avx_vnni': ('AVX-VNNI', _INT8),
    'amx_bf16': ('AMX BF16', _BF16),
    'amx_int8': ('AMX INT8', _INT8),
}
# What it means where none of these is there (measured with AVX2 alone: docs/deployment.md).
_WITHOUT = {
    ('avx2',): 'fp32 convolutions are slow',
    ('avx512_bf16', 'amx_bf16'): '`train.precision: auto` is fp32, `rfdn upscale --precision bf16` is slower than fp32',
    ('avx512_vnni', 'avx_vnni', 'amx_int8'): 'int8 models of `rfdn export` gain less (1.2 to 1.4 times fp32)',
}


_INSTALL_BASICSR = 'pip install --no-build-isolation basicsr'
_DISTRIBUTIONS = {'cv2': 'opencv-python', 'yaml': 'pyyaml', 'PIL': 'pillow', 'skimage': 'scikit-image'}


@dataclass(frozen=True)
class Finding:
    """One line of `rfdn doctor`: a subject, its state, and the cure of a problem.

    Attributes:
        subject: What was looked at ('python', 'basicsr', ...).
        state: 'ok', 'note' (worth knowing), or 'problem' (something of this package will not work).
        text: What was found.
        cure: What to do; empty where there is nothing to do.
        count: How many were found, where the check counts (GPUs).
    """

    subject: str
    state: str
    text: str
    cure: str = ''
    count: int = 0


def examine() -> list[Finding]:
    """All findings about this installation and this machine."""
    found = [*check_python(), *check_torch(), *check_basicsr(), *check_cv2(), *check_imports()]
    return [*found, *check_processor(), *check_extras(), *check_autoload(), *check_disks([Path.cwd()])]


def check_python() -> list[Finding]:
    version = sys.version_info[:2]
    text = f'Python {platform.python_version()}, rfdn_plugin {__version__} ({Path(__file__).parents[1]})'
    oldest, newest = TRIED_PYTHON
    if oldest <= version <= newest:
        return [Finding('python', 'ok', text)]
    names = '.'.join(map(str, oldest)), '.'.join(map(str, newest))
    cure = f'use {names[0]} to {names[1]} when something fails'
    return [Finding('python', 'note', f'{text}: the tests are not run as a whole on this Python', cure)]


def check_torch() -> list[Finding]:
    """Check that torch and torchvision are there and belong together, by what torchvision's metadata requires."""
    try:
        torch, torchvision = metadata.version('torch'), metadata.version('torchvision')
    except metadata.PackageNotFoundError as error:
        return [Finding('torch', 'problem', f'{error.name} is not installed', 'pip install torch torchvision')]
    text = f'torch {torch}, torchvision {torchvision}'
    wanted = [
        line.split(';')[0].removeprefix('torch').strip(' ()=')
        for line in metadata.requires('torchvision') or []
        if line.replace('(', '').replace(' ', '').startswith('torch==')
    ]
    if wanted and wanted[0].split('+')[0] != torch.split('+')[0]:
        cure = f'pip install torch=={wanted[0]}, or the torchvision made for torch {torch}'
        return [Finding('torch', 'problem', f'{text}: torchvision wants torch {wanted[0]}', cure)]
    return [Finding('torch', 'ok', text)]


def check_basicsr() -> list[Finding]:
    """Find the distribution that provides `basicsr`: BasicSR itself, a fork, several, a folder without metadata, or none."""
    spec = importlib.util.find_spec('basicsr')
    providers = sorted({name.lower() for name in metadata.packages_distributions().get('basicsr', [])})
    cure = _INSTALL_BASICSR
    if spec is None:
        return [Finding('basicsr', 'problem', 'not installed', cure)]
    where = Path(spec.origin).parent if spec.origin else Path(next(iter(spec.submodule_search_locations or ['?'])))
    if len(providers) > 1:
        remove = f'pip uninstall {" ".join(providers)}, then {cure}'
        return [Finding('basicsr', 'problem', f'several packages provide it: {", ".join(providers)}', remove)]
    missing = [name for name in ('__init__.py', 'version.py', 'train.py', 'archs') if not (where / name).exists()]
    if missing:
        return [
            Finding('basicsr', 'problem', f'broken: {where} lacks {", ".join(missing)}', f'{cure} --force-reinstall')
        ]
    if providers == ['basicsr']:
        return [Finding('basicsr', 'ok', f'basicsr {metadata.version("basicsr")} ({where})')]
    source = f'the package {providers[0]}' if providers else 'a folder that pip does not know'
    return [Finding('basicsr', 'note', f'comes from {source} ({where}), not from BasicSR: it may differ', f'or {cure}')]


def check_cv2() -> list[Finding]:
    """Several OpenCV packages overwrite each other's files; which one is imported is chance."""
    providers = sorted({name.lower() for name in metadata.packages_distributions().get('cv2', [])})
    if not providers:
        return [Finding('cv2', 'problem', 'OpenCV is not installed', 'pip install opencv-python')]
    names = ', '.join(f'{name} {metadata.version(name)}' for name in providers)
    if len(providers) == 1:
        return [Finding('cv2', 'ok', names)]
    cure = f'pip uninstall {" ".join(providers)}, then pip install opencv-python'
    return [Finding('cv2', 'problem', f'several packages write the same files: {names}', cure)]


_TRIAL = """
import json, sys
import torch
import rfdn_plugin
import basicsr.archs
from basicsr.utils.registry import ARCH_REGISTRY
print(json.dumps({
    'networks': [name for name in ('RFDN', 'E_RFDN', 'IMDN') if name not in ARCH_REGISTRY],
    'gpus': [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())],
}))
"""


def check_imports() -> list[Finding]:
    """Imports torch, basicsr and the networks in a child process, and counts the GPUs there; nothing where one is missing."""
    if not all(map(importlib.util.find_spec, ('torch', 'basicsr'))):
        return []
    child = subprocess.run([sys.executable, '-c', _TRIAL], capture_output=True, text=True)
    if child.returncode:
        return [_failed_import(child.stderr, child.returncode)]
    result = json.loads(child.stdout.splitlines()[-1])
    if result['networks']:
        text = f'not in the registry of BasicSR: {", ".join(result["networks"])}'
        return [Finding('import', 'problem', text, 'look for another package that replaces basicsr.utils.registry')]
    gpus = ', '.join(result['gpus']) or 'none; training and upscaling run on the processor'
    registered = Finding('import', 'ok', 'basicsr imports, the networks are registered')
    return [registered, Finding('gpu', 'ok', gpus, count=len(result['gpus']))]


def _failed_import(output: str, code: int) -> Finding:
    """What the child's traceback says: its last line, where it was raised, and what cures it."""
    lines = output.strip().splitlines()
    raised = next((line.split('"')[1] for line in reversed(lines) if line.startswith('  File "')), '')
    last = lines[-1] if lines and not lines[-1].startswith(' ') else f'it ended with code {code}'
    missing = re.match(r"ModuleNotFoundError: No module named '([\w.]+)'$", last)
    package = missing[1].split('.')[0] if missing else ''
    if package == 'torch' or (missing is None and f'{os.sep}torch{os.sep}' in raised):
        cure = 'install torch and torchvision anew, for your CUDA version: pytorch.org'
    elif package == 'basicsr' or (package == '' and f'{os.sep}basicsr{os.sep}' in raised):
        cure = f'{_INSTALL_BASICSR} --force-reinstall --no-deps'
    elif package:
        cure = f'pip install {_DISTRIBUTIONS.get(package, package)}'
    elif 'libGL' in last or 'libgthread' in last:
        cure = (
            'install libgl1 and libglib2.0-0 with the package manager of the system, or opencv-python-headless instead'
        )
    else:
        cure = f'reinstall the package of {raised}' if raised else 'install torch and basicsr anew'
    return Finding('import', 'problem', f'basicsr with rfdn_plugin: {last}', cure)


def check_processor() -> list[Finding]:
    flags = processor_flags()
    if not flags:
        return [Finding('processor', 'note', f'{platform.machine()}: its instruction sets cannot be read here')]
    there = [f'{name}: used by {use}' for flag, (name, use) in PROCESSOR_FEATURES.items() if flag in flags]
    missing = [
        f'no {PROCESSOR_FEATURES[units[0]][0]}: {text}' for units, text in _WITHOUT.items() if not flags & set(units)
    ]
    return [Finding('processor', state, text) for state, texts in (('ok', there), ('note', missing)) for text in texts]


def check_extras() -> list[Finding]:
    there = [name for name in EXTRAS if importlib.util.find_spec(name)]
    found = [Finding('extras', 'ok', ', '.join(there) or 'none')]
    for name, (extra, use) in EXTRAS.items():
        if name not in there:
            found.append(
                Finding('extras', 'note', f'{name} is not installed: {use}', f'pip install "rfdn-plugin[{extra}]"')
            )
    return found


def check_autoload() -> list[Finding]:
    path = autoload.state()
    if path is None:
        return [Finding('autoload', 'ok', "off: BasicSR's own scripts need rfdn autoload on, or import rfdn_plugin")]
    return [Finding('autoload', 'ok', f'on: each start of Python imports rfdn_plugin ({path})')]


def file_system(path: Path, mounts: Path = Path('/proc/mounts')) -> str:
    """Type of the file system that holds `path` ('ext4', 'nfs4', ...); '' where that cannot be told."""
    try:
        entries = [line.split() for line in mounts.read_text().splitlines()]
    except OSError:
        return ''
    path = path.resolve()
    holding = [(len(entry[1]), entry[2]) for entry in entries if path.is_relative_to(entry[1].replace(r'\040', ' '))]
    return max(holding)[1] if holding else ''


def is_network_disk(path: Path) -> bool:
    return file_system(path).startswith(NETWORK_FILE_SYSTEMS)


def check_disks(folders: Sequence[Path], minimum: float = 2e9) -> list[Finding]:
    """Free space where checkpoints are written, and shared memory, which data workers need."""
    found = []
    for folder in folders:
        free = shutil.disk_usage(folder).free
        text = f'{free / 1e9:.1f} GB free in {folder}'
        if free < minimum:
            found.append(Finding('disk', 'problem', text, 'make room, or work in another folder'))
        elif is_network_disk(folder):
            cure = 'keep LMDBs on a local disk: over a network they are slow and may return wrong data'
            found.append(Finding('disk', 'note', f'{text}, a network disk ({file_system(folder)})', cure))
        else:
            found.append(Finding('disk', 'ok', text))
    return [*found, *check_shared_memory(2.5e8, 'the workers that read training images')]


def check_shared_memory(needed: float, what_for: str) -> list[Finding]:
    """Whether `needed` bytes fit into /dev/shm, where this machine has it."""
    shared = Path('/dev/shm')
    if not shared.is_dir():
        return []
    free = shutil.disk_usage(shared).free
    text = f'{free / 1e9:.2f} GB of shared memory ({shared})'
    if free >= needed:
        return [Finding('disk', 'ok', text)]
    cure = 'docker run --shm-size=2g, or num_worker_per_gpu: 0, or resident: true'
    return [Finding('disk', 'problem', f'{text}, {what_for} want {needed / 1e9:.2f} GB', cure)]
