"""What can be known to go wrong, before anything is created: every fault of a training or test at once."""

from __future__ import annotations

import importlib.util
import math
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rfdn_plugin import resources
from rfdn_plugin.compat import newest_whole_state
from rfdn_plugin.errors import RFDNError

if TYPE_CHECKING:
    from torch import nn


def check_training(options: dict[str, Any], root: Path, *, world_size: int, auto_resume: bool) -> list[str]:
    """The faults of a training, one line each; an empty list where there are none.

    Args:
        options: As `options.load_training_options` gives them.
        root: The working directory, below which experiments/ lies.
        world_size: Processes that train together.
        auto_resume: Whether `--auto_resume` was given.
    """
    faults: list[str] = []
    train_pairs: Pairs = {}
    for phase, dataset in options['datasets'].items():
        pairs = _pairs(f'datasets.{phase}', dataset, faults)
        if pairs is None:
            continue
        _check_sizes(f'datasets.{phase}', dataset, pairs, options['scale'], faults)
        if phase == 'train':
            train_pairs = pairs
            _check_length(dataset, len(pairs), _batches(options, world_size), faults)
    _check_devices(options, faults)
    _check_loggers(options, faults)
    net = _build(options, faults)
    if not _check_experiment(root / 'experiments' / options['name'], options, auto_resume, faults) and net is not None:
        _check_weights(options, net, faults)
    if net is not None:
        done = _resumed_iteration(root / 'experiments' / options['name'], options, auto_resume)
        resources.check_disk(options, net, root, done, faults)
        if options['num_gpu'] != 0 and _gpus():
            resources.check_memory(options, net, _resident_bytes(options, train_pairs), faults)
    return faults


def check_test(options: dict[str, Any]) -> list[str]:
    """The faults of a test, one line each; an empty list where there are none."""
    faults: list[str] = []
    for phase, dataset in options['datasets'].items():
        pairs = _pairs(f'datasets.{phase}', dataset, faults)
        if pairs is not None:
            _check_sizes(f'datasets.{phase}', dataset, pairs, options['scale'], faults)
    _check_devices(options, faults)
    net = _build(options, faults)
    if not options['path'].get('pretrain_network_g'):
        faults.append('path.pretrain_network_g: missing: without weights the test would report a random network.')
    elif net is not None:
        _check_weights(options, net, faults)
    return faults


Size = tuple[int, int]
Pairs = dict[str, tuple['Size | None', 'Size | None']]


def _pairs(where: str, dataset: dict[str, Any], faults: list[str]) -> Pairs | None:
    """HR and LR size (height, width; None where only decoding would tell) by name, or None with the faults noted."""
    roots = {key: Path(dataset[key]).expanduser() for key in ('dataroot_gt', 'dataroot_lq')}
    is_lmdb = dataset['io_backend']['type'] == 'lmdb'
    before = len(faults)
    names = {
        key: (_names_in_lmdb if is_lmdb else _names_in_folder)(f'{where}.{key}', root, faults)
        for key, root in roots.items()
    }
    if len(faults) > before:
        return None
    hr, lr = names['dataroot_gt'], names['dataroot_lq']
    listing = None if is_lmdb else dataset.get('meta_info_file')
    if listing is not None:
        if not Path(listing).is_file():
            faults.append(f'{where}.meta_info_file: no file {listing}: check the path, or leave it out.')
            return None
        hr = {line.split(' ')[0]: None for line in Path(listing).read_text(encoding='utf-8').splitlines() if line}
    template = '{}' if is_lmdb else dataset.get('filename_tmpl', '{}')
    # BasicSR wants the LR in the same format: its name is the template filled in, and the suffix of the HR.
    partner = {name: name if is_lmdb else template.format(Path(name).stem) + Path(name).suffix for name in hr}
    missing = sorted(name for name, low in partner.items() if low not in lr)
    extra = sorted(set(lr) - set(partner.values())) if listing is None else []
    different = [
        f'{len(lacking)} {what} ({", ".join(lacking[:4])}{", ..." if len(lacking) > 4 else ""})'
        for lacking, what in ((missing, 'HR pictures have no LR'), (extra, 'LR pictures have no HR'))
        if lacking
    ]
    if different:
        faults.append(f'{where}: {" and ".join(different)}: {roots["dataroot_gt"]} and {roots["dataroot_lq"]} differ.')
        return None
    if not hr:
        faults.append(f'{where}: {roots["dataroot_gt"]} holds no pictures.')
        return None
    dotted = sorted(name for name in hr if is_lmdb and '.' in name)
    if dotted:
        faults.append(f'{where}: BasicSR reads keys up to a dot ({dotted[0]}): make the LMDB with rfdn prepare.')
        return None
    return {name: (hr[name], lr[partner[name]]) for name in hr}


