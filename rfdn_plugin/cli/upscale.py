"""`rfdn upscale`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rfdn_plugin.cli.arguments import add_identity, add_json, at_least_one, network_overrides, print_json
from rfdn_plugin.cli.registry import Action, command
from rfdn_plugin.utils.errors import UsageError
from rfdn_plugin.utils.text import counted, shown

if TYPE_CHECKING:
    from rfdn_plugin.deploy.files import Outcome
    from rfdn_plugin.deploy.jobs import Jobs

_MOST_LINES = 50
_WORTH_MEASURING = 4_000_000


@command('upscale', 'upscale images')
def _upscale(parser: argparse.ArgumentParser) -> Action:
    """Upscale images, folders (their tree is kept) and glob patterns into a folder.

    16 bits, grey, transparency, colour profile and resolution are kept. Stopped at any moment, the same command goes on. Exit
    code 1: an image has no result; each is named at the end.
    """
    add = parser.add_argument
    add('inputs', nargs='+', metavar='INPUT', help='images, folders, or patterns as "photos/*.jpg"')
    add('-o', '--output', type=Path, required=True, metavar='DIR', help='folder for the results')
    weights_help = '.pth, .safetensors, .pkl, zoo:NAME (rfdn list --zoo), or an exported .onnx, .xml, .param'
    add('--weights', type=Path, metavar='W', help=weights_help)
    add('--model', metavar='NETWORK', help='the shipped weights of this network (default: RFDN)')
    add('--scale', type=at_least_one, metavar='S', help='of the shipped weights (default: 2)')
    add_identity(parser)
    precision_help = 'bf16: faster on processors that have it, about 0.01 dB below (default: auto, which is exact)'
    add('--precision', choices=('auto', 'fp32', 'bf16', 'fp16', 'int8'), default='auto', help=precision_help)
    backend_help = 'what computes: auto measures once which of the installed ones is fastest (default: auto)'
    backends = ('auto', 'torch', 'onnxruntime', 'openvino', 'ncnn')
    add('--backend', choices=backends, default='auto', help=backend_help)
    tile_help = 'tiles of N pixels, each by itself: little memory, seams are avoided, differs by 47 to 61 dB'
    add('--tile', type=at_least_one, default=0, metavar='N', help=tile_help)
    memory_help = (
        'the most that the process may use, as 4G; larger images are worked through in parts, with equal result'
    )
    add('--memory', metavar='SIZE', help=f'{memory_help} (default: what is free)')
    add('--self-ensemble', action='store_true', help='average over 8 turned and mirrored images: 8 times the work')
    add('--format', choices=('png', 'jpg', 'webp', 'tiff'), default='png', help='of the results (default: png)')
    add('--quality', type=at_least_one, default=95, metavar='Q', help='of jpg and webp, up to 100 (default: 95)')
    add('--overwrite', action='store_true', help='replace results that exist')
    add('--threads', type=at_least_one, metavar='N', help='to compute with (default: as many as there are cores)')
    add('--device', default='cpu', metavar='D', help='cpu or cuda (default: cpu)')
    add_json(parser)

    def run(args: argparse.Namespace) -> int:
        from rfdn_plugin.deploy.jobs import find_jobs

        settings = _settings(args)
        jobs = find_jobs(args.inputs, args.output, args.format)
        outcome = _run(args, jobs, settings)
        if args.json:
            print_json(outcome, ignored=jobs.ignored)
        else:
            _print(outcome, jobs, args.output)
        return 1 if outcome.problems else 0

    return run


def _settings(args: argparse.Namespace) -> dict:
    """The settings that name the weights, checked."""
    from rfdn_plugin.deploy.memory import parse_size
    from rfdn_plugin.zoo import default_name

    if args.weights and args.model:
        raise UsageError('--weights and --model both name a network: leave one out.')
    if args.quality > 100:
        raise UsageError(f'--quality {args.quality}: it goes from 1 to 100.')
    try:
        memory = None if args.memory is None else parse_size(args.memory)
    except ValueError as error:
        raise UsageError(f'--memory: {error}') from error
    weights = args.weights or default_name(args.model or 'RFDN', args.scale or 2)
    return {'weights': weights, 'memory': memory, 'named': network_overrides(args)}


def _check_device(name: str) -> None:
    import torch

    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f'--device {name}: there is no such device: give cpu or cuda.') from error
    if device.type == 'cuda' and not torch.cuda.is_available():
        raise UsageError(f'--device {name}: PyTorch finds no GPU (rfdn doctor says more): leave --device out.')


def _run(args: argparse.Namespace, jobs: Jobs, settings: dict) -> Outcome:
    import torch
    from torch import nn

    from rfdn_plugin.deploy.backends import kind_of
    from rfdn_plugin.deploy.files import upscale_files
    from rfdn_plugin.deploy.record import Record
    from rfdn_plugin.deploy.upscale import Upscaler
    from rfdn_plugin.utils.files import model_digest
    from rfdn_plugin.utils.machine import slow_bf16
    from rfdn_plugin.utils.version import __version__
    from rfdn_plugin.weights.loading import build_network, identify_file

    _check_device(args.device)
    if args.threads:
        torch.set_num_threads(args.threads)
    model, named = settings['weights'], settings['named']
    if kind_of(model) == 'network':
        identity = identify_file(model, **named)
        what = [identity.type, identity.arguments, identity.checkpoint.fingerprint]
        _check_scale(args, identity.upscale)
        model = build_network(identity)
    else:
        if not Path(model).is_file():
            raise UsageError(f'no model file {model}: check the path.')
        what = [model_digest(model), args.img_range]
        if unused := [name for name, value in named.items() if value is not None and name != 'img_range']:
            flags = ', '.join(f'--{name}'.replace('_', '-') for name in unused)
            raise UsageError(f'{flags}: {model} is an exported model, which says that itself: leave it out.')
    upscaler = Upscaler(
        model,
        precision=args.precision,
        backend=_backend(args, jobs),
        side=jobs.typical_side,
        device=args.device,
        tile=args.tile,
        memory=settings['memory'],
        self_ensemble=args.self_ensemble,
        **({} if isinstance(model, nn.Module) else {'img_range': args.img_range}),
    )
    _check_scale(args, upscaler.scale)
    if (upscaler.form.precision, upscaler.form.backend) == ('bf16', 'torch') and (slow := slow_bf16(args.device)):
        print(f'rfdn upscale: note: --precision bf16 is {slow}: take auto.', file=sys.stderr)
    record = Record(
        args.output,
        {
            'version': __version__,
            'network': what,
            **{
                name: getattr(args, name)
                for name in ('precision', 'backend', 'tile', 'self_ensemble', 'format', 'quality')
            },
        },
    )
    return upscale_files(
        jobs.images, upscaler, record, format=args.format, quality=args.quality, overwrite=args.overwrite
    )


def _check_scale(args: argparse.Namespace, scale: int) -> None:
    if args.scale and scale != args.scale:
        raise UsageError(
            f'--scale {args.scale}: {args.weights} is of x{scale}: leave --scale out, or name other weights.'
        )


def _backend(args: argparse.Namespace, jobs: Jobs) -> str | None:
    """To measure which backend is the fastest takes seconds: little work is done at once, by PyTorch where it can."""
    if args.backend == 'auto' and sum(job.pixels for job in jobs.images) < _WORTH_MEASURING:
        return None
    return args.backend


def _print(outcome: Outcome, jobs: Jobs, folder: Path) -> None:
    done = f', {outcome.finished} were finished already' if outcome.finished else ''
    print(f'{folder}: {outcome.written} written ({outcome.pixels / 1e6:.1f} megapixels upscaled){done}')
    for notice, count in sorted(outcome.notices.items()):
        print(f'{count} x {notice}')
    if jobs.ignored:
        kinds = ', '.join(f'{count} x {kind}' for kind, count in jobs.ignored.most_common(5))
        print(f'left out, no images by their names: {kinds}')
    for path, reason in outcome.problems[:_MOST_LINES]:
        print(f'{shown(path)}: {reason}', file=sys.stderr)
    if len(outcome.problems) > _MOST_LINES:
        print(f'and {len(outcome.problems) - _MOST_LINES} more', file=sys.stderr)
    if outcome.problems:
        total = counted(len(jobs.images), 'image')
        print(f'rfdn upscale: {len(outcome.problems)} of {total} without a result, named above.', file=sys.stderr)
