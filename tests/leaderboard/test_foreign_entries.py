"""Entries that are no networks of this package: those of BasicSR, what spandrel reads, and models that backends run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from helpers.small_sets import make_set, make_weights, network_entry
from torch import nn

import rfdn_plugin  # noqa: F401
from rfdn_plugin.deploy.backends import missing
from rfdn_plugin.leaderboard.board import run
from rfdn_plugin.leaderboard.measure.foreign import SizedNetwork
from rfdn_plugin.leaderboard.options import parse_options
from rfdn_plugin.utils.errors import RFDNError

FAST = {'report': {'images': 0}, 'significance': {'resamples': 1000}}


@pytest.fixture
def content(tmp_path) -> dict:
    return {'name': 'test', 'sets': {'Small': make_set(tmp_path / 'set', names=('coffee', 'rocket'))}, **FAST}


def rows(content: dict, entries: list[dict], out: Path) -> list[dict]:
    board = run(parse_options({**content, 'entries': entries}), out, 1)
    assert not [row['error'] for row in board['entries'] if 'error' in row]
    return board['entries']


# --- networks of BasicSR -------------------------------------------------------------------------------------------
SWIN = {'embed_dim': 12, 'depths': [1], 'num_heads': [2], 'window_size': 4, 'upsampler': 'pixelshuffledirect'}
BASICSR = {
    'EDSR': {'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 8, 'num_block': 1},
    'MSRResNet': {'num_feat': 8, 'num_block': 1},
    'SwinIR': {**SWIN, 'img_size': 16, 'mlp_ratio': 2},
    'RRDBNet': {'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 8, 'num_block': 1, 'num_grow_ch': 4},
}


def basicsr_network(name: str, arguments: dict) -> nn.Module:
    import basicsr  # noqa: F401
    from basicsr.utils.registry import ARCH_REGISTRY

    torch.manual_seed(0)
    return ARCH_REGISTRY.get(name)(**arguments, **{'scale' if name == 'RRDBNet' else 'upscale': 2}).eval()


@pytest.mark.parametrize('name', BASICSR)
@pytest.mark.parametrize('said_by', ['card', 'entry'])
def test_a_network_of_basicsr(content, tmp_path, name, said_by):
    """A checkpoint as `rfdn train` writes it says its network; without a card the entry names it."""
    network = basicsr_network(name, BASICSR[name])
    card = {'network': name, 'arguments': json.dumps(BASICSR[name]), 'upscale': '2'}
    checkpoint = {'params': network.state_dict(), 'params_ema': network.state_dict()}
    torch.save({**checkpoint, **({'metadata': card} if said_by == 'card' else {})}, tmp_path / 'w.pth')
    entry = {'name': 'theirs', 'scale': 2, 'weights': str(tmp_path / 'w.pth')}
    if said_by == 'entry':
        entry |= {'type': name, 'arguments': BASICSR[name]}
    content['complexity'] = {'mmengine': name != 'SwinIR'}
    (row,) = rows(content, [entry], tmp_path / 'out')
    assert (row['type'], row['weights_state']) == (name, 'EMA weights')
    assert row['params'] == sum(weight.numel() for weight in network.parameters())
    assert row['conv_macs_hr720'] > 0 and row['sets']['Small']['psnr_y'] > 0
    assert (row['matmul_macs_hr720'] > 0) == (name == 'SwinIR')


@pytest.mark.parametrize(
    ('change', 'said'),
    [
        ({'type': 'EDSR', 'scale': 4}, 'another network than EDSR|x2'),
        ({'type': 'MSRResNet'}, 'another network than MSRResNet'),
        ({'type': 'EDSR', 'arguments': {'num_fet': 8}}, 'EDSR cannot be built .*num_fet'),
        ({'type': 'EDSR', 'arguments': {**BASICSR['EDSR'], 'upscale': 3}}, 'EDSR is of x3: correct scale 2'),
    ],
)
def test_problems_with_a_network_of_basicsr_are_told_before_the_work(content, tmp_path, change, said):
    torch.save({'params': basicsr_network('EDSR', BASICSR['EDSR']).state_dict()}, tmp_path / 'w.pth')
    entry = {'name': 'theirs', 'scale': 2, 'weights': str(tmp_path / 'w.pth'), 'arguments': BASICSR['EDSR'], **change}
    content['sets']['Small'] = make_set(tmp_path / 'set4', entry['scale'])
    with pytest.raises(RFDNError, match=said):
        rows(content, [entry], tmp_path / 'out')


def test_a_network_that_wants_certain_sizes_takes_any():
    class Windows(nn.Module):
        def forward(self, x):
            assert x.shape[-2] % 8 == x.shape[-1] % 8 == 0 and min(x.shape[-2:]) >= 16
            return x.repeat_interleave(2, dim=-1).repeat_interleave(2, dim=-2)

    network = SizedNetwork(Windows(), scale=2, in_channels=3, minimum=16, multiple=8)
    for size in ((1, 1), (16, 16), (17, 40), (3, 33)):
        x = torch.rand(1, 3, *size)
        assert torch.equal(network(x), x.repeat_interleave(2, dim=-1).repeat_interleave(2, dim=-2))


# --- spandrel ------------------------------------------------------------------------------------------------------
def spandrel_models() -> dict[str, nn.Module]:
    from spandrel.architectures import SPAN, Compact, SwinIR

    torch.manual_seed(0)
    compact = Compact.Compact(num_feat=8, num_conv=2, upscale=2)
    span = SPAN.SPAN(num_in_ch=3, num_out_ch=3, feature_channels=8, upscale=2)
    swin = SwinIR.SwinIR(upscale=2, img_size=16, **SWIN)
    return {'Compact': compact, 'SPAN': span, 'SwinIR': swin}


@pytest.mark.parametrize('name', ['Compact', 'SPAN', 'SwinIR'])
def test_what_spandrel_reads(content, tmp_path, name):
    pytest.importorskip('spandrel')
    network = spandrel_models()[name].eval()
    torch.save({'params_ema': network.state_dict()}, tmp_path / 'w.pth')
    entry = {'name': 'theirs', 'type': 'spandrel', 'scale': 2, 'weights': str(tmp_path / 'w.pth')}
    content['complexity'] = {'mmengine': False}
    (row,) = rows(content, [entry], tmp_path / 'out')
    assert (row['type'], row['weights_state']) == (name, 'EMA weights')
    assert row['params'] == sum(weight.numel() for weight in network.parameters())
    assert row['conv_macs_hr720'] > 0 and row['sets']['Small']['psnr_y'] > 0


def test_our_own_weights_through_spandrel_are_the_same(content, tmp_path, data_root):
    pytest.importorskip('spandrel')
    content['sets'] = {'Small': make_set(tmp_path / 'x4', 4, names=('coffee',))}
    weights = {'scale': 4, 'weights': str(data_root / 'weights/official/RFDN_AIM.pth')}
    content['complexity'] = {'mmengine': False}
    one, other = rows(
        content, [{'name': 'a', **weights}, {'name': 'b', 'type': 'spandrel', **weights}], tmp_path / 'out'
    )
    assert one['sets'] == other['sets']
    assert all(one[key] == other[key] for key in ('params', 'conv_macs_hr720', 'ntire'))


@pytest.mark.parametrize(
    ('content_of_file', 'said'),
    [
        ({'params': {'nobody.knows': torch.zeros(3, 3)}}, 'spandrel recognises no network'),
        ({'epoch': 3}, 'holds no weights'),
    ],
)
def test_what_spandrel_does_not_read_is_one_line(content, tmp_path, content_of_file, said):
    pytest.importorskip('spandrel')
    torch.save(content_of_file, tmp_path / 'w.pth')
    entry = {'name': 'theirs', 'type': 'spandrel', 'scale': 2, 'weights': str(tmp_path / 'w.pth')}
    with pytest.raises(RFDNError, match=said) as error:
        rows(content, [entry], tmp_path / 'out')
    assert '\n' not in str(error.value)


# --- backends ------------------------------------------------------------------------------------------------------
RUNS = [('torch', 'fp32'), ('torch', 'bf16'), ('onnxruntime', None), ('openvino', 'fp32'), ('ncnn', None)]


@pytest.mark.parametrize(('backend', 'precision'), RUNS, ids=str)
def test_a_network_run_by_a_backend_stands_beside_itself(content, tmp_path, backend, precision):
    if problem := missing(backend):
        pytest.skip(problem)
    weights = make_weights(tmp_path / 'net.pth')
    run_by = {'backend': backend, **({'precision': precision} if precision else {})}
    content |= {'latency': {'runs': 3, 'input': [24, 24], 'memory': False}, 'complexity': {'mmengine': False}}
    entries = [network_entry('plain', weights), network_entry('run', weights, **run_by)]
    plain, other = rows(content, entries, tmp_path / 'out')
    assert (plain['backend'], plain['precision']) == (None, None)
    assert (other['backend'], other['precision']) == (backend, precision or 'fp32')
    tolerance = 0.5 if precision == 'bf16' else 0.02
    assert other['sets']['Small']['psnr_y'] == pytest.approx(plain['sets']['Small']['psnr_y'], abs=tolerance)
    assert other['params'] == plain['params'] and other['latency_ms']['median'] > 0
    assert other['latency_ms']['precision'] == {'bf16': 'bfloat16'}.get(precision, 'float32')
    assert f'{backend} {precision or "fp32"}' in (tmp_path / 'out/leaderboard.md').read_text()


def test_a_precision_that_a_backend_lacks_is_told_before_the_work(content, tmp_path):
    entry = network_entry('net', make_weights(tmp_path / 'net.pth'), backend='torch', precision='int8')
    with pytest.raises(RFDNError, match='entry net: torch does not compute in int8'):
        rows(content, [entry], tmp_path / 'out')
