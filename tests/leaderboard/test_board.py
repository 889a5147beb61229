"""The whole run on small sets: what is written, what is computed again, and what happens when things go wrong."""

from __future__ import annotations

import csv
import importlib.util
import json
import multiprocessing
import os
import re
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.small_sets import make_set, make_weights, network_entry, photograph, write

import rfdn_plugin  # noqa: F401
from rfdn_plugin.archs import NETWORKS
from rfdn_plugin.cli import main
from rfdn_plugin.data.bicubic import mod_crop
from rfdn_plugin.leaderboard import board as board_module
from rfdn_plugin.leaderboard.board import run
from rfdn_plugin.leaderboard.measure import evaluate as evaluate_module
from rfdn_plugin.leaderboard.measure.evaluate import Worker
from rfdn_plugin.leaderboard.measure.sets import open_set
from rfdn_plugin.leaderboard.options import parse_options
from rfdn_plugin.utils.errors import RFDNError
from rfdn_plugin.utils.lock import Lock
from rfdn_plugin.weights.card import model_card
from rfdn_plugin.weights.checkpoint import read_checkpoint

FAST = {'complexity': {'mmengine': False}, 'report': {'images': 0}, 'significance': {'resamples': 1000}}
BICUBIC = {'type': 'bicubic', 'scale': 2}


@pytest.fixture
def content(tmp_path) -> dict:
    """Bicubic and one network on one set at x2."""
    sets = {'Small': make_set(tmp_path / 'set')}
    return {
        'name': 'test',
        'sets': sets,
        'entries': [BICUBIC, network_entry('net', make_weights(tmp_path / 'net.pth'))],
        **FAST,
    }


def run_board(content: dict, out: Path, workers: int = 1) -> dict:
    return run(parse_options(content), out, workers)


@pytest.fixture
def scored(monkeypatch) -> list[tuple[str, int, tuple[str, ...]]]:
    """(set, index, labels) of everything that is computed in this process."""
    calls = []
    original = Worker.score

    def score(self, set_key, index, labels):
        if labels:
            calls.append((set_key[0], index, tuple(labels)))
        return original(self, set_key, index, labels)

    monkeypatch.setattr(Worker, 'score', score)
    return calls


def row_of(board: dict, name: str) -> dict:
    return next(row for row in board['entries'] if row['name'] == name)


def rounded(row: dict, set_name: str) -> list[float]:
    return [round(row['sets'][set_name][metric], 4) for metric in ('psnr_y', 'ssim_y', 'psnr_rgb')]


def test_the_json_has_the_design_s_form(content, tmp_path):
    content['entries'].append({'published': 'RFDN', 'scale': 2})
    run_board(content, tmp_path / 'out')
    board = json.loads((tmp_path / 'out/leaderboard.json').read_text())
    row = row_of(board, 'net')
    assert {'environment', 'entries'} <= board.keys()
    keys = {'name', 'type', 'scale', 'source', 'weights_sha256', 'params', 'conv_macs_hr720', 'ntire', 'mmengine'}
    assert keys | {'latency_ms', 'peak_memory_mb', 'sets'} <= row.keys()
    assert (row['type'], row['scale'], row['source']) == ('RFDN', 2, 'measured')
    assert (
        len(row['weights_sha256']) == 64 and isinstance(row['params'], int) and isinstance(row['conv_macs_hr720'], int)
    )
    assert row['ntire'].keys() == {'flops', 'activations', 'convs'}
    small = row['sets']['Small']
    assert small.keys() == {'psnr_y', 'ssim_y', 'psnr_rgb', 'images'}
    assert small['images'].keys() == {'astronaut', 'coffee', 'chelsea', 'rocket'}
    for metric in ('psnr_y', 'ssim_y', 'psnr_rgb'):
        assert small[metric] == pytest.approx(np.mean([image[metric] for image in small['images'].values()]), abs=1e-12)
    published = next(row for row in board['entries'] if row['source'] == 'published')
    assert published['citation'] and published['sets']['Set5'] == {'psnr_y': 38.05, 'ssim_y': 0.9606}
    assert not {'weights_sha256', 'ntire', 'latency_ms'} & published.keys()
    (pair,) = board['comparisons']
    assert {pair['a'], pair['b']} == {'Bicubic', 'net'} and pair['few_images']


