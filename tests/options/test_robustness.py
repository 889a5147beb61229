"""Option files of any content: what is wrong with them is told in lines, never by a traceback."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers import REPOSITORY
from helpers.training import option_file
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import rfdn_plugin  # noqa: F401 (basicsr imports after it only)
from rfdn_plugin.options.load import load_test_options, load_training_options
from rfdn_plugin.options.yaml_io import read_yaml
from rfdn_plugin.training import preflight
from rfdn_plugin.utils.errors import RFDNError

FILES = [
    'train/RFDN/train_RFDN_x2_scratch.yml',
    'train/IDN/train_IDN_x4_finetune.yml',
    'train/RFDN/train_RFDN_x2_stage2.yml',
    'test/RFDN/test_RFDN_x2.yml',
]

VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, 1, -1, 2, 3, 10**30, -(10**30)]),
    st.integers(-4, 400),
    st.sampled_from([0.0, -0.0, 1e-3, 0.5, 2.5, float('inf'), float('-inf'), float('nan'), 1e300]),
    st.sampled_from(
        ['', ' ', '~', '.', '..', '/', '\0', 'x' * 300, '{}', '{}x{scale}', '{0}{1}', '{', '\n', 'é', '1e-3']
    ),
    st.sampled_from(
        ['RFDN', 'SRModel', 'L1Loss', 'Adam', 'calculate_psnr', 'EDVRModel', 'y', 'cuda', '~nobody/x', '/dev/null']
    ),
    st.text(max_size=8),
    st.dates(),
    st.datetimes(),
    st.binary(max_size=4),
    st.sets(st.integers(0, 3), max_size=2),
    st.lists(st.one_of(st.none(), st.integers(-2, 5), st.text(max_size=3), st.floats()), max_size=4),
    st.dictionaries(
        st.one_of(st.text(max_size=4), st.integers(-1, 3), st.none(), st.booleans(), st.floats(), st.dates()),
        st.one_of(st.none(), st.integers(-2, 5), st.text(max_size=3)),
        max_size=3,
    ),
)
"""A value of each type that YAML knows."""


def places(content: Any, here: tuple = ()) -> list[tuple]:
    """Every place of a file: of its keys and of what stands in its lists."""
    found = []
    for key, value in content.items() if isinstance(content, dict) else enumerate(content):
        found.append((*here, key))
        if isinstance(value, dict | list):
            found += places(value, (*here, key))
    return found


@st.composite
def mutated(draw: st.DrawFn) -> tuple[str, dict]:
    """A shipped file in which up to three places hold something else, are missing, or have a further key beside them."""
    file = draw(st.sampled_from(FILES))
    content = copy.deepcopy(CONTENTS[file])
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.sampled_from(places(content)))
        section = content
        for part in place[:-1]:
            section = section[part]
        action = draw(st.sampled_from(['replace', 'replace', 'replace', 'remove', 'add']))
        if action == 'replace':
            section[place[-1]] = draw(VALUES)
        elif action == 'remove' and isinstance(section, dict):
            del section[place[-1]]
        elif isinstance(section, dict):
            key = draw(st.one_of(st.text(max_size=5), st.integers(0, 3), st.none(), st.dates(), st.sampled_from(KEYS)))
            section[key] = draw(VALUES)
        if not places(content):
            break
    return file, content


CONTENTS = {file: read_yaml(REPOSITORY / 'options' / file) for file in FILES}
KEYS = [
    'mean',
    'std',
    'color',
    'meta_info_file',
    'custom_imports',
    'resume_state',
    'prefetch_mode',
    'resident',
    'better',
]
KEYS += [
    'upscale',
    'interpolation_start',
    'type',
    'network_d',
    'gan_opt',
    'precision',
    'compile',
    'sample_seed',
    'name',
]


def try_it(example: tuple[str, dict], data: Path, folder: Path) -> None:
    """Read and check a file as the commands do, with its own folders or real data; only RFDNError may come out."""
    file, content = example
    path = folder / 'options.yml'
    text = yaml.safe_dump(content, allow_unicode=True)
    # Where the file still has the shipped folders it has real ones.
    for scale in (2, 4):
        text = text.replace(f'datasets/DIV2K/LR_bicubic_X{scale}_sub.lmdb', f'{data}/LR_bicubic_X{scale}_sub.lmdb')
    text = text.replace('datasets/DIV2K/HR_sub.lmdb', f'{data}/HR_sub.lmdb')
    path.write_text(text, encoding='utf-8')
    is_train = file.startswith('train')
    try:
        options = (load_training_options if is_train else load_test_options)(path)
        if is_train:
            preflight.check_training(options, folder, world_size=1, auto_resume=False).report(path)
        else:
            preflight.check_test(options).report(path)
    except RFDNError as error:
        assert str(error).strip() and 'Traceback' not in str(error)


@settings(max_examples=80, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(example=mutated())
def test_mutated_files_are_told_in_lines(example, tiny_data, tmp_path_factory):
    try_it(example, tiny_data, folder_of(tmp_path_factory))


@pytest.mark.slow
@settings(max_examples=2000, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(example=mutated())
def test_two_thousand_mutated_files_are_told_in_lines(example, tiny_data, tmp_path_factory):
    try_it(example, tiny_data, folder_of(tmp_path_factory))


def folder_of(factory: pytest.TempPathFactory) -> Path:
    folder = factory.getbasetemp() / 'mutated'
    folder.mkdir(exist_ok=True)
    return folder


# --- the cases that were found -------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ('entries', 'words'),
    [
        (["datasets:val:filename_tmpl='{}x{scale}'"], ['datasets.val.filename_tmpl', 'is not a template']),
        (["datasets:val:filename_tmpl='x2'"], ['datasets.val.filename_tmpl', 'lacks {}']),
        (['datasets:train:mean=[0.5, 0.5, 0.5]'], ['datasets.train', 'mean is given without std']),
        (
            ['datasets:train:mean=[0.5]', 'datasets:train:std=[0.5, 0.5]'],
            ['datasets.train', 'std has 2 values: give one for each colour'],
        ),
        (['datasets:train:std=[0, 1, 1]', 'datasets:train:mean=[0, 0, 0]'], ['datasets.train.std', 'greater than 0']),
        (['datasets:train:persistent_workers=true', 'datasets:train:num_worker_per_gpu=0'], ['persistent_workers']),
        (['model_type=VideoRecurrentModel'], ['VideoRecurrentModel works on video clips']),
        (['network_g={type: RRDBNet, num_in_ch: 3, num_out_ch: 3, scale: 4}'], ['network_g.scale is 4 but scale is 2']),
        (['network_g={type: SRVGGNetCompact, upscale: 3}'], ['network_g.upscale is 3 but scale is 2']),
        (['datasets:val:dataroot_gt=~nobody_at_all/x'], ['datasets.val.dataroot_gt', 'write the whole path']),
        (["datasets:val:dataroot_gt='a\\0b'"], ['datasets.val.dataroot_gt']),
        (['train:optim_g:betas={}'], ['train.optim_g', 'Adam does not take these arguments (KeyError']),
        (['name=' + 'x' * 300], ['name', 'has 300 bytes: take 150 at most']),
        (['name=a/b'], ['name', 'is no name of a folder']),
    ],
)
def test_values_that_the_checks_fell_over(entries, words, tmp_path, tiny_data):
    for kind, scale in (('gt', 'HR'), ('lq', 'LR_bicubic_X2')):
        entries = [*entries, f'datasets:train:dataroot_{kind}={tiny_data}/{scale}_sub.lmdb']
    if not any('val:dataroot_gt' in entry for entry in entries):
        (tmp_path / 'a').mkdir()
        entries += [f'datasets:val:dataroot_{kind}={tmp_path}/a' for kind in ('gt', 'lq')]
        entries += ['datasets:val:name=b']
    entries = [*entries, 'logger:save_best=~', 'num_gpu=0']
    with pytest.raises(RFDNError) as error:
        options = load_training_options(option_file(), entries)
        preflight.check_training(options, tmp_path, world_size=1, auto_resume=False).report('file')
    assert all(word in str(error.value) for word in words), str(error.value)


@pytest.mark.parametrize('text', ['? [1, 2]\n: 3\nname: a', '? {a: 1}\n: 3', '[1]: 2\nname: x'])
def test_yaml_with_a_list_or_a_section_as_a_key(tmp_path, text):
    (tmp_path / 'options.yml').write_text(text)
    with pytest.raises(RFDNError, match=r'options\.yml, line \d+: no safe YAML'):
        load_training_options(tmp_path / 'options.yml')


@pytest.mark.parametrize(('text', 'words'), [('', 'names no image'), ('photo0.png\n\nphoto1.png\n', 'line 2')])
def test_a_list_of_images_without_names(tmp_path, tiny_data, photographs, text, words):
    (tmp_path / 'list.txt').write_text(text)
    section = f'{{name: a, type: PairedImageDataset, dataroot_gt: {photographs}, dataroot_lq: {photographs}'
    section += f', io_backend: {{type: disk}}, meta_info_file: {tmp_path}/list.txt}}'
    file = REPOSITORY / 'options/test/RFDN/test_RFDN_x2.yml'
    options = load_test_options(file, [f'datasets={{test: {section}}}'])
    assert any('meta_info_file' in line and words in line for line in preflight.check_test(options).problems)


def test_places_of_the_user_are_filled_in(tmp_path, monkeypatch, photographs):
    """`~` in every path of a section, and a slash after .lmdb."""
    monkeypatch.setenv('HOME', str(tmp_path))
    section = (
        '{name: a, type: PairedImageDataset, dataroot_gt: ~/HR.lmdb/, dataroot_lq: ~/LR, meta_info_file: ~/list.txt'
    )
    file = REPOSITORY / 'options/test/RFDN/test_RFDN_x2.yml'
    options = load_test_options(file, [f'datasets={{test: {section}, io_backend: {{type: disk}}}}}}'])
    found = options['datasets']['test']
    assert (found['dataroot_gt'], found['dataroot_lq'], found['meta_info_file']) == (
        f'{tmp_path}/HR.lmdb',
        f'{tmp_path}/LR',
        f'{tmp_path}/list.txt',
    )


def test_an_exception_of_anybodys_code_is_a_line_that_names_the_section(monkeypatch):
    from rfdn_plugin.options import registry

    def fails(*_, **__):
        raise ZeroDivisionError('by zero')

    monkeypatch.setattr(registry, 'arguments_model', fails)
    with pytest.raises(RFDNError, match=r'train_RFDN_x2_scratch\.yml: network_g: ZeroDivisionError \(by zero\)'):
        load_training_options(option_file())
