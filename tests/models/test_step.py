"""The ways to compute a step: each alone is the step of BasicSR, but for what it says that it changes."""

from __future__ import annotations

import copy
import logging
from pathlib import Path

import pytest
import torch
from helpers.models import build

from rfdn_plugin.models.step import Speed
from rfdn_plugin.utils import machine

BATCH = 6


@pytest.fixture
def settings(options: dict) -> dict:
    options['path']['pretrain_network_g'] = None
    options['network_g'] |= {'num_block': 1}
    return options


def batch(number: int) -> dict:
    generator = torch.Generator().manual_seed(number)
    return {
        'lq': torch.rand(BATCH, 3, 16, 16, generator=generator),
        'gt': torch.rand(BATCH, 3, 48, 48, generator=generator),
    }


def trained(model, iterations: int = 4) -> list[float]:
    """The losses of some iterations on the same batches."""
    losses = []
    for iteration in range(1, iterations + 1):
        model.update_learning_rate(iteration)
        model.feed_data(batch(iteration))
        model.optimize_parameters(iteration)
        losses.append(model.get_current_log()['l_pix'])
    return losses


def fresh(settings: dict, **train) -> object:
    torch.manual_seed(0)
    settings = copy.deepcopy(settings)
    settings['train'].update(train)
    return build(settings)


def test_without_any_of_them_it_is_the_step_of_basicsr(settings):
    from basicsr.models.sr_model import SRModel

    torch.manual_seed(0)
    stock = SRModel(copy.deepcopy(settings))
    ours = fresh(settings)
    assert trained(ours) == trained(stock)
    for name, tensor in stock.net_g.state_dict().items():
        assert torch.equal(tensor, ours.net_g.state_dict()[name]), name


ALONE = {
    'channels last': {'channels_last': True},
    'compiled': {'compile': True},
    'accum_iter': {'accum_iter': 3},
    'uneven parts': {'accum_iter': 4},
    'clip that never cuts': {'grad_clip': 1e6},
    'fused': {'optim_g': {'type': 'Adam', 'lr': 1e-3, 'fused': True}},
}


@pytest.mark.parametrize('case', ALONE)
def test_each_alone_gives_the_same_losses(settings, case):
    assert trained(fresh(settings, **ALONE[case])) == pytest.approx(trained(fresh(settings)), rel=1e-4)


@pytest.mark.parametrize('precision', ['bf16', 'fp16'])
def test_lower_precision_is_near_and_its_losses_and_weights_are_fp32(settings, precision):
    model = fresh(settings, precision=precision)
    seen = []
    loss = model.cri_pix
    model.cri_pix = lambda output, gt: seen.append((output.dtype, gt.dtype)) or loss(output, gt)
    inner = []
    model.net_g.fea_conv.register_forward_hook(lambda layer, inputs, output: inner.append(output.dtype))
    losses = trained(model)
    assert set(seen) == {(torch.float32, torch.float32)}
    assert set(inner) == {{'bf16': torch.bfloat16, 'fp16': torch.float16}[precision]}
    assert losses == pytest.approx(trained(fresh(settings)), rel=0.02)
    assert {parameter.dtype for parameter in model.net_g.parameters()} == {torch.float32}
    assert model.scaler.is_enabled() == (precision == 'fp16')


@pytest.mark.parametrize(
    ('flags', 'chosen', 'reason'),
    [
        ({'avx2', 'avx512f', 'avx512_bf16'}, 'bf16', 'this processor has AVX-512 BF16'),
        ({'avx512_bf16', 'amx_bf16'}, 'bf16', 'this processor has AVX-512 BF16 and AMX'),
        ({'amx_bf16'}, 'bf16', 'this processor has AMX'),
        ({'avx2', 'avx512f'}, 'fp32', 'this processor has neither AVX-512 BF16 nor AMX'),
        (set(), 'fp32', 'neither'),
    ],
)
def test_the_precision_is_left_to_the_processor_and_said(settings, caplog, monkeypatch, flags, chosen, reason):
    monkeypatch.setattr(machine, 'processor_flags', lambda: flags)
    with caplog.at_level(logging.INFO, 'basicsr'):
        logging.getLogger('basicsr').addHandler(caplog.handler)
        model = fresh(settings, precision='auto')
    (line,) = (record.message for record in caplog.records if record.message.startswith('Step on cpu'))
    assert f'{chosen} (auto: ' in line and reason in line
    assert model.speed.precision == chosen
    assert trained(model, 2) == trained(fresh(settings, precision=chosen), 2)


