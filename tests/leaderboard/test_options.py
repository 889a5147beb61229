"""The leaderboard's option file: what is read, and how problems are named."""

from __future__ import annotations

import pytest
from helpers import REPOSITORY

from rfdn_plugin.leaderboard.options import BicubicEntry, NetworkEntry, PublishedEntry, load_options, parse_options
from rfdn_plugin.leaderboard.report.published import published_names, published_row
from rfdn_plugin.utils.errors import RFDNError

SETS = {'Set5': {'hr': 'HR', 'lr': 'LR'}}
BICUBIC = {'type': 'bicubic', 'scale': 2}
FOLDER = REPOSITORY / 'options' / 'leaderboard'
BENCHMARKS = ['benchmarks_x2', 'benchmarks_x3', 'benchmarks_x4', 'ntire_x4']


def problems_of(**content) -> str:
    with pytest.raises(RFDNError) as caught:
        parse_options({'name': 'n', 'sets': SETS, 'entries': [BICUBIC], **content}, 'file.yml')
    assert str(caught.value).startswith('file.yml: ')
    return str(caught.value)


@pytest.mark.parametrize('path', sorted(FOLDER.glob('*.yml')), ids=lambda path: path.name)
def test_shipped_files_are_valid(path):
    assert load_options(path).name


@pytest.mark.parametrize('name', BENCHMARKS)
def test_the_benchmarks_stand_beside_published_rows(name):
    options = load_options(FOLDER / f'{name}.yml')
    assert options.name == name
    published = [entry for entry in options.entries if isinstance(entry, PublishedEntry)]
    assert published and all(published_row(entry.published, scale) for entry in published for scale in entry.scale)


@pytest.mark.parametrize('scale', [2, 3, 4])
def test_shipped_sets_are_those_of_the_test_options(scale, repository):
    """The same names and folders as in options/test, so that validation and leaderboard speak of the same sets."""
    from rfdn_plugin.options.yaml_io import read_yaml

    theirs = read_yaml(repository / f'options/test/RFDN/test_RFDN_x{scale}.yml')['datasets']
    ours = load_options(repository / f'options/leaderboard/benchmarks_x{scale}.yml').sets
    assert {s['name']: (s['dataroot_gt'], s['dataroot_lq']) for s in theirs.values()} == {
        name: (s.hr, s.lr.replace('{scale}', str(scale))) for name, s in ours.items()
    }


def test_the_design_document_s_kinds_of_entries():
    options = parse_options(
        {
            'name': 'benchmarks_x4',
            'sets': SETS,
            'entries': [
                {'name': 'official', 'type': 'E_RFDN', 'scale': 4, 'weights': 'RFDN_AIM.pth', 'img_range': 255},
                {'name': 'mine', 'scale': 2, 'weights': 'net_g_latest.pth', 'param_key': 'params_ema'},
                {'name': 'Bicubic', 'type': 'bicubic', 'scale': 4},
                {'name': 'images', 'type': 'images', 'scale': 4, 'dir': 'results/{set}'},
                {'published': 'RFDN', 'scale': 4},
            ],
            'latency': {'threads': 1, 'runs': 20},
        }
    )
    assert [type(entry) for entry in options.entries][:3:2] == [NetworkEntry, BicubicEntry]
    assert [entry.name for entry in options.measured] == ['official', 'mine', 'Bicubic', 'images']


