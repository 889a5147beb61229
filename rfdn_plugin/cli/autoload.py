"""`rfdn autoload`."""

from __future__ import annotations

import argparse

from rfdn_plugin.cli.registry import Action, command


@command('autoload', "let BasicSR's own scripts find the plugin")
def _autoload(parser: argparse.ArgumentParser) -> Action:
    """Say or switch whether every start of this Python imports the plugin.

    Where it is on, unchanged scripts (`python -m basicsr.train -opt FILE`, projects built on BasicSR) work with today's
    libraries and know the networks, models and datasets of this package. It takes milliseconds of each start.
    """
    parser.add_argument('switch', nargs='?', choices=('on', 'off'), help='without it, say which it is')

    def run(args: argparse.Namespace) -> None:
        from rfdn_plugin.utils import autoload

        if args.switch == 'off':
            removed = autoload.turn_off()
            print(f'off: removed {", ".join(map(str, removed))}.' if removed else 'off, as before.')
            return
        path = autoload.turn_on() if args.switch == 'on' else autoload.state()
        print('off' if path is None else f'on: {path}')

    return run