def test_scores_are_those_of_basicsr_s_own_loop(content, tmp_path):
    """`val` in an option file and the leaderboard give equal numbers for the same weights, for folders named both ways."""
    from basicsr.data import build_dataloader, build_dataset

    from rfdn_plugin.models.rfdn_model import RFDNModel

    options = parse_options(content)
    board = run(options, tmp_path / 'out', 1)
    test_set = open_set('Small', options.sets['Small'], 2)
    metric = {'crop_border': 2, 'test_y_channel': True}
    model = RFDNModel(
        {
            'name': 'val',
            'num_gpu': 0,
            'is_train': False,
            'dist': False,
            'rank': 0,
            'scale': 2,
            'network_g': {'type': 'RFDN', 'upscale': 2, 'num_feat': 8, 'num_block': 1},
            'path': {'pretrain_network_g': str(tmp_path / 'net.pth')},
            'val': {
                'metrics': {
                    'psnr_y': {'type': 'calculate_psnr', **metric},
                    'ssim_y': {'type': 'calculate_ssim', **metric},
                    'psnr_rgb': {'type': 'calculate_psnr', 'crop_border': 2},
                }
            },
        }
    )
    dataset = build_dataset(test_set.dataset_options())
    loader = build_dataloader(dataset, {'phase': 'val'}, num_gpu=0, dist=False, sampler=None, seed=0)
    model.validation(loader, current_iter=0, tb_logger=None, save_img=False)
    measured = row_of(board, 'net')['sets']['Small']
    assert len(model.metric_results) == 3
    for name, value in model.metric_results.items():
        assert measured[name] == pytest.approx(value, abs=1e-9), name


@pytest.mark.parametrize('workers', [1, 2])
def test_the_number_of_workers_changes_nothing(content, tmp_path, workers):
    board = run_board(content, tmp_path / f'out{workers}', workers)
    assert row_of(board, 'net')['sets'] == row_of(run_board(content, tmp_path / 'one'), 'net')['sets']
    assert list(row_of(board, 'net')['sets']['Small']['images']) == ['astronaut', 'chelsea', 'coffee', 'rocket']


# --- cache and resume ----------------------------------------------------------------------------------------------
def test_a_second_run_computes_only_a_new_entry(content, tmp_path, scored):
    first = run_board(content, tmp_path / 'out')
    assert len(scored) == 4
    scored.clear()
    assert run_board(content, tmp_path / 'out')['entries'] == first['entries'] and not scored
    content['entries'].append(network_entry('other', make_weights(tmp_path / 'other.pth', seed=7)))
    second = run_board(content, tmp_path / 'out')
    assert {labels for _, _, labels in scored} == {('other x2',)} and len(scored) == 4
    assert row_of(second, 'net') == row_of(first, 'net')


def change_weights(content, tmp_path):
    make_weights(tmp_path / 'net.pth', seed=3)


def change_image(content, tmp_path):
    hr = photograph('coffee')[::-1]
    write(tmp_path / 'set/HR/coffee.png', hr)


def change_metrics(content, tmp_path):
    content['entries'][1]['metrics'] = {'ssim_rgb': {'type': 'calculate_ssim'}}


def change_range(content, tmp_path):
    content['entries'][1]['img_range'] = 2


@pytest.mark.parametrize(
    ('change', 'recomputed'),
    [
        (change_weights, {('net x2',)}),
        (change_metrics, {('net x2',)}),
        (change_range, {('net x2',)}),
        (change_image, {('Bicubic x2', 'net x2')}),
    ],
)
def test_what_depends_on_a_change_is_computed_again(content, tmp_path, scored, change, recomputed):
    run_board(content, tmp_path / 'out')
    scored.clear()
    change(content, tmp_path)
    run_board(content, tmp_path / 'out')
    assert {labels for _, _, labels in scored} == recomputed


def test_a_renamed_entry_is_not_computed_again(content, tmp_path, scored):
    run_board(content, tmp_path / 'out')
    scored.clear()
    content['entries'][1]['name'] = 'renamed'
    board = run_board(content, tmp_path / 'out')
    assert not scored and row_of(board, 'renamed')['sets']['Small']['psnr_y']


def slowly(content: dict, out: Path) -> None:
    original = Worker.score
    Worker.score = lambda self, *args: time.sleep(0.5) or original(self, *args)
    run_board(content, out, workers=2)


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='needs fork')
def test_a_killed_run_goes_on_and_leaves_no_process(content, tmp_path, scored):
    out = tmp_path / 'out'
    process = multiprocessing.get_context('fork').Process(target=slowly, args=(content, out))
    process.start()
    deadline = time.monotonic() + 60
    while not (kept := _lines(out)) and time.monotonic() < deadline:
        time.sleep(0.05)
    children = _children(process.pid)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    kept = _lines(out)
    assert 0 < len(kept) < 8 and children
    torn = next(out.glob('cache/*.jsonl'))
    torn.write_bytes(torn.read_bytes() + b'["coffee", {"psnr')  # a line that the kill cut off

    board = run_board(content, out)
    computed = sum(len(labels) for _, _, labels in scored)
    assert 8 - len(kept) <= computed < 8
    assert all(len(row['sets']['Small']['images']) == 4 for row in board['entries'])
    deadline = time.monotonic() + 20
    while any(Path(f'/proc/{child}').exists() for child in children) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(Path(f'/proc/{child}').exists() for child in children)


def _lines(out: Path) -> list[str]:
    return [
        line
        for path in out.glob('cache/*.jsonl')
        for line in path.read_text().splitlines()
        if '"psnr_y"' in line and line.endswith('}]')
    ]


