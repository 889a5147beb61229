"""Each fix of compat.py: the problem is there without us (else take the fix out), and gone with us.

Every check runs in a process of its own: what is imported first is the point.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import lmdb
import pytest
from helpers.processes import assert_runs, run_code


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


@pytest.fixture
def small_lmdb(tmp_path: Path) -> Path:
    path = tmp_path / 'some.lmdb'
    with lmdb.open(str(path), map_size=1 << 20) as environment, environment.begin(write=True) as transaction:
        transaction.put(b'key', b'value')
    return path


# --- importing -----------------------------------------------------------------------------------------------------
def test_importing_the_plugin_imports_nothing_heavy():
    heavy = ['torch', 'torchvision', 'basicsr', 'cv2', 'numpy', 'pydantic', 'mmengine']
    code = f'import sys, rfdn_plugin; print([name for name in {heavy} if name in sys.modules])'
    assert (
        subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout.strip() == '[]'
    )


def test_importing_the_plugin_takes_no_time():
    """The best of five interpreters, in which nothing else has been imported; of the processor's time, for others may use it."""
    code = 'import time; start = time.process_time(); import rfdn_plugin; print(time.process_time() - start)'
    command = [sys.executable, '-c', code]
    seconds = [float(subprocess.run(command, capture_output=True, text=True, check=True).stdout) for _ in range(5)]
    assert min(seconds) < 0.05, seconds


def test_functional_tensor_is_still_missing_upstream():
    result = run_code('import basicsr')
    assert result.returncode != 0 and 'functional_tensor' in result.stderr, 'upstream is fixed: drop _functional_tensor'


def test_basicsr_imports_and_knows_the_networks_and_the_model():
    assert_runs("""
        import rfdn_plugin, basicsr
        from basicsr.utils.registry import ARCH_REGISTRY, MODEL_REGISTRY
        from rfdn_plugin.archs import NETWORKS
        assert all(ARCH_REGISTRY.get(name) is cls for name, cls in NETWORKS.items())
        assert MODEL_REGISTRY.get('RFDNModel').__module__ == 'rfdn_plugin.models.rfdn_model'
    """)


def test_a_submodule_of_basicsr_may_come_first():
    assert_runs("""
        import rfdn_plugin
        from basicsr.archs import build_network
        net = build_network({'type': 'RFDN', 'upscale': 2})
        assert sum(p.numel() for p in net.parameters()) == 534036
    """)


def test_basicsr_that_works_by_itself_may_be_imported_first():
    """As with a fork that fixed the import: here its missing module is supplied by hand."""
    assert_runs("""
        import sys, types, torchvision.transforms.functional as functional
        module = types.ModuleType('torchvision.transforms.functional_tensor')
        module.rgb_to_grayscale = functional.rgb_to_grayscale
        sys.modules[module.__name__] = module
        import basicsr
        import rfdn_plugin
        from basicsr.utils.registry import ARCH_REGISTRY
        assert 'RFDN' in ARCH_REGISTRY
    """)


def test_a_failed_import_of_basicsr_is_no_obstacle():
    assert_runs("""
        try:
            import basicsr
        except ModuleNotFoundError:
            pass
        import rfdn_plugin
        from basicsr.utils.registry import ARCH_REGISTRY
        assert 'RFDN' in ARCH_REGISTRY
    """)


def test_twice_and_after_reloads():
    assert_runs("""
        import importlib, sys, rfdn_plugin, basicsr
        from rfdn_plugin import archs, compat
        from rfdn_plugin.archs import rfdn
        finders = len(sys.meta_path)
        for module in (rfdn, archs, compat, rfdn_plugin, rfdn_plugin):
            importlib.reload(module)
        assert len(sys.meta_path) == finders
        for name in [name for name in sys.modules if name.startswith('rfdn_plugin')]:
            del sys.modules[name]
        import rfdn_plugin
        assert len(sys.meta_path) == finders
        importlib.reload(basicsr)
        from basicsr.utils.registry import ARCH_REGISTRY
        from rfdn_plugin.archs.rfdn import RFDN
        assert ARCH_REGISTRY.get('RFDN') is RFDN
    """)


FOREIGN = """
    class Foreign: pass
    Foreign.__name__, Foreign.__module__ = 'RFDN', 'vendored.archs.RFDN_arch'
"""


