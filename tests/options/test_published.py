"""`rfdn train` with option files as BasicSR publishes them, and with what other packages register."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml
from helpers.published import FILES, NETWORKS, RFDN, published
from helpers.training import option_file, rfdn, small

import rfdn_plugin  # noqa: F401 (basicsr imports after it only)
from rfdn_plugin.options.load import load_test_options, load_training_options, unchecked_parts
from rfdn_plugin.training import preflight
from rfdn_plugin.training.checkpoints import card
from rfdn_plugin.utils.errors import RFDNError

THEIR_NETWORK = {'EDSR': 'EDSR', 'RCAN': 'RCAN', 'SwinIR': 'SwinIR', 'ESRGAN': 'RRDBNet', 'Real-ESRGAN': 'RRDBNet'}


@pytest.fixture
def write(tmp_path: Path, tiny_data: Path, photographs: Path):
    """Write a published file with a network put in."""
    meta_info = tmp_path / 'meta_info.txt'
    meta_info.write_text('\n'.join(sorted(path.name for path in photographs.iterdir())))

    def _write(kind: str, network: str) -> Path:
        path = tmp_path / f'{kind}.yml'
        places = {'data': tiny_data, 'photographs': photographs, 'meta_info': meta_info}
        path.write_text(published(kind, network, **places))
        return path

    return _write


@pytest.mark.parametrize('ours', [False, True], ids=['their network', 'RFDN'])
@pytest.mark.parametrize('kind', FILES)
def test_published_files_are_read(write, kind: str, ours: bool):
    path = write(kind, RFDN if ours else NETWORKS[THEIR_NETWORK[kind]])
    options = load_training_options(path)
    content = yaml.safe_load(path.read_text())
    assert options['network_g']['type'] == ('RFDN' if ours else THEIR_NETWORK[kind])
    if kind == 'SwinIR' and ours:  # which pads for windows, and is SRModel otherwise
        content['model_type'] = 'SRModel'
    if 'val' in content:
        content['val']['suffix'] = None  # which BasicSR wants to find
    assert {**content, **options} == {**options, **content}, 'nothing is lost or changed'


@pytest.mark.parametrize('kind', ['EDSR', 'SwinIR', 'ESRGAN'])
def test_published_files_with_rfdn_pass_the_checks(write, tmp_path, kind: str):
    found = preflight.check_training(
        load_training_options(write(kind, RFDN)), tmp_path, world_size=1, auto_resume=False
    )
    assert found.problems == [] and all('the training ends at 2' in note for note in found.notes)  # shortened here


def test_what_only_another_model_knows_is_passed_on_with_a_line_that_says_so(write, tmp_path):
    options = load_training_options(write('Real-ESRGAN', RFDN))
    assert options['resize_prob'] == [0.2, 0.7, 0.1] and options['queue_size'] == 4
    dataset, model = unchecked_parts(options)
    assert dataset.startswith('datasets.train: passed on unchecked to RealESRGANDataset: ')
    assert 'blur_sigma2' in dataset and 'batch_size_per_gpu' not in dataset
    assert model.startswith('model_type: passed on unchecked to RealESRGANModel: ') and 'resize_prob2' in model
    found = preflight.check_training(options, tmp_path, world_size=1, auto_resume=False)
    assert found.notes[:2] == [dataset, model]
    (problem,) = found.problems  # of this machine: it degrades the images on a GPU
    assert 'RealESRGANModel works on a GPU only' in problem


def test_two_networks_are_trained_together(write, tmp_path):
    """A GAN with RFDN as its generator, on a CPU."""
    path = write('ESRGAN', RFDN)
    outcome = rfdn('train', '-opt', path, cwd=tmp_path)
    assert outcome.returncode == 0, outcome.stderr[-2000:]
    models = tmp_path / 'experiments/try_ESRGAN/models'
    assert sorted(file.name for file in models.iterdir()) == ['net_d_latest.pth', 'net_g_latest.pth']
    assert 'l_g_gan' in outcome.stdout + outcome.stderr


@pytest.mark.parametrize(
    ('kind', 'entries', 'words'),
    [
        ('ESRGAN', ['network_d=~'], ['trains two networks', 'network_d']),
        ('ESRGAN', ['train:optim_d=~', 'train:gan_opt=~'], ['train.optim_d, train.gan_opt']),
        ('ESRGAN', ['network_d:type=UNetDiscriminator'], ['network_d', 'did you mean UNetDiscriminatorSN']),
        ('ESRGAN', ['train:gan_opt:gan_typ=vanilla'], ['train.gan_opt', 'did you mean gan_type']),
        ('EDSR', ['train:gan_opt={type: GANLoss, gan_type: vanilla}'], ['train.gan_opt is not known to SRModel']),
        ('EDSR', ['model_type=EDVRModel'], ['EDVRModel works on video clips', 'SRModel']),
        ('EDSR', ['model_type=StyleGAN2Model'], ['StyleGAN2Model makes images without LR']),
        ('ESRGAN', ['network_g={type: RRDBNet, num_in_ch: 3, num_out_ch: 3}'], ['network_g.scale is 4 but scale is 2']),
    ],
)
def test_what_two_networks_need(write, kind, entries, words):
    with pytest.raises(RFDNError) as error:
        load_training_options(write(kind, RFDN), entries)
    assert '\n' not in str(error.value) and all(word in str(error.value) for word in words), str(error.value)


def test_a_discriminator_for_other_patches(write, tmp_path):
    entries = ['network_d={type: VGGStyleDiscriminator, num_in_ch: 3, num_feat: 4, input_size: 128}']
    options = load_training_options(write('ESRGAN', RFDN), entries)
    (problem,) = preflight.check_training(options, tmp_path, world_size=1, auto_resume=False).problems
    assert problem.startswith('network_d: VGGStyleDiscriminator fails on patches of 48x48')


# --- other packages' parts -----------------------------------------------------------------------------------------
PACKAGE = """
    import torch
    from basicsr.data.paired_image_dataset import PairedImageDataset
    from basicsr.models.sr_model import SRModel
    from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, LOSS_REGISTRY, METRIC_REGISTRY, MODEL_REGISTRY


    @ARCH_REGISTRY.register()
    class TheirNet(torch.nn.Module):
        def __init__(self, width: int, upscale_factor: int = 4, *, mask: 'NotDefinedAnywhere' = None, **others):
            super().__init__()
            self.others = others
            self.body = torch.nn.Conv2d(3, 3 * upscale_factor**2, 3, padding=1)
            self.shuffle = torch.nn.PixelShuffle(upscale_factor)

        def forward(self, x):
            return self.shuffle(self.body(x))


    @DATASET_REGISTRY.register()
    class TheirData(PairedImageDataset):
        def __init__(self, opt):
            assert opt['their_key'] == 3
            super().__init__(opt)


    @LOSS_REGISTRY.register()
    class TheirLoss(torch.nn.Module):
        def __init__(self, loss_weight=1.0, power=2):
            super().__init__()
            self.loss_weight, self.power = loss_weight, power

        def forward(self, pred, target, weight=None):
            return self.loss_weight * (pred - target).abs().pow(self.power).mean()


    @METRIC_REGISTRY.register()
    def their_metric(img, img2, offset=0, **kwargs):
        return abs(img.astype(float) - img2).mean() + offset


    @MODEL_REGISTRY.register()
    class TheirModel(SRModel):
        def init_training_settings(self):
            self.theirs = self.opt['train']['their_option']
            super().init_training_settings()
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The working directory, with a package that registers one part of each kind; in the end nothing is registered."""
    from basicsr.utils import registry

    (tmp_path / 'theirs').mkdir()
    (tmp_path / 'theirs/__init__.py').write_text('')
    (tmp_path / 'theirs/parts.py').write_text(textwrap.dedent(PACKAGE))
    (tmp_path / 'theirs/broken.py').write_text('1 / 0')
    (tmp_path / 'theirs/program.py').write_text('raise SystemExit(3)')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'path', [*sys.path])
    yield tmp_path
    for name in [name for name in sys.modules if name.partition('.')[0] == 'theirs']:
        del sys.modules[name]
    for kind in ('ARCH', 'DATASET', 'LOSS', 'METRIC', 'MODEL'):
        parts = getattr(registry, f'{kind}_REGISTRY')._obj_map
        for name in [name for name in parts if name.lower().startswith('their')]:
            del parts[name]


def with_their_parts(package: Path, tiny_data: Path, photographs: Path, **changes: object) -> list[str]:
    dataset = (
        f'{{name: a, type: TheirData, dataroot_gt: {tiny_data}/HR_sub.lmdb, their_key: 3, io_backend: {{type: lmdb}}'
    )
    dataset += f', dataroot_lq: {tiny_data}/LR_bicubic_X2_sub.lmdb'
    train = f'{dataset}, gt_size: 24, use_hflip: true, use_rot: true, num_worker_per_gpu: 0, batch_size_per_gpu: 2}}'
    entries = small(tiny_data, photographs)
    changes = {
        'custom_imports': '[theirs.parts]',
        'model_type': 'TheirModel',
        'network_g': '{type: TheirNet, width: 3, upscale_factor: 2, anything: [1, 2]}',
        'datasets': f'{{train: {train}, val: {dataset}}}}}',
        'train:their_option': '{a: 1}',
        'train:pixel_opt': '{type: TheirLoss, power: 1}',
        'val:metrics': '{theirs: {type: their_metric, offset: 1, better: lower}}',
        'logger:save_best': '~',
        'logger:keep_checkpoints': '~',
        'train:total_iter': 2,
        'val:val_freq': 2,
        **changes,
    }
    left_out = ('datasets:', 'network_g:')
    kept = [entry for entry in entries if not entry.startswith(left_out) and entry.partition('=')[0] not in changes]
    return [*kept, *(f'{key}={value}' for key, value in changes.items())]


def test_parts_of_another_package_are_trained(package, tiny_data, photographs):
    entries = with_their_parts(package, tiny_data, photographs)
    outcome = rfdn('train', '-opt', option_file(), '--force_yml', *entries, cwd=package)
    assert outcome.returncode == 0, outcome.stderr[-2000:]
    assert 'note: datasets.train: passed on unchecked to TheirData: ' in outcome.stderr
    assert 'note: model_type: passed on unchecked to TheirModel: train.their_option.' in outcome.stderr
    assert (package / 'experiments/train_RFDN_x2_scratch/models/net_g_latest.pth').is_file()
    assert '# theirs:' in outcome.stderr + outcome.stdout


def test_the_card_of_weights_needs_no_key_that_another_package_may_leave_out(tiny_data, photographs):
    options = load_training_options(option_file(), small(tiny_data, photographs))
    optimizer = torch.optim.SGD([torch.zeros(1)], 0.1)
    assert card(options, 1, optimizer, {})['batch'] == '4 of 24x24 HR pixels'
    options['datasets']['train'] = {'name': 'a', 'type': 'TheirData', 'batch_size_per_gpu': 2}
    assert card(options, 1, optimizer, {})['batch'] == '2 images'
    del options['datasets']['train']['batch_size_per_gpu']
    assert 'batch' not in card(options, 1, optimizer, {})


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        ({'custom_imports': 'thiers.parts'}, ['custom_imports', 'cannot import thiers.parts', 'PYTHONPATH']),
        ({'custom_imports': '{imports: [theirs.parts], allow_failed: true}'}, ['allow_failed', 'did you mean']),
        ({'custom_imports': '[os; print(1)]'}, ['custom_imports']),
        ({'custom_imports': '[theirs.broken]'}, ['cannot import theirs.broken', 'division']),
        ({'custom_imports': '[theirs.program]'}, ['cannot import theirs.program', '3']),
        ({'network_g': '{type: TheirNet, upscale_factor: 2}'}, ['network_g', 'width', 'field required']),
        ({'network_g': '{type: TheirNet, width: 1}'}, ['network_g.upscale_factor is 4 but scale is 2']),
        ({'train:pixel_opt': '{type: TheirLoss, powr: 1}'}, ['train.pixel_opt', 'did you mean power']),
        ({'val:metrics': '{a: {type: thier_metric}}'}, ['no metric', 'did you mean their_metric']),
        ({'datasets:train:type': 'TheirDate'}, ['no dataset', 'did you mean TheirData']),
        ({'datasets:train:their_key': 4}, ['datasets.train', 'TheirData fails with these options']),
    ],
)
def test_problems_with_other_packages_parts(package, tiny_data, photographs, change, words):
    entries = with_their_parts(package, tiny_data, photographs, **change)
    with pytest.raises(RFDNError) as error:
        options = load_training_options(option_file(), entries)
        preflight.check_training(options, package, world_size=1, auto_resume=False).report('file')
    assert '\n' not in str(error.value) and all(word in str(error.value) for word in words), str(error.value)


def test_a_module_that_may_be_missing(package, tiny_data, photographs, capsys):
    custom = 'custom_imports={imports: [not_there_at_all], allow_failed_imports: true}'
    options = load_training_options(option_file(), [*small(tiny_data, photographs), custom])
    assert options['network_g']['type'] == 'RFDN' and 'goes on without not_there_at_all' in capsys.readouterr().err


# --- images without HR ---------------------------------------------------------------------------------------------
def test_images_without_hr_are_saved_and_not_measured(tmp_path, tiny_data, photographs):
    """Beside a set with HR, whose figures are as they are alone."""
    import torch
    from basicsr.archs import build_network

    from rfdn_plugin.weights.card import model_card

    arguments = {'num_feat': 12, 'num_block': 2, 'upscale': 2, 'interpolation_start': True}
    torch.save(
        {
            'params': build_network({'type': 'RFDN', **arguments}).state_dict(),
            'metadata': model_card('RFDN', arguments),
        },
        tmp_path / 'net.pth',
    )
    single = f'{{name: alone, type: SingleImageDataset, dataroot_lq: {photographs}/, io_backend: {{type: disk}}}}'
    pairs = (
        f'{{name: pairs, type: PairedImageDataset, dataroot_gt: {tiny_data}/HR_sub.lmdb/, io_backend: {{type: lmdb}}'
    )
    pairs += f', dataroot_lq: {tiny_data}/LR_bicubic_X2_sub.lmdb/}}'
    file = option_file().parents[2] / 'test/RFDN/test_RFDN_x2.yml'
    entries = [
        'num_gpu=0',
        'network_g:num_feat=12',
        'network_g:num_block=2',
        f'path:pretrain_network_g={tmp_path}/net.pth',
    ]
    outcomes = []
    for number, sets in enumerate((f'{{test_1: {pairs}}}', f'{{test_1: {pairs}, test_2: {single}, test_3: {pairs}}}')):
        sets = sets.replace('name: pairs', 'name: again', 1) if number else sets
        both = [*entries, f'datasets={sets}', f'name=test_{number}']
        outcome = rfdn('test', '-opt', file, '--force_yml', *both, cwd=tmp_path)
        assert outcome.returncode == 0, outcome.stderr[-1500:]
        text = outcome.stderr + outcome.stdout
        outcomes.append([line.split()[2] for line in text.splitlines() if '# psnr:' in line])
    assert outcomes[1] == outcomes[0] * 2 and len(outcomes[0]) == 1
    assert len(list((tmp_path / 'results/test_1/visualization/alone').iterdir())) == 9
    options = load_test_options(file, [*entries, f'datasets={{test_1: {single}}}', 'val:save_img=false'])
    (problem,) = preflight.check_test(options).problems
    assert 'nothing to measure' in problem and 'val.save_img' in problem
