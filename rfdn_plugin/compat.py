"""Patches of what crashes: BasicSR 1.4.2 on today's torch, torchvision, lmdb, SciPy and W&B. One function a problem.

`install()` is called by `import rfdn_plugin`. It puts two finders on `sys.meta_path` and imports nothing itself:

* one at the end, asked only for modules that nobody else has, supplies modules that libraries have removed;
* one at the front calls back as soon as a module that was waited for has been imported.

The patches are applied by that callback, so they hold for every user of the `basicsr` package, whether it is imported
before or after `rfdn_plugin`, and change nothing that works. What a training of ours replaces beyond them, for as long as
it runs, is in `training.hooks`. `tests/test_compat.py` holds a test for each problem that fails when the problem is gone
upstream, so that its patch can be taken out.
"""

from __future__ import annotations

# Nothing is imported here that takes longer than a millisecond: whoever imports the package, or has `rfdn autoload on`,
# pays for it at each start of Python. What a patch needs it imports when it is applied.
import importlib.machinery
import importlib.util
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import types
    from collections.abc import Callable, Sequence
    from importlib.abc import Loader, MetaPathFinder
    from typing import Any

    import torch
else:  # what the import system asks for is methods, not these classes
    Loader, MetaPathFinder = type('Loader', (), {}), type('MetaPathFinder', (), {})


# --- modules that were removed -------------------------------------------------------------------------------------
def _functional_tensor(module: types.ModuleType) -> None:
    """torchvision 0.17 removed `transforms.functional_tensor`; basicsr/data/degradations.py imports one name of it."""
    from torchvision.transforms.functional import rgb_to_grayscale

    module.__dict__['rgb_to_grayscale'] = rgb_to_grayscale


def _scipy_filters(module: types.ModuleType) -> None:
    """SciPy 2 removes `ndimage.filters`, deprecated since 1.8; basicsr/metrics/niqe.py imports `convolve` from it."""
    import scipy.ndimage

    module.__dict__.update({name: getattr(scipy.ndimage, name) for name in scipy.ndimage.__all__})


_REMOVED_MODULES: dict[str, Callable[[types.ModuleType], None]] = {
    'torchvision.transforms.functional_tensor': _functional_tensor,
    'scipy.ndimage.filters': _scipy_filters,
}


