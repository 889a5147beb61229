"""The `rfdn` command: thin, one function per subcommand; the work is done by the modules that they call.

Nothing heavy is imported before a subcommand runs, so `--help` and usage errors answer at once.
Exit codes: 0 done, 1 failure (one line on stderr), 2 usage; a subcommand may name further ones in its help.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from rfdn_plugin import __version__
from rfdn_plugin.errors import RFDNError

# A subcommand adds its arguments to the parser and returns what runs with the parsed arguments.
Action = Callable[[argparse.Namespace], 'int | None']
_COMMANDS: dict[str, tuple[str, Callable[[argparse.ArgumentParser], Action]]] = {}


def command(name: str, summary: str) -> Callable:
    """Register a subcommand under `name`; `summary` is its line in `rfdn --help`."""

    def register(define: Callable[[argparse.ArgumentParser], Action]) -> Callable:
        _COMMANDS[name] = (summary, define)
        return define

    return register


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='rfdn', description='Train, compare and deploy small super-resolution networks.'
    )
    parser.add_argument('--version', action='version', version=f'rfdn_plugin {__version__}')
    parser.add_argument('--debug', action='store_true', help='print the traceback of an error')
    subparsers = parser.add_subparsers(dest='command', metavar='COMMAND', required=True)
    for name, (summary, define) in _COMMANDS.items():
        subparser = subparsers.add_parser(name, help=summary, description=define.__doc__ or summary)
        subparser.set_defaults(action=define(subparser))
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit code. This is the entry point of the `rfdn` script."""
    args = build_parser().parse_args(argv)
    try:
        return args.action(args) or 0
    except RFDNError as error:
        failure: BaseException = error
    except OSError as error:  # disk full, no permission, no such file: the system's own words name the file
        failure = error
    if args.debug:
        raise failure
    print(f'rfdn {args.command}: {failure}', file=sys.stderr)
    return 1


@command('train', 'train a network from an option file')
def _train(parser: argparse.ArgumentParser) -> Action:
    """Train a network: BasicSR's training below the working directory, checked before it starts."""
    from rfdn_plugin.train import add_arguments

    add_arguments(parser)

    def run(args: argparse.Namespace) -> int:
        from rfdn_plugin.train import train

        return train(args)

    return run


@command('test', 'test a network from an option file')
def _test(parser: argparse.ArgumentParser) -> Action:
    """Test a network: BasicSR's test below the working directory, refused where no weights would be loaded."""
    from rfdn_plugin.train import add_arguments

    add_arguments(parser)

    def run(args: argparse.Namespace) -> int:
        from rfdn_plugin.train import test

        return test(args)

    return run


@command('prepare', 'make paired LMDBs from folders of pictures')
def _prepare(parser: argparse.ArgumentParser) -> Action:
    """Make OUT/HR_sub.lmdb and OUT/LR_bicubic_X{s}_sub.lmdb, with equal keys, as BasicSR's PairedImageDataset reads them.

    Stopped at any moment, the same command goes on; finished databases are not touched.
    """
    add = parser.add_argument
    add('--hr', nargs='+', type=Path, required=True, metavar='DIR', help='folders of HR pictures')
    add('--out', type=Path, required=True, metavar='DIR', help='folder for the databases')
    add('--scales', nargs='+', type=int, default=[2, 3, 4], metavar='S', help='default: 2 3 4')
    add(
        '--lr',
        nargs='+',
        type=_scale_and_folder,
        action='extend',
        default=[],
        metavar='S=DIR',
        help='LR pictures of scale S instead of MATLAB bicubic',
    )
    add(
        '--crop-size',
        type=int,
        default=480,
        metavar='N',
        help='side of the sub-images in HR pixels, 0: whole pictures (default: 480)',
    )
    add(
        '--step', type=int, metavar='N', help='distance of the sub-images in HR pixels (default: half of the crop size)'
    )
    add(
        '--encoding',
        choices=('png', 'bmp'),
        default='png',
        help='bmp: twice the disk, no decoding in training (default: png)',
    )
    add('--level', type=int, default=1, metavar='L', help='PNG compression, 0 to 9 (default: 1)')
    add(
        '--border',
        choices=('symmetric', 'replicate'),
        default='symmetric',
        help='replicate: the bicubic of older MATLABs',
    )
    add(
        '--min-size',
        type=int,
        default=0,
        metavar='N',
        help='skip pictures with a shorter side, as the gt_size of the training',
    )
    add('--workers', type=int, metavar='N', help='processes that decode and encode (default: one for each core)')
    add('--shard', type=_part_of_whole, metavar='I/N', help='only part I of N, into OUT/shard_I_of_N; see `rfdn merge`')
    add('--recursive', action='store_true', help='enter subfolders')
    add('--strict', action='store_true', help='fail where a file would be skipped')

    def run(args: argparse.Namespace) -> None:
        from rfdn_plugin.data.prepare import PrepareSpec, prepare

        spec = PrepareSpec(
            hr=tuple(args.hr),
            out=args.out,
            scales=tuple(args.scales),
            lr=dict(args.lr),
            crop_size=args.crop_size,
            step=args.step,
            encoding=args.encoding,
            level=args.level,
            border=args.border,
            min_size=args.min_size,
            workers=args.workers or _cores(),
            shard=args.shard,
            recursive=args.recursive,
            strict=args.strict,
        )
        print('\n'.join(prepare(spec).lines()))

    return run


def _scale_and_folder(text: str) -> tuple[int, Path]:
    scale, equals, folder = text.partition('=')
    if not (scale.isdigit() and equals and folder):
        raise argparse.ArgumentTypeError(f'{text!r} is not of the form S=DIR, as 2=DIV2K_train_LR_bicubic/X2')
    return int(scale), Path(folder)


def _part_of_whole(text: str) -> tuple[int, int]:
    part, slash, whole = text.partition('/')
    if not (part.isdigit() and slash and whole.isdigit()):
        raise argparse.ArgumentTypeError(f'{text!r} is not of the form I/N, as 1/8')
    return int(part), int(whole)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


if __name__ == '__main__':
    sys.exit(main())
