"""`rfdn train` and `rfdn test`."""

from __future__ import annotations

import argparse

from rfdn_plugin.cli.arguments import option_file
from rfdn_plugin.cli.registry import Action, command


@command('train', 'train a network from an option file')
def _train(parser: argparse.ArgumentParser) -> Action:
    """Train a network: BasicSR's training below the working directory, checked before it starts.

    Exit code 75: SIGTERM, SIGHUP or Ctrl+C asked it to leave; it saved, and --auto_resume goes on from there. Only the
    third signal ends it at once.
    """
    from rfdn_plugin.training.run import add_arguments

    add_arguments(parser)

    def run(args: argparse.Namespace) -> int:
        from rfdn_plugin.training.run import train

        args.opt = option_file(args.opt, 'train')
        return train(args)

    return run


@command('test', 'test a network from an option file')
def _test(parser: argparse.ArgumentParser) -> Action:
    """Test a network: BasicSR's test below the working directory, refused where no weights would be loaded."""
    from rfdn_plugin.training.run import add_arguments

    add_arguments(parser)

    def run(args: argparse.Namespace) -> int:
        from rfdn_plugin.training.run import test

        args.opt = option_file(args.opt, 'test')
        return test(args)

    return run
