"""The `rfdn` command: thin, one function per subcommand; the work is done by the modules that they call.

Nothing heavy is imported before a subcommand runs, so `--help` and usage errors answer at once.
Exit codes: 0 done, 1 failure (one line on stderr), 2 usage, 130 stopped by Ctrl+C; a subcommand may name further ones
in its help.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from rfdn_plugin import __version__
from rfdn_plugin.cli.arguments import (
    add_identity,
    add_output,
    add_weights,
    at_least_one,
    cores,
    fraction,
    key_and_value,
    part_of_whole,
    positive,
    said_of_weights,
    scale_and_folder,
)
from rfdn_plugin.utils.errors import RFDNError, UsageError, explain

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
    failure: BaseException
    try:
        return args.action(args) or 0
    except UsageError as error:
        failure, text, code = error, str(error), 2
    except RFDNError as error:
        failure, text, code = error, str(error), 1
    except OSError as error:  # disk full, no permission, no such file
        failure, text, code = error, explain(error), 1
    except KeyboardInterrupt as error:
        failure, text, code = error, 'stopped.', 128 + signal.SIGINT
    if args.debug:
        raise failure
    print(f'rfdn {args.command}: {text}', file=sys.stderr)
    return code


@command('train', 'train a network from an option file')
def _train(parser: argparse.ArgumentParser) -> Action:
    """Train a network: BasicSR's training below the working directory, checked before it starts.

    Exit code 75: SIGTERM or Ctrl+C asked it to leave; it saved, and --auto_resume goes on from there.
    """
    from rfdn_plugin.training.run import add_arguments

    add_arguments(parser)

    def run(args: argparse.Namespace) -> int:
        from rfdn_plugin.training.run import train

        return train(args)

    return run


@command('test', 'test a network from an option file')
def _test(parser: argparse.ArgumentParser) -> Action:
    """Test a network: BasicSR's test below the working directory, refused where no weights would be loaded."""
    from rfdn_plugin.training.run import add_arguments

    add_arguments(parser)

    def run(args: argparse.Namespace) -> int:
        from rfdn_plugin.training.run import test

        return test(args)

    return run


@command('inspect', 'what a weights file is')
def _inspect(parser: argparse.ArgumentParser) -> Action:
    """Show what a weights file is: layout, network, scale, input range, fingerprint, metadata.

    A file that belongs to no network here is described too, with the reason.
    """
    parser.add_argument('weights', type=Path, metavar='W', help='a .pth, .pkl, .safetensors or .caffemodel file')
    add_identity(parser)
    parser.add_argument('--json', action='store_true', help='as JSON')

    def run(args: argparse.Namespace) -> None:
        import json

        from rfdn_plugin.weights.inspect import as_lines, inspect_weights

        report = inspect_weights(args.weights, **said_of_weights(args))
        print(json.dumps(report, indent=2) if args.json else '\n'.join(as_lines(report)))

    return run


@command('convert', 'weights in another layout')
def _convert(parser: argparse.ArgumentParser) -> Action:
    """Write weights as .safetensors with a model card, or as .pth in BasicSR's or the authors' layout.

    The foldings rewrite the network into an equal one: within the rounding of 32-bit floats.
    """
    add = parser.add_argument
    add_weights(parser)
    add_output(parser)
    add('--layout', choices=('safetensors', 'basicsr', 'official'), help='default: by the ending, basicsr for .pth')
    add('--fold-range', action='store_true', help='put the input range into the first and last convolution')
    add_one = parser.add_mutually_exclusive_group().add_argument
    add_one('--fold-srb', action='store_true', help="put SRB's identity into its convolution, for inference")
    add_one('--unfold-srb', action='store_true', help='take it out again, for training')
    hint = 'for the model card, as training_data=DIV2K, iterations=1000000, licence=MIT; may be repeated'
    add('--card', type=key_and_value, action='append', default=[], metavar='KEY=VALUE', help=hint)

    def run(args: argparse.Namespace) -> None:
        from rfdn_plugin.weights.convert import convert
        from rfdn_plugin.weights.loading import identify_file

        identity = identify_file(args.weights, **said_of_weights(args))
        foldings = {name: getattr(args, name) for name in ('fold_range', 'fold_srb', 'unfold_srb')}
        convert(identity, args.output, layout=args.layout, details=dict(args.card), **foldings)
        print(f'{args.output}: {identity.type} x{identity.upscale}')

    return run


