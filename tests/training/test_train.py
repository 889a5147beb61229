"""`rfdn train` and `rfdn test` for real: a few iterations, real LMDBs, real processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers import REPOSITORY
from helpers.processes import assert_runs
from helpers.training import assert_equal, option_file, rfdn, small, weights, without_notes


def test_the_same_weights_as_basicsrs_own_pipeline(tmp_path: Path, tiny_data: Path, photographs: Path):
    """One option file, 10 iterations: by `rfdn train`, and by `train_pipeline` after `import rfdn_plugin`."""
    import yaml

    from rfdn_plugin.options.load import load_training_options

    options = load_training_options(option_file(), small(tiny_data, photographs))
    path = tmp_path / 'options.yml'
    path.write_text(yaml.safe_dump(options, sort_keys=False))
    ours, theirs = tmp_path / 'ours', tmp_path / 'theirs'
    ours.mkdir()
    theirs.mkdir()
    outcome = rfdn('train', '-opt', path, cwd=ours)
    assert outcome.returncode == 0, outcome.stderr[-2000:]
    assert_runs(
        f"""
        import os, sys
        import rfdn_plugin
        from basicsr.train import train_pipeline
        sys.argv = ['train.py', '-opt', {str(path)!r}]
        train_pipeline(os.getcwd())
        """,
        cwd=theirs,
        loaded=True,
    )
    assert_equal(weights(ours), weights(theirs))


def test_x2_from_scratch_x3_and_x4_from_it_and_the_tests_of_all(tmp_path: Path, tiny_data: Path, photographs: Path):
    """The main job in small: each start is reported, everything lands below the working directory."""
    outcome = rfdn('train', '-opt', option_file(2), '--force_yml', *small(tiny_data, photographs, 2), cwd=tmp_path)
    assert outcome.returncode == 0, outcome.stderr[-2000:]
    for scale in (3, 4):
        changes = small(tiny_data, photographs, scale)
        outcome = rfdn('train', '-opt', option_file(scale), '--force_yml', *changes, cwd=tmp_path)
        assert outcome.returncode == 0, outcome.stderr[-2000:]
        total = len(weights(tmp_path)['params'])
        assert f'loaded {total - 2} of {total} tensors' in outcome.stderr and 'resampled' in outcome.stderr
    for scale in (2, 3, 4):
        changes = {
            'num_gpu': 0,
            'network_g:num_feat': 12,
            'network_g:num_block': 2,
            'datasets': f'{{test_1: {{name: photographs, type: PairedImageDataset, dataroot_gt: {tiny_data}/HR_sub.lmdb, '
            f'dataroot_lq: {tiny_data}/LR_bicubic_X{scale}_sub.lmdb, io_backend: {{type: lmdb}}}}}}',
        }
        test_file = REPOSITORY / f'options/test/RFDN/test_RFDN_x{scale}.yml'
        entries = [f'{key}={value}' for key, value in changes.items()]
        outcome = rfdn('test', '-opt', test_file, '--force_yml', *entries, cwd=tmp_path)
        assert outcome.returncode == 0, outcome.stderr[-2000:]
        assert 'Validation photographs' in outcome.stderr and '# psnr' in outcome.stderr
        images = tmp_path / f'results/test_RFDN_x{scale}/visualization/photographs'
        assert len(list(images.glob('*.png'))) == 9
    assert {entry.name for entry in tmp_path.iterdir()} == {'experiments', 'results'}


def test_the_experiment_keeps_the_options_that_ran(tmp_path: Path, tiny_data: Path, photographs: Path):
    from rfdn_plugin.options.load import load_training_options

    changes = small(tiny_data, photographs, **{'train:total_iter': 1, 'train:optim_g:lr': '1e-3', 'val:val_freq': 100})
    assert rfdn('train', '-opt', option_file(), '--force_yml', *changes, cwd=tmp_path).returncode == 0
    kept = tmp_path / 'experiments/train_RFDN_x2_scratch/train_RFDN_x2_scratch.yml'
    assert load_training_options(kept) == load_training_options(option_file(), changes)
    logs = list(kept.parent.glob('train_*.log'))
    assert len(logs) == 1 and 'Start training' in logs[0].read_text()


def test_auto_resume_goes_on_where_it_stopped(tmp_path: Path, tiny_data: Path, photographs: Path):
    changes = small(tiny_data, photographs)
    assert rfdn('train', '-opt', option_file(), '--force_yml', *changes, cwd=tmp_path).returncode == 0
    longer = [*changes, 'train:total_iter=12']
    outcome = rfdn('train', '-opt', option_file(), '--auto_resume', '--force_yml', *longer, cwd=tmp_path)
    assert outcome.returncode == 0 and 'iter: 10' in outcome.stderr, outcome.stderr[-2000:]
    assert not list(tmp_path.glob('experiments/*_archived_*'))
    assert weights(tmp_path)['metadata']['iterations'] == '12'
    outcome = rfdn('train', '-opt', option_file(), '--auto_resume', '--force_yml', *longer, cwd=tmp_path)
    assert outcome.returncode == 0 and 'has finished its 12 iterations' in outcome.stdout and not outcome.stderr


def test_the_best_and_the_newest_are_kept_with_their_card(tmp_path: Path, tiny_data: Path, photographs: Path):
    import json

    changes = {
        'val:val_freq': 2,
        'logger:save_checkpoint_freq': 2,
        'logger:keep_checkpoints': 2,
        'train:total_iter': 10,
    }
    changes = small(tiny_data, photographs, **changes)
    assert rfdn('train', '-opt', option_file(), '--force_yml', *changes, cwd=tmp_path).returncode == 0
    experiment = tmp_path / 'experiments/train_RFDN_x2_scratch'
    files = {path.name for path in (experiment / 'models').iterdir()}
    assert files == {'net_g_8.pth', 'net_g_10.pth', 'net_g_latest.pth', 'net_g_best.pth'}
    assert {path.name for path in (experiment / 'training_states').iterdir()} == {'8.state', '10.state'}
    state = torch.load(experiment / 'training_states/10.state', weights_only=True)
    card = weights(tmp_path, file='net_g_best.pth')['metadata']
    assert card['iterations'] == str(state['best_metric_results']['Set5']['psnr']['iter'])
    assert card['network'] == 'RFDN' and json.loads(card['arguments'])['num_feat'] == 12
    assert card['training_data'] == 'DIV2K' and card['batch'] == '4 of 24x24 HR pixels'
    assert (
        json.loads(card['losses'])['pixel_opt']['type'] == 'L1Loss' and json.loads(card['optimizer'])['type'] == 'Adam'
    )
    assert json.loads(card['best_results'])['Set5']['psnr']['val'] > 5


def test_tensorboard_gets_losses_speed_and_results(tmp_path: Path, tiny_data: Path, photographs: Path):
    accumulator = pytest.importorskip('tensorboard.backend.event_processing.event_accumulator')
    changes = small(
        tiny_data, photographs, **{'logger:use_tb_logger': 'true', 'train:total_iter': 4, 'val:val_freq': 2}
    )
    outcome = rfdn('train', '-opt', option_file(), '--force_yml', *changes, cwd=tmp_path)
    assert outcome.returncode == 0, outcome.stderr[-2000:]
    events = accumulator.EventAccumulator(str(tmp_path / 'tb_logger/train_RFDN_x2_scratch')).Reload()
    steps = {name: [event.step for event in events.Scalars(name)] for name in events.Tags()['scalars']}
    assert steps['losses/l_pix'] == steps['lr'] == steps['speed/iterations_per_second'] == [1, 2, 3, 4]
    assert steps['metrics/Set5/psnr'] == [2, 4]


WANDB = {'logger:use_tb_logger': 'true', 'logger:wandb:project': 'demo'}


def test_wandb_without_a_key_is_a_line(
    tmp_path: Path, tiny_data: Path, photographs: Path, monkeypatch: pytest.MonkeyPatch
):
    pytest.importorskip('wandb', reason='W&B is not among the test dependencies: pip install wandb')
    pytest.importorskip('tensorboard')
    for name in ('WANDB_MODE', 'WANDB_API_KEY'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv('HOME', str(tmp_path))
    outcome = rfdn('train', '-opt', option_file(), '--force_yml', *small(tiny_data, photographs, **WANDB), cwd=tmp_path)
    assert outcome.returncode == 1 and 'Traceback' not in outcome.stderr
    assert 'W&B: No API key' in outcome.stderr and 'WANDB_MODE=offline' in outcome.stderr


def test_wandb_gets_them_too(tmp_path: Path, tiny_data: Path, photographs: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip('wandb', reason='W&B is not among the test dependencies: pip install wandb')
    pytest.importorskip('tensorboard')
    monkeypatch.setenv('WANDB_MODE', 'offline')
    changes = small(tiny_data, photographs, **WANDB)
    command = [sys.executable, '-m', 'rfdn_plugin', 'train', '-opt', option_file(), '--force_yml', *changes]
    env = {**os.environ, 'PYTHONPATH': str(REPOSITORY)}
    outcome = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300)
    assert outcome.returncode == 0, outcome.stderr[-2000:]
    (run,) = tmp_path.glob('wandb/offline-run-*/run-*.wandb')
    recorded = run.read_bytes()
    assert all(name in recorded for name in (b'losses/l_pix', b'metrics/Set5/psnr', b'speed/iterations_per_second'))


@pytest.mark.parametrize('scale', [2, 4])
def test_images_that_stay_in_memory_give_the_same_training(
    scale: int, tmp_path: Path, tiny_data: Path, photographs: Path
):
    """`resident: true` against a worker, over several epochs: the same batches, so the same weights."""
    name = f'train_RFDN_x{scale}_scratch' if scale == 2 else f'train_RFDN_x{scale}_finetune'
    files = []
    for resident in ('true', 'false'):
        cwd = tmp_path / resident
        cwd.mkdir()
        changes = {'datasets:train:resident': resident, 'path:pretrain_network_g': '~', 'val:val_freq': 100}
        changes |= {'datasets:train:dataset_enlarge_ratio': 2, 'path:strict_load_g': 'true'}
        entries = small(tiny_data, photographs, scale, **changes)
        outcome = rfdn('train', '-opt', option_file(scale), '--force_yml', *entries, cwd=cwd)
        assert outcome.returncode == 0, outcome.stderr[-2000:]
        assert ('ResidentLoader' in outcome.stderr) == (resident == 'true')
        files.append(weights(cwd, name))
    assert_equal(*files)


# --- bad input: a clear line, exit code 1, nothing created ----------------------------------------------------------
def _other_network(root: Path) -> None:
    from rfdn_plugin.archs import NETWORKS

    torch.save(NETWORKS['E_RFDN'](upscale=2, num_feat=12, num_block=2).state_dict(), root / 'other.pth')


def _lmdb_without_a_key(root: Path, tiny_data: Path) -> None:
    import shutil

    import lmdb

    path = root / 'short.lmdb'
    shutil.copytree(tiny_data / 'LR_bicubic_X2_sub.lmdb', path)
    lines = (path / 'meta_info.txt').read_text().splitlines(keepends=True)
    (path / 'meta_info.txt').write_text(''.join(lines[1:]))
    with lmdb.open(str(path)) as environment, environment.begin(write=True) as transaction:
        transaction.delete(lines[0].split('.png')[0].encode())


BAD_INPUT = {
    'missing lmdb': (
        {'datasets:train:dataroot_gt': 'no.lmdb'},
        ['datasets.train.dataroot_gt', 'no.lmdb', 'rfdn prepare'],
    ),
    'no lmdb': ({'datasets:train:dataroot_gt': 'folder'}, ['datasets.train.dataroot_gt', 'folder', 'io_backend']),
    'missing val folder': (
        {
            'datasets:val:io_backend:type': 'disk',
            'datasets:val:dataroot_gt': '{photographs}',
            'datasets:val:dataroot_lq': 'nowhere',
        },
        ['datasets.val.dataroot_lq', 'nowhere'],
    ),
    'keys differ': (
        {'datasets:train:dataroot_lq': 'short.lmdb'},
        ['datasets.train', '1 HR image has no LR', 'photo0_s001'],
    ),
    'wrong scale': ({'datasets:train:dataroot_lq': '{tiny}/LR_bicubic_X3_sub.lmdb'}, ['not of scale 2', 'HR 96x96']),
    'gt_size': ({'datasets:train:gt_size': 31}, ['gt_size is 31', 'take 30']),
    'large gt_size': ({'datasets:train:gt_size': 200}, ['9 images are smaller than gt_size 200']),
    'missing weights': ({'path:pretrain_network_g': 'gone.pth'}, ['path.pretrain_network_g', 'gone.pth']),
    'torn weights': ({'path:pretrain_network_g': 'torn.pth'}, ['path.pretrain_network_g', 'torn.pth']),
    'other network': ({'path:pretrain_network_g': 'other.pth'}, ['another network than RFDN', 'esa']),
    'few images': (
        {'datasets:train:batch_size_per_gpu': 10, 'datasets:train:dataset_enlarge_ratio': 1},
        ['9 images', 'nothing would be trained', 'dataset_enlarge_ratio to 2'],
    ),
    'arguments that do not go together': ({'network_g:distillation_rate': 2}, ['network_g', 'distillation_rate is 2']),
    'no GPU': ({'num_gpu': 999}, ['num_gpu', '999', 'auto']),
    'missing state': ({'path:resume_state': 'gone.state'}, ['path.resume_state', 'gone.state']),
    'other formats': (
        {
            'datasets:val:io_backend:type': 'disk',
            'datasets:val:dataroot_gt': '{photographs}',
            'datasets:val:dataroot_lq': 'jpegs',
        },
        ['datasets.val', '9 HR images have no LR', 'photo0.png'],
    ),
    'unknown key': ({'train:total_itr': 3}, ['train.total_itr', 'total_iter']),
    'an optimizer that fails': ({'train:optim_g:betas': '[0.9]'}, ['train.optim_g', 'Adam does not take']),
    'an endless learning rate': ({'train:optim_g:lr': '.inf'}, ['train.optim_g.lr', 'finite']),
    'a loss for each pixel': ({'train:pixel_opt:reduction': 'none'}, ['train.pixel_opt', 'set reduction to mean']),
    'a loss that fails': ({'train:pixel_opt:reduction': 'avg'}, ['train.pixel_opt', 'L1Loss fails', 'avg']),
    'a loss of nothing': ({'train:pixel_opt:loss_weight': 0}, ['train.pixel_opt', 'loss_weight']),
    'no blocks': ({'network_g:num_block': 0}, ['network_g', 'num_block']),
    'a network for grey': ({'network_g:num_in_ch': 1}, ['network_g', '3 channels', 'num_in_ch']),
    'a network to four': ({'network_g:num_out_ch': 4}, ['network_g', '4x32x32', '3x32x32', 'num_out_ch']),
    'a border in words': ({'val:metrics:psnr:crop_border': 'two'}, ['val.metrics.psnr', 'crop_border', 'two']),
    'a seed below 0': ({'manual_seed': -1}, ['manual_seed', '-1']),
    'a name that is no name': ({'name': '.'}, ['name', 'no name of a folder']),
    'a list for an lmdb': ({'datasets:train:meta_info_file': 'list.txt'}, ['datasets.train.meta_info_file', 'LMDB']),
    'disk for an lmdb': ({'datasets:val:io_backend:type': 'disk'}, ['io_backend.type', 'is an LMDB', 'set it to lmdb']),
    'a key of no weights': (
        {'path:pretrain_network_g': 'other.pth', 'path:param_key_g': 'params_emaa'},
        ['path.pretrain_network_g', "'params_emaa'"],
    ),
    'weights for a state': ({'path:resume_state': 'other.pth'}, ['path.resume_state', 'not the state of a training']),
    'text for a number': ({'train:optim_g:lr': 'fast'}, ['train.optim_g.lr', 'fast']),
}


@pytest.mark.parametrize('case', BAD_INPUT)
def test_bad_input(case: str, tmp_path: Path, tiny_data: Path, photographs: Path, monkeypatch, capsys):
    from rfdn_plugin.cli import main

    changes, words = BAD_INPUT[case]
    folders = {'{tiny}': str(tiny_data), '{photographs}': str(photographs)}
    for placeholder, folder in folders.items():
        changes = {key: str(value).replace(placeholder, folder) for key, value in changes.items()}
    _other_network(tmp_path)
    _lmdb_without_a_key(tmp_path, tiny_data)
    (tmp_path / 'folder').mkdir()
    (tmp_path / 'jpegs').mkdir()
    for image in photographs.iterdir():
        (tmp_path / 'jpegs' / f'{image.stem}.jpg').write_bytes(image.read_bytes())
    (tmp_path / 'torn.pth').write_bytes((tmp_path / 'other.pth').read_bytes()[:1000])
    before = sorted(entry.name for entry in tmp_path.iterdir())
    monkeypatch.chdir(tmp_path)
    arguments = ['train', '-opt', str(option_file()), '--force_yml', *small(tiny_data, photographs, **changes)]
    assert main(arguments) == 1
    message = without_notes(capsys.readouterr().err)
    assert message.count('\n') == 1 and 'Traceback' not in message
    assert all(word in message for word in words), message
    assert sorted(entry.name for entry in tmp_path.iterdir()) == before


def test_two_sets_of_one_name(tmp_path: Path, tiny_data: Path, photographs: Path, monkeypatch, capsys):
    import yaml

    from rfdn_plugin.cli import main

    options = yaml.safe_load(option_file().read_text())
    options['datasets']['val_2'] = options['datasets']['val']
    (tmp_path / 'o.yml').write_text(yaml.safe_dump(options))
    monkeypatch.chdir(tmp_path)
    assert main(['train', '-opt', 'o.yml', '--force_yml', *small(tiny_data, photographs)]) == 1
    assert "two val sections have the name 'Set5'" in capsys.readouterr().err


def test_going_on_with_another_network_is_refused_before_anything_is_written(
    tmp_path: Path, tiny_data: Path, photographs: Path, monkeypatch, capsys
):
    from rfdn_plugin.cli import main

    changes = small(tiny_data, photographs)
    assert rfdn('train', '-opt', option_file(), '--force_yml', *changes, cwd=tmp_path).returncode == 0
    monkeypatch.chdir(tmp_path)
    state = 'experiments/train_RFDN_x2_scratch/training_states/10.state'
    (tmp_path / 'renamed.state').write_bytes((tmp_path / state).read_bytes())
    before = {path: path.read_bytes() for path in tmp_path.rglob('*') if path.is_file()}
    command = ['train', '-opt', str(option_file()), '--force_yml', *changes, 'train:total_iter=20']
    for entries, flags, words in (
        (['network_g:num_feat=16'], ['--auto_resume'], ['network_g', 'num_feat=12, the options say num_feat=16']),
        (
            ['network_g:block_residual=false'],
            ['--auto_resume'],
            ['network_g', 'block_residual=true, the options say block_residual=false'],
        ),
        ([f'path:resume_state={state}'], ['--auto_resume'], ['path.resume_state', 'leave one of the two out']),
        (
            ['train:total_iter=30', 'path:resume_state=renamed.state', 'network_g:num_feat=16'],
            [],
            ['num_feat=12, the options say num_feat=16'],
        ),
        ([f'path:resume_state={state}', 'name=other'], [], ['path.resume_state', 'net_g_10.pth', 'its own experiment']),
    ):
        assert main([*command, *entries, *flags]) == 1
        message = without_notes(capsys.readouterr().err)
        assert message.count('\n') == 1 and all(word in message for word in words), message
    assert before == {path: path.read_bytes() for path in tmp_path.rglob('*') if path.is_file()}


def test_an_experiment_that_exists_is_not_touched(
    tmp_path: Path, tiny_data: Path, photographs: Path, monkeypatch, capsys
):
    from rfdn_plugin.cli import main

    models = tmp_path / 'experiments/train_RFDN_x2_scratch/models'
    models.mkdir(parents=True)
    (models / 'net_g_5.pth').write_bytes(b'hours of work')
    monkeypatch.chdir(tmp_path)
    assert main(['train', '-opt', str(option_file()), '--force_yml', *small(tiny_data, photographs)]) == 1
    message = capsys.readouterr().err
    assert 'train_RFDN_x2_scratch' in message and '--auto_resume' in message
    assert [path.name for path in tmp_path.rglob('*.pth')] == ['net_g_5.pth']
    assert [path.name for path in (tmp_path / 'experiments').iterdir()] == ['train_RFDN_x2_scratch']


def test_auto_resume_with_nothing_to_resume_checks_as_a_start_does(
    tmp_path: Path, tiny_data: Path, photographs: Path, monkeypatch, capsys
):
    """The flag stands in every job script: a first start with it must not be less careful."""
    from rfdn_plugin.cli import main

    monkeypatch.chdir(tmp_path)
    changes = small(tiny_data, photographs, **{'path:pretrain_network_g': 'gone.pth'})
    assert main(['train', '-opt', str(option_file()), '--auto_resume', '--force_yml', *changes]) == 1
    assert 'gone.pth' in capsys.readouterr().err and list(tmp_path.iterdir()) == []


def test_checkpoints_without_a_state_are_not_pushed_aside(
    tmp_path: Path, tiny_data: Path, photographs: Path, monkeypatch, capsys
):
    from rfdn_plugin.cli import main

    experiment = tmp_path / 'experiments/train_RFDN_x2_scratch'
    for name in ('models/net_g_5.pth', 'training_states/5.state'):
        (experiment / name).parent.mkdir(parents=True, exist_ok=True)
        (experiment / name).write_bytes(b'torn')
    monkeypatch.chdir(tmp_path)
    changes = small(tiny_data, photographs)
    assert main(['train', '-opt', str(option_file()), '--auto_resume', '--force_yml', *changes]) == 1
    assert 'no' in capsys.readouterr().err and (experiment / 'models/net_g_5.pth').read_bytes() == b'torn'


def test_epochs_that_drop_their_last_batch_do_not_end_the_training_early(
    tmp_path: Path, tiny_data: Path, photographs: Path
):
    """9 images are one batch of 5 an epoch; BasicSR plans two, and would stop after 6 of 10 iterations."""
    changes = small(
        tiny_data, photographs, **{'datasets:train:batch_size_per_gpu': 5, 'datasets:train:dataset_enlarge_ratio': 1}
    )
    assert rfdn('train', '-opt', option_file(), '--force_yml', *changes, cwd=tmp_path).returncode == 0
    assert weights(tmp_path)['metadata']['iterations'] == '10'


def test_a_resumed_run_with_another_batch_goes_on_to_its_end(tmp_path: Path, tiny_data: Path, photographs: Path):
    changes = small(tiny_data, photographs, **{'datasets:train:dataset_enlarge_ratio': 2})
    assert rfdn('train', '-opt', option_file(), '--force_yml', *changes, cwd=tmp_path).returncode == 0
    smaller = [*changes, 'datasets:train:batch_size_per_gpu=1', 'train:total_iter=60']
    outcome = rfdn('train', '-opt', option_file(), '--auto_resume', '--force_yml', *smaller, cwd=tmp_path)
    assert outcome.returncode == 0 and weights(tmp_path)['metadata']['iterations'] == '60', outcome.stderr[-2000:]


def test_a_debug_run_is_checked_under_its_own_name(tmp_path: Path, tiny_data: Path, photographs: Path):
    changes = small(tiny_data, photographs, **{'train:total_iter': 2})
    for name in ('debug_train_RFDN_x2_scratch', 'train_RFDN_x2_scratch'):
        flags = ['--debug'] if name.startswith('debug') else []
        outcome = rfdn('train', '-opt', option_file(), *flags, '--force_yml', *changes, cwd=tmp_path)
        assert outcome.returncode == 0 and weights(tmp_path, name)['metadata']['iterations'] == '2', outcome.stderr[
            -500:
        ]


def test_a_launcher_that_started_nothing(tmp_path: Path, tiny_data: Path, photographs: Path, monkeypatch, capsys):
    from rfdn_plugin.cli import main

    monkeypatch.delenv('WORLD_SIZE', raising=False)
    monkeypatch.chdir(tmp_path)
    arguments = ['train', '-opt', str(option_file()), '--launcher', 'pytorch', '--force_yml']
    assert main([*arguments, *small(tiny_data, photographs)]) == 1
    assert 'torchrun' in capsys.readouterr().err


def test_a_test_without_weights_is_refused(tmp_path: Path, monkeypatch, capsys):
    from rfdn_plugin.cli import main

    monkeypatch.chdir(tmp_path)
    path = REPOSITORY / 'options/test/RFDN/test_RFDN_x2.yml'
    assert main(['test', '-opt', str(path), '--force_yml', 'path:pretrain_network_g=~']) == 1
    assert 'path.pretrain_network_g: missing' in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_usage_errors_exit_with_2(capsys):
    from rfdn_plugin.cli import main

    with pytest.raises(SystemExit) as leaving:
        main(['train'])
    assert leaving.value.code == 2 and '-opt' in capsys.readouterr().err