def _children(pid: int) -> list[str]:
    return Path(f'/proc/{pid}/task/{pid}/children').read_text().split()


# --- failures ------------------------------------------------------------------------------------------------------
def test_problems_are_all_named_before_any_work(content, tmp_path, scored):
    content['entries'] += [
        network_entry('missing', tmp_path / 'nowhere.pth'),
        network_entry('other scale', make_weights(tmp_path / 'x4.pth', 4)),
        {'name': 'folder', 'type': 'images', 'scale': 2, 'dir': str(tmp_path / 'nothing')},
        {'published': 'RFDNN', 'scale': 2},
    ]
    content['sets']['Gone'] = {'hr': str(tmp_path / 'gone'), 'lr': 'x'}
    with pytest.raises(RFDNError) as caught:
        run_board(content, tmp_path / 'out')
    told = str(caught.value)
    for part in ('5 problems', 'nowhere.pth', 'holds weights of x4', 'no folder', 'did you mean RFDN', 'sets.Gone.hr'):
        assert part in told
    assert not scored and not (tmp_path / 'out/leaderboard.json').exists()


def test_images_and_metrics_that_do_not_exist_are_named_before_any_work(content, tmp_path, scored):
    content['report'] = {'images': {'Small': ['coffee', 'coffe'], 'Smal': []}}
    content['metrics'] = {'lpips': {'type': 'calculate_lpips'}}
    with pytest.raises(RFDNError, match='3 problems') as caught:
        run_board(content, tmp_path / 'out')
    for part in ('no set Smal (did you mean Small?)', 'no image coffe: take some of astronaut, ', 'no metric'):
        assert part in str(caught.value)
    assert not scored


def test_the_report_shows_the_images_that_were_asked_for(content, tmp_path):
    content['report'] = {'images': {'Small': ['coffee', 'rocket']}}
    run_board(content, tmp_path / 'out')
    shown = {file.name for file in (tmp_path / 'out/comparisons').iterdir()}
    assert shown == {'Small_coffee_x2.png', 'Small_rocket_x2.png'}


def test_weights_of_another_network_and_damaged_ones_are_refused(content, tmp_path):
    state = torch.load(tmp_path / 'net.pth', weights_only=True)
    state['params']['fea_conv.weight'][0, 0, 0, 0] = float('nan')
    torch.save(state, tmp_path / 'nan.pth')
    (tmp_path / 'torn.pth').write_bytes((tmp_path / 'net.pth').read_bytes()[:3000])
    for name in ('nan', 'torn'):
        content['entries'] = [network_entry(name, tmp_path / f'{name}.pth')]
        with pytest.raises(RFDNError, match=f'{name}.pth'):
            run_board(content, tmp_path / 'out')


@pytest.mark.parametrize('workers', [1, 2])
def test_an_entry_that_fails_in_the_middle_does_not_stop_the_others(content, tmp_path, monkeypatch, capsys, workers):
    """Its weights file is replaced after the checks; the exit code is 3 and the table says what happened."""
    import yaml

    check_sets = board_module.check_sets

    def check_and_harm(*args):
        (tmp_path / 'bad.pth').write_bytes(b'torn')
        return check_sets(*args)

    content['entries'].insert(1, network_entry('bad', make_weights(tmp_path / 'bad.pth', seed=5)))
    (tmp_path / 'o.yml').write_text(yaml.safe_dump(content))
    monkeypatch.setattr(board_module, 'check_sets', check_and_harm)
    out = tmp_path / 'out'
    assert main(['leaderboard', '-opt', str(tmp_path / 'o.yml'), '--out', str(out), '--workers', str(workers)]) == 3
    board = json.loads((out / 'leaderboard.json').read_text())
    assert 'bad.pth has changed or gone' in row_of(board, 'bad')['error'] and row_of(board, 'bad')['sets'] == {}
    assert row_of(board, 'net')['sets']['Small']['psnr_y'] > 20
    printed = ' '.join(capsys.readouterr().out.split())
    assert 'failed bad x2' in printed
    assert (
        'failed' in (out / 'leaderboard.md').read_text() and 'bad x2 failed' in (out / 'leaderboard.html').read_text()
    )


def test_sets_whose_names_differ_in_signs_have_files_of_their_own(content, tmp_path):
    """`A/B` and `A_B`, and an image `B_c` of a set `A` beside an image `c` of a set `A_B`."""
    for folder, names in (('one', ('coffee',)), ('two', ('coffee',))):
        make_set(tmp_path / folder, names=names)
    content['sets'] = {
        name: {'hr': str(tmp_path / folder / 'HR'), 'lr': str(tmp_path / folder / 'X{scale}')}
        for name, folder in (('A/B', 'one'), ('A_B', 'two'), ('a b', 'two'))
    }
    content['report'] = {'images': {name: ['coffee'] for name in content['sets']}}
    run_board(content, tmp_path / 'out')
    files = sorted(file.name for file in (tmp_path / 'out/comparisons').iterdir())
    assert files == ['A_B_coffee_x2-2.png', 'A_B_coffee_x2.png', 'a_b_coffee_x2-3.png']