@pytest.mark.parametrize(
    ('flags', 'is_slow'), [({'avx2', 'avx512f'}, True), ({'avx512_bf16'}, False), ({'amx_bf16'}, False), (set(), False)]
)
def test_bf16_that_is_emulated_is_done_and_said_to_be_slow(settings, monkeypatch, flags, is_slow):
    """Where the instruction sets cannot be read nothing is said."""
    monkeypatch.setattr(machine, 'processor_flags', lambda: flags)
    said = Speed.of({'precision': 'bf16'}).describe(fresh(settings).optimizer_g, torch.device('cpu'))
    assert 'bf16' in said and ('slower than fp32 on this processor' in said) == is_slow
    assert Speed.of({'precision': 'fp32'}).reason == ''


def test_without_being_asked_the_precision_is_fp32(settings, monkeypatch):
    monkeypatch.setattr(machine, 'processor_flags', lambda: {'avx512_bf16'})
    assert fresh(settings).speed.precision == 'fp32'


def test_parts_of_a_batch_are_smaller_and_their_gradient_is_that_of_the_whole(settings):
    sizes, gradients = [], []
    for parts in (1, 4):
        model = fresh(settings, accum_iter=parts)
        model.net_g.register_forward_pre_hook(lambda net, inputs: sizes.append(len(inputs[0])))
        model.feed_data(batch(1))
        model._gradients()
        gradients.append([parameter.grad for parameter in model.net_g.parameters()])
    assert sizes == [6, 2, 2, 2]  # torch.chunk's: no part is larger than the others
    for whole, summed in zip(*gradients, strict=True):
        torch.testing.assert_close(whole, summed, rtol=1e-3, atol=1e-6)


def test_gradients_are_clipped_to_the_norm(settings):
    model = fresh(settings, grad_clip=1e-3)
    model.feed_data(batch(1))
    model.optimize_parameters(1)
    norm = torch.linalg.vector_norm(
        torch.stack([torch.linalg.vector_norm(parameter.grad) for parameter in model.net_g.parameters()])
    )
    assert norm.item() == pytest.approx(1e-3, rel=1e-3)


def test_channels_last_is_not_written_to_the_files(settings):
    model = fresh(settings, channels_last=True)
    assert model.net_g.fea_conv.weight.is_contiguous(memory_format=torch.channels_last)
    trained(model, 1)
    model.save(0, 1)
    written = torch.load(Path(settings['path']['models'], 'net_g_1.pth'), weights_only=True)
    assert all(tensor.is_contiguous() for key in ('params', 'params_ema') for tensor in written[key].values())


def test_compiled_weights_keep_their_names(settings):
    model = fresh(settings, compile=True)
    model.save(-1, -1)
    written = torch.load(Path(settings['path']['models'], 'net_g_latest.pth'), weights_only=True)
    assert written['params'].keys() == model.net_g.state_dict().keys() and 'fea_conv.weight' in written['params']


def test_the_run_says_what_is_on(settings, caplog):
    optimizer = {'type': 'Adam', 'lr': 1e-3, 'fused': True}
    with caplog.at_level(logging.INFO, 'basicsr'):
        logging.getLogger('basicsr').addHandler(caplog.handler)
        fresh(settings, precision='bf16', channels_last=True, accum_iter=2, grad_clip=0.5, optim_g=optimizer)
    line = next(record.message for record in caplog.records if record.message.startswith('Step on cpu'))
    for words in ('bf16', 'channels last', '2 parts', 'clipped to 0.5', 'fused optimizer'):
        assert words in line, line
    assert 'compiled' not in line


def test_the_scale_of_fp16_goes_on_where_it_was(settings):
    model = fresh(settings, precision='fp16')
    trained(model, 1)
    model.scaler.update(128.0)
    model.save(0, 1)
    state = torch.load(Path(settings['path']['training_states'], '1.state'), weights_only=True)
    resumed = fresh(settings, precision='fp16')
    resumed.resume_training(state)
    assert resumed.scaler.state_dict() == model.scaler.state_dict() and resumed.scaler.get_scale() == 128.0


def test_a_fft_loss_is_added(settings):
    plain = fresh(settings)
    both = fresh(settings, fft_opt={'type': 'FFTLoss', 'loss_weight': 0.05})
    for model in (plain, both):
        model.feed_data(batch(1))
        model.optimize_parameters(1)
    log = both.get_current_log()
    assert log['l_pix'] == plain.get_current_log()['l_pix'] and log['l_fft'] > 0


def test_the_fft_loss_is_the_distance_of_the_spectra():
    from basicsr.losses import build_loss

    generator = torch.Generator().manual_seed(0)
    first, second = (torch.rand(2, 3, 8, 10, generator=generator) for _ in range(2))
    loss = build_loss({'type': 'FFTLoss', 'loss_weight': 0.5})
    difference = torch.fft.rfft2(first) - torch.fft.rfft2(second)
    expected = (difference.real.abs().mean() + difference.imag.abs().mean()) / 2
    assert loss(first, second).item() == pytest.approx(0.5 * expected.item(), rel=1e-5)
    assert loss(first, first).item() == 0
