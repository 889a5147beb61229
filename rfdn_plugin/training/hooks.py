"""What BasicSR's `train_pipeline` is made to use while a training of ours runs: sampler, loaders, logger, resume.

Its functions look these names up in their module, so they are replaced there, by `Hooks`, and given back at the end.
`rfdn train` does so around its training, whichever model it trains. For BasicSR's own script, and for others built on it,
`watch` waits until an option file names our model or our dataset; any other training keeps BasicSR's own objects.
"""

from __future__ import annotations

import contextlib
import copy
import math
import os
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch

from rfdn_plugin.options.renamed import use_new_names
from rfdn_plugin.training.session import Session

if TYPE_CHECKING:
    from rfdn_plugin.data.training.dataset import EpochSampler


class ExperimentName(str):
    """A name that BasicSR does not take for that of a trial, whatever is in it.

    BasicSR looks for `debug` in the name of an experiment, and where it finds it logs, saves and validates otherwise than
    the option file says. `--debug` asks for that; a name does not.
    """

    def __contains__(self, part: object) -> bool:
        return part != 'debug' and isinstance(part, str) and super().__contains__(part)


class Hooks:
    """The names of one `train_pipeline` that are replaced for one training.

    Args:
        namespace: The variables of the module that the pipeline stands in: those of `basicsr.train`, or of `__main__`
            for `python -m basicsr.train`.
        session: The training.
    """

    def __init__(self, namespace: dict[str, Any], session: Session) -> None:
        from rfdn_plugin.data.training.dataset import EpochSampler
        from rfdn_plugin.training.monitor import ProgressLogger

        self.session = session
        self._namespace = namespace
        replacements = {
            'EnlargedSampler': EpochSampler,
            'MessageLogger': ProgressLogger,
            'load_resume_state': self._load_resume_state,
            'make_exp_dirs': self._make_folders,
            'create_train_val_dataloader': self._create_loaders,
            'build_dataset': self._build_dataset,
            'build_model': self._build_model,
            'init_tb_loggers': self._init_tb_loggers,
        }
        self._originals = {name: namespace[name] for name in replacements if name in namespace}
        namespace.update({name: replacements[name] for name in self._originals})

    def remove(self) -> None:
        """Give BasicSR its own names back."""
        self._namespace.update(self._originals)

    def _load_resume_state(self, opt: dict[str, Any]) -> dict[str, Any] | None:
        from rfdn_plugin.training.resume import load_resume_state

        is_decided = self.session.is_decided and opt['auto_resume']
        if is_decided:
            opt['path']['resume_state'] = self.session.resume_from
        return load_resume_state(opt, is_named=is_decided)

    def _make_folders(self, opt: dict[str, Any]) -> None:
        """BasicSR's `make_exp_dirs`, when the name that it gives to what it moves aside is free.

        That name ends with the second, and two starts within one ended with `Directory not empty`.
        """
        from basicsr.utils import get_time_str

        while os.path.exists(f'{opt["path"]["experiments_root"]}_archived_{get_time_str()}'):
            time.sleep(0.1)
        self._originals['make_exp_dirs'](opt)

    def _create_loaders(self, opt: dict[str, Any], logger: Any) -> tuple:
        """BasicSR's `create_train_val_dataloader`, with a sampler that knows where to go on and our loaders."""
        loader, sampler, val_loaders, _, total_iters = self._originals['create_train_val_dataloader'](opt, logger)
        done = opt.get('resumed_iteration', 0)
        sampler.go_on_after(done, loader.batch_size)
        loader = without_pauses(loader, sampler, opt)
        logger.info(f'Batches of {loader.batch_size} from a {type(loader).__name__}.')
        self.session.sampler, self.session.validation_loaders = sampler, val_loaders
        # BasicSR plans its epochs with the smaller batch that it drops, for one GPU, and from the beginning: it would
        # end early, with exit code 0, on several GPUs, with short epochs, or resumed with another batch. Its loop goes
        # through the epoch that it is told as well; one more would start workers for nothing.
        epoch = opt.get('resumed_epoch', 0)
        sampler.set_epoch(epoch)
        after_it = max(total_iters - done - sampler.samples_left() // loader.batch_size, 0)
        total_epochs = epoch + math.ceil(after_it / max(len(loader), 1))
        return loader, sampler, val_loaders, total_epochs, total_iters

    def _build_dataset(self, dataset_opt: dict[str, Any]) -> Any:
        return naming(self._originals['build_dataset'](dataset_opt))

    def _build_model(self, opt: dict[str, Any]) -> Any:
        model = self._originals['build_model'](opt)
        if joins_session(type(model)):
            model.join(self.session)
        self.session.reading.close()  # the last that reads checkpoints: let go of what the checks have read
        return model

    def _init_tb_loggers(self, opt: dict[str, Any]) -> Any:
        self.session.tb_logger = self._originals['init_tb_loggers'](opt)
        return self.session.tb_logger


def joins_session(model: type) -> bool:
    """Whether a class of BasicSR's MODEL_REGISTRY is ours, or made from ours."""
    return callable(getattr(model, 'join', None))


@contextlib.contextmanager
def hooked(session: Session, options: dict[str, Any], *, is_trial: bool) -> Iterator[None]:
    """BasicSR's `train_pipeline` is ours inside the block.

    Args:
        session: The training.
        options: Its checked options.
        is_trial: Whether `--debug` was given: else BasicSR must not take the experiment's name for it.
    """
    import basicsr.train

    hooks = Hooks(vars(basicsr.train), session)
    parse = basicsr.train.parse_options
    own = getattr(parse, 'original', parse)

    def parse_options(root_path: str, is_train: bool = True) -> tuple[dict[str, Any], Any]:
        opt, args = own(root_path, is_train)
        if not is_trial and 'debug' in opt['name']:
            opt['name'] = ExperimentName(opt['name'])
            opt.update({key: copy.deepcopy(options[key]) for key in ('val', 'logger') if key in options})
        return opt, args

    basicsr.train.parse_options = parse_options
    try:
        yield
    finally:
        basicsr.train.parse_options = parse
        hooks.remove()


# --- trainings that others start -------------------------------------------------------------------------------------
def watch() -> None:
    """See to it that a training of ours is hooked whoever starts it: `python -m basicsr.train`, or a script like it."""
    import basicsr.train
    from basicsr.utils import options

    original = getattr(options.parse_options, 'original', options.parse_options)
    active: list[Hooks] = []

    def parse_options(root_path: str, is_train: bool = True) -> tuple[dict[str, Any], Any]:
        import inspect

        opt, args = original(root_path, is_train)
        while active:  # an earlier training of this process
            active.pop().remove()
        frame = inspect.currentframe()
        caller = frame.f_back if frame is not None else None
        if is_train and caller is not None and 'train_pipeline' in caller.f_globals and is_ours(opt):
            for note in use_new_names(opt):
                print(f'{args.opt}: note: {note}', file=sys.stderr)
            session = Session()
            session.signals.catch(launched=args.launcher != 'none')
            active.append(Hooks(caller.f_globals, session))
        return opt, args

    parse_options.original = original  # type: ignore[attr-defined]
    options.parse_options = basicsr.train.parse_options = parse_options


def is_ours(opt: dict[str, Any]) -> bool:
    """Whether a training uses our model or our dataset."""
    from basicsr.utils.registry import DATASET_REGISTRY, MODEL_REGISTRY

    from rfdn_plugin.data.training.dataset import FastPairedImageDataset

    dataset = DATASET_REGISTRY.get(opt['datasets']['train']['type'])
    return issubclass(dataset, FastPairedImageDataset) or joins_session(MODEL_REGISTRY.get(opt['model_type']))


# --- tests -----------------------------------------------------------------------------------------------------------
@contextlib.contextmanager
def hooked_test() -> Iterator[None]:
    """BasicSR's `test_pipeline` writes its results over those of an earlier test inside the block, and names bad images.

    By itself it renames the results of the earlier test, images and all, at each further one.
    """
    import basicsr.test

    build_dataset, make_exp_dirs = basicsr.test.build_dataset, basicsr.test.make_exp_dirs
    basicsr.test.build_dataset = lambda dataset_opt: naming(build_dataset(dataset_opt))
    basicsr.test.make_exp_dirs = _make_result_folders
    try:
        yield
    finally:
        basicsr.test.build_dataset, basicsr.test.make_exp_dirs = build_dataset, make_exp_dirs


def naming(dataset: Any) -> Any:
    """The dataset, whose errors name the image."""
    from rfdn_plugin.data.training import named

    return named.naming(dataset)


def _make_result_folders(opt: dict[str, Any]) -> None:
    if opt['rank'] == 0:
        replaced = ', in the place of those of an earlier test' if os.path.isdir(opt['path']['results_root']) else ''
        for key in ('results_root', 'log', 'visualization'):
            os.makedirs(opt['path'][key], exist_ok=True)
        print(f'Results: {os.path.relpath(opt["path"]["results_root"])}{replaced}.')
    if opt['dist']:
        torch.distributed.barrier()  # the others write their images there


# --- loaders -------------------------------------------------------------------------------------------------------
def without_pauses(loader: Any, sampler: EpochSampler, opt: dict[str, Any]) -> Any:
    """The loader of the same batches that makes a training wait least."""
    from rfdn_plugin.data.training.loader import ContinuousLoader, LateLoader
    from rfdn_plugin.data.training.resident import ResidentLoader

    data = opt['datasets']['train']
    if data.get('resident'):
        device = torch.device('cuda' if opt['num_gpu'] != 0 else 'cpu')
        return ResidentLoader(loader.dataset, sampler, loader.batch_size, device)
    if data.get('sample_seed') is not None:
        return ContinuousLoader(loader, sampler)
    return LateLoader(loader)
