"""`rfdn train` and `rfdn test`: checked here, then run by BasicSR's own pipelines.

The options are read and checked by us, written out as plain YAML with every number a number, and handed to BasicSR's
`train_pipeline` with the working directory as its root. So nothing of an option file reaches BasicSR's unsafe loader,
and the copy in the experiment's folder says what really ran.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rfdn_plugin.training.session import Session
    from rfdn_plugin.utils.lock import Lock


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """BasicSR's own flags, and `--local-rank` as some launchers write it."""
    parser.add_argument(
        '-opt', required=True, metavar='FILE', help='an option file, or a shipped one (rfdn options list)'
    )
    parser.add_argument(
        '--launcher', choices=('none', 'pytorch', 'slurm'), default='none', help='what started the processes'
    )
    parser.add_argument('--auto_resume', action='store_true', help='go on from the newest whole checkpoint')
    parser.add_argument(
        '--debug', dest='basicsr_debug', action='store_true', help="BasicSR's short run named debug_..."
    )
    parser.add_argument(
        '--local_rank', '--local-rank', type=int, default=0, help='ignored: torchrun gives it in the environment'
    )
    parser.add_argument(
        '--force_yml', nargs='+', default=[], metavar='KEY:KEY=VALUE', help='set options, as in train:total_iter=1000'
    )


def train(args: argparse.Namespace) -> int:
    """Check and run a training; of several processes, the first does the checking for all.

    Args:
        args: What `add_arguments` parsed.

    Raises:
        RFDNError: Every problem that the option file, the data, the weights or the experiment's folder has; or the
            experiment is being trained by another process.
    """
    from rfdn_plugin.options.load import load_training_options
    from rfdn_plugin.training import launch

    options = load_training_options(args.opt, args.force_yml)
    if args.basicsr_debug and not options['name'].startswith('debug'):
        options['name'] = f'debug_{options["name"]}'  # as BasicSR will call it
    from rfdn_plugin.training.session import Session
    from rfdn_plugin.weights.pickles import read_once

    session = Session()
    with contextlib.ExitStack() as held, launch.joined(args.launcher, options):
        session.reading.enter_context(read_once())
        held.enter_context(session.reading)
        decision = launch.first_decides(args.launcher, lambda: _is_to_train(options, args, session, held))
        if decision is None:
            return 0
        session.resume_from, session.is_decided = decision or None, True
        from basicsr.train import train_pipeline
        from basicsr.utils.registry import MODEL_REGISTRY

        from rfdn_plugin.training.explain import nothing_lost
        from rfdn_plugin.training.hooks import hooked, joins_session
        from rfdn_plugin.utils.output import lasting

        if joins_session(MODEL_REGISTRY.get(options['model_type'])):  # which looks at what was caught
            held.callback(session.signals.release)
            session.signals.catch(launched=args.launcher != 'none')
        with (
            lasting('stdout', 'stderr'),  # `nohup ... | tee`, and the tee is gone
            nothing_lost(session, options, args.launcher),
            hooked(session, options, is_trial=args.basicsr_debug),
        ):
            _run(train_pipeline, options, args)
    return 0


def _is_to_train(
    options: dict[str, Any], args: argparse.Namespace, session: Session, held: contextlib.ExitStack
) -> str | None:
    """The training state that --auto_resume finds, empty without one; None where there is nothing to train.

    `held` then holds the lock of the experiment.

    Raises:
        RFDNError: As `train`.
    """
    from rfdn_plugin.training import launch, preflight
    from rfdn_plugin.training.resume import newest_whole_state

    session.lock = held.enter_context(_locked('experiments', options['name']))
    if args.auto_resume and _is_finished(options):
        print(
            f'experiments/{options["name"]} has finished its {options["train"]["total_iter"]} iterations: nothing to do.'
        )
        return None
    world_size = launch.world_size(args.launcher)
    found = preflight.check_training(options, Path.cwd(), world_size=world_size, auto_resume=args.auto_resume)
    found.report(args.opt)
    if not args.auto_resume:
        return ''
    folder = Path.cwd() / 'experiments' / options['name']
    return newest_whole_state(folder / 'training_states', folder / 'models') or ''


def test(args: argparse.Namespace) -> int:
    """Check and run a test, whose images and log are kept in results/NAME; `train` says the rest."""
    from rfdn_plugin.options.load import load_test_options
    from rfdn_plugin.training import launch

    options = load_test_options(args.opt, args.force_yml)
    with contextlib.ExitStack() as held, launch.joined(args.launcher, options):
        launch.first_decides(args.launcher, lambda: _is_to_test(options, args, held))
        from basicsr.test import test_pipeline

        from rfdn_plugin.training.hooks import hooked_test

        with hooked_test():
            _run(test_pipeline, options, args)
    return 0


def _is_to_test(options: dict[str, Any], args: argparse.Namespace, held: contextlib.ExitStack) -> None:
    from rfdn_plugin.training import preflight

    held.enter_context(_locked('results', options['name']))
    preflight.check_test(options).report(args.opt)


def _locked(parent: str, name: str) -> Lock:
    """The lock of a folder below the working directory, beside it, since BasicSR renames the folder itself."""
    from rfdn_plugin.utils.lock import Lock

    return Lock(Path(parent, f'.{name}.lock'), str(Path(parent, name)), 'choose another name')


def _is_finished(options: dict[str, Any]) -> bool:
    """Whether the last weights of the experiment below the working directory have all their iterations behind them."""
    latest = Path('experiments', options['name'], 'models', 'net_g_latest.pth')
    if not latest.is_file():
        return False
    from rfdn_plugin.weights.checkpoint import read_checkpoint

    iterations = read_checkpoint(latest).metadata.get('iterations', '')
    return iterations.isdigit() and int(iterations) >= options['train']['total_iter']


def _run(pipeline: Callable[[str], None], options: dict[str, Any], args: argparse.Namespace) -> None:
    import yaml

    _forget_logger()
    with tempfile.TemporaryDirectory(prefix='rfdn-') as folder:
        resolved = Path(folder, Path(args.opt).name)
        header = (
            f'# From {args.opt}' + (f' with --force_yml {" ".join(args.force_yml)}' if args.force_yml else '') + '\n'
        )
        resolved.write_text(header + yaml.safe_dump(options, sort_keys=False, allow_unicode=True), encoding='utf-8')
        flags = ['--launcher', args.launcher]
        flags += ['--auto_resume'] if args.auto_resume else []
        flags += ['--debug'] if args.basicsr_debug else []
        command_line, sys.argv = sys.argv, [sys.argv[0], '-opt', str(resolved), *flags]
        try:
            pipeline(os.getcwd())
        finally:
            sys.argv = command_line


def _forget_logger() -> None:
    """BasicSR's logger takes its level and file from its first use only, which our checks must not have been."""
    from basicsr.utils.logger import initialized_logger

    initialized_logger.pop('basicsr', None)
    logging.getLogger('basicsr').handlers.clear()