@pytest.mark.parametrize(
    ('content', 'said'),
    [
        ({'latencie': {}}, 'latencie: unknown key (did you mean latency?)'),
        ({'latency': {'thread': 1}}, 'latency.thread: unknown key (did you mean threads?)'),
        ({'sets': {'S': {'hr': 'a', 'lr': 'b', 'filename_tmp': '{}'}}}, 'unknown key (did you mean filename_tmpl?)'),
        (
            {'entries': [{'name': 'a', 'weigths': 'w', 'scale': 2}]},
            'entries[0].weigths: unknown key (did you mean weights?)',
        ),
        ({'entries': [{'name': 'a', 'type': 'bicubik', 'scale': 2}]}, "no type 'bicubik' (did you mean bicubic?)"),
        (
            {'entries': [{'name': 'a', 'type': 'RFDM', 'weights': 'w', 'scale': 2}]},
            "no network 'RFDM' (did you mean RFDN?)",
        ),
        ({'entries': [{'name': 'a', 'weights': 'w.onnx', 'scale': 2}]}, 'add `type: onnx`'),
        (
            {'entries': [{'name': 'a', 'type': 'bicubic', 'scale': '2'}]},
            "scale[0]: input should be a valid integer, not '2'",
        ),
        (
            {'entries': [{'type': 'images', 'name': 'a', 'scale': 2, 'dri': 'd'}]},
            'entries[0].dri: unknown key (did you mean dir?)',
        ),
        # which entries of other kinds have
        (
            {'entries': [{**BICUBIC, 'weights': 'w'}]},
            'entries[0].weights: unknown key (known: scale, name, metrics, type).',
        ),
        ({'entries': [{'name': 'a', 'type': 'sharp', 'scale': 2}]}, "no type 'sharp' (known: RFDN, "),
        ({'entries': []}, 'at least 1 item'),
        ({'entries': ['bicubic']}, 'an entry is a mapping'),
        ({'entries': [BICUBIC, {**BICUBIC, 'scale': [3, 2]}]}, "two entries are named 'Bicubic' at x2"),
        ({'metrics': {'niqe': {'crop_border': 4}}}, 'metrics.niqe has no type'),
        ({'metrics': {'psnr_y': {'type': 'calculate_psnr'}}}, 'give the further metric another name'),
        ({'name': 'a/b'}, 'name: '),
        ({'entries': [{**BICUBIC, 'name': 'a\nb'}]}, 'entries[0].name: a line feed'),
        ({'sets': {'S': {'hr': '', 'lr': 'b'}}}, 'sets.S.hr: no path: name a folder or file'),
        ({'sets': {'S': {'hr': 'a', 'lr': '~nobody_at_all/b'}}}, 'write the whole path'),
        ({'report': {'images': -1}}, 'report.images: input should be greater than or equal to 0, not -1'),
        ({'report': {'images': {'Set5': 'baby'}}}, 'report.images.Set5: '),
        ({'device': 'gpu'}, "device: input should be 'auto', 'cpu' or 'cuda', not 'gpu'"),
    ],
)
def test_problems_are_named_with_their_place(content, said):
    assert said in problems_of(**content)


def test_all_problems_are_told_at_once():
    told = problems_of(latencie={}, entries=[{'nam': 'a', 'weights': 'w', 'scale': 2}, {'type': 'bicubik', 'scale': 2}])
    assert all(part in told for part in ('latencie', 'entries[0].name: missing', 'entries[0].nam:', 'bicubik'))


def test_a_key_given_twice_is_refused(tmp_path):
    path = tmp_path / 'o.yml'
    path.write_text('name: a\nsets: {S: {hr: a, lr: b}, S: {hr: c, lr: d}}\nentries: [{type: bicubic, scale: 2}]\n')
    with pytest.raises(RFDNError, match="key 'S' twice"):
        load_options(path)


def test_published_rows_carry_citations_and_only_what_was_published():
    row = published_row('RFDN', 4)
    assert row['source'] == 'published' and row['secondary'] and '2009.11551' in row['citation']
    assert row['sets']['Set5'] == {'psnr_y': 32.24, 'ssim_y': 0.8952}
    assert 'conv_macs_hr720' not in row and 'ntire' not in row
    for name in published_names():
        for scale in (2, 3, 4):
            if name in published_names(scale):
                assert published_row(name, scale)['citation']


def test_an_unknown_published_row_names_the_nearest():
    with pytest.raises(RFDNError, match='did you mean RFDN'):
        published_row('RFDNN', 4)
    with pytest.raises(RFDNError, match='x3'):
        published_row('PAN', 3)
