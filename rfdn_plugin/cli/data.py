"""`rfdn prepare`, `rfdn merge` and `rfdn verify`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rfdn_plugin.cli.arguments import (
    add_json,
    add_output_folder,
    at_least_one,
    fraction,
    part_of_whole,
    print_json,
    scale_and_folder,
)
from rfdn_plugin.cli.registry import Action, command
from rfdn_plugin.utils.machine import available_cores


@command('prepare', 'make paired LMDBs from folders of images')
def _prepare(parser: argparse.ArgumentParser) -> Action:
    """Make OUT/HR_sub.lmdb and OUT/LR_bicubic_X{s}_sub.lmdb with equal keys, for BasicSR's PairedImageDataset.

    Stopped at any moment, the same command goes on; finished databases are not touched. docs/datasets.md has recipes.
    """
    add = parser.add_argument
    add('--hr', nargs='+', type=Path, required=True, metavar='DIR', help='folders of HR images')
    add_output_folder(parser, 'folder for the databases')
    add('--scales', nargs='+', type=int, default=[2, 3, 4], metavar='S', help='default: 2 3 4')
    lr_help = 'folder of given LR images of scale S; MATLAB bicubic is made where there is none'
    add('--lr', nargs='+', type=scale_and_folder, action='extend', default=[], metavar='S=DIR', help=lr_help)
    crop_help = 'side of the sub-images in HR pixels; 0 for whole images (default: 480)'
    add('--crop-size', type=int, metavar='N', help=crop_help)
    add('--step', type=int, metavar='N', help='distance of the sub-images (default: half of the crop size)')
    add('--encoding', choices=('png', 'bmp'), help='bmp: twice the disk, not decoded in training (default: png)')
    add('--level', type=int, metavar='L', help='PNG compression, 0 to 9 (default: 1)')
    border_help = 'replicate: the bicubic of older MATLABs (default: symmetric)'
    add('--border', choices=('symmetric', 'replicate'), help=border_help)
    add('--min-size', type=int, default=0, metavar='N', help='skip images with a shorter side, as the gt_size')
    add('--workers', type=at_least_one, metavar='N', help='processes that decode and encode (default: one a core)')
    add('--shard', type=part_of_whole, metavar='I/N', help='only part I of N, into OUT/shard_I_of_N; see rfdn merge')
    add('--recursive', action='store_true', help='enter subfolders')
    add('--folders', action='store_true', help='write PNG folders OUT/HR and OUT/LR_bicubic/X{s}, as for test sets')
    add('--strict', action='store_true', help='fail where a file would be skipped')
    add_json(parser)

    def run(args: argparse.Namespace) -> None:
        from rfdn_plugin.data.prepare import PrepareSpec, prepare

        if unused := _unused_options(args):
            print(f'rfdn prepare: not used here: {", ".join(unused)}', file=sys.stderr)
        names = ('out', 'crop_size', 'step', 'encoding', 'level', 'border', 'min_size', 'shard', 'recursive', 'strict')
        given = {name: value for name in names if (value := getattr(args, name)) is not None}
        spec = PrepareSpec(
            hr=tuple(args.hr),
            scales=tuple(args.scales),
            lr=dict(args.lr),
            workers=args.workers or available_cores(),
            **given,
        )
        if args.folders:
            from rfdn_plugin.data.prepare.folders import prepare_folders

            summary = prepare_folders(spec)
        else:
            summary = prepare(spec, lambda line: print(line, file=sys.stderr if args.json else sys.stdout))
        print_json(summary) if args.json else print('\n'.join(summary.lines()))

    return run


def _unused_options(args: argparse.Namespace) -> list[str]:
    """What was given to `rfdn prepare` and changes nothing, each with the reason."""
    unused = {}
    if args.folders:
        for name in ('crop_size', 'step', 'encoding', 'shard', 'workers'):
            unused[name] = 'with --folders, which writes whole PNGs in one process'
    if args.crop_size == 0:
        unused.setdefault('step', 'with --crop-size 0, which keeps images whole')
    if args.encoding == 'bmp' and not args.folders:
        unused['level'] = 'with --encoding bmp, which does not compress'
    if args.lr and set(args.scales) <= set(dict(args.lr)):
        unused['border'] = 'with --lr for every scale'
    return [f'--{name.replace("_", "-")} ({why})' for name, why in unused.items() if getattr(args, name) is not None]


@command('merge', 'put prepared databases together')
def _merge(parser: argparse.ArgumentParser) -> Action:
    """Make one set of databases of the shards of an array job, or of several sets prepared with the same settings."""
    parser.add_argument('folders', nargs='+', type=Path, metavar='SHARD', help='what was the --out of rfdn prepare')
    add_output_folder(parser, 'folder for the result')
    add_json(parser)

    def run(args: argparse.Namespace) -> None:
        from rfdn_plugin.data.prepare.merge import merge

        summary = merge(args.folders, args.out)
        print_json(summary) if args.json else print('\n'.join(summary.lines()))

    return run


@command('verify', 'check LMDBs and folders of images')
def _verify(parser: argparse.ArgumentParser) -> Action:
    """Decode every image, compare keys, sizes and pairs, look for LR of a wrong resize and for benchmark images.

    Exit code 0: no problem; 1: problems, each named.
    """
    add = parser.add_argument
    paths_help = '.lmdb folders, folders of images, or folders that hold .lmdb folders or HR and LR_bicubic/X{s}'
    add('paths', nargs='*', type=Path, metavar='PATH', help=paths_help)
    pair_help = 'two LMDBs or two folders; HR[_sub].lmdb and LR_bicubic_X{s}[_sub].lmdb are paired without it'
    add('--pair', nargs=3, action='append', default=[], metavar=('HR', 'LR', 'SCALE'), help=pair_help)
    share_help = 'share of the pairs whose LR is compared with MATLAB bicubic (default: 0.05, at least 20 pairs)'
    add('--share', type=fraction, default=0.05, metavar='F', help=share_help)
    add('--all', action='store_const', const=1.0, dest='share', help='compare all of them')
    add('--against', nargs='+', type=Path, default=[], metavar='DIR', help='benchmark images not to be trained on')
    add('--workers', type=at_least_one, metavar='N', help='processes (default: one a core)')
    add_json(parser)

    def run(args: argparse.Namespace) -> int:
        from rfdn_plugin.data.verify import Pair, verify

        if not args.paths and not args.pair:
            parser.error('give LMDBs, folders, or --pair')
        if not all(scale.isdigit() and int(scale) > 1 for _, _, scale in args.pair):
            parser.error('the SCALE of --pair is a whole number of at least 2')
        pairs = [Pair(Path(hr), Path(lr), int(scale)) for hr, lr, scale in args.pair]
        workers = args.workers or available_cores()
        report = verify(args.paths, pairs, share=args.share, benchmarks=args.against, workers=workers)
        print_json(report, problems=len(report.problems)) if args.json else print('\n'.join(report.lines()))
        return 1 if report.problems else 0

    return run
