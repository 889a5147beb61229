"""`rfdn export`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from rfdn_plugin.cli.arguments import add_json, add_weights, network_overrides, positive, print_json
from rfdn_plugin.cli.registry import Action, command
from rfdn_plugin.utils.text import counted

if TYPE_CHECKING:
    from rfdn_plugin.deploy.export import Exported
    from rfdn_plugin.deploy.quantise import Quantised

FORMATS = ('onnx', 'openvino', 'ncnn', 'torch', 'web')
PRECISIONS = ('fp32', 'fp16', 'bf16', 'int8')


@command('export', 'weights as a model for other runtimes')
def _export(parser: argparse.ArgumentParser) -> Action:
    """Write weights as a model for ONNX runtimes, OpenVINO, ncnn or torch.export, compared with the network first.

    web is one HTML file with the model and a runtime, which opens in a browser without a server.
    The model takes N x 3 x H x W, 32-bit floats, RGB, 0..1, any size. The differences are printed in grey levels.
    """
    add = parser.add_argument
    add_weights(parser)
    add('--format', choices=FORMATS, help="default: by the output's ending: .onnx, .xml, .param, .pt2, .html")
    written = 'replaced where it is there; of an ncnn model its name gets the scale (-x4) where it lacks it'
    add('-o', '--output', type=Path, required=True, metavar='FILE', help=written)
    add('--precision', choices=PRECISIONS, default='fp32', help='what it computes in (default: fp32)')
    add(
        '--calibrate',
        type=Path,
        metavar='DIR',
        help='for int8: a folder or LMDB of HR images like those to be enlarged',
    )
    add('--most-loss', type=positive, metavar='DB', help='for int8: PSNR that may be lost (default: 0.1)')
    add('--clamp', action='store_true', help='cut the output to 0..1 inside the model')
    add_json(parser)

    def run(args: argparse.Namespace) -> None:
        if (args.precision == 'int8') != (args.calibrate is not None):
            parser.error('--precision int8 needs --calibrate, and only that does')
        if args.most_loss is not None and args.precision != 'int8':
            parser.error('--most-loss belongs to --precision int8')
        from rfdn_plugin.deploy.export import export
        from rfdn_plugin.weights.loading import identify_file

        identity = identify_file(args.weights, **network_overrides(args))
        result = export(
            identity,
            args.output,
            format=args.format,
            precision=args.precision,
            clamp=args.clamp,
            calibrate=args.calibrate,
            most_loss=args.most_loss,
        )
        if args.json:
            _print_json(result)
            return
        for backend, differences in result.differences.items():
            told = ', '.join(f'{height}x{width} {value:.1e}' for (height, width), value in differences.items())
            computed = result.computed[backend]
            here = '' if computed == args.precision else f', which computes it in {computed} here,'
            print(f'{backend}{here} differs from the network by at most (grey levels): {told}')
        if result.quantised is not None:
            print(_told(result.quantised))
        size = sum(path.stat().st_size for path in result.paths) / 1e6
        files = ', '.join(map(str, result.paths))
        print(f'{files}: {identity.type} x{identity.upscale}, {args.precision}, {size:.1f} MB')

    return run


def _print_json(result: Exported) -> None:
    by_size = {
        backend: {f'{height}x{width}': value for (height, width), value in differences.items()}
        for backend, differences in result.differences.items()
    }
    content = {'paths': result.paths, 'card': result.card, 'grey_levels': by_size, 'computed_in': result.computed}
    if (quantised := result.quantised) is not None:
        content['int8'] = {name: getattr(quantised, name) for name in ('layers', 'share', 'psnr', 'images')}
    print_json(content)


def _told(quantised: Quantised) -> str:
    """Which layers compute in 8 bits and what that costs, as one line."""
    before, after = quantised.psnr
    return (
        f'8 bits in {", ".join(quantised.layers)} ({quantised.share:.0%} of the multiplications); PSNR-Y {after:.3f} dB '
        f'instead of {before:.3f} on {counted(quantised.images[1], "image")} that did not calibrate'
    )
