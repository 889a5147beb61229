"""`rfdn doctor`."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rfdn_plugin.cli.arguments import add_json, option_file, print_json
from rfdn_plugin.cli.registry import Action, command

if TYPE_CHECKING:
    from rfdn_plugin.utils.installation import Finding


@command('doctor', 'what is wrong with this installation, and its cure')
def _doctor(parser: argparse.ArgumentParser) -> Action:
    """Look at packages, processor, GPU and disks, and at what an option file asks of them. Exit code 1: a problem."""
    parser.add_argument('-opt', metavar='FILE', help='an option file: its GPUs, its data, its disks')
    add_json(parser)

    def run(args: argparse.Namespace) -> int:
        from dataclasses import asdict

        from rfdn_plugin.utils.installation import examine

        path = None if args.opt is None else option_file(args.opt)
        found = examine()
        if path is not None:
            from rfdn_plugin.options.yaml_io import read_yaml

            gpus = next((finding.count for finding in found if finding.subject == 'gpu'), 0)
            found += check_options(Path(path), read_yaml(path), gpus)
        if args.json:
            print_json([asdict(finding) for finding in found])
        else:
            _print(found)
        return int(any(finding.state == 'problem' for finding in found))

    return run


def check_options(path: Path, options: Mapping[str, Any], gpus: int) -> list[Finding]:
    """Findings about what an option file asks of this machine."""
    from rfdn_plugin.utils.installation import Finding, check_shared_memory, file_system, is_network_disk

    found = []
    wanted = options.get('num_gpu')
    if isinstance(wanted, int) and wanted > gpus:
        cure = 'num_gpu: auto, or 0 for the processor'
        found.append(Finding('options', 'problem', f'{path} asks for {wanted} GPUs, {gpus} found', cure))
    for keys, value, cure in _GPU_ONLY:
        if not gpus and _value(options, keys) == value:
            text = f'{path}: {".".join(keys)}: {value} needs a GPU, none is found'
            found.append(Finding('options', 'problem', text, f'take {cure}'))
    if bytes_ahead := _bytes_ahead(options):
        tight = check_shared_memory(bytes_ahead, f'the workers of {path}')
        found += [finding for finding in tight if finding.state == 'problem']
    for place in sorted(set(_data_paths(options))):
        if not place.exists():
            found.append(Finding('options', 'problem', f'{path}: {place} does not exist', 'correct the path'))
        elif is_network_disk(place):
            text = f'{place} lies on a network disk ({file_system(place)})'
            cure = 'copy it to a local disk: LMDB over a network is slow and may return wrong data'
            found.append(Finding('options', 'problem' if place.suffix == '.lmdb' else 'note', text, cure))
    return found or [Finding('options', 'ok', f'{path}: its GPUs and data are there')]


_GPU_ONLY = (
    (('datasets', 'train', 'prefetch_mode'), 'cuda', 'cpu, or ~'),
    (('train', 'precision'), 'fp16', 'auto or fp32'),
    (('device',), 'cuda', 'auto'),
)


def _value(options: Any, keys: tuple[str, ...]) -> Any:
    """What stands at that place of an option file, None where there is no such place."""
    for key in keys:
        options = options.get(key) if isinstance(options, Mapping) else None
    return options


def _bytes_ahead(options: Mapping[str, Any]) -> int:
    """What data workers keep in shared memory at once: two batches each, HR and LR as 32-bit floats."""
    train = _value(options, ('datasets', 'train'))
    names = ('num_worker_per_gpu', 'batch_size_per_gpu', 'gt_size')
    numbers = [_value(train, (name,)) for name in names] + [options.get('scale')]
    if _value(train, ('resident',)) or not all(isinstance(number, int) and number > 0 for number in numbers):
        return 0
    workers, batch, side, scale = numbers
    return 2 * workers * batch * 3 * 4 * (side**2 + (side // scale) ** 2)


def _data_paths(options: object) -> Iterator[Path]:
    """The values of all keys dataroot_*, wherever they stand in an option file."""
    if isinstance(options, Mapping):
        for key, value in options.items():
            if isinstance(key, str) and key.startswith('dataroot') and isinstance(value, str):
                yield Path(value.rstrip('/')).expanduser()
            else:
                yield from _data_paths(value)
    elif isinstance(options, list):
        for value in options:
            yield from _data_paths(value)


def _print(found: list[Finding]) -> None:
    """Problems last, where they are seen; each with its cure in the next line."""
    import textwrap

    marks = {'ok': ' ok ', 'note': 'note', 'problem': 'FAIL'}
    for finding in sorted(found, key=lambda finding: ('ok', 'note', 'problem').index(finding.state)):
        head = f'{marks[finding.state]}  {finding.subject:<10}'
        lines = textwrap.wrap(finding.text, 62, break_on_hyphens=False, break_long_words=False)
        if finding.cure:
            lines += textwrap.wrap(f'-> {finding.cure}', 62, break_on_hyphens=False, break_long_words=False)
        print('\n'.join(f'{head if index == 0 else "":<18}{line}' for index, line in enumerate(lines)))
    problems = sum(finding.state == 'problem' for finding in found)
    print(f'{problems} problem{"s" * (problems != 1)}' if problems else 'no problem')