@pytest.mark.parametrize('first', ['ours', 'theirs'])
def test_a_foreign_owner_has_the_name_and_is_named(first: str):
    """Whoever registers first: nothing stops, theirs is RFDN, and the warning says where ours is."""
    steps = ['compat.register(registry.ARCH_REGISTRY, RFDN)', 'registry.ARCH_REGISTRY.register(Foreign)']
    if first == 'theirs':
        steps = ["registry.ARCH_REGISTRY._obj_map.pop('RFDN')", steps[1], steps[0]]
    outcome = run_code(
        textwrap.dedent("""
        import rfdn_plugin
        import basicsr.utils.registry as registry
        from rfdn_plugin import compat
        from rfdn_plugin.archs.rfdn import RFDN
        """)
        + textwrap.dedent(FOREIGN)
        + '\n'.join(steps)
        + textwrap.dedent("""
        assert registry.ARCH_REGISTRY.get('RFDN') is Foreign
        assert registry.ARCH_REGISTRY.get('RFDN_rfdn_plugin') is RFDN
        """)
    )
    assert outcome.returncode == 0, outcome.stderr
    assert 'vendored.archs.RFDN_arch' in outcome.stderr and 'RFDN_rfdn_plugin' in outcome.stderr


def test_two_foreign_owners_still_collide():
    """The fix gives way for our names only: BasicSR's own check stays for the rest, and upstream still has it."""
    outcome = run_code("""
        import rfdn_plugin
        from basicsr.utils.registry import ARCH_REGISTRY
        class EDSR: pass
        ARCH_REGISTRY.register(EDSR)
    """)
    assert 'already registered' in outcome.stderr


def test_mmengine_knows_the_networks_in_either_order():
    assert_runs("""
        import rfdn_plugin
        from mmengine.registry import MODELS
        assert MODELS.get('RFDN').__module__ == 'rfdn_plugin.archs.rfdn'
        assert MODELS.build(dict(type='RFDN', upscale=2)).upscale == 2
    """)
    assert_runs("""
        from mmengine.registry import MODELS
        import rfdn_plugin
        assert MODELS.get('RFDN').__module__ == 'rfdn_plugin.archs.rfdn'
    """)
    assert_runs("""
        import mmengine.model
        import rfdn_plugin
        from mmengine.registry import MODELS
        assert MODELS.build(dict(type='E_RFDN', upscale=3)).upscale == 3
    """)


def test_scipy_filters_is_supplied_only_where_scipy_has_none():
    assert_runs("""
        import rfdn_plugin, scipy, sys
        from scipy.ndimage.filters import convolve
        real = sys.modules['scipy.ndimage.filters']
        assert real.__spec__.loader.__class__.__name__ == 'SourceFileLoader'
        # SciPy 2: the module's own finders no longer have it
        del sys.modules['scipy.ndimage.filters']
        import scipy.ndimage
        scipy.ndimage.__path__ = []
        from scipy.ndimage.filters import convolve
        assert convolve is scipy.ndimage.convolve
    """)


# --- LMDB ----------------------------------------------------------------------------------------------------------
OPEN_TWICE = """
    from basicsr.utils.file_client import FileClient
    first = FileClient('lmdb', db_paths=[PATH], client_keys=['gt'])
    second = FileClient('lmdb', db_paths=[PATH], client_keys=['lq'])
    assert bytes(first.get('key', 'gt')) == bytes(second.get('key', 'lq')) == b'value'
    import os
    child = os.fork()
    if child == 0:
        third = FileClient('lmdb', db_paths=[PATH], client_keys=['gt'])
        os._exit(0 if bytes(third.get('key', 'gt')) == b'value' else 1)
    assert os.waitpid(child, 0)[1] == 0
"""


def test_lmdb_still_refuses_a_second_open(small_lmdb: Path):
    code = f'import lmdb; keep = lmdb.open({str(small_lmdb)!r}, readonly=True); lmdb.open({str(small_lmdb)!r}, readonly=True)'
    result = run_code(code)
    assert 'already open' in result.stderr, 'upstream is fixed: drop share_lmdb_environments'


def test_one_lmdb_serves_two_datasets_and_a_forked_worker(small_lmdb: Path):
    assert_runs('import rfdn_plugin\n' + textwrap.dedent(OPEN_TWICE.replace('PATH', repr(str(small_lmdb)))))