class _RemovedModules(MetaPathFinder, Loader):
    """Stands last on `sys.meta_path`: a library that still has the module is never overruled."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        return importlib.machinery.ModuleSpec(fullname, self) if fullname in _REMOVED_MODULES else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
        return None

    def exec_module(self, module: types.ModuleType) -> None:
        _REMOVED_MODULES[module.__name__](module)


# --- calling back after an import ----------------------------------------------------------------------------------
class _AfterImport(MetaPathFinder):
    """Stands first on `sys.meta_path` and finds a waited-for module as usual, with its loader followed by a call."""

    def __init__(self) -> None:
        self.callbacks: dict[str, list[Callable[[], None]]] = {}
        self._searching: set[str] = set()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in self.callbacks or fullname in self._searching:
            return None
        self._searching.add(fullname)
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self._searching.discard(fullname)
        if spec is None or spec.loader is None:
            return spec
        loader, execute = spec.loader, spec.loader.exec_module

        def execute_and_call(module: types.ModuleType) -> None:
            execute(module)
            loader.exec_module = execute  # type: ignore[method-assign]  # the wrapper served its import; a reload finds a spec and wraps anew
            for callback in self.callbacks[fullname]:
                callback()

        loader.exec_module = execute_and_call  # type: ignore[method-assign]
        return spec


def install() -> None:
    """Put the finders on `sys.meta_path`; a second call, also after a reload of this module, changes nothing."""
    if _after_import() is None:
        sys.meta_path.insert(0, _AfterImport())
        sys.meta_path.append(_RemovedModules())
        _forget_failed_import()
        when_imported('basicsr', patch_basicsr)
        when_imported('wandb', name_wandb_runs)


def _forget_failed_import() -> None:
    """After an `import basicsr` that failed, its submodules stay behind and would hide that it was never finished."""
    if 'basicsr' not in sys.modules:
        for name in [name for name in sys.modules if name.startswith('basicsr.')]:
            del sys.modules[name]


def _after_import() -> Any:
    # Found by name, not by class: after importlib.reload() the class is another object.
    return next((finder for finder in sys.meta_path if type(finder).__qualname__ == _AfterImport.__qualname__), None)


def when_imported(name: str, callback: Callable[[], None]) -> None:
    """Call `callback` each time the module `name` has been imported, and at once where it is there already."""
    _after_import().callbacks.setdefault(name, []).append(callback)
    module = sys.modules.get(name)
    if module is not None and not getattr(module.__spec__, '_initializing', False):
        callback()


# --- registries ----------------------------------------------------------------------------------------------------
def register(registry: Any, cls: type) -> None:
    """Put `cls` into a BasicSR registry, which by itself stops the program at the second use of a name.

    A class of ours replaces itself (a double import or a reload). Where another package owns the name it keeps it;
    ours is then found under `NAME_rfdn_plugin`, and a warning says who owns the name.
    """
    name, owner = cls.__name__, registry._obj_map.get(cls.__name__)
    if owner is None or _is_ours(owner):
        registry._obj_map[name] = cls
    else:
        _step_aside(registry, name, cls, owner)


def _is_ours(registered: Any) -> bool:
    return registered.__module__.partition('.')[0] == __package__


def _step_aside(registry: Any, name: str, ours: type, owner: Any) -> None:
    import inspect
    import warnings

    alias = f'{name}_{__package__}'
    registry._obj_map[name], registry._obj_map[alias] = owner, ours
    try:
        where = inspect.getfile(owner)
    except (OSError, TypeError):  # made in an interactive session
        where = 'no file'
    warnings.warn(
        f'{name} is registered by {owner.__module__} ({where}) too; it has the name, '
        f'use `type: {alias}` for the one of {__package__}.',
        stacklevel=3,
    )


# --- patches of BasicSR ----------------------------------------------------------------------------------------------
def patch_basicsr() -> None:
    """Apply every patch below; called once basicsr has been imported."""
    yield_names()
    share_lmdb_environments()
    distribute_without_gpu()
    offer_every_optimizer()


def yield_names() -> None:
    """A registry stops the program when another package registers a name of ours after us: let it have the name."""
    from basicsr.utils.registry import Registry

    original = getattr(Registry._do_register, 'original', Registry._do_register)

    def do_register(self: Any, name: str, obj: Any, suffix: str | None = None) -> None:
        full_name = f'{name}_{suffix}' if isinstance(suffix, str) else name
        owner = self._obj_map.get(full_name)
        if owner is not None and _is_ours(owner):
            _step_aside(self, full_name, owner, obj)
        else:
            original(self, name, obj, suffix)

    do_register.original = original  # type: ignore[attr-defined]
    Registry._do_register = do_register


def share_lmdb_environments() -> None:
    """BasicSR opens an environment per dataset: two that share an LMDB, or a worker's second epoch, crash (lmdb >= 2)."""
    from basicsr.utils.file_client import FileClient, LmdbBackend

    from rfdn_plugin.utils.lmdb import open_lmdb

    class SharedLmdbBackend(LmdbBackend):
        """BasicSR's backend over environments that the whole process shares."""

        def __init__(
            self,
            db_paths: str | list[str],
            client_keys: str | list[str] = 'default',
            readonly: bool = True,
            **settings: Any,
        ) -> None:
            client_keys = [client_keys] if isinstance(client_keys, str) else client_keys
            self.db_paths = [db_paths] if isinstance(db_paths, str) else list(db_paths)
            if len(client_keys) != len(self.db_paths):
                raise ValueError(
                    f'{len(client_keys)} client keys for {len(self.db_paths)} LMDBs: give one key for each.'
                )
            self._client = {
                key: open_lmdb(path, **settings) for key, path in zip(client_keys, self.db_paths, strict=True)
            }

    FileClient._backends['lmdb'] = SharedLmdbBackend