def test_comparisons_that_are_shown_no_more_are_removed(content, tmp_path):
    for name in ('coffee', 'rocket'):
        content['report'] = {'images': {'Small': [name]}}
        run_board(content, tmp_path / 'out')
    assert [file.name for file in (tmp_path / 'out/comparisons').iterdir()] == ['Small_rocket_x2.png']


def test_results_of_another_leaderboard_are_not_overwritten(content, tmp_path, scored):
    run_board(content, tmp_path / 'out')
    before = (tmp_path / 'out/leaderboard.json').read_bytes()
    scored.clear()
    with pytest.raises(RFDNError, match='holds the results of test, not of other: name another --out'):
        run_board({**content, 'name': 'other'}, tmp_path / 'out')
    assert (tmp_path / 'out/leaderboard.json').read_bytes() == before and not scored


def test_one_process_at_a_time_writes_into_a_folder(content, tmp_path):
    (tmp_path / 'out').mkdir()
    with Lock(tmp_path / 'out/.lock', 'x', 'y'), pytest.raises(RFDNError, match='name another --out'):
        run_board(content, tmp_path / 'out')
    assert run_board(content, tmp_path / 'out')['name'] == 'test' and not (tmp_path / 'out/.lock').exists()


def test_a_home_folder_and_a_slash_at_the_end_are_understood(content, tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    write(tmp_path / 'sr/coffee.png', mod_crop(photograph('coffee'), 2))
    make_set(tmp_path / 'set2', names=('coffee',))
    content['sets'] = {'Small': {'hr': '~/set2/HR/', 'lr': '~/set2/X{scale}//'}}
    content['entries'] = [network_entry('net', Path('~/net.pth'))]
    content['entries'].append({'name': 'sr', 'type': 'images', 'scale': 2, 'dir': '~/sr/'})
    board = run_board(content, tmp_path / 'out')
    assert all(row['sets']['Small']['images'].keys() == {'coffee'} for row in board['entries'])


def test_a_database_with_a_slash_at_the_end(content, tmp_path, tiny_data):
    content['sets'] = {'S': {'hr': f'{tiny_data}/HR_sub.lmdb/', 'lr': f'{tiny_data}/LR_bicubic_X{{scale}}_sub.lmdb/'}}
    board = run_board(content, tmp_path / 'out')
    assert len(row_of(board, 'net')['sets']['S']['images']) == 9


def test_what_is_known_before_the_work_is_told_before_it_for_all_entries(content, tmp_path, scored, monkeypatch):
    """A missing package, models of another scale or a fixed size, images that are too small for a metric."""
    pytest.importorskip('onnx')
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None if name == 'pyiqa' else find(name))
    write(tmp_path / 'set/HR/tiny.png', photograph('coffee', (14, 40)))
    write(tmp_path / 'set/X2/tinyx2.png', photograph('coffee', (7, 20)))
    network = NETWORKS['RFDN'](upscale=4, num_feat=8, num_block=1).eval()
    for name, axes in (('fixed', None), ('x4', {'input': {2: 'h', 3: 'w'}})):
        settings = {'input_names': ['input'], 'dynamic_axes': axes, 'dynamo': False, 'opset_version': 17}
        torch.onnx.export(network, torch.rand(1, 3, 32, 32), tmp_path / f'{name}.onnx', **settings)
        content['entries'].append({'name': name, 'type': 'onnx', 'scale': 2, 'weights': str(tmp_path / f'{name}.onnx')})
    content['entries'].append(network_entry('gone', tmp_path / 'gone.pth'))
    content['metrics'] = {'lpips': {'type': 'pyiqa', 'metric': 'lpips'}, 'niqe': {'type': 'calculate_niqe'}}
    with pytest.raises(RFDNError) as caught:
        run_board(content, tmp_path / 'out')
    told = str(caught.value)
    for part in (
        '6 problems, nothing was computed',
        'entry fixed: ',
        'fixed.onnx takes [32, 32] pixels only',
        'entry x4: ',
        'x4.onnx enlarges x4: correct scale 2 or weights',
        'entry gone: no weights file',
        'metrics.lpips: pyiqa is not installed',
        'set Small x2: SSIM needs 15 pixels a side, which tiny has not',
        'set Small x2: NIQE needs 100 pixels a side, which astronaut, chelsea',
    ):
        assert part in told, told
    assert not scored


def test_a_killed_worker_is_told_and_what_was_done_is_kept(content, tmp_path, monkeypatch):
    monkeypatch.setattr(Worker, 'score', lambda self, *args: os._exit(9))
    with pytest.raises(RFDNError, match='fewer --workers'):
        run_board(content, tmp_path / 'out', workers=2)


