"""Whose sampler, loader and logger a training has: ours where it is ours, BasicSR's own where it is not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from helpers.processes import assert_runs
from helpers.training import OURS, option_file, rfdn, small

from rfdn_plugin.training.hooks import ExperimentName

TWO = {'train:total_iter': 2, 'val:val_freq': 2, 'logger:save_checkpoint_freq': 2}
SPY = """
    import os, runpy, sys
    import rfdn_plugin, basicsr
    import basicsr.data.prefetch_dataloader as prefetch
    from basicsr.utils import logger

    seen = []
    original = prefetch.CPUPrefetcher.__init__
    def spy(self, loader):
        variables = sys._getframe(1).f_locals
        seen.append({
            'loader': type(loader).__name__,
            'sampler': type(variables['train_sampler']).__name__,
            'logger': type(variables['msg_logger']).__name__,
            'model': type(variables['model']).__name__,
        })
        original(self, loader)
    prefetch.CPUPrefetcher.__init__ = spy

    def begin(path, *flags):
        logger.initialized_logger.clear()
        sys.argv = ['train.py', '-opt', path, *flags]
"""


def written(folder: Path, name: str, changes: list[str], *, stock: bool = False) -> Path:
    """An option file for BasicSR's own script; `stock`: with its own model and dataset."""
    from rfdn_plugin.options.load import load_training_options

    path = folder / f'{name}.yml'
    options = load_training_options(option_file(), [*changes, f'name={name}'])
    if stock:
        options['model_type'], options['datasets']['train']['type'] = 'SRModel', 'PairedImageDataset'
    path.write_text(yaml.safe_dump(options, sort_keys=False))
    return path


BASICSRS = {'loader': 'DataLoader', 'sampler': 'EnlargedSampler', 'logger': 'MessageLogger', 'model': 'SRModel'}
OURS_ARE = {'loader': 'ContinuousLoader', 'sampler': 'EpochSampler', 'logger': 'ProgressLogger', 'model': 'RFDNModel'}


def test_importing_the_plugin_leaves_other_trainings_their_own(tmp_path, tiny_data, photographs):
    """A training of BasicSR's model and dataset, then ours, then BasicSR's again, in one process."""
    stock = written(tmp_path, 'stock', small(tiny_data, photographs, **TWO), stock=True)
    ours = written(tmp_path, 'ours', small(tiny_data, photographs, **TWO, **OURS))
    assert_runs(
        SPY
        + f"""
    import basicsr.train
    from basicsr.data.data_sampler import EnlargedSampler
    own = dict(vars(basicsr.train))
    assert own['EnlargedSampler'] is EnlargedSampler and own['MessageLogger'] is logger.MessageLogger
    for name in ('create_train_val_dataloader', 'load_resume_state', 'init_tb_loggers'):
        assert own[name].__module__ == 'basicsr.train', name
    for path in ({str(stock)!r}, {str(ours)!r}, {str(stock)!r}):
        begin(path)
        basicsr.train.train_pipeline(os.getcwd())
    assert seen == [{BASICSRS!r}, {OURS_ARE!r}, {BASICSRS!r}], seen
    assert {{name: vars(basicsr.train)[name] for name in own}} == own
    """,
        cwd=tmp_path,
        loaded=True,
    )


def test_basicsrs_own_script_trains_ours_and_resumes_it(tmp_path, tiny_data, photographs):
    """`python -m basicsr.train` runs a second copy of the module, under the name `__main__`."""
    ours = written(tmp_path, 'ours', small(tiny_data, photographs, **TWO, **OURS))
    longer = written(tmp_path, 'longer', small(tiny_data, photographs, **TWO, **OURS))
    longer.write_text(ours.read_text().replace('total_iter: 2', 'total_iter: 4'))
    assert_runs(
        SPY
        + f"""
    import basicsr.train
    for path, *flags in (({str(ours)!r},), ({str(longer)!r}, '--auto_resume')):
        begin(path, *flags)
        space = runpy.run_module('basicsr.train', run_name='spied', alter_sys=True)
        space['train_pipeline'](os.getcwd())
    assert seen == [{OURS_ARE!r}] * 2, seen
    """,
        cwd=tmp_path,
        loaded=True,
    )
    latest = torch.load(tmp_path / 'experiments/ours/models/net_g_latest.pth', weights_only=True)
    assert latest['metadata']['iterations'] == '4'


@pytest.mark.parametrize('name', ['debug_of_mine', 'no_debugging'])
def test_a_name_does_not_make_a_trial(name, tmp_path, tiny_data, photographs):
    """BasicSR would validate every 8 iterations, save every 8, print each and write nothing for TensorBoard."""
    frequencies = {'val:val_freq': 9, 'logger:save_checkpoint_freq': 3, 'logger:print_freq': 2}
    changes = small(tiny_data, photographs, **frequencies, **{'train:total_iter': 9, 'logger:use_tb_logger': 'true'})
    outcome = rfdn('train', '-opt', option_file(), '--force_yml', *changes, f'name={name}', cwd=tmp_path)
    assert outcome.returncode == 0, outcome.stderr[-2000:]
    states = tmp_path / 'experiments' / name / 'training_states'
    assert sorted(path.name for path in states.iterdir()) == ['3.state', '6.state', '9.state']
    assert outcome.stderr.count('l_pix') == 4 and outcome.stderr.count('Validation Set5') == 1
    assert list((tmp_path / 'tb_logger' / name).iterdir())


def test_the_flag_makes_one(tmp_path, tiny_data, photographs):
    changes = small(tiny_data, photographs, **{'train:total_iter': 9, 'logger:print_freq': 5})
    outcome = rfdn('train', '-opt', option_file(), '--debug', '--force_yml', *changes, cwd=tmp_path)
    assert outcome.returncode == 0, outcome.stderr[-2000:]
    (experiment,) = (path for path in (tmp_path / 'experiments').iterdir())
    assert experiment.name.startswith('debug_') and outcome.stderr.count('l_pix') == 9
    assert [path.name for path in (experiment / 'training_states').iterdir()] == ['8.state']


def test_a_name_is_a_text_like_any_other():
    name = ExperimentName('my_debug_run')
    assert 'debug' not in name and 'run' in name and name == 'my_debug_run' and f'{name}/x' == 'my_debug_run/x'


def test_a_lock_that_was_lost_stops_the_training(tmp_path, tiny_data, photographs):
    """Somebody removed its file, and another may have started meanwhile: nothing more is written."""
    changes = small(tiny_data, photographs, **{'logger:save_checkpoint_freq': 5, 'train:total_iter': 9})
    words = ['train', '-opt', str(option_file()), '--force_yml', *changes]
    assert_runs(
        f"""
        import os
        from rfdn_plugin.cli import main
        from rfdn_plugin.models.rfdn_model import RFDNModel

        original = RFDNModel._step
        def step(self):
            original(self)
            if self.iteration == 6:
                os.unlink('experiments/.train_RFDN_x2_scratch.lock')
        RFDNModel._step = step
        assert main({words!r}) == 1
        """,
        cwd=tmp_path,
        loaded=True,
    )
    models = tmp_path / 'experiments/train_RFDN_x2_scratch/models'
    assert [path.name for path in models.iterdir()] == ['net_g_5.pth']