def distribute_without_gpu() -> None:
    """The launchers divide by the number of GPUs, ask for NCCL, and DDP is given a CUDA device, also where none is."""
    from basicsr.models.base_model import BaseModel
    from basicsr.utils import dist_util
    from torch.nn.parallel import DistributedDataParallel

    original = getattr(BaseModel.model_to_device, 'original', BaseModel.model_to_device)

    def model_to_device(self: Any, net: torch.nn.Module) -> torch.nn.Module:
        if self.opt['dist'] and self.device.type == 'cpu':
            return DistributedDataParallel(net, find_unused_parameters=self.opt.get('find_unused_parameters', False))
        return original(self, net)

    model_to_device.original = original  # type: ignore[attr-defined]
    BaseModel.model_to_device = model_to_device
    dist_util._init_dist_pytorch = _start_torchrun_process
    dist_util._init_dist_slurm = _start_slurm_process


def _start_torchrun_process(backend: str = 'nccl', **settings: Any) -> None:
    """Join the process group that torchrun described in the environment, once; gloo where there is no GPU."""
    import torch

    if torch.distributed.is_initialized():
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get('LOCAL_RANK', int(os.environ['RANK']) % torch.cuda.device_count())))
    else:
        backend = 'gloo'
    torch.distributed.init_process_group(backend=backend, **settings)


def _start_slurm_process(backend: str = 'nccl', port: int | None = None) -> None:
    """Join the process group of an `srun`: what torchrun would put into the environment is taken from SLURM's."""
    import subprocess

    hosts = ['scontrol', 'show', 'hostnames', os.environ['SLURM_NODELIST']]
    first_host = subprocess.run(hosts, check=True, capture_output=True, text=True).stdout.split()[0]
    if port is not None:
        os.environ['MASTER_PORT'] = str(port)
    os.environ.setdefault('MASTER_PORT', '29500')
    os.environ['MASTER_ADDR'] = first_host
    os.environ['WORLD_SIZE'] = os.environ['SLURM_NTASKS']
    os.environ['RANK'] = os.environ['SLURM_PROCID']
    os.environ['LOCAL_RANK'] = os.environ['SLURM_LOCALID']
    _start_torchrun_process(backend)


def offer_every_optimizer() -> None:
    """The release on PyPI knows Adam only; here every optimizer of `torch.optim`, and our Muon, is known by its name."""
    from basicsr.models.base_model import BaseModel

    from rfdn_plugin.utils.optimizers import find_optimizer

    def get_optimizer(self: Any, optim_type: str, params: Any, lr: float, **settings: Any) -> torch.optim.Optimizer:
        cls = find_optimizer(optim_type)
        if cls is None:
            raise ValueError(
                f'train.optim_g.type: {optim_type} is no optimizer of torch.optim: take for example Adam or AdamW.'
            )
        return cls(params, **{'lr': lr, **settings})

    BaseModel.get_optimizer = get_optimizer


# --- patches of what it logs with ------------------------------------------------------------------------------------
def name_wandb_runs() -> None:
    """W&B removed `util.generate_id`, from which `init_wandb_logger` takes the name of a new run."""
    import functools
    import secrets

    import wandb.util

    if not hasattr(wandb.util, 'generate_id'):
        wandb.util.generate_id = functools.partial(secrets.token_hex, 4)


# --- patches of what OpenVINO and NNCF do besides --------------------------------------------------------------------
def without_telemetry() -> None:
    """OpenVINO reports its import and NNCF each call to Google Analytics, unasked, from a process that it forks off ours.

    Forking a process that has threads can deadlock, and where there is no network each report waits for its time limit.
    Without their package `openvino_telemetry` both report nothing. To be called before they are imported.
    """
    sys.modules.setdefault('openvino_telemetry', None)  # type: ignore[arg-type] # documented: such an import fails