def test_missing_lr_and_a_wrong_size_stop_the_run_with_one_line(content, tmp_path, capsys):
    import yaml

    (tmp_path / 'o.yml').write_text(yaml.safe_dump(content))
    command = ['leaderboard', '-opt', str(tmp_path / 'o.yml'), '--out', str(tmp_path / 'out'), '--workers', '1']
    write(tmp_path / 'set/X2/coffeex2.png', photograph('coffee', (20, 20)))
    assert main(command) == 1
    assert 'coffee: HR 61x75, LR 20x20' in capsys.readouterr().err
    (tmp_path / 'set/X2/coffeex2.png').unlink()
    assert main(command) == 1
    assert 'for coffee' in capsys.readouterr().err


def test_a_set_with_a_grey_image_is_measured_and_says_so(content, tmp_path):
    import cv2

    for file in (tmp_path / 'set/HR/coffee.png', tmp_path / 'set/X2/coffeex2.png'):
        cv2.imwrite(str(file), cv2.imread(str(file), cv2.IMREAD_GRAYSCALE))
    board = run_board(content, tmp_path / 'out')
    assert board['sets']['Small x2']['grey'] == ['coffee']
    assert 'Small/coffee' in (tmp_path / 'out/leaderboard.md').read_text()


def test_lr_that_is_not_matlab_s_marks_the_rows(content, tmp_path):
    hr = mod_crop(photograph('coffee'), 2)
    write(tmp_path / 'set/X2/coffeex2.png', hr[::2, ::2])
    board = run_board(content, tmp_path / 'out')
    assert any("LR of Small is not MATLAB's" in text for text in row_of(board, 'net')['warnings'])
    assert "not MATLAB's bicubic of HR (1 image," in (tmp_path / 'out/leaderboard.md').read_text()


@pytest.mark.parametrize(
    ('name', 'network', 'given', 'right'), [('RFDN_AIM', 'E_RFDN', 1, 255), ('IMDN_x4', 'IMDN', 255, 1)]
)
def test_a_wrong_range_is_recognised(content, tmp_path, data_root, name, network, given, right):
    make_set(tmp_path / 'set', 4)
    weights = data_root / f'weights/official/{name}.pth'
    unknown = read_checkpoint(weights).tensors
    next(iter(unknown.values())).mul_(1 + 1e-5)  # no longer the values of a known file, of which the range is known
    torch.save(unknown, tmp_path / 'unknown.pth')
    said = {'type': network, 'img_range': given}
    content['entries'] = [{'name': 'net', 'scale': 4, 'weights': str(tmp_path / 'unknown.pth'), **said}]
    warnings = row_of(run_board(content, tmp_path / 'out'), 'net')['warnings']
    assert any(f'with img_range {given}, and' in text and f'with {right}: is that right?' in text for text in warnings)
    content['entries'] = [{'name': 'net', 'scale': 4, 'weights': str(weights)}]  # recognised by their values
    assert row_of(run_board(content, tmp_path / 'out'), 'net')['warnings'] == []


@pytest.mark.parametrize('said_by', ['entry', 'card'])
def test_half_trained_weights_are_not_said_to_have_a_wrong_range(content, tmp_path, said_by):
    """White with 0..1, dark with 0..255: the one is nearer than the other, and neither is near."""
    arguments = {'upscale': 2, 'num_feat': 8, 'num_block': 1}
    network = NETWORKS['RFDN'](**arguments)
    torch.nn.init.zeros_(network.upsampler[0].weight)
    torch.nn.init.constant_(network.upsampler[0].bias, 90.0)
    torch.save({'params': network.state_dict(), 'metadata': model_card('RFDN', arguments)}, tmp_path / 'half.pth')
    entry = network_entry('half', tmp_path / 'half.pth')
    content['entries'] = [entry if said_by == 'entry' else {k: v for k, v in entry.items() if k != 'img_range'}]
    (warning,) = row_of(run_board(content, tmp_path / 'out'), 'half')['warnings']
    assert 'below bicubic' in warning and 'half-trained' in warning and 'is that right' not in warning


def test_a_range_that_the_card_says_is_questioned_with_its_source(content, tmp_path, data_root):
    state = torch.load(data_root / 'weights/official/RFDN_AIM.pth', weights_only=True)
    card = model_card('E_RFDN', {'upscale': 4, 'img_range': 1.0})
    torch.save({'params': state, 'metadata': card}, tmp_path / 'b.pth')
    make_set(tmp_path / 'set', 4)
    content['entries'] = [{'name': 'b', 'scale': 4, 'weights': str(tmp_path / 'b.pth')}]
    warnings = row_of(run_board(content, tmp_path / 'out'), 'b')['warnings']
    assert any('with img_range 1 as its card says, and' in text for text in warnings), warnings


