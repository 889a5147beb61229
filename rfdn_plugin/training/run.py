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
import urllib.error
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rfdn_plugin.utils.errors import RFDNError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """BasicSR's own flags, and `--local-rank` as some launchers write it."""
    parser.add_argument('-opt', required=True, metavar='FILE', help='the option file')
    parser.add_argument(
        '--launcher', choices=('none', 'pytorch', 'slurm'), default='none', help='what started the processes'
    )
    parser.add_argument('--auto_resume', action='store_true', help='go on from the newest whole checkpoint')
    parser.add_argument(
        '--debug', dest='basicsr_debug', action='store_true', help="BasicSR's short run named debug_..."
    )
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help='ignored: torchrun says it otherwise')
    parser.add_argument(
        '--force_yml', nargs='+', default=[], metavar='KEY:KEY=VALUE', help='set options, as in train:total_iter=1000'
    )


def train(args: argparse.Namespace) -> int:
    """Check and run a training.

    Args:
        args: What `add_arguments` parsed.

    Raises:
        RFDNError: Every problem that the option file, the data, the weights or the experiment's folder has.
    """
    from rfdn_plugin.options.load import load_training_options
    from rfdn_plugin.options.yaml_io import list_problems
    from rfdn_plugin.training import preflight

    options = load_training_options(args.opt, args.force_yml)
    if args.basicsr_debug and not options['name'].startswith('debug'):
        options['name'] = f'debug_{options["name"]}'  # as BasicSR will call it
    if args.auto_resume and _is_finished(options):
        print(
            f'experiments/{options["name"]} has finished its {options["train"]["total_iter"]} iterations: nothing to do.'
        )
        return 0
    problems = preflight.check_training(
        options, Path.cwd(), world_size=_world_size(args.launcher), auto_resume=args.auto_resume
    )
    if problems:
        raise RFDNError(list_problems(args.opt, problems))
    from basicsr.train import train_pipeline

    from rfdn_plugin.training.resume import catch_signals

    if options['model_type'] == 'RFDNModel':  # which looks at what was caught
        catch_signals(launched=args.launcher != 'none')
    with _nothing_lost(options, args.launcher):
        _run(train_pipeline, options, args)
    return 0


@contextlib.contextmanager
def _nothing_lost(options: dict[str, Any], launcher: str) -> Iterator[None]:
    """After an error, save what was trained since the last checkpoint, and say what happened in a line.

    Raises:
        RFDNError: For the errors that a user can do something about; others stay what they are.
    """
    import torch

    from rfdn_plugin.training.resume import rescue

    try:
        yield
    except Exception as error:
        message = _explanation(error, options, launcher, torch.cuda.OutOfMemoryError)
        iteration = rescue()
        saved = f'saved iteration {iteration}: --auto_resume goes on from there.' if iteration is not None else ''
        if message is None:
            if saved:
                print(f'rfdn train: {saved}', file=sys.stderr)
            raise
        raise RFDNError(f'{message} {saved}'.rstrip()) from error


def _explanation(error: Exception, options: dict[str, Any], launcher: str, out_of_memory: type) -> str | None:
    """What happened and what to do, where that is known."""
    import lmdb

    if isinstance(error, RFDNError):
        text = str(error).strip()
        # From a worker it comes as the text of its traceback, whose last line is the message.
        return text.rpartition(f'{RFDNError.__name__}: ')[2] if 'Traceback' in text else text
    if isinstance(error, out_of_memory):
        parts = options['train'].get('accumulate', 1) * 2
        return (
            f'the memory of the GPU is full: set train.accumulate to {parts} (the same gradients with less memory), '
            'or lower datasets.train.batch_size_per_gpu.'
        )
    text = str(error).strip()
    if isinstance(error, lmdb.Error):
        return f'cannot read the training data ({text.splitlines()[-1]}): is it still where the options say?'
    if isinstance(error, RuntimeError) and 'DataLoader worker' in text:
        reason = text.splitlines()[0].partition('killed by signal: ')[2].partition('.')[0] or text.splitlines()[0]
        return (
            f'a process that reads the training data ended ({reason}): see that the data is whole (rfdn verify) and that '
            'neither the memory nor /dev/shm is full.'
        )
    if isinstance(error, urllib.error.URLError):  # the VGG of a perceptual loss
        return (
            f'cannot fetch what train.perceptual_opt needs ({error.reason}): put it into the folder that '
            'torch.hub.get_dir() names, or leave perceptual_opt out.'
        )
    if type(error).__module__.partition('.')[0] == 'wandb':
        return f'W&B: {text.splitlines()[0].rstrip(".")}: see to that, or set WANDB_MODE=offline, or logger.wandb.project: ~.'
    if launcher != 'none' and isinstance(error, RuntimeError) and 'peer' in text:
        return 'another process of this training has ended, its own output says why.'
    return None


def test(args: argparse.Namespace) -> int:
    """Check and run a test; `train` says the rest."""
    from rfdn_plugin.options.load import load_test_options
    from rfdn_plugin.options.yaml_io import list_problems
    from rfdn_plugin.training import preflight

    options = load_test_options(args.opt, args.force_yml)
    problems = preflight.check_test(options)
    if problems:
        raise RFDNError(list_problems(args.opt, problems))
    from basicsr.test import test_pipeline

    _run(test_pipeline, options, args)
    return 0


def _world_size(launcher: str) -> int:
    """How many processes train together, by what started them.

    Raises:
        RFDNError: Nothing did.
    """
    variable = {'none': None, 'pytorch': 'WORLD_SIZE', 'slurm': 'SLURM_NTASKS'}[launcher]
    if variable is None:
        return 1
    if variable not in os.environ:
        starter = 'torchrun --nproc_per_node=N -m rfdn_plugin.train ...' if launcher == 'pytorch' else 'srun'
        raise RFDNError(f'--launcher {launcher}: {variable} is not set: start the processes with {starter}')
    return int(os.environ[variable])


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
