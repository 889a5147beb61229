"""int8: which layers are quantised, what it costs is measured on images left out, and the limit is kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.networks import GREY_LEVEL, noise, outputs_of, small_weights

from rfdn_plugin.cli import main
from rfdn_plugin.deploy import quantise
from rfdn_plugin.deploy.backends import open_model
from rfdn_plugin.deploy.export import export
from rfdn_plugin.utils.errors import RFDNError
from rfdn_plugin.weights.loading import identify_file

openvino = pytest.importorskip('openvino', reason='the package openvino is not installed')
pytest.importorskip('nncf', reason='the package nncf is not installed')


@pytest.fixture(scope='module')
def exported(tmp_path_factory: pytest.TempPathFactory, photographs: Path):
    folder = tmp_path_factory.mktemp('int8')
    weights, network = small_weights(folder, 'E_RFDN', interpolation_start=True)
    result = export(identify_file(weights), folder / 'int8.xml', precision='int8', calibrate=photographs, most_loss=0.5)
    return weights, network, result


def test_what_it_costs_is_measured_and_within_the_limit(exported) -> None:
    _, network, result = exported
    quantised = result.quantised
    assert quantised.images == (6, 3)
    assert quantised.loss <= 0.5
    assert 0.5 < quantised.share < 1
    assert any('c1_r' in kind or 'c*_r' in kind for kind in quantised.layers)
    card = openvino.Core().read_model(result.paths[0]).get_rt_info(['rfdn']).value
    assert card['exported_precision'] == 'int8'
    assert card['quantised_layers'] == ', '.join(quantised.layers)
    assert f'{quantised.psnr[1]:.4f}' in card['quantisation_psnr_y']
    runner = open_model(result.paths[0], backend='openvino', threads=1)
    assert (runner.precision, runner.scale) == ('int8', 2)
    x = noise(1, 20, 30)
    # More than fp32's rounding (1e-6), though the rest is in fp32 where a processor has no 16-bit floats.
    assert 1e-5 < abs(runner(x) - outputs_of(network, x)).max() < 96 * GREY_LEVEL


def test_first_and_last_layers_attention_and_sums_stay_in_floats(exported) -> None:
    model = openvino.Core().read_model(exported[2].paths[0])
    quantised = {
        node.get_friendly_name()
        for node in model.get_ordered_ops()
        if node.get_type_name() == 'Convolution'
        and node.input(0).get_source_output().get_node().get_type_name() == 'FakeQuantize'
    }
    names = [name for name, _, _ in quantise.convolutions(model)]
    assert quantised
    assert names[0] not in quantised and names[-1] not in quantised
    assert not [name for name in quantised if '/esa/' in name]
    for node in model.get_ordered_ops():
        if node.get_type_name() in ('Add', 'Multiply', 'MaxPool', 'Interpolate'):
            before = [port.get_source_output().get_node().get_type_name() for port in node.inputs()]
            assert 'FakeQuantize' not in before, node.get_friendly_name()


def test_a_limit_that_no_layer_keeps(exported, photographs: Path, tmp_path: Path) -> None:
    weights, _, _ = exported
    with pytest.raises(RFDNError, match='--most-loss'):
        export(identify_file(weights), tmp_path / 'a.xml', precision='int8', calibrate=photographs, most_loss=-9)
    assert not list(tmp_path.iterdir())


def test_parts_are_where_the_texture_is() -> None:
    rng = np.random.default_rng(0)
    import torch

    high = np.full((3, 400, 600), 0.5, np.float32)
    high[:, 200:, 300:] = rng.random((3, 200, 300), np.float32)
    low, wanted = quantise._part(torch.from_numpy(high[:, ::2, ::2].copy()), torch.from_numpy(high), 2)
    assert low.shape == (1, 3, 96, 96) and wanted.shape == (1, 3, 192, 192)
    assert low.std() > 0.25


def test_what_is_missing_is_said(exported, tmp_path: Path, photographs: Path, capsys, monkeypatch) -> None:
    weights, _, _ = exported
    arguments = ['export', '--weights', str(weights), '-o', str(tmp_path / 'a.xml'), '--precision', 'int8']
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2 and '--calibrate' in capsys.readouterr().err
    (tmp_path / 'few').mkdir()
    for name in ('photo0.png', 'photo1.png'):
        (tmp_path / 'few' / name).write_bytes((photographs / name).read_bytes())
    assert main([*arguments, '--calibrate', str(tmp_path / 'few')]) == 1
    assert '2 images to calibrate' in capsys.readouterr().err
    monkeypatch.setattr(quantise, 'missing', lambda: 'int8 needs NNCF: pip install "rfdn-plugin[int8]".')
    assert main([*arguments, '--calibrate', str(photographs)]) == 1
    assert 'pip install' in capsys.readouterr().err
