"""`rfdn schema`: what editors complete option files from."""

from __future__ import annotations

import copy
import json

import jsonschema
import pytest
from helpers import REPOSITORY

import rfdn_plugin  # noqa: F401 (basicsr imports after it only)
from rfdn_plugin.archs import NETWORKS
from rfdn_plugin.cli import main
from rfdn_plugin.cli.information import KINDS, schema_of
from rfdn_plugin.options.yaml_io import read_yaml

FILES = sorted(REPOSITORY.glob('options/**/*.yml'))
EXAMPLE = REPOSITORY / 'options/train/RFDN/train_RFDN_x2_scratch.yml'


@pytest.fixture(scope='module')
def schemas() -> dict[str, dict]:
    return {kind: schema_of(kind) for kind in KINDS}


def problems(schema: dict, options: dict) -> list[str]:
    return [error.message for error in jsonschema.Draft202012Validator(schema).iter_errors(options)]


@pytest.mark.parametrize('kind', KINDS)
def test_the_kept_schema_is_the_present_one(kind, schemas):
    kept = REPOSITORY / f'options/schemas/{kind}.json'
    assert json.loads(kept.read_text(encoding='utf-8')) == schemas[kind], 'run scripts/write_options.py'
    jsonschema.Draft202012Validator.check_schema(schemas[kind])


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.stem)
def test_every_option_file_names_its_schema_and_follows_it(path, schemas):
    first = path.read_text(encoding='utf-8').splitlines()[0]
    marker, _, named = first.partition('$schema=')
    assert marker == '# yaml-language-server: '
    kind = path.relative_to(REPOSITORY / 'options').parts[0]
    assert (path.parent / named).resolve() == REPOSITORY / f'options/schemas/{kind}.json'
    assert problems(schemas[kind], read_yaml(path)) == []


def test_every_network_is_there_with_its_own_arguments(schemas):
    from basicsr.utils.registry import ARCH_REGISTRY

    choices = {choice['title']: choice for choice in schemas['train']['properties']['network_g']['oneOf']}
    assert {name.removesuffix('_basicsr') for name in ARCH_REGISTRY.keys()} == set(choices)
    assert set(NETWORKS) <= set(choices)
    rfdn, rfanet = choices['RFDN']['properties'], choices['RFANet']['properties']
    assert rfdn['num_feat']['default'] == 48 and choices['RFDN_L']['properties']['num_feat']['default'] == 52
    assert {'distillation_rate', 'attention', 'last_branch'} <= set(rfdn) and 'distillation_rate' not in rfanet
    assert choices['EDSR']['properties'].keys() >= {'num_in_ch', 'num_feat'}  # BasicSR's own


@pytest.mark.parametrize(
    ('change', 'word'),
    [
        (lambda options: options['train'].update(total_itr=3), 'total_itr'),
        (lambda options: options['network_g'].update(num_fet=3), 'network_g'),
        (lambda options: options['network_g'].update(num_fet=3), 'num_fet'),
        (lambda options: options['network_g'].update(type='RFDM'), 'RFDM'),
        (lambda options: options['network_g'].update(num_feat='wide'), 'wide'),
        (lambda options: options['train']['optim_g'].update(lr=-1), '-1'),
        (lambda options: options['train']['pixel_opt'].update(wieght=1), 'wieght'),
        (lambda options: options['val']['metrics']['psnr'].update(crop_boder=1), 'crop_boder'),
        (lambda options: options['datasets']['train'].update(gt_size='large'), 'large'),
        (lambda options: options['logger'].pop('print_freq'), 'print_freq'),
    ],
)
def test_the_schema_finds_what_the_check_finds(change, word, schemas):
    options = copy.deepcopy(read_yaml(EXAMPLE))
    change(options)
    found = problems(schemas['train'], options)
    assert found and (word in ' '.join(found) or word == 'network_g')


def test_every_key_and_every_section_is_described(schemas):
    for kind in ('train', 'test'):
        sections = {'the file': schemas[kind], **schemas[kind]['$defs']}
        for name, section in sections.items():
            assert len(section.get('description', '')) > 15, f'{kind}: {name} has no docstring'
            for key, described in section.get('properties', {}).items():
                assert len(described.get('description', '')) > 10, f'{kind}: {name}.{key} has no description'


def test_the_command_prints_and_writes(tmp_path, capsys, schemas):
    assert main(['schema']) == 0
    assert json.loads(capsys.readouterr().out) == schemas['train']
    assert main(['schema', 'leaderboard', '-o', str(tmp_path / 'board.json')]) == 0
    assert json.loads((tmp_path / 'board.json').read_text()) == schemas['leaderboard']
