"""What every registered network promises, whatever it is made of: the contract that the rest of the package relies on."""

from __future__ import annotations

import inspect
import io
import textwrap
import warnings

import numpy as np
import pytest
import torch
from helpers.processes import assert_runs
from torch import nn

from rfdn_plugin.archs import NETWORKS, constructor_parameters, full_arguments

SCALES = [1, 2, 3, 4]
SIZES = [(1, 1), (1, 40), (7, 9), (14, 15), (15, 15), (23, 31)]
COMMON = {'num_in_ch', 'num_out_ch', 'num_feat', 'num_block', 'upscale', 'img_range'}
"""Arguments that every network takes, by BasicSR's names."""

every_network = pytest.mark.parametrize('name', sorted(NETWORKS))


def small(name: str, upscale: int = 2, **arguments) -> nn.Module:
    """A network of 16 channels and 2 blocks, in eval mode."""
    return NETWORKS[name](**{'upscale': upscale, 'num_feat': 16, 'num_block': 2, **arguments}).eval()


def channels(network: nn.Module) -> int:
    return next(network.parameters()).shape[1]


def image(network: nn.Module, height: int = 20, width: int = 24, count: int = 1) -> torch.Tensor:
    return torch.rand(count, channels(network), height, width)


# --- arguments -----------------------------------------------------------------------------------------------------
@every_network
def test_arguments_are_named_and_have_defaults(name: str):
    parameters = constructor_parameters(NETWORKS[name])
    assert parameters.keys() >= COMMON
    assert all(p.kind is inspect.Parameter.KEYWORD_ONLY for p in parameters.values())
    assert all(p.default is not inspect.Parameter.empty for p in parameters.values())
    with pytest.raises(TypeError):
        NETWORKS[name](3)
    with pytest.raises(TypeError, match='num_fet'):
        NETWORKS[name](num_fet=16)


@every_network
@pytest.mark.parametrize('upscale', [0, -1, 2.5, '2'])
def test_a_scale_that_is_none_is_refused(name: str, upscale):
    with pytest.raises(ValueError, match='upscale'):
        NETWORKS[name](upscale=upscale)


@every_network
def test_the_arguments_that_define_it_rebuild_it(name: str):
    arguments = full_arguments(name, {'upscale': 3, 'num_feat': 16, 'num_block': 1})
    network, again = (NETWORKS[name](**arguments) for _ in range(2))
    again.load_state_dict(network.state_dict(), strict=True)
    assert network.upscale == arguments['upscale'] and network.img_range == arguments['img_range']


# --- shapes and values ---------------------------------------------------------------------------------------------
@every_network
@pytest.mark.parametrize('upscale', SCALES)
@pytest.mark.parametrize('size', SIZES, ids=lambda size: 'x'.join(map(str, size)))
def test_any_size_from_one_pixel(name: str, upscale: int, size: tuple[int, int]):
    network = small(name, upscale)
    x = image(network, *size, count=2)
    kept = x.clone()
    with torch.no_grad():
        out = network(x)
    assert out.shape == (2, channels(network), size[0] * upscale, size[1] * upscale)
    assert torch.isfinite(out).all() and torch.equal(x, kept), 'the input is not written to'