# --- other entries -------------------------------------------------------------------------------------------------
def test_images_made_elsewhere(content, tmp_path):
    for name in ('astronaut', 'coffee', 'chelsea', 'rocket'):
        write(tmp_path / 'sr/Small' / f'{name}_test_RFDN.png', mod_crop(photograph(name), 2))
        write(tmp_path / 'bgr/Small' / f'{name}.png', mod_crop(photograph(name), 2)[..., ::-1])
    for folder in ('sr', 'bgr'):
        content['entries'].append(
            {'name': folder, 'type': 'images', 'scale': 2, 'dir': str(tmp_path / folder / '{set}')}
        )
    board = run_board(content, tmp_path / 'out')
    perfect = row_of(board, 'sr')['sets']['Small']
    assert perfect['psnr_y'] is None and perfect['ssim_y'] == pytest.approx(1)  # infinite: JSON has no number for it
    assert perfect['infinite'] == {'psnr_y': 4, 'psnr_rgb': 4}
    assert any('the files are BGR' in text for text in row_of(board, 'bgr')['warnings'])
    assert '∞' in (tmp_path / 'out/leaderboard.md').read_text()
    assert 'NaN' not in (tmp_path / 'out/leaderboard.json').read_text()
    (tmp_path / 'sr/Small/coffee_test_RFDN.png').unlink()
    with pytest.raises(RFDNError, match=r'needs one image each for coffee \(none\)'):
        run_board(content, tmp_path / 'out')


def test_an_image_equal_to_its_hr_does_not_hide_the_others(content, tmp_path):
    hr = {name: mod_crop(photograph(name), 2) for name in ('astronaut', 'coffee', 'chelsea', 'rocket')}
    for name, image in hr.items():
        write(tmp_path / f'sr/{name}.png', image if name == 'coffee' else np.roll(image, 1, axis=0))
    content['entries'].append({'name': 'sr', 'type': 'images', 'scale': 2, 'dir': str(tmp_path / 'sr')})
    row = row_of(run_board(content, tmp_path / 'out'), 'sr')['sets']['Small']
    others = [image['psnr_y'] for name, image in row['images'].items() if name != 'coffee']
    assert row['images']['coffee']['psnr_y'] is None and row['psnr_y'] == pytest.approx(np.mean(others))
    assert row['infinite'] == {'psnr_y': 1, 'psnr_rgb': 1}
    written = json.loads((tmp_path / 'out/leaderboard.json').read_text(), parse_constant=pytest.fail)
    assert row_of(written, 'sr')['sets']['Small'] == row
    for file in ('leaderboard.md', 'leaderboard.html'):
        text = (tmp_path / 'out' / file).read_text()
        assert f'{row["psnr_y"]:.2f} (+1∞)' in text and 'n images equal their HR' in text, file
    (table,) = (tmp_path / 'out').glob('leaderboard-*.csv')
    with open(table, newline='') as stream:
        line = next(line for line in csv.DictReader(stream) if line['name'] == 'sr')
    assert (line['Small_psnr_y_infinite'], float(line['Small_psnr_y'])) == ('1', row['psnr_y'])


def test_a_metric_that_gives_no_number_has_no_mean_and_is_said(content, tmp_path, monkeypatch):
    from basicsr.utils.registry import METRIC_REGISTRY

    monkeypatch.setitem(METRIC_REGISTRY._obj_map, 'nothing', lambda img, img2: float('nan'))
    content['metrics'] = {'n': {'type': 'nothing', 'better': 'lower'}}
    row = row_of(run_board(content, tmp_path / 'out'), 'net')
    assert row['sets']['Small']['n'] is None and 'infinite' not in row['sets']['Small']
    assert 'n of 4 images of Small is not a number: no mean' in row['warnings']


def test_a_network_for_y_gets_bicubic_colours(content, tmp_path):
    path = make_weights(tmp_path / 'y.pth', num_in_ch=1, num_out_ch=1)
    content['entries'].append(network_entry('y', path))
    board = run_board(content, tmp_path / 'out')
    on_y, on_rgb = row_of(board, 'y')['sets']['Small'], row_of(board, 'Bicubic')['sets']['Small']
    assert on_y['psnr_y'] > on_rgb['psnr_y'] - 3 and on_y['psnr_rgb'] > on_rgb['psnr_rgb'] - 3
    assert row_of(board, 'y')['luma_only'] and not row_of(board, 'net')['luma_only']
    assert 'On Y alone: y. ' in (tmp_path / 'out/leaderboard.md').read_text()


def test_raw_and_averaged_weights_are_told_apart(content, tmp_path):
    state = torch.load(tmp_path / 'net.pth', weights_only=True)['params']
    other = {name: tensor + 0.01 for name, tensor in state.items()}
    torch.save({'params': other, 'params_ema': state}, tmp_path / 'both.pth')
    content['entries'] += [network_entry(key, tmp_path / 'both.pth', param_key=key) for key in ('params', 'params_ema')]
    board = run_board(content, tmp_path / 'out')
    assert row_of(board, 'params')['weights_state'] == 'raw weights'
    assert row_of(board, 'params_ema')['weights_state'] == 'EMA weights'
    assert row_of(board, 'params_ema')['sets'] == row_of(board, 'net')['sets'] != row_of(board, 'params')['sets']