def _names_in_lmdb(where: str, root: Path, faults: list[str]) -> dict[str, Size | None]:
    if root.suffix != '.lmdb':
        faults.append(f'{where}: {root} is no .lmdb folder, but io_backend.type is lmdb: correct one of them.')
        return {}
    for part in ('data.mdb', 'meta_info.txt'):
        if not (root / part).is_file():
            what = f'has no {part}' if root.is_dir() else 'does not exist'
            faults.append(f'{where}: {root} {what}: make it with rfdn prepare.')
            return {}
    sizes: dict[str, Size | None] = {}
    for number, line in enumerate((root / 'meta_info.txt').read_text(encoding='utf-8').splitlines(), start=1):
        name, _, rest = line.partition(' (')
        try:
            height, width = rest.split(')')[0].split(',')[:2]
            sizes[name.removesuffix('.png')] = (int(height), int(width))
        except ValueError:
            faults.append(
                f'{where}: line {number} of {root / "meta_info.txt"} is no "name.png (height,width,channels) n".'
            )
            return {}
    return sizes


def _names_in_folder(where: str, root: Path, faults: list[str]) -> dict[str, Size | None]:
    if not root.is_dir():
        faults.append(f'{where}: no folder {root}: see docs/datasets.md for the tree that the option files expect.')
        return {}
    return {path.name: None for path in sorted(root.iterdir()) if path.is_file() and not path.name.startswith('.')}


def _check_sizes(
    where: str,
    dataset: dict[str, Any],
    pairs: Pairs,
    scale: int,
    faults: list[str],
) -> None:
    known = {name: pair for name, pair in pairs.items() if None not in pair}
    wrong = sorted(name for name, (hr, lr) in known.items() if hr != (lr[0] * scale, lr[1] * scale))
    if wrong:
        (hr, lr), name = known[wrong[0]], wrong[0]
        faults.append(
            f'{where}: {len(wrong)} pairs are not of scale {scale} ({name}: HR {hr[1]}x{hr[0]}, LR {lr[1]}x{lr[0]}): '
            'dataroot_lq is of another scale, or HR was not cropped to a multiple of it.'
        )
    gt_size = dataset.get('gt_size')
    small = sorted(name for name, (hr, _) in known.items() if gt_size and min(hr) < gt_size)
    if small:
        some = ', '.join(small[:4]) + (', ...' if len(small) > 4 else '')
        faults.append(
            f'{where}: {len(small)} pictures are smaller than gt_size {gt_size} ({some}): remove them or lower it.'
        )


def _check_length(dataset: dict[str, Any], pictures: int, batches: int, faults: list[str]) -> None:
    """BasicSR drops the last, smaller batch of an epoch: with fewer samples than a batch it would train nothing."""
    ratio, batch = dataset.get('dataset_enlarge_ratio', 1), dataset['batch_size_per_gpu']
    if pictures * ratio < batch * batches:
        faults.append(
            f'datasets.train: {pictures} pictures x dataset_enlarge_ratio {ratio} are fewer samples than a batch of '
            f'{batch * batches}, and nothing would be trained: set dataset_enlarge_ratio to '
            f'{math.ceil(batch * batches / pictures)} or more.'
        )


def _batches(options: dict[str, Any], world_size: int) -> int:
    """How many times `batch_size_per_gpu` an iteration takes: one for each process or, in one process, for each GPU."""
    num_gpu = options['num_gpu']
    return world_size if world_size > 1 else max(_gpus() if num_gpu == 'auto' else min(num_gpu, _gpus()), 1)


