"""Reading the option files of training and testing: plain BasicSR YAML, checked before anything happens.

`load_training_options` and `load_test_options` give back the file's content with its numbers as numbers; they raise one
error that lists every problem by its path (`train.optim_g.lr`). Only defaults that BasicSR wants written out are added.
`whole` holds the files' schemas.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from rfdn_plugin.options.custom_imports import CustomImportsOption, import_modules
from rfdn_plugin.options.datasets import is_described
from rfdn_plugin.options.messages import Place, describe_problems, places_of_unknown_keys, write_place
from rfdn_plugin.options.models import has_open_options
from rfdn_plugin.options.renamed import use_new_names
from rfdn_plugin.options.whole import TestOptions, TrainingOptions
from rfdn_plugin.options.yaml_io import apply_overrides, list_problems, read_yaml
from rfdn_plugin.utils.errors import RFDNError, first_line

__all__ = ['TestOptions', 'TrainingOptions', 'load_test_options', 'load_training_options', 'unchecked_parts']


def load_training_options(path: str | Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Read and check an option file of `rfdn train`.

    Args:
        path: The YAML file.
        overrides: `--force_yml` entries.

    Returns:
        The options as plain dicts, lists, numbers and text.

    Raises:
        RFDNError: Every problem of the file, by its path.
    """
    return _load(TrainingOptions, path, overrides)


def load_test_options(path: str | Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Read and check an option file of `rfdn test`; see `load_training_options`."""
    return _load(TestOptions, path, overrides)


def unchecked_parts(options: dict[str, Any]) -> list[str]:
    """Name what is passed on unchecked, a line each: the keys of other packages' datasets and models.

    Args:
        options: As the functions above give them.
    """
    schema = TrainingOptions if 'train' in options else TestOptions
    lines = []
    for phase, section in options['datasets'].items():
        if isinstance(section, dict) and not is_described(section):
            keys = sorted(section.keys() - {'name', 'type', 'num_worker_per_gpu', 'batch_size_per_gpu'})
            if keys:
                lines.append(f'datasets.{phase}: passed on unchecked to {section["type"]}: {", ".join(keys)}.')
    _, further = _split(schema, options)
    if further:
        names = ', '.join(write_place(place) for place in further)
        lines.append(f'model_type: passed on unchecked to {options["model_type"]}: {names}.')
    return lines


def _load(schema: type[BaseModel], path: str | Path, overrides: Sequence[str]) -> dict[str, Any]:
    content = read_yaml(path)
    apply_overrides(content, overrides)
    for note in use_new_names(content):
        print(f'{path}: note: {note}', file=sys.stderr)
    try:
        import_modules(_CustomImportsAlone.model_validate(content).custom_imports)
        known, further = _split(schema, content)
        options = schema.model_validate(known).model_dump(exclude_unset=True, mode='json')
    except ValidationError as error:
        raise RFDNError(list_problems(path, describe_problems(schema, error))) from error
    except RFDNError as error:
        raise RFDNError(f'{path}: {error}') from error
    except Exception as error:  # what the options name may be anybody's code, and its arguments anything
        key = _key_that_fails(schema, content)
        raise RFDNError(f'{path}: {key}: {type(error).__name__} ({first_line(error)}): correct its values.') from error
    for place in further:
        _section_of(options, place)[place[-1]] = _section_of(content, place)[place[-1]]
    if options['model_type'] == 'SwinIRModel' and 'window_size' not in options['network_g']:
        # It is SRModel but for padding validation images to network_g.window_size, without which it fails.
        options['model_type'] = 'SRModel'
        name = options['network_g']['type']
        print(f'{path}: note: model_type: SRModel is used, {name} has no window_size for SwinIRModel.', file=sys.stderr)
    options.setdefault('num_gpu', 'auto')
    options.setdefault('path', {}).setdefault('resume_state', None)
    if options.get('val'):
        options['val'].setdefault('suffix', None)
    for section in options['datasets'].values():
        if section.get('meta_info_file', '') is None:  # BasicSR's SingleImageDataset would open it
            del section['meta_info_file']
    return options


class _CustomImportsAlone(BaseModel):
    """What is read first of a file: what it names must be registered before the rest is checked."""

    custom_imports: CustomImportsOption = None


def _split(schema: type[BaseModel], content: dict[str, Any]) -> tuple[dict[str, Any], list[Place]]:
    """The content without what only the model may know, and the places of that."""
    if not has_open_options(content.get('model_type')):
        return content, []
    try:
        schema.model_validate(content)
        return content, []
    except ValidationError as error:
        places = [place for place in places_of_unknown_keys(schema, error) if place[0] not in ('datasets', 'network_g')]
    known = copy.deepcopy(content)
    for place in places:
        del _section_of(known, place)[place[-1]]
    return known, places


def _key_that_fails(schema: type[BaseModel], content: dict[str, Any]) -> str:
    """The section of the file whose check raises something else than a problem, on its own."""
    for key, value in content.items():
        try:
            schema.model_validate({key: value})
        except ValidationError:
            continue
        except Exception:  # the one that is looked for
            return str(key)
    return 'the options together'


def _section_of(content: Any, place: Place) -> Any:
    for part in place[:-1]:
        content = content[part]
    return content
