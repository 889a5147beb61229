"""Arrays through an `Upscaler`: kinds of images, memory, tiles, self-ensemble."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from rfdn_plugin.archs import NETWORKS
from rfdn_plugin.deploy import memory
from rfdn_plugin.deploy.inference import inference_form
from rfdn_plugin.deploy.upscale import Upscaler
from rfdn_plugin.utils.errors import RFDNError


def small(name: str = 'RFDN', **arguments) -> nn.Module:
    torch.manual_seed(0)
    settings = {'num_feat': 12, 'num_block': 2, 'upscale': 2, 'interpolation_start': True, **arguments}
    return NETWORKS[name](**settings).eval()


def noise(*shape: int, dtype: type = np.uint8) -> np.ndarray:
    values = np.random.rand(*shape)
    return (values * np.iinfo(dtype).max).astype(dtype) if np.issubdtype(dtype, np.integer) else values.astype(dtype)


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16, np.float16, np.float32, np.float64])
@pytest.mark.parametrize('channels', [(), (3,), (4,)], ids=['grey', 'RGB', 'RGBA'])
def test_kinds(dtype: type, channels: tuple[int, ...]):
    image = noise(20, 17, *channels, dtype=dtype)
    output = Upscaler(small())(image)
    assert output.shape == (40, 34, *channels) and output.dtype == dtype
    most = 1 if np.issubdtype(dtype, np.floating) else np.iinfo(dtype).max
    values, wanted = output.astype(float) / most, Upscaler(small())((image / most).astype(np.float32))
    assert np.abs(values - wanted).max() < (1e-3 if dtype == np.float16 else 0.51 / 255)


def test_the_values_are_the_networks_own():
    """Colours in their order, rounded to the nearest, clipped."""
    network = small()
    image = noise(18, 25, 3)
    x = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode():
        wanted = inference_form(network)(x)[0].clamp(0, 1).permute(1, 2, 0).numpy()
    assert (Upscaler(network)(image) == np.rint(wanted * 255)).all()


def test_grey_is_three_equal_colours():
    grey = noise(16, 21) // 2 + 64  # nothing is clipped
    upscaler = Upscaler(small())
    colours = upscaler(np.repeat(grey[..., None], 3, 2).astype(np.float32) / 255)
    assert np.abs(upscaler(grey) - colours.mean(axis=2) * 255).max() <= 0.51


@pytest.mark.parametrize('value', [0, 1, 254, 255])
def test_constant_alpha_stays(value: int):
    image = np.dstack([noise(9, 9, 3), np.full((9, 9), value, np.uint8)])
    output = Upscaler(small())(image)
    assert (output[..., 3] == value).all()
    assert (output[..., :3] == Upscaler(small())(image[..., :3])).all()


def test_a_constant_grey_image_is_computed_like_any_other():
    network = small(interpolation_start=False)
    grey = np.full((9, 9), 128, np.uint8)
    colours = Upscaler(network)(np.repeat(grey[..., None], 3, 2).astype(np.float32) / 255)
    if colours.min() > 0:
        assert np.abs(Upscaler(network)(grey) - colours.mean(axis=2) * 255).max() <= 0.51
    assert (Upscaler(network)(grey) != 128).any()


def test_alpha_is_upscaled_as_grey():
    image = noise(15, 16, 4)
    output = Upscaler(small('E_RFDN'))(image)
    assert (output[..., 3] == Upscaler(small('E_RFDN'))(np.ascontiguousarray(image[..., 3]))).all()


@pytest.mark.parametrize('shape', [(1, 1, 3), (1, 30, 3), (14, 200, 3), (1, 1)])
@pytest.mark.parametrize('name', ['RFDN', 'E_RFDN'])
def test_tiny_images(name: str, shape: tuple[int, ...]):
    image = noise(*shape)
    assert Upscaler(small(name))(image).shape == (shape[0] * 2, shape[1] * 2, *shape[2:])


def test_a_network_of_luma():
    network = NETWORKS['IDN'](upscale=2).eval()
    for image in (noise(20, 21, 3), noise(20, 21)):
        output = Upscaler(network)(image)
        assert output.shape == (40, 42, *image.shape[2:]) and output.dtype == np.uint8


@pytest.mark.parametrize('wrong', [np.zeros((4, 4, 2), np.uint8), np.zeros((4, 4, 3), np.int64), np.zeros((0, 4, 3), np.uint8),
                                   np.full((4, 4, 3), np.nan), np.zeros(5, np.uint8)], ids=str)  # fmt: skip
def test_other_arrays_are_refused(wrong: np.ndarray):
    with pytest.raises(ValueError, match='image h'):
        Upscaler(small())(wrong)


@pytest.mark.parametrize('name', ['RFDN', 'E_RFDN'])
def test_whatever_the_memory_the_result_is_the_same(name: str, monkeypatch: pytest.MonkeyPatch):
    network, image = small(name, num_feat=16), noise(210, 300, 3)
    wanted = Upscaler(network)(image)
    form = inference_form(network)
    result, seen = wanted.nbytes, set()
    for way in memory.ways(form, 210, 300):
        upscaler = Upscaler(network)
        monkeypatch.setattr(memory, 'available', lambda limit, device, way=way: way.bytes + result)
        assert (upscaler(image) == wanted).all()
        seen.add(upscaler.last_way)
    assert 'whole' in seen and any('kept' in way for way in seen) and any('anew' in way for way in seen)


def test_a_large_image_is_computed_in_parts_even_where_the_whole_would_fit(monkeypatch: pytest.MonkeyPatch):
    """A CPU takes longer for the whole of it: see `memory._LARGEST_MAP`."""
    network, image = small(), noise(210, 300, 3)
    upscaler = Upscaler(network, memory=8 << 30)
    wanted = upscaler(image)
    assert upscaler.last_way == 'whole'
    monkeypatch.setattr(memory, '_LARGEST_MAP', 1 << 20)
    assert (upscaler(image) == wanted).all() and upscaler.last_way == 'in parts of 288 pixels, features kept'


@pytest.mark.parametrize('device', ['cuda', 'mps'])
def test_other_devices_than_a_processor_compute_the_whole_where_it_fits(device: str):
    form = inference_form(small())
    form.device = torch.device(device)
    possible = memory.ways(form, 2160, 3840)
    assert str(possible[0]) == 'whole' and len(possible) > 3


def test_too_little_memory_says_how_much_is_needed():
    with pytest.raises(RFDNError, match=r'300x210 pixels need .* MiB of memory in the smallest parts'):
        Upscaler(small(), memory=1)(noise(210, 300, 3))


def test_memory_that_was_promised_and_not_given(monkeypatch: pytest.MonkeyPatch):
    network, image = small(), noise(210, 300, 3)
    wanted = Upscaler(network)(image)
    upscaler = Upscaler(network)

    def refuse(x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(upscaler.form, 'forward', refuse)
    assert (upscaler(image) == wanted).all() and 'parts' in upscaler.last_way


def test_progress_is_the_whole(monkeypatch: pytest.MonkeyPatch):
    image = noise(210, 300, 4)
    form = inference_form(small())
    result = 12 * 4 * 210 * 300  # of a self-ensemble
    for settings in ({}, {'tile': 64}, {'self_ensemble': True}):
        for way in memory.ways(form, 210, 300)[:: 2 if not settings else 100]:
            monkeypatch.setattr(memory, 'available', lambda limit, device, way=way: way.bytes + result)
            shares: list[float] = []
            Upscaler(small(), **settings)(image, shares.append)
            assert sum(shares) == pytest.approx(1)


@pytest.mark.parametrize('name', ['RFDN', 'E_RFDN'])
def test_tiles_differ_by_the_attention_only(name: str):
    image = noise(100, 130, 3)
    whole = Upscaler(small(name))(image)
    assert np.abs(Upscaler(small(name), tile=48)(image).astype(int) - whole).max() <= 4
    without = small(attention=None)
    assert (Upscaler(without, tile=48)(image) == Upscaler(without)(image)).all()


def test_self_ensemble_is_the_mean_of_eight():
    network, image = small(), noise(16, 23, 3, dtype=np.float32)
    plain = Upscaler(network)
    outputs = []
    for flip in (False, True):
        for turns in range(4):
            turned = np.rot90(image[:, ::-1] if flip else image, turns)
            back = np.rot90(
                inference_form(network)(torch.from_numpy(turned.copy()).permute(2, 0, 1)[None])[0]
                .permute(1, 2, 0)
                .numpy(),
                -turns,
            )
            outputs.append(back[:, ::-1] if flip else back)
    output = Upscaler(network, self_ensemble=True)(image)
    assert np.allclose(output, np.mean(outputs, axis=0).clip(0, 1), atol=1e-6)
    assert not np.allclose(output, plain(image), atol=1e-4)


@pytest.mark.parametrize(
    ('text', 'size'), [('800M', 800 << 20), ('4G', 4 << 30), ('1.5 GiB', 3 << 29), ('500000', 500000), ('2k', 2048)]
)
def test_sizes(text: str, size: int):
    assert memory.parse_size(text) == size


@pytest.mark.parametrize('text', ['', 'G', '-1G', '0', '4 apples', '1e9'])
def test_no_sizes(text: str):
    with pytest.raises(ValueError, match='no size'):
        memory.parse_size(text)


GROUPS_1 = '9:name=systemd:/\n4:cpu,memory:/job/step\n'
GROUPS_2 = '0::/job/step\n'


@pytest.mark.parametrize('version', [1, 2])
@pytest.mark.parametrize('outside', [False, True], ids=['the path is there', 'the path is that outside of a container'])
def test_the_limits_of_control_groups(tmp_path: Path, version: int, outside: bool):
    """Of the group of the process and those above it; what the kernel can forget is not in use."""
    (tmp_path / 'groups').write_text(GROUPS_1 if version == 1 else GROUPS_2)
    root = tmp_path / 'memory' if version == 1 else tmp_path
    most, used, cache = memory._VERSION_1 if version == 1 else memory._VERSION_2

    def limit(group: str, allowed: str, usage: int, forgettable: int) -> None:
        (root / group).mkdir(parents=True, exist_ok=True)
        for name, value in ((most, allowed), (used, usage), ('memory.stat', f'anon 5\n{cache} {forgettable}\n')):
            (root / group / name).write_text(f'{value}\n')

    assert memory._control_group(tmp_path / 'groups', tmp_path) is None
    assert memory._control_group(tmp_path / 'no such file', tmp_path) is None
    limit('.', 'max' if version == 2 else str((1 << 63) - 4096), 900, 0)
    assert memory._control_group(tmp_path / 'groups', tmp_path) is None
    if outside:
        limit('.', '1000', 900, 500)
        assert memory._control_group(tmp_path / 'groups', tmp_path) == 600
        return
    limit('job', '1000', 900, 500)
    limit('job/step', '3000', 200, 0)
    limit('other', '10', 10, 0)
    assert memory._control_group(tmp_path / 'groups', tmp_path) == 600
    limit('job/step', '700', 200, 0)
    assert memory._control_group(tmp_path / 'groups', tmp_path) == 500


@pytest.mark.skipif(sys.platform != 'linux', reason='reads /proc and forks')
def test_under_a_limit_of_the_shell():
    """`ulimit -v`: worked through in parts instead of dying, with the result of the whole."""
    import resource

    network = small(num_feat=16, num_block=1)
    image = noise(700, 700, 3)
    wanted = hashlib.sha256(Upscaler(network)(image).tobytes()).hexdigest()
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            limit = memory._kilobytes(Path('/proc/self/status'), 'VmSize') + (250 << 20)
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
            upscaler = Upscaler(network)
            digest = hashlib.sha256(upscaler(image).tobytes()).hexdigest()
            os.write(writing, f'{digest} {upscaler.last_way}'.encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as stream:
        digest, way = stream.read().split(' ', 1)
    os.waitpid(child, 0)
    assert digest == wanted and 'parts' in way