@command('transfer', 'weights for another scale')
def _transfer(parser: argparse.ArgumentParser) -> Action:
    """Make weights for another scale: the upsampler resampled or, with --fit, solved in closed form from images."""
    add = parser.add_argument
    add_weights(parser)
    add('--to-scale', type=at_least_one, required=True, metavar='S', help='2, 3, 4, ...')
    add_output(parser)
    add('--fit', type=Path, metavar='DIR', help='folder or LMDB of HR images; their LR is made by MATLAB bicubic')
    add('--images', type=at_least_one, metavar='N', help='as many images at most, spread evenly (default: all)')
    add('--ridge', type=positive, metavar='R', help='regularisation of the fit (default: 1e-3)')

    def run(args: argparse.Namespace) -> None:
        if args.fit is None and (args.images is not None or args.ridge is not None):
            parser.error('--images and --ridge belong to --fit')
        from rfdn_plugin.weights.loading import identify_file
        from rfdn_plugin.weights.transfer.fit import RIDGE
        from rfdn_plugin.weights.transfer.run import transfer

        identity = identify_file(args.weights, **said_of_weights(args))
        ridge = args.ridge or RIDGE
        fit = transfer(identity, args.to_scale, args.output, fit=args.fit, most=args.images, ridge=ridge)
        if fit is not None:
            print(f'fitted to {fit.images} images, {fit.pixels:,} LR pixels: their error fell by {fit.gain:.3f} dB')
        print(f'{args.output}: {identity.type} x{args.to_scale}, from x{identity.upscale}')

    return run


@command('prepare', 'make paired LMDBs from folders of images')
def _prepare(parser: argparse.ArgumentParser) -> Action:
    """Make OUT/HR_sub.lmdb and OUT/LR_bicubic_X{s}_sub.lmdb with equal keys, for BasicSR's PairedImageDataset.

    Stopped at any moment, the same command goes on; finished databases are not touched. docs/datasets.md has recipes.
    """
    add = parser.add_argument
    add('--hr', nargs='+', type=Path, required=True, metavar='DIR', help='folders of HR images')
    add('--out', type=Path, required=True, metavar='DIR', help='folder for the databases')
    add('--scales', nargs='+', type=int, default=[2, 3, 4], metavar='S', help='default: 2 3 4')
    lr_help = 'folder of given LR images of scale S; MATLAB bicubic is made where there is none'
    add('--lr', nargs='+', type=scale_and_folder, action='extend', default=[], metavar='S=DIR', help=lr_help)
    crop_help = 'side of the sub-images in HR pixels; 0 for whole images (default: 480)'
    add('--crop-size', type=int, default=480, metavar='N', help=crop_help)
    add('--step', type=int, metavar='N', help='distance of the sub-images (default: half of the crop size)')
    add('--encoding', choices=('png', 'bmp'), default='png', help='bmp: twice the disk, not decoded in training')
    add('--level', type=int, default=1, metavar='L', help='PNG compression, 0 to 9 (default: 1)')
    border_help = 'replicate: the bicubic of older MATLABs (default: symmetric)'
    add('--border', choices=('symmetric', 'replicate'), default='symmetric', help=border_help)
    add('--min-size', type=int, default=0, metavar='N', help='skip images with a shorter side, as the gt_size')
    add('--workers', type=at_least_one, metavar='N', help='processes that decode and encode (default: one a core)')
    add('--shard', type=part_of_whole, metavar='I/N', help='only part I of N, into OUT/shard_I_of_N; see rfdn merge')
    add('--recursive', action='store_true', help='enter subfolders')
    add('--folders', action='store_true', help='write PNG folders OUT/HR and OUT/LR_bicubic/X{s}, as for test sets')
    add('--strict', action='store_true', help='fail where a file would be skipped')

    def run(args: argparse.Namespace) -> None:
        from rfdn_plugin.data.prepare import PrepareSpec, prepare

        given = vars(args)
        names = ('out', 'crop_size', 'step', 'encoding', 'level', 'border', 'min_size', 'shard', 'recursive', 'strict')
        spec = PrepareSpec(
            hr=tuple(args.hr),
            scales=tuple(args.scales),
            lr=dict(args.lr),
            workers=args.workers or cores(),
            **{name: given[name] for name in names},
        )
        if args.folders:
            from rfdn_plugin.data.prepare.folders import prepare_folders

            print('\n'.join(prepare_folders(spec)))
        else:
            print('\n'.join(prepare(spec).lines()))

    return run


@command('merge', 'put prepared databases together')
def _merge(parser: argparse.ArgumentParser) -> Action:
    """Make one set of databases of the shards of an array job, or of several sets prepared with the same settings."""
    parser.add_argument('folders', nargs='+', type=Path, metavar='SHARD', help='what was the --out of rfdn prepare')
    parser.add_argument('--out', type=Path, required=True, metavar='DIR', help='folder for the result')

    def run(args: argparse.Namespace) -> None:
        from rfdn_plugin.data.prepare.merge import merge

        print('\n'.join(merge(args.folders, args.out).lines()))

    return run


