"""RFDNModel: what it loads, what it refuses, what it writes."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import torch
from helpers.models import SMALL, build

import rfdn_plugin  # noqa: F401
from rfdn_plugin.archs import NETWORKS
from rfdn_plugin.models import rfdn_model
from rfdn_plugin.utils.errors import RFDNError


def x2_state(seed: int = 1) -> dict:
    torch.manual_seed(seed)
    return NETWORKS['RFDN'](upscale=2, **SMALL).state_dict()


LAYOUTS = {
    'flat': lambda state: state,
    'params': lambda state: {'params': state},
    'params_ema': lambda state: {'params_ema': state},
    'state_dict': lambda state: {'state_dict': state, 'epoch': 3},
    'module': lambda state: {f'module.{name}': tensor for name, tensor in state.items()},
    'params with module': lambda state: {'params': {f'module.{name}': tensor for name, tensor in state.items()}},
}


@pytest.mark.parametrize('layout', LAYOUTS)
@pytest.mark.parametrize('start', ['resampled', 'random'])
def test_every_layout_loads_and_the_ema_copy_equals_the_network(options: dict, layout: str, start: str):
    state = x2_state()
    torch.save(LAYOUTS[layout](state), options['path']['pretrain_network_g'])
    options['train']['upsampler_start'] = start
    model = build(options)
    average = model.net_g_ema.state_dict()
    for name, tensor in model.net_g.state_dict().items():
        assert torch.equal(tensor, average[name]), name
        if not name.startswith('upsampler.'):
            assert torch.equal(tensor, state[name]), name


def test_what_was_loaded_is_said(options: dict, monkeypatch: pytest.MonkeyPatch):
    torch.save({'params': x2_state()}, options['path']['pretrain_network_g'])
    said: list[str] = []
    monkeypatch.setattr(
        rfdn_model, 'get_root_logger', lambda: type('L', (), {'info': lambda _, text: said.append(text)})()
    )
    model = build(options)
    total = len(model.net_g.state_dict())
    said = [text for text in said if 'loaded' in text]
    assert f'loaded {total - 2} of {total} tensors' in said[0] and '[params]' in said[0]
    assert 'upsampler.0.weight, upsampler.0.bias' in said[1] and 'resampled' in said[1]


def test_the_averaged_weights_are_taken_where_they_are_asked_for(options: dict):
    raw, averaged = x2_state(1), x2_state(2)
    torch.save({'params': raw, 'params_ema': averaged}, options['path']['pretrain_network_g'])
    options['path']['param_key_g'] = 'params_ema'
    model = build(options)
    assert torch.equal(model.net_g.fea_conv.weight, averaged['fea_conv.weight'])
    assert torch.equal(model.net_g_ema.fea_conv.weight, averaged['fea_conv.weight'])


@pytest.mark.parametrize(
    ('other', 'words'),
    [
        (lambda: NETWORKS['RFDN'](upscale=3, num_feat=16, num_block=2), ['of another shape', 'B1.c1_d.weight']),
        (lambda: NETWORKS['RFDN'](upscale=3, num_feat=12, num_block=3), ['not in the network', 'B3.']),
        (lambda: NETWORKS['RFDN'](upscale=3, num_feat=12, num_block=1), ['not in the file', 'B2.']),
        (lambda: NETWORKS['E_RFDN'](upscale=3, **SMALL), ['B1.esa', 'B1.cca']),
        (lambda: torch.nn.Conv2d(3, 3, 3), ['not in the file', '2 not in the network (bias, weight)']),
    ],
    ids=['width', 'more blocks', 'fewer blocks', 'attention', 'no RFDN'],
)
def test_another_networks_weights_stop_with_the_list(options: dict, other, words: list[str]):
    torch.save(other().state_dict(), options['path']['pretrain_network_g'])
    with pytest.raises(RFDNError) as error:
        build(options)
    assert all(word in str(error.value) for word in ['another network than RFDN', *words]), str(error.value)


def test_another_scale_needs_to_be_allowed(options: dict):
    torch.save(x2_state(), options['path']['pretrain_network_g'])
    options['path']['strict_load_g'] = True
    with pytest.raises(RFDNError, match=r'another scale.*strict_load_g'):
        build(options)


def test_resuming_keeps_the_average_apart(options: dict):
    """A resumed run has two different sets of weights: the copy must not be overwritten by the network."""
    torch.manual_seed(0)
    raw, averaged = (NETWORKS['RFDN'](upscale=3, **SMALL).state_dict() for _ in range(2))
    torch.save({'params': raw, 'params_ema': averaged}, options['path']['pretrain_network_g'])
    options['path']['resume_state'] = 'training_states/10.state'
    model = build(options)
    assert torch.equal(model.net_g.fea_conv.weight, raw['fea_conv.weight'])
    assert torch.equal(model.net_g_ema.fea_conv.weight, averaged['fea_conv.weight'])


def test_a_hostile_pickle_is_refused_unexecuted(options: dict, tmp_path: Path):
    class Hostile:
        def __reduce__(self):
            return (Path.touch, (tmp_path / 'ran',))

    torch.save({'params': Hostile()}, options['path']['pretrain_network_g'])
    with pytest.raises(RFDNError, match='refused'):
        build(options)
    assert not (tmp_path / 'ran').exists()


def test_a_failed_write_stops_the_run_and_leaves_the_old_file(options: dict, monkeypatch: pytest.MonkeyPatch):
    torch.save(x2_state(), options['path']['pretrain_network_g'])
    model = build(options)
    model.save(epoch=-1, current_iter=-1)
    path = Path(options['path']['models'], 'net_g_latest.pth')
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr('rfdn_plugin.utils.files.os.fsync', full)
    with pytest.raises(RFDNError, match=r'cannot write .*net_g_latest\.pth.*No space left.*--auto_resume'):
        model.save(epoch=-1, current_iter=-1)
    assert path.read_bytes() == before and [entry.name for entry in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize('name', sorted(NETWORKS))
def test_what_is_written_says_what_it_is(options: dict, name: str):
    """Network, scale and range are found again from the file alone, also where the options left them to the defaults."""
    from rfdn_plugin.weights.loading import load_network

    options['path']['pretrain_network_g'] = None
    options['network_g'] = (
        {'type': name, 'upscale': 3} if 'RFDN' not in name else {**options['network_g'], 'type': name}
    )
    model = build(options)
    model.save(epoch=-1, current_iter=-1)
    net, identity = load_network(Path(options['path']['models'], 'net_g_latest.pth'))
    assert identity.type == name and net.upscale == 3
    state = model.net_g_ema.state_dict()
    assert all(torch.equal(tensor, state[key]) for key, tensor in net.state_dict().items())


def test_the_average_is_not_held_back_by_the_start(options: dict):
    """After n iterations at most about a tenth of them is averaged, whatever the decay."""
    options['path']['pretrain_network_g'] = None
    options['train']['ema_decay'] = 0.999
    model = build(options)
    for parameter in model.net_g.parameters():
        parameter.data.fill_(1.0)
    for parameter in model.net_g_ema.parameters():
        parameter.data.zero_()
    model.iteration = 90
    model.model_ema(decay=0.999)
    assert model.net_g_ema.fea_conv.bias[0].item() == pytest.approx(0.09)
    model.iteration = 10**6
    model.model_ema(decay=0.999)
    assert model.net_g_ema.fea_conv.bias[0].item() == pytest.approx(0.09 + 0.91 * 0.001)


# RFANet enlarges in a chain of convolutions, which `train.upsampler_start: random` alone can start.
@pytest.mark.parametrize('name', sorted({*NETWORKS} - {'RFANet'}))
def test_every_network_starts_from_its_other_scale(options: dict, name: str):
    """As `rfdn transfer` would make it: the body is the file's, the upsampler resampled, whatever it is made of."""
    from rfdn_plugin.weights.loading import load_network
    from rfdn_plugin.weights.transfer.resample import to_scale

    arguments = {key: value for key, value in options['network_g'].items() if key not in ('type', 'upscale')}
    arguments = arguments if 'RFDN' in name else {}
    torch.manual_seed(0)
    options['network_g'] = {'type': name, 'upscale': 2, **arguments}
    options['scale'], options['path']['pretrain_network_g'] = 2, None
    first = build(options)
    first.save(epoch=-1, current_iter=-1)
    path = Path(options['path']['models'], 'net_g_latest.pth')
    expected = to_scale(load_network(path)[1], 3)

    options['network_g']['upscale'] = options['scale'] = 3
    options['path']['pretrain_network_g'] = str(path)
    net = build(options).net_g.eval()
    x = torch.rand(1, next(net.parameters()).shape[1], 20, 20)
    with torch.no_grad():
        torch.testing.assert_close(net(x), expected(x))