def test_scales_and_further_metrics(content, tmp_path):
    make_set(tmp_path / 'set', 3)
    make_weights(tmp_path / 'net3.pth', 3)
    content['entries'] = [
        {**BICUBIC, 'scale': [2, 3]},
        network_entry('net', f'{tmp_path}/net{{scale}}.pth', scale=3)
        | {'metrics': {'mine': {'type': 'calculate_ssim'}}},
    ]
    content['metrics'] = {'ssim_rgb': {'type': 'calculate_ssim'}}
    board = run_board(content, tmp_path / 'out')
    assert [(row['name'], row['scale']) for row in board['entries']] == [('Bicubic', 2), ('Bicubic', 3), ('net', 3)]
    figures = row_of(board, 'net')['sets']['Small']
    assert figures['mine'] == figures['ssim_rgb'] and 'mine' not in row_of(board, 'Bicubic')['sets']['Small']
    text = (tmp_path / 'out/leaderboard.md').read_text()
    assert '## x2' in text and '## x3' in text and 'Small<br>ssim_rgb' in text


# --- costs ---------------------------------------------------------------------------------------------------------
def test_latency_and_memory_state_their_set_up_and_memory_grows_with_the_input(content, tmp_path):
    from rfdn_plugin.leaderboard.measure.entries import resolve
    from rfdn_plugin.leaderboard.measure.latency import measure_memory
    from rfdn_plugin.leaderboard.options import LatencyOptions, NetworkEntry

    net = network_entry('net', make_weights(tmp_path / 'net.pth', num_feat=16))
    content['latency'] = {'runs': 3, 'warmup': 1, 'input': [24, 32]}
    content['entries'] = [net, {'name': 'Bicubic', 'type': 'bicubic', 'scale': 2}]
    board = run_board(content, tmp_path / 'out')
    timing = row_of(board, 'net')['latency_ms']
    assert {'median', 'min', 'device', 'threads', 'input'} <= timing.keys()
    assert 0 < timing['min'] <= timing['median'] <= timing['p90'] and timing['input'] == '1x3x24x32'
    assert row_of(board, 'Bicubic')['latency_ms'] is None
    assert 'interleaved' in (tmp_path / 'out/leaderboard.md').read_text()
    small = row_of(board, 'net')['peak_memory_mb']
    large = measure_memory(resolve(NetworkEntry(**net), 2, []), LatencyOptions(input=(512, 512)), 'cpu')
    # Nine maps of 16 channels and the image live at once at the least, 16 MiB each; what the first forward pass
    # takes at any size (libraries that are loaded then) is in both. None where the system does not tell the size.
    assert small is large is None or large - small > 100


def test_a_challenge_s_runtime_counts_only_beside_its_baseline(content, tmp_path):
    make_set(tmp_path / 'set', 4)
    make_weights(tmp_path / 'net4.pth', 4)
    content['latency'] = {'runs': 3, 'warmup': 1, 'input': [24, 24], 'memory': False}
    content['entries'] = [
        network_entry('net', tmp_path / 'net4.pth', 4),
        network_entry('baseline', make_weights(tmp_path / 'base.pth', 4, seed=9), 4, ntire_baseline=2024),
    ]
    board = run_board(content, tmp_path / 'out')
    scores = row_of(board, 'net')['ntire_scores']
    assert scores['2024']['complete'] and not scores['2025']['complete'] and not scores['2026']['complete']
    text = (tmp_path / 'out/leaderboard.md').read_text()
    assert f'({scores["2025"]["score"]:.2f})' in text and 'baseline was not timed' in text


# --- what is written -----------------------------------------------------------------------------------------------
def test_markdown_and_csv(content, tmp_path):
    content['entries'].append({'published': 'IMDN', 'scale': 2})
    board = run_board(content, tmp_path / 'out')
    text = (tmp_path / 'out/leaderboard.md').read_text()
    best = max(('Bicubic', 'net'), key=lambda name: row_of(board, name)['sets']['Small']['psnr_y'])
    assert re.search(rf'^\| {best} .*\*\*{row_of(board, best)["sets"]["Small"]["psnr_y"]:.2f}\*\*', text, re.MULTILINE)
    assert '<u>' in text and '_IMDN (published)_' in text and 'arXiv 1909.11856' in text
    assert '2 pixels cropped' in text and 'MATLAB bicubic' in text and 'Intervals from so few' in text
    (summary,) = (tmp_path / 'out').glob('leaderboard-*.csv')
    (images,) = (tmp_path / 'out').glob('images-*.csv')
    assert 'torch' in summary.name and 'crop' in summary.name
    rows = list(csv.DictReader(summary.open()))
    assert [row['name'] for row in rows] == ['Bicubic', 'net', 'IMDN']
    assert float(rows[1]['Small_psnr_y']) == row_of(board, 'net')['sets']['Small']['psnr_y']
    assert len(list(csv.DictReader(images.open()))) == 2 * 4 * 3


