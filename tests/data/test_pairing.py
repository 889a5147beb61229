"""Which LR image belongs to which HR image."""

from __future__ import annotations

import random

import numpy as np
import pytest
from helpers.images import photograph, quiet, spec_for, write
from helpers.small_sets import make_set
from PIL import Image

from rfdn_plugin.cli import main
from rfdn_plugin.data.bicubic import downscale
from rfdn_plugin.data.images import image_size
from rfdn_plugin.data.pairing import explain_unpaired, fill_template, lr_templates, pair_names, stems_of
from rfdn_plugin.data.prepare import prepare
from rfdn_plugin.data.verify import Pair, verify
from rfdn_plugin.leaderboard.measure.sets import check_pair, open_set
from rfdn_plugin.leaderboard.options import SetOptions
from rfdn_plugin.utils.errors import RFDNError

NAMES = ['0001', 'name with space (1)', 'é', 'x2', '50% {4}', 'sub/a']
TEMPLATES = ('{}', '{}x2', '{}x2m', '{}_x2', '{}_LR', '{}_LR_x2')


def test_the_templates_that_packs_use_are_known():
    assert set(TEMPLATES) < set(lr_templates(2))
    assert '{}x3' not in lr_templates(2)


@pytest.mark.parametrize('template', lr_templates(2))
def test_every_known_way_of_naming_is_recognised(template):
    lr = [template.replace('{}', name) for name in NAMES]
    random.shuffle(lr)
    pairing = pair_names(NAMES, lr, 2)
    assert pairing.is_complete and pairing.template == template
    assert pairing.lr_of == {name: template.replace('{}', name) for name in NAMES}


def test_what_is_missing_and_what_is_left_over_is_named():
    pairing = pair_names(['a', 'b', 'c', 'd'], ['ax2', 'bx2', 'cx2', 'x'], 2)
    assert (pairing.template, pairing.missing, pairing.surplus) == ('{}x2', ['d'], ['x'])
    assert explain_unpaired(pairing, 'HR', 'X2') == 'no LR in X2 for d; no HR in HR for x'
    many = pair_names([str(number) for number in range(9)], [], 2)
    assert explain_unpaired(many, 'HR', 'X2') == 'no LR in X2 for 0, 1, 2, 3, 4 and 4 more'


def test_a_given_template_is_the_only_one():
    assert pair_names(['a'], ['a_small'], 2, '{}_small').is_complete
    assert pair_names(['a'], ['ax2'], 2, '{}').missing == ['a']


@pytest.mark.parametrize('template', ['{}x{scale}', '{0}{1}', '{', 'x2', '{}{}', '{.nothing}'])
def test_a_template_that_basicsr_cannot_fill_in_is_refused(template):
    with pytest.raises(RFDNError, match='stands for the name'):
        fill_template(template, 'a')


def test_two_names_that_differ_in_their_suffix_only():
    assert stems_of(['a.png', 'sub/b.jpg']) == {'a': 'a.png', 'sub/b': 'sub/b.jpg'}
    with pytest.raises(RFDNError, match=r'a\.png and a\.jpg'):
        stems_of(['a.png', 'a.jpg'])


@pytest.mark.parametrize('template', TEMPLATES)
def test_prepare_takes_given_lr_however_it_is_named(tmp_path, template):
    for number, name in enumerate(('0001', 'b (1)')):
        hr = photograph(number, 96, 96)
        write(tmp_path / 'hr' / f'{name}.png', hr)
        write(tmp_path / 'lr' / f'{template.format(name)}.png', downscale(hr, 2))
    spec = spec_for(tmp_path / 'hr', tmp_path / 'out', scales=(2,), lr={2: tmp_path / 'lr'}, workers=1)
    assert prepare(spec, quiet).used == 2
    assert main(['verify', str(tmp_path / 'out'), '--all', '--workers', '1']) == 0


@pytest.mark.parametrize('template', TEMPLATES)
def test_the_leaderboard_takes_lr_however_it_is_named(tmp_path, template):
    section = make_set(tmp_path, div2k_names=False)
    for file in sorted((tmp_path / 'X2').iterdir()):
        file.rename(file.with_stem(template.format(file.stem)))
    test_set = open_set('Small', SetOptions(**section), 2)
    assert test_set.template == template
    assert [test_set.read(index).name for index in range(4)] == list(test_set.names)


@pytest.mark.parametrize('which', ['both', 'HR'])
def test_pairs_that_a_camera_has_turned(tmp_path, which):
    """JPEG files that lie on their side with a note to turn them: sizes are those of the images as they are shown."""
    exif = Image.Exif()
    exif[0x0112] = 6
    section = {'hr': str(tmp_path / 'HR'), 'lr': str(tmp_path / 'X2')}
    for folder, image in (('HR', photograph(0, 60, 80)), ('X2', downscale(photograph(0, 60, 80), 2))):
        (tmp_path / folder).mkdir()
        is_turned = which == 'both' or folder == 'HR'
        stored = np.rot90(image) if is_turned else image
        settings = {'exif': exif} if is_turned else {}
        Image.fromarray(np.ascontiguousarray(stored)).save(
            tmp_path / folder / 'a.jpg', quality=100, subsampling=0, **settings
        )
    assert image_size(tmp_path / 'HR/a.jpg') == (60, 80)
    test_set = open_set('Small', SetOptions(**section), 2)
    assert check_pair(test_set, 0)['difference'] < 3
    pair = test_set.read(0)
    assert pair.hr.shape == (60, 80, 3) and pair.lr.shape == (3, 30, 40)
    report = verify([], [Pair(tmp_path / 'HR', tmp_path / 'X2', 2)], share=1)
    assert {finding.kind for finding in report.findings} == {'converted', 'other-resize'}
