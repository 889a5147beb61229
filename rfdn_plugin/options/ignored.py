"""What an option file says and nothing reads: keys that only matter beside another one, and what comes after the end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import accumulate
from typing import Any

Options = Mapping[str, Any]


def ignored_parts(options: Options) -> Iterator[str]:
    """A line for each key that is given without effect.

    Args:
        options: As `options.load` gives them: what the file leaves out is not in it.
    """
    yield from _without_weights(options)
    yield from _of_images(options)
    if 'train' in options:
        yield from _after_the_end(options)
        yield from _without_another(options)
    else:
        yield from _of_trainings(options)


def _without_weights(options: Options) -> Iterator[str]:
    path, train = options.get('path') or {}, options.get('train') or {}
    if path.get('pretrain_network_g'):
        return
    given = {
        'path.param_key_g': path.get('param_key_g', 'params') not in ('params', None),
        'path.strict_load_g': path.get('strict_load_g', True) is False,
        'train.upsampler_start': train.get('upsampler_start') == 'resampled',
    }
    for key in (key for key, is_given in given.items() if is_given):
        yield f'{key}: without effect, no weights are loaded: name them in path.pretrain_network_g, or leave it out.'


def _of_images(options: Options) -> Iterator[str]:
    for phase, section in options['datasets'].items():
        template = section.get('filename_tmpl', '{}')
        if template != '{}' and (section.get('io_backend') or {}).get('type') == 'lmdb':
            yield f'datasets.{phase}.filename_tmpl: without effect, keys of an LMDB pair by being equal: leave it out.'
    val = options.get('val') or {}
    if val.get('suffix') and not val.get('save_img'):
        yield 'val.suffix: without effect, no images are written: set val.save_img to true, or leave it out.'


def _after_the_end(options: Options) -> Iterator[str]:
    train, total = options['train'], options['train']['total_iter']
    scheduler, warmup = train['scheduler'], train.get('warmup_iter', -1)
    if warmup >= total:
        yield f'train.warmup_iter: {warmup}, and the training ends at {total}: the learning rate never gets to lr.'
    for key in ('milestones', 'restarts'):
        # One at the end itself is the usual way to say never.
        late = [iteration for iteration in scheduler.get(key, ()) if iteration > total]
        if late:
            yield f'train.scheduler.{key}: {_all(late)} not reached, the training ends at {total}.'
    begins = [0, *accumulate(scheduler.get('periods', ()))]
    if begins[-1] > total:
        yield f'train.scheduler.periods: they end at {begins[-1]}, and the training at {total}: eta_min is not reached.'
    if train.get('net_d_init_iters', 0) >= total:
        yield f'train.net_d_init_iters: {train["net_d_init_iters"]} of {total} iterations: network_g is not trained at all.'


def _without_another(options: Options) -> Iterator[str]:
    data, val = options['datasets']['train'], options.get('val') or {}
    validated = [phase for phase in options['datasets'] if phase != 'train']
    if data.get('num_prefetch_queue', 1) != 1 and data.get('prefetch_mode') != 'cpu':
        yield 'datasets.train.num_prefetch_queue: without effect, it is for prefetch_mode: cpu.'
    if data.get('use_shuffle') is False:
        yield 'datasets.train.use_shuffle: without effect, the images are shuffled always.'
    if data.get('resident') and data.get('num_worker_per_gpu'):
        yield 'datasets.train.num_worker_per_gpu: without effect with resident: no worker reads images.'
    if val and not validated:
        yield 'val: without effect, there is nothing to validate on: add datasets.val.'
    elif val and not val.get('metrics') and not val.get('save_img'):
        yield 'val: without metrics and save_img a validation has no result: give val.metrics.'
    wandb = (options.get('logger') or {}).get('wandb') or {}
    if wandb.get('resume_id') and wandb.get('project') is None:
        yield 'logger.wandb.resume_id: without effect, W&B is off: name the project.'
    names = {key for key in options if key.startswith('network_')}
    unknown = [name for name in (options.get('path') or {}).get('ignore_resume_networks') or () if name not in names]
    if unknown:
        yield f'path.ignore_resume_networks: there is no {", ".join(unknown)}: the file has {", ".join(sorted(names))}.'


def _of_trainings(options: Options) -> Iterator[str]:
    given = {'val.val_freq': (options.get('val') or {}).get('val_freq')}
    given['path.resume_state'] = (options.get('path') or {}).get('resume_state')
    for key in (key for key, value in given.items() if value is not None):
        yield f'{key}: without effect in a test, it is for trainings.'


def _all(numbers: list[int]) -> str:
    return f'{", ".join(map(str, numbers))} {"is" if len(numbers) == 1 else "are"}'
