"""spandrel's own loader recognises the RFDN family."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from rfdn_plugin.archs import NETWORKS
from rfdn_plugin.utils.errors import RFDNError
from rfdn_plugin.weights.card import model_card
from rfdn_plugin.weights.convert import convert, write_weights
from rfdn_plugin.weights.loading import build_network, identify_file, load_network
from rfdn_plugin.zoo import PREFIX, weights_path, zoo_names

spandrel = pytest.importorskip('spandrel')


@pytest.fixture(autouse=True)
def installed() -> None:
    import rfdn_plugin.spandrel

    rfdn_plugin.spandrel.install()
    rfdn_plugin.spandrel.install()  # a second call changes nothing
    assert [support.architecture.id for support in spandrel.MAIN_REGISTRY].count('RFDN') == 1


def _load(path: Path) -> spandrel.ImageModelDescriptor:
    return spandrel.ModelLoader(device='cpu').load_from_file(path)


@pytest.mark.parametrize('file', ['official/RFDN_AIM.pth', 'third_party/team30_RFDN.pkl'])
def test_the_official_file(data_root, tmp_path: Path, file: str):
    source = data_root / 'weights' / file
    path = tmp_path / 'w.pth'  # spandrel knows no .pkl
    path.write_bytes(source.read_bytes())
    model, (network, _) = _load(path), load_network(source)
    assert model.architecture.id == 'RFDN' and model.scale == 4
    assert (model.input_channels, model.output_channels, model.purpose) == (3, 3, 'SR')
    assert model.size_requirements.minimum == 15 and model.tiling is spandrel.ModelTiling.DISCOURAGED
    assert set(model.tags) == {'50nf', '4nb', 'esa'}
    x = torch.rand(1, 3, 20, 31)
    with torch.no_grad():
        torch.testing.assert_close(model(x), network(x).clamp(0, 1))
    assert model(torch.rand(1, 3, 4, 5)).shape == (1, 3, 16, 20)


@pytest.mark.parametrize(
    ('layout', 'fold_srb'),
    [('basicsr', False), ('basicsr', True), ('safetensors', False), ('safetensors', True), ('official', False)],
)
@pytest.mark.parametrize('fold_range', [False, True])
def test_every_layout_that_we_write(data_root, tmp_path: Path, layout: str, fold_srb: bool, fold_range: bool):
    """Folding changes the weights, so that no fingerprint helps: what was folded is found from them."""
    source = identify_file(data_root / 'weights/official/RFDN_AIM.pth')
    path = tmp_path / ('w.safetensors' if layout == 'safetensors' else 'w.pth')
    convert(source, path, layout=layout, fold_range=fold_range, fold_srb=fold_srb)
    model = _load(path)
    assert model.model.img_range == (1 if fold_range else 255) and not model.model.get_submodule('B1').block_residual
    x = torch.rand(1, 3, 20, 31)
    with torch.no_grad():
        torch.testing.assert_close(model(x), build_network(source)(x).clamp(0, 1), rtol=0, atol=1e-5)


@pytest.mark.parametrize('type', ['RFDN', 'RFDN_L', 'E_RFDN'])
@pytest.mark.parametrize('upscale', [2, 3, 4])
def test_networks_that_start_as_interpolation_are_recognised(tmp_path: Path, type: str, upscale: int):
    torch.manual_seed(0)
    network = NETWORKS[type](upscale=upscale, interpolation_start=True)
    save_file(network.state_dict(), tmp_path / 'w.safetensors')
    state = spandrel.ModelLoader().load_state_dict_from_file(tmp_path / 'w.safetensors')
    assert spandrel.MAIN_REGISTRY['RFDN'].detect(state)
    others = [support.architecture.id for support in spandrel.MAIN_REGISTRY if support.detect(state)]
    assert others == ['RFDN'], 'no other architecture takes them'


def test_the_size_that_attention_needs(data_root, tmp_path: Path):
    """Channel attention needs none."""
    from rfdn_plugin.weights.transfer.resample import to_scale

    network = to_scale(identify_file(data_root / 'weights/official/RFDN_AIM.pth'), 2)
    write_weights(tmp_path / 'x2.pth', network.state_dict(), model_card('E_RFDN', {'upscale': 2}), 'basicsr')
    model = _load(tmp_path / 'x2.pth')
    assert model.scale == 2 and model.size_requirements.minimum == 15


@pytest.mark.parametrize('file', ['team13_rfdn_dilated', 'team22_rep_rfdn', 'team25_frfdn', 'team40_rfdn_pruned'])
def test_lookalikes_are_not_loaded_wrongly(data_root, file: str):
    path = data_root / f'weights/lookalikes/{file}.pth'
    if file == 'team22_rep_rfdn':
        assert _load(path).model.img_range == 1
        return
    with pytest.raises(RFDNError):
        _load(path)


def test_an_untrained_network_is_not_guessed_at(tmp_path: Path):
    torch.save(NETWORKS['RFDN'](upscale=2).state_dict(), tmp_path / 'w.pth')
    with pytest.raises(RFDNError, match='does not say'):
        _load(tmp_path / 'w.pth')


@pytest.mark.parametrize('name', zoo_names())
def test_the_shipped_weights_are_recognised_without_their_card(name: str) -> None:
    path = weights_path(PREFIX + name)
    model = spandrel.ModelLoader().load_from_file(path)
    arguments = load_network(path)[1].arguments
    assert (model.scale, model.model.img_range) == (arguments['upscale'], arguments['img_range'])
