"""The option files that come with the package: found by short names, and copied."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from rfdn_plugin.options.shipped import KINDS, copy_option_files, find_option_file, options_folder, shipped_files
from rfdn_plugin.utils.errors import RFDNError

FILES = {file.name: file for file in shipped_files()}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_all_files_of_the_checkout_are_shipped(repository: Path):
    paths = set((repository / 'options').rglob('*.yml'))
    assert {file.path for file in FILES.values()} == paths and {file.kind for file in FILES.values()} == set(KINDS)


@pytest.mark.parametrize('name', FILES)
def test_names_that_find_a_file(name: str):
    """Whole, without `.yml`, and by its end where that is of one file."""
    kind, path = FILES[name].kind, FILES[name].path
    below_kind = name.removeprefix(f'{kind}/')
    for given in (name, name.removesuffix('.yml'), below_kind, Path(name).name):
        assert find_option_file(given, kind) == path
    assert len(FILES[name].title) > 20 and 'schema' not in FILES[name].title


def test_a_file_that_is_there_comes_first(elsewhere: Path):
    (elsewhere / 'RFDN').mkdir()
    mine = Path('RFDN/train_RFDN_x2_scratch.yml')
    mine.touch()
    assert find_option_file(str(mine), 'train') == mine


@pytest.mark.parametrize('before', ['options/', './', '../', '~/options/', '/options/'])
def test_a_path_is_never_a_shipped_file(before: str):
    """It may mean an edited copy, from the wrong folder: the shipped file must not start in its place."""
    name = 'train/RFDN/train_RFDN_x2_scratch.yml'
    with pytest.raises(
        RFDNError, match=f'no option file {before}{name} in .*for the shipped file, give {name}'
    ) as caught:
        find_option_file(f'{before}{name}', 'train')
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize(
    ('given', 'kind', 'said'),
    [
        ('RFDN/train_RFDN_x2_scrach.yml', 'train', ['near: train/RFDN/train_RFDN_x2_scratch.yml', 'rfdn options list']),
        ('N/train_RFDN_x2_scratch.yml', 'train', ['near: train/RFDN/']),
        ('nothing_like_it', 'train', ['none of that name', 'check the path']),
        ('test_RFDN_x2.yml', 'train', ['an option file of rfdn test']),
        ('benchmarks_x4', 'test', ['an option file of rfdn leaderboard']),
        ('/train/RFDN/train_RFDN_x2_scratch.yml', 'train', ['no option file /train']),
    ],
)
def test_names_that_find_none_say_what_is_near(given: str, kind: str, said: list[str]):
    with pytest.raises(RFDNError) as caught:
        find_option_file(given, kind)
    assert all(word in str(caught.value) for word in said) and '\n' not in str(caught.value)


def test_a_name_that_fits_several_files_lists_them(elsewhere: Path, monkeypatch: pytest.MonkeyPatch):
    for folder in ('train/A', 'train/B', 'test/B'):
        path = elsewhere / folder / 'one.yml'
        path.parent.mkdir(parents=True)
        path.touch()
    monkeypatch.setattr('rfdn_plugin.options.shipped.options_folder', lambda: elsewhere)
    with pytest.raises(RFDNError, match=r'say which of train/A/one\.yml, train/B/one\.yml\.'):
        find_option_file('one.yml', 'train')
    assert find_option_file('one', 'test') == elsewhere / 'test/B/one.yml'


def test_copies_are_equal_and_find_their_schema(elsewhere: Path):
    copied = copy_option_files(['RFDN', 'zoo.yml'], Path('mine'), overwrite=False)
    names = [path.relative_to('mine').as_posix() for path in copied]
    folders = ('train/RFDN/', 'test/RFDN/', 'leaderboard/zoo.yml')
    assert set(names) == {name for name in FILES if name.startswith(folders)}
    for name, path in zip(names, copied, strict=True):
        text = path.read_text(encoding='utf-8')
        assert text == FILES[name].path.read_text(encoding='utf-8')
        schema = path.parent / text.splitlines()[0].partition('$schema=')[2]
        assert os.path.samefile(schema, f'mine/schemas/{FILES[name].kind}.json')


def test_nothing_is_replaced_unless_asked(elsewhere: Path):
    (path,) = copy_option_files(['RFDN/train_RFDN_x2_scratch'], elsewhere, overwrite=False)
    assert copy_option_files(['RFDN/train_RFDN_x2_scratch'], elsewhere, overwrite=False) == [path]  # nothing differs
    path.write_text('mine')
    with pytest.raises(RFDNError, match='--overwrite'):
        copy_option_files(['quickstart', 'RFDN'], elsewhere, overwrite=False)
    assert path.read_text() == 'mine' and not (elsewhere / 'train/quickstart').exists()
    copy_option_files(['RFDN'], elsewhere, overwrite=True)
    assert path.read_bytes() == FILES['train/RFDN/train_RFDN_x2_scratch.yml'].path.read_bytes()


def test_copying_what_is_not_there(elsewhere: Path):
    with pytest.raises(RFDNError, match='no shipped option file or folder is named RFDN_XL'):
        copy_option_files(['RFDN', 'RFDN_XL'], elsewhere, overwrite=False)
    assert not list(elsewhere.iterdir())


def test_an_installed_package_has_them_inside(elsewhere: Path, monkeypatch: pytest.MonkeyPatch):
    shutil.copytree(options_folder(), elsewhere / 'rfdn_plugin/option_files')
    monkeypatch.setattr('rfdn_plugin.options.shipped.__file__', str(elsewhere / 'rfdn_plugin/options/shipped.py'))
    assert find_option_file('zoo/train_RFDN_x2') == elsewhere / 'rfdn_plugin/option_files/train/zoo/train_RFDN_x2.yml'
