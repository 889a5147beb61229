"""`rfdn inspect`, `rfdn convert` and `rfdn transfer`."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from rfdn_plugin.cli.arguments import (
    add_identity,
    add_json,
    add_output,
    add_weights,
    at_least_one,
    key_and_value,
    network_overrides,
    positive,
    print_json,
)
from rfdn_plugin.cli.registry import Action, command
from rfdn_plugin.utils.text import counted


@command('inspect', 'what a weights file is')
def _inspect(parser: argparse.ArgumentParser) -> Action:
    """Show what a weights file is: layout, network, scale, input range, fingerprint, metadata.

    A file that belongs to no network here is described too, with the reason.
    """
    parser.add_argument('weights', type=Path, metavar='W', help='.pth, .pkl, .safetensors or zoo:NAME')
    add_identity(parser)
    add_json(parser)

    def run(args: argparse.Namespace) -> None:
        from rfdn_plugin.weights.inspect import as_lines, inspect_weights

        report = inspect_weights(args.weights, **network_overrides(args))
        width = shutil.get_terminal_size((120, 24)).columns
        print_json(report) if args.json else print('\n'.join(as_lines(report, width)))

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

        identity = identify_file(args.weights, corrects_card=True, **network_overrides(args))
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

        identity = identify_file(args.weights, **network_overrides(args))
        ridge = args.ridge or RIDGE
        fit = transfer(identity, args.to_scale, args.output, fit=args.fit, most=args.images, ridge=ridge)
        if fit is not None:
            source = f'{counted(fit.images, "image")}, {fit.pixels:,} LR pixels'
            if fit.used:
                print(f'fitted to {source}: on pixels left out of it the error fell by {fit.gain:.3f} dB')
            else:
                print(
                    f'not fitted: from {source} it is no better on pixels left out of it ({fit.gain:.3f} dB); resampled'
                )
        print(f'{args.output}: {identity.type} x{args.to_scale}, from x{identity.upscale}')

    return run
