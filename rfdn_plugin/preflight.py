"""What can be known to go wrong, before anything is created: every fault of a training or test at once."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from rfdn_plugin.errors import RFDNError


def check_training(options: dict[str, Any], root: Path, *, world_size: int, resuming: bool) -> list[str]:
    """The faults of a training, one line each; an empty list where there are none.

    Args:
        options: As `options.load_training_options` gives them.
        root: The working directory, below which experiments/ lies.
        world_size: Processes that train together.
        resuming: Whether `--auto_resume` was given.
    """
    faults: list[str] = []
    for phase, dataset in options['datasets'].items():
        pairs = _pairs(f'datasets.{phase}', dataset, faults)
        if pairs is None:
            continue
        _check_sizes(f'datasets.{phase}', dataset, pairs, options['scale'], faults)
        if phase == 'train':
            _check_length(dataset, len(pairs), options['train']['total_iter'], _processes(options, world_size), faults)
    if not resuming:
        _check_weights(options, strict_default=True, faults=faults)
        _check_experiment(
            root / 'experiments' / options['name'], bool(options.get('path', {}).get('resume_state')), faults
        )
    return faults


def check_test(options: dict[str, Any]) -> list[str]:
    """The faults of a test, one line each; an empty list where there are none."""
    faults: list[str] = []
    for phase, dataset in options['datasets'].items():
        pairs = _pairs(f'datasets.{phase}', dataset, faults)
        if pairs is not None:
            _check_sizes(f'datasets.{phase}', dataset, pairs, options['scale'], faults)
    if not options.get('path', {}).get('pretrain_network_g'):
        faults.append('path.pretrain_network_g: missing: without weights the test would report a random network.')
    else:
        _check_weights(options, strict_default=True, faults=faults)
    return faults


Size = tuple[int, int]


def _pairs(where: str, dataset: dict[str, Any], faults: list[str]) -> dict[str, tuple[Size | None, Size | None]] | None:
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
    if dataset.get('meta_info_file'):
        listed = [
            Path(line.split(' ')[0]).stem for line in Path(dataset['meta_info_file']).read_text().splitlines() if line
        ]
        hr = {name: hr.get(name) for name in listed}
    template = dataset.get('filename_tmpl', '{}')
    partner = {name: template.format(name) for name in hr} if not is_lmdb else {name: name for name in hr}
    missing = sorted(name for name, low in partner.items() if low not in lr)
    extra = sorted(set(lr) - set(partner.values())) if not dataset.get('meta_info_file') else []
    for names_, what in ((missing, 'HR pictures have no LR'), (extra, 'LR pictures have no HR')):
        if names_:
            some = ', '.join(names_[:4]) + (', ...' if len(names_) > 4 else '')
            faults.append(
                f'{where}: {len(names_)} {what} ({some}): {roots["dataroot_gt"]} and {roots["dataroot_lq"]} differ.'
            )
    if missing or extra:
        return None
    if not hr:
        faults.append(f'{where}: {roots["dataroot_gt"]} holds no pictures.')
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
    return {path.stem: None for path in sorted(root.iterdir()) if path.is_file() and not path.name.startswith('.')}


def _check_sizes(
    where: str,
    dataset: dict[str, Any],
    pairs: dict[str, tuple[Size | None, Size | None]],
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


def _check_length(dataset: dict[str, Any], pictures: int, total_iter: int, processes: int, faults: list[str]) -> None:
    """BasicSR drops the last, smaller batch of each epoch but plans its epochs with it, so it can end early or at once."""
    ratio, batch = dataset.get('dataset_enlarge_ratio', 1), dataset['batch_size_per_gpu']
    samples = math.ceil(pictures * ratio / processes)
    batches = samples // batch
    epochs = math.ceil(total_iter / math.ceil(pictures * ratio / (batch * processes))) + 1
    if batches * epochs < total_iter:
        needed = math.ceil(100 * batch * processes / pictures)
        faults.append(
            f'datasets.train: {pictures} pictures x dataset_enlarge_ratio {ratio} give {batches} batches of {batch} an epoch, '
            f'and the training would end after {batches * epochs} of {total_iter} iterations: '
            f'set dataset_enlarge_ratio to {needed} or more.'
        )


def _processes(options: dict[str, Any], world_size: int) -> int:
    """How many batches an iteration takes: BasicSR multiplies the batch by the GPUs when it is not distributed."""
    num_gpu = options.get('num_gpu', 'auto')
    return world_size if world_size > 1 or num_gpu in ('auto', 0) else num_gpu


def _check_weights(options: dict[str, Any], *, strict_default: bool, faults: list[str]) -> None:
    path = options.get('path', {})
    weights = path.get('pretrain_network_g')
    if not weights or path.get('resume_state'):
        return
    from basicsr.utils.registry import ARCH_REGISTRY

    from rfdn_plugin.weights.checkpoint import read_checkpoint
    from rfdn_plugin.weights.matching import match

    arguments = dict(options['network_g'])
    net = ARCH_REGISTRY.get(arguments.pop('type'))(**arguments)
    try:
        checkpoint = read_checkpoint(Path(weights).expanduser(), path.get('param_key_g', 'params'))
        match(net, checkpoint, strict=path.get('strict_load_g', strict_default))
    except RFDNError as error:
        faults.append(f'path.pretrain_network_g: {error}')


def _check_experiment(folder: Path, resuming: bool, faults: list[str]) -> None:
    checkpoints = sorted((folder / 'models').glob('net_g_*.pth'))
    if checkpoints and not resuming:
        faults.append(
            f'name: {folder} holds {len(checkpoints)} checkpoints of an earlier run: go on with it by --auto_resume, '
            'choose another name, or move the folder away.'
        )