# --- optimizers ----------------------------------------------------------------------------------------------------
def test_upstream_still_knows_adam_only():
    code = """
        import rfdn_plugin
        rfdn_plugin.compat.offer_every_optimizer = lambda: None
        from basicsr.models.base_model import BaseModel
        BaseModel.get_optimizer(None, 'AdamW', [], 1e-3)
    """
    assert 'optimizer AdamW is not supperted yet' in run_code(code).stderr, (
        'upstream is fixed: drop offer_every_optimizer'
    )


def test_every_optimizer_of_torch_is_known():
    assert_runs("""
        import rfdn_plugin, torch
        from basicsr.models.base_model import BaseModel
        weights = [torch.nn.Parameter(torch.zeros(1))]
        for name in ('Adam', 'AdamW', 'Adamax', 'SGD', 'ASGD', 'RMSprop', 'Rprop', 'NAdam'):
            assert type(BaseModel.get_optimizer(None, name, weights, 1e-3)).__name__ == name
        try:
            BaseModel.get_optimizer(None, 'Optimizer2', weights, 1e-3)
        except ValueError as error:
            assert 'train.optim_g.type' in str(error)
        else:
            raise SystemExit('accepted')
    """)


# --- what it logs with ---------------------------------------------------------------------------------------------
WANDB_INIT = 'def init(**settings): print(settings["project"], settings["id"])'


@pytest.mark.parametrize('first', ['wandb', 'rfdn_plugin'])
@pytest.mark.parametrize(
    ('util', 'name'),
    [('', '[0-9a-f]{8}'), ("def generate_id(): return 'its own'", 'its own')],
    ids=['without generate_id', 'with it'],
)
def test_a_wandb_run_has_a_name(tmp_path: Path, first: str, util: str, name: str):
    """With a package in W&B's place, as it is today and as it was."""
    package = tmp_path / 'wandb'
    package.mkdir()
    (package / '__init__.py').write_text(f'from wandb import util\n{WANDB_INIT}\n')
    (package / 'util.py').write_text(util)
    code = f"""
        import sys
        sys.path.insert(0, {str(tmp_path)!r})
        import {first}
        import rfdn_plugin
        from basicsr.utils.logger import init_wandb_logger
        init_wandb_logger({{'logger': {{'wandb': {{'project': 'demo'}}}}, 'name': 'x'}})
    """
    assert re.fullmatch(f'demo {name}', assert_runs(code).strip())


def test_wandb_has_still_removed_generate_id():
    util = pytest.importorskip('wandb.util')
    assert util.generate_id.__module__ != 'wandb.util', 'upstream is fixed: drop name_wandb_runs'


# --- several processes ---------------------------------------------------------------------------------------------
def test_upstream_still_divides_by_the_number_of_gpus():
    code = f"""
        import os, rfdn_plugin
        rfdn_plugin.compat.distribute_without_gpu = lambda: None
        os.environ.update(RANK='0', WORLD_SIZE='1', MASTER_ADDR='127.0.0.1', MASTER_PORT='{free_port()}')
        from basicsr.utils.dist_util import init_dist
        init_dist('pytorch')
    """
    result = run_code(code, env={'CUDA_VISIBLE_DEVICES': ''})
    assert 'ZeroDivisionError' in result.stderr, 'upstream is fixed: drop distribute_without_gpu'


def test_slurm_variables_start_a_gloo_group_without_a_shell(tmp_path: Path):
    """With a stand-in for SLURM's `scontrol`, which is given the node list as one argument."""
    scontrol = tmp_path / 'scontrol'
    scontrol.write_text(
        '#!/bin/sh\n[ "$1 $2" = "show hostnames" ] && [ "$3" = "node[1-2]; touch ran" ] && echo localhost\n'
    )
    scontrol.chmod(0o755)
    code = f"""
        import rfdn_plugin, torch
        from basicsr.utils.dist_util import init_dist, get_dist_info
        init_dist('slurm', port={free_port()})
        assert get_dist_info() == (0, 1) and torch.distributed.get_backend() == 'gloo'
    """
    slurm = {'SLURM_PROCID': '0', 'SLURM_NTASKS': '1', 'SLURM_LOCALID': '0', 'SLURM_NODELIST': 'node[1-2]; touch ran'}
    env = {**slurm, 'PATH': f'{tmp_path}:{os.environ["PATH"]}', 'CUDA_VISIBLE_DEVICES': ''}
    assert_runs(code, cwd=tmp_path, env=env)
    assert not (tmp_path / 'ran').exists()