@every_network
def test_images_of_a_batch_do_not_see_each_other(name: str):
    network = small(name)
    x = image(network, count=3)
    with torch.no_grad():
        together, alone = network(x), torch.cat([network(part) for part in x.split(1)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)


@every_network
def test_the_range_is_inside_only(name: str):
    inner, outer = small(name), small(name, img_range=255.0)
    outer.load_state_dict(inner.state_dict())
    x = image(inner)
    with torch.no_grad():
        skip = inner.skip(x) if hasattr(inner, 'skip') else 0
        detail = (inner(x * 255) - (inner.skip(x * 255) if hasattr(inner, 'skip') else 0)) / 255
        torch.testing.assert_close(outer(x), skip + detail, atol=1e-4, rtol=1e-4)


@every_network
def test_what_the_upsampler_reads_has_the_size_of_the_input(name: str):
    network = small(name, 3)
    with torch.no_grad():
        assert network.forward_features(image(network)).shape == (1, 16, 20, 24)
    assert 1 <= network.minimum_size <= 15


# --- training ------------------------------------------------------------------------------------------------------
@every_network
def test_every_weight_is_trained(name: str):
    """By one of four starts: a ReLU of so few channels may be silent for a whole image."""
    trained = set()
    for _ in range(4):
        network = small(name).train()
        network(image(network)).square().sum().backward()
        trained |= {key for key, weight in network.named_parameters() if weight.grad is not None and weight.grad.any()}
    assert trained == network.state_dict().keys()


@every_network
@pytest.mark.parametrize('value', [0.0, 0.5])
def test_a_constant_image_gives_finite_gradients(name: str, value: float):
    """The standard deviation that CCA takes is zero there, where a square root has no slope."""
    network = small(name).train()
    network(torch.full((1, channels(network), 1, 1), value)).sum().backward()
    assert all(torch.isfinite(weight.grad).all() for weight in network.parameters())


@every_network
def test_training_and_evaluation_compute_the_same(name: str):
    network = small(name)
    x = image(network)
    with torch.no_grad():
        assert torch.equal(network(x), network.train()(x))


@every_network
@pytest.mark.parametrize('memory_format', [torch.contiguous_format, torch.channels_last], ids=['rows', 'channels_last'])
def test_computing_a_gradient_does_not_change_a_bit(name: str, memory_format: torch.memory_format):
    """Some parts are computed in another order where a gradient is wanted, because its backward pass is faster."""
    network = small(name).to(memory_format=memory_format)
    x = image(network, count=2).to(memory_format=memory_format)
    with torch.no_grad():
        without = network(x)
    assert torch.equal(network(x), without)


@every_network
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_gradients_of_16_bits_are_those_of_32_up_to_rounding(name: str, dtype: torch.dtype):
    network = small(name)
    x = image(network, 40, 40, count=2)
    found = {}
    for precision in (torch.float32, dtype):
        network.zero_grad()
        with torch.autocast('cpu', dtype=dtype, enabled=precision is dtype):
            out = network(x)
        out.float().square().mean().backward()
        found[precision] = torch.cat([weight.grad.flatten() for weight in network.parameters()])
    similarity = torch.nn.functional.cosine_similarity(found[dtype], found[torch.float32], dim=0)
    assert similarity > 0.99


# --- weights -------------------------------------------------------------------------------------------------------
@every_network
def test_the_state_dict_goes_round(name: str):
    network, other = small(name), small(name)
    buffer = io.BytesIO()
    torch.save(network.state_dict(), buffer)
    buffer.seek(0)
    other.load_state_dict(torch.load(buffer, weights_only=True), strict=True)
    x = image(network)
    with torch.no_grad():
        assert torch.equal(network(x), other(x))
    assert all(key in dict(network.named_parameters()) for key in network.state_dict()), 'weights alone are saved'


@every_network
def test_the_same_seed_gives_the_same_start(name: str):
    torch.manual_seed(3)
    first = small(name).state_dict()
    torch.manual_seed(3)
    assert all(torch.equal(first[key], tensor) for key, tensor in small(name).state_dict().items())


# --- export --------------------------------------------------------------------------------------------------------
@every_network
def test_torch_export_gives_a_program_that_computes_the_same(name: str):
    network = small(name)
    x = image(network)
    program = torch.export.export(network, (x,), strict=False)
    with torch.no_grad():
        torch.testing.assert_close(program.module()(x), network(x), atol=1e-5, rtol=1e-4)


@every_network
def test_torch_export_with_free_height_and_width(name: str):
    """From 24 pixels: below, the pooling inside ESA gives a single one, which torch.export makes a case of its own."""
    network = small(name)
    sides = {2: torch.export.Dim('height', min=24, max=4096), 3: torch.export.Dim('width', min=24, max=4096)}
    program = torch.export.export(network, (image(network, 40, 48),), dynamic_shapes=(sides,), strict=False)
    for size in ((24, 24), (53, 28)):
        x = image(network, *size)
        with torch.no_grad():
            torch.testing.assert_close(program.module()(x), network(x), atol=1e-5, rtol=1e-4)


@every_network
def test_onnx_computes_the_same_at_other_sizes(name: str, tmp_path):
    onnxruntime = pytest.importorskip('onnxruntime')
    pytest.importorskip('onnx')
    network, path = small(name), tmp_path / 'network.onnx'
    axes = {'input': {2: 'height', 3: 'width'}, 'output': {2: 'height', 3: 'width'}}
    names = {'input_names': ['input'], 'output_names': ['output'], 'dynamic_axes': axes}
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # of the tracer: the sizes below show what it recorded
        torch.onnx.export(network, image(network), path, dynamo=False, opset_version=17, **names)
    session = onnxruntime.InferenceSession(str(path), providers=['CPUExecutionProvider'])
    for size in ((20, 24), (17, 31)):
        x = image(network, *size)
        (found,) = session.run(None, {'input': x.numpy()})
        with torch.no_grad():
            np.testing.assert_allclose(found, network(x).numpy(), atol=1e-4, rtol=1e-3)


# --- registries ----------------------------------------------------------------------------------------------------
BUILDERS = {
    'mmengine': """
        from mmengine.registry import MODELS
        import mmengine.model
        build = MODELS.build
    """,
    'basicsr': """
        from basicsr.archs import build_network as build
    """,
}


@pytest.mark.parametrize('registry', BUILDERS)
def test_each_registry_builds_every_network(registry: str):
    """In a process that has imported neither `basicsr`, nor `mmengine`, nor this package."""
    script = 'import rfdn_plugin\n' + textwrap.dedent(BUILDERS[registry])
    script += f'for name in {sorted(NETWORKS)}:\n'
    script += '    net = build(dict(type=name, upscale=2, num_feat=16, num_block=1))\n'
    script += '    assert type(net).__name__ == name and net.upscale == 2, name\n'
    assert_runs(script)