def _gpus() -> int:
    import torch

    return torch.cuda.device_count()


def _check_devices(options: dict[str, Any], faults: list[str]) -> None:
    num_gpu, train = options['num_gpu'], options.get('train', {})
    if num_gpu != 'auto' and num_gpu > _gpus():
        faults.append(f'num_gpu: {num_gpu} are asked for, {_gpus()} are here: write auto, or 0 for the CPU.')
    on_cpu = num_gpu == 0 or not _gpus()
    if on_cpu and train.get('precision') == 'fp16':
        faults.append('train.precision: fp16 needs a GPU: take bf16, or fp32.')
    if on_cpu and train.get('compile') and not any(map(shutil.which, (os.environ.get('CXX', 'g++'), 'clang++'))):
        faults.append(
            'train.compile: torch.compile needs a C++ compiler on a CPU, none is on PATH: install g++, or false.'
        )


def _check_loggers(options: dict[str, Any], faults: list[str]) -> None:
    logger = options['logger']
    wanted = {'tensorboard': ('use_tb_logger', logger['use_tb_logger'])}
    wanted['wandb'] = ('wandb.project', (logger.get('wandb') or {}).get('project') is not None)
    for package, (key, asked) in wanted.items():
        if asked and importlib.util.find_spec(package) is None:
            faults.append(f'logger.{key}: {package} is not installed: pip install {package}, or turn it off.')


def _build(options: dict[str, Any], faults: list[str]) -> nn.Module | None:
    """The network, or None with the fault noted: some arguments are wrong only together."""
    from basicsr.utils.registry import ARCH_REGISTRY

    arguments = dict(options['network_g'])
    try:
        return ARCH_REGISTRY.get(arguments.pop('type'))(**arguments)
    except (ValueError, TypeError) as error:
        faults.append(f'network_g: {error}')
        return None


def _check_weights(options: dict[str, Any], net: nn.Module, faults: list[str]) -> None:
    path = options['path']
    weights = path.get('pretrain_network_g')
    if not weights:
        return
    from rfdn_plugin.weights.checkpoint import read_checkpoint
    from rfdn_plugin.weights.matching import starting_state

    try:
        checkpoint = read_checkpoint(Path(weights).expanduser(), path.get('param_key_g', 'params'))
        resample = options.get('train', {}).get('upsampler_start') == 'resampled'
        starting_state(net, checkpoint, strict=path.get('strict_load_g', True), resample=resample)
    except RFDNError as error:
        faults.append(f'path.pretrain_network_g: {error}')


def _resumed_iteration(folder: Path, options: dict[str, Any], auto_resume: bool) -> int:
    """Where the training goes on; 0 where it begins."""
    named = options['path'].get('resume_state')
    if auto_resume:
        named = newest_whole_state(folder / 'training_states', folder / 'models')
    return int(Path(named).stem) if named and Path(named).stem.isdigit() else 0


def _resident_bytes(options: dict[str, Any], pairs: Pairs) -> int:
    """What the pictures take in the memory of the device, as far as their sizes are known without decoding them."""
    if not options['datasets']['train'].get('resident'):
        return 0
    return sum(3 * height * width for pair in pairs.values() for height, width in filter(None, pair))


def _check_experiment(folder: Path, options: dict[str, Any], auto_resume: bool, faults: list[str]) -> bool:
    """Whether the run goes on from a training state; an experiment that would be pushed aside is a fault."""
    named = options['path'].get('resume_state')
    if named and not auto_resume:
        if not Path(named).expanduser().is_file():
            faults.append(f'path.resume_state: no file {named}: check the path, or leave it out and use --auto_resume.')
        return True
    if auto_resume and newest_whole_state(folder / 'training_states', folder / 'models') is not None:
        return True
    checkpoints = sorted((folder / 'models').glob('net_g_*.pth'))
    if checkpoints:
        cure = (
            'none has a training state that can be read: name another, start from one by path.pretrain_network_g'
            if auto_resume
            else 'go on with it by --auto_resume, choose another name'
        )
        faults.append(
            f'name: {folder} holds {len(checkpoints)} checkpoints of an earlier run: {cure}, or move it away.'
        )
    return False