@command('verify', 'check LMDBs of images')
def _verify(parser: argparse.ArgumentParser) -> Action:
    """Decode every entry, compare keys, sizes and pairs, look for LR of a wrong resize and for benchmark images.

    Exit code 0: no problem; 1: problems, each named.
    """
    add = parser.add_argument
    add('databases', nargs='*', type=Path, metavar='LMDB', help='.lmdb folders, or folders that hold them')
    pair_help = 'a pair; HR[_sub].lmdb and LR_bicubic_X{s}[_sub].lmdb of one folder are paired without it'
    add('--pair', nargs=3, action='append', default=[], metavar=('HR', 'LR', 'SCALE'), help=pair_help)
    share_help = 'share of the pairs whose LR is compared with MATLAB bicubic (default: 0.05, at least 20 pairs)'
    add('--share', type=fraction, default=0.05, metavar='F', help=share_help)
    add('--all', action='store_const', const=1.0, dest='share', help='compare all of them')
    add('--against', nargs='+', type=Path, default=[], metavar='DIR', help='benchmark images not to be trained on')
    add('--workers', type=at_least_one, metavar='N', help='processes (default: one a core)')

    def run(args: argparse.Namespace) -> int:
        from rfdn_plugin.data.verify import Pair, verify

        if not args.databases and not args.pair:
            parser.error('give an LMDB, a folder that holds some, or --pair')
        if not all(scale.isdigit() and int(scale) > 1 for _, _, scale in args.pair):
            parser.error('the SCALE of --pair is a whole number of at least 2')
        pairs = [Pair(Path(hr), Path(lr), int(scale)) for hr, lr, scale in args.pair]
        workers = args.workers or cores()
        report = verify(args.databases, pairs, share=args.share, benchmarks=args.against, workers=workers)
        print('\n'.join(report.lines()))
        return 1 if report.problems else 0

    return run


@command('leaderboard', 'measure entries on test sets: quality, cost, significance')
def _leaderboard(parser: argparse.ArgumentParser) -> Action:
    """Measure every entry of an option file. Exit code 3: done, but an entry failed; the table names it."""
    parser.add_argument('-opt', required=True, metavar='FILE', help='option file, see options/leaderboard/')
    parser.add_argument(
        '--out', type=Path, metavar='DIR', help='folder of the results (default: results/leaderboard/NAME)'
    )
    parser.add_argument(
        '--workers', type=at_least_one, metavar='N', help='processes on a CPU (default: as many as it has cores)'
    )

    def run(args: argparse.Namespace) -> int:
        from rfdn_plugin.leaderboard.board import run as run_leaderboard
        from rfdn_plugin.leaderboard.options import load_options
        from rfdn_plugin.leaderboard.report.tables import print_board

        options = load_options(args.opt)
        out = args.out or Path('results') / 'leaderboard' / options.name
        board = run_leaderboard(options, out, args.workers)
        print_board(board)
        print(f'Written to {out}: leaderboard.html, .md, .json, two .csv files, comparisons/')
        return 3 if any('error' in row for row in board['entries']) else 0

    return run


@command('list', 'the registered networks with parameters and multi-adds')
def _list(parser: argparse.ArgumentParser) -> Action:
    """The registered networks with parameters and multi-adds (output of 1280x720) at x2, x3 and x4."""
    parser.add_argument('--json', action='store_true', help='whole numbers as JSON')

    def run(args: argparse.Namespace) -> None:
        from rfdn_plugin.leaderboard.measure.networks import print_networks

        print_networks(as_json=args.json)

    return run


@command('schema', 'the JSON schema of the option files')
def _schema(parser: argparse.ArgumentParser) -> Action:
    """Print the schema by which editors complete and check option files; the first line of ours names it."""
    kinds = ('train', 'test', 'leaderboard')
    parser.add_argument('kind', nargs='?', choices=kinds, default='train', help='of option file (default: train)')
    parser.add_argument('-o', '--output', type=Path, metavar='FILE', help='write it there instead')

    def run(args: argparse.Namespace) -> None:
        import json

        from rfdn_plugin.options.json_schema import json_schema
        from rfdn_plugin.utils.files import atomic_write

        text = json.dumps(json_schema(args.kind), indent=1, ensure_ascii=False)
        if args.output is None:
            print(text)
            return
        with atomic_write(args.output, 'w') as stream:
            stream.write(text + '\n')

    return run


if __name__ == '__main__':
    sys.exit(main())