def test_the_terminal_table_fits_any_width(content, tmp_path):
    from rich.console import Console

    from rfdn_plugin.leaderboard.report.tables import print_board

    content['sets'] |= {f'Small{number}': content['sets']['Small'] for number in range(4)}
    content['entries'].append({'published': 'IMDN', 'scale': 2})
    content['entries'][1]['name'] = 'a network with a long name [red]'
    board = run_board(content, tmp_path / 'out')
    figure = f'{row_of(board, "Bicubic")["sets"]["Small"]["psnr_y"]:.2f}'
    for width in (60, 80, 160):
        with open(os.devnull, 'w') as nowhere:
            console = Console(width=width, record=True, file=nowhere)
            print_board(board, console)
        text = console.export_text()
        assert max(map(len, text.splitlines())) <= width
        assert text.count(figure) >= 5  # no figure is cut off
        assert '[red]' in ' '.join(text.split())


def test_the_public_weights_have_the_facts_figures(data_root, tmp_path):
    """Set5 x4: RFDN_AIM 32.1589 / 0.8946 (RGB 30.2544), IMDN 32.2096 / 0.8948, bicubic 28.4305 / 0.8113."""
    sets, weights = data_root / 'benchmarks', data_root / 'weights'
    content = {
        'name': 'facts',
        'sets': {'Set5': {'hr': str(sets / 'Set5/HR'), 'lr': str(sets / 'Set5/LR_bicubic/X{scale}')}},
        'entries': [
            {'type': 'bicubic', 'scale': 4},
            {'name': 'RFDN_AIM', 'scale': 4, 'weights': str(weights / 'official/RFDN_AIM.pth')},
            {'name': 'IMDN', 'scale': 4, 'weights': str(weights / 'official/IMDN_x4.pth')},
        ],
        **FAST,
    }
    board = run_board(content, tmp_path, workers=evaluate_module.available_cores())
    found = {row['name']: rounded(row, 'Set5') for row in board['entries']}
    assert found['Bicubic'] == [28.4305, 0.8113, 26.6947]
    assert found['RFDN_AIM'] == [32.1589, 0.8946, 30.2544]
    assert found['IMDN'] == [32.2096, 0.8948, 30.3005]
    (tied,) = [pair for pair in board['comparisons'] if 'Bicubic' not in (pair['a'], pair['b'])]
    assert tied['crosses_zero'] and tied['few_images']  # 0.05 dB on five images is nothing


@pytest.mark.slow
@pytest.mark.parametrize(
    ('scale', 'imdn', 'bicubic'),
    [
        (2, [37.9960, 0.9605, 35.8081], [33.6779, 0.9304, 31.7953]),
        (3, [34.3597, 0.9270, 32.3587], [30.4043, 0.8690, 28.6252]),
    ],
)
def test_the_other_scales_of_the_facts(data_root, tmp_path, scale, imdn, bicubic):
    sets = data_root / 'benchmarks'
    content = {
        'name': 'facts',
        'sets': {'Set5': {'hr': str(sets / 'Set5/HR'), 'lr': str(sets / 'Set5/LR_bicubic/X{scale}')}},
        'entries': [
            {'type': 'bicubic', 'scale': scale},
            {'name': 'IMDN', 'scale': scale, 'weights': str(data_root / f'weights/official/IMDN_x{scale}.pth')},
        ],
        **FAST,
    }
    board = run_board(content, tmp_path, workers=evaluate_module.available_cores())
    assert [rounded(row, 'Set5') for row in board['entries']] == [bicubic, imdn]


def test_a_public_onnx_file_equals_its_network(data_root, tmp_path):
    pytest.importorskip('onnx')
    pytest.importorskip('onnxruntime')
    make_set(tmp_path / 'set', 4)
    onnx_file = data_root / 'weights/third_party/rfdn_x4.onnx'
    content = {
        'name': 'onnx',
        'sets': {'Small': {'hr': str(tmp_path / 'set/HR'), 'lr': str(tmp_path / 'set/X{scale}')}},
        'entries': [
            {'name': 'onnx', 'type': 'onnx', 'scale': 4, 'img_range': 255, 'weights': str(onnx_file)},
            {'name': 'torch', 'scale': 4, 'weights': str(data_root / 'weights/official/RFDN_AIM.pth')},
        ],
        **FAST,
    }
    board = run_board(content, tmp_path / 'out')
    one, other = (row['sets']['Small'] for row in board['entries'])
    # The images have 15 rows of LR, the least that the ONNX file can take.
    assert one['psnr_y'] == pytest.approx(other['psnr_y'], abs=0.01)
    assert board['entries'][0]['params'] == board['entries'][1]['params'] == 433_448
