"""`rfdn export`."""

from __future__ import annotations

import argparse
from pathlib import Path

from rfdn_plugin.cli.arguments import add_weights, network_overrides
from rfdn_plugin.cli.registry import Action, command

FORMATS = ('onnx', 'openvino', 'ncnn', 'torch', 'web')
PRECISIONS = ('fp32', 'fp16', 'bf16')


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
    add('--clamp', action='store_true', help='cut the output to 0..1 inside the model')

    def run(args: argparse.Namespace) -> None:
        from rfdn_plugin.deploy.export.run import export
        from rfdn_plugin.weights.loading import identify_file

        identity = identify_file(args.weights, **network_overrides(args))
        result = export(identity, args.output, format=args.format, precision=args.precision, clamp=args.clamp)
        for backend, differences in result.differences.items():
            told = ', '.join(f'{height}x{width} {value:.1e}' for (height, width), value in differences.items())
            print(f'{backend} differs from the network by at most (grey levels): {told}')
        size = sum(path.stat().st_size for path in result.paths) / 1e6
        files = ', '.join(map(str, result.paths))
        print(f'{files}: {identity.type} x{identity.upscale}, {args.precision}, {size:.1f} MB')

    return run
