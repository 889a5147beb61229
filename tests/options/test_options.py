"""The option files and their schema."""

from __future__ import annotations

import importlib.util
import re
import shlex
import sys
from pathlib import Path

import pytest
import yaml
from helpers import REPOSITORY

import rfdn_plugin  # noqa: F401 (basicsr imports after it only)
from rfdn_plugin.options.load import load_test_options, load_training_options
from rfdn_plugin.options.shipped import find_option_file
from rfdn_plugin.options.yaml_io import read_yaml
from rfdn_plugin.utils.errors import RFDNError

TRAIN_FILES = sorted(
    path for path in REPOSITORY.glob('options/train/**/*.yml') if path.parent.name not in ('quickstart', 'zoo')
)
STAGE2_FILES = [path for path in TRAIN_FILES if path.stem.endswith('_stage2')]
QUICKSTART_FILES = sorted(REPOSITORY.glob('options/train/quickstart/*.yml'))
ZOO_FILES = sorted(REPOSITORY.glob('options/train/zoo/*.yml'))
TEST_FILES = sorted(REPOSITORY.glob('options/test/**/*.yml'))
EXAMPLE = REPOSITORY / 'options/train/RFDN/train_RFDN_x2_scratch.yml'


def name_of(path: Path) -> str:
    return path.stem


# --- every file ----------------------------------------------------------------------------------------------------
def test_the_files_are_what_the_script_writes():
    spec = importlib.util.spec_from_file_location('write_options', REPOSITORY / 'scripts/write_options.py')
    script = importlib.util.module_from_spec(spec)
    sys.modules['write_options'] = script  # dataclasses look their module up
    spec.loader.exec_module(script)
    files = script.all_files()
    assert {REPOSITORY / path for path in files} == {*TRAIN_FILES, *TEST_FILES}
    for path, text in files.items():
        assert (REPOSITORY / path).read_text(encoding='utf-8') == text, f'{path}: run scripts/write_options.py'


@pytest.mark.parametrize('path', TRAIN_FILES, ids=name_of)
def test_training_files(path: Path):
    """Scale, patch size, crop and paths of every file agree with its name; the network builds at that scale."""
    options = load_training_options(path)
    scale = int(re.search(r'_x(\d)_', path.stem).group(1))
    dataset, network = options['datasets']['train'], options['network_g']
    assert options['name'] == path.stem
    assert network['type'] == ('RFDN' if path.parent.name == 'ablation' else path.parent.name)
    assert options['scale'] == network['upscale'] == scale
    assert dataset['gt_size'] == 64 * scale and dataset['batch_size_per_gpu'] == 64
    assert dataset['io_backend']['type'] == 'lmdb'
    assert dataset['type'] == 'FastPairedImageDataset' and dataset['sample_seed'] == 0
    assert dataset['dataroot_lq'] == f'datasets/{dataset["name"]}/LR_bicubic_X{scale}_sub.lmdb'
    assert dataset['name'] == ('DF2K' if network['type'] == 'E_RFDN' else 'DIV2K')
    for section in (dataset, options['datasets']['val']):
        assert 'X' + str(scale) in section['dataroot_lq']
    check_metrics(options, scale)
    check_network(options)


@pytest.mark.parametrize('path', [path for path in TRAIN_FILES if path not in STAGE2_FILES], ids=name_of)
def test_the_recipe_of_the_paper(path: Path):
    options = load_training_options(path)
    lr = 1e-4 if options['network_g']['type'] == 'RFANet' else 5e-4
    assert options['train']['optim_g'] == {'type': 'Adam', 'lr': lr, 'weight_decay': 0, 'betas': [0.9, 0.99]}
    assert options['train']['scheduler']['milestones'] == [200_000, 400_000, 600_000, 800_000]
    assert options['train']['total_iter'] == 1_000_000 and options['train']['pixel_opt']['type'] == 'L1Loss'
    if options['scale'] != 2:
        start = options['path']['pretrain_network_g']
        assert start.startswith(f'experiments/{path.stem.split("_x")[0]}_x2_scratch/')
        assert options['path']['strict_load_g'] is False and options['train']['upsampler_start'] == 'resampled'


@pytest.mark.parametrize('path', STAGE2_FILES, ids=name_of)
def test_the_second_stage_starts_from_the_first_of_its_scale(path: Path):
    check_second_stage(load_training_options(path))


def check_second_stage(options: dict) -> None:
    network = options['network_g']['type']
    (file,) = REPOSITORY.glob(f'options/train/{network}/train_{network}_x{options["scale"]}_[sf][ci]*.yml')
    first = load_training_options(file)
    assert options['path']['pretrain_network_g'] == f'experiments/{first["name"]}/models/net_g_latest.pth'
    assert options['path']['param_key_g'] == 'params_ema' and options['path']['strict_load_g'] is True
    assert options['train']['pixel_opt']['type'] == 'MSELoss'
    assert options['train']['scheduler']['periods'] == [options['train']['total_iter']]
    assert options['train']['optim_g']['lr'] < first['train']['optim_g']['lr']
    assert {key: options[key] for key in ('network_g', 'datasets', 'val', 'logger')} == {
        key: first[key] for key in ('network_g', 'datasets', 'val', 'logger')
    }


def commands_of(page: str) -> list[list[str]]:
    """The words of every `rfdn train` and `rfdn test` command of a page of docs/, in blocks or in a line."""
    text = (REPOSITORY / page).read_text(encoding='utf-8').replace('\\\n', ' ')
    blocks = [line for block in re.findall(r'```bash\n(.*?)```', text, re.DOTALL) for line in block.splitlines()]
    inline = [
        found.replace('\n', ' ') for found in re.findall(r'`([^`]+)`', re.sub(r'```.*?```', '', text, flags=re.DOTALL))
    ]
    found = [shlex.split(line.strip().removeprefix('rfdn ')) for line in [*blocks, *inline] if '--force_yml' in line]
    return [words for words in found if words and any(word.endswith('.yml') for word in words)]


def test_documented_variants_of_the_files():
    """The commands with --force_yml of docs/training.md are read without a problem, and the second stage is one."""
    seen = []
    for words in commands_of('docs/training.md'):
        (file,) = (word for word in words if word.endswith('.yml'))
        path = REPOSITORY / file if file.startswith('options/') else find_option_file(file)
        entries = words[words.index('--force_yml') + 1 :]
        options = (load_test_options if 'test' in path.parts else load_training_options)(path, entries)
        seen.append(options['name'])
        if options['name'].endswith('stage2'):
            check_second_stage(options)
    assert {'train_E_RFDN_x4_stage2', 'train_IMDN_R_x2_scratch', 'test_RFDN_base_x2'} <= set(seen)


@pytest.mark.parametrize('path', TEST_FILES, ids=name_of)
def test_test_files(path: Path):
    options = load_test_options(path)
    scale = int(path.stem[-1])
    assert options['name'] == path.stem and options['scale'] == scale
    sets = [section['name'] for _, section in sorted(options['datasets'].items())]
    assert sets == ['Set5', 'Set14', 'B100', 'Urban100', 'Manga109']
    for section in options['datasets'].values():
        assert section['dataroot_lq'] == f'datasets/{section["name"]}/LR_bicubic/X{scale}'
        assert section['filename_tmpl'] == f'{{}}x{scale}'
    assert f'_x{scale}_' in options['path']['pretrain_network_g']
    check_metrics(options, scale)
    check_network(options)


@pytest.mark.parametrize('path', QUICKSTART_FILES, ids=name_of)
def test_quickstart_files(path: Path):
    options = load_training_options(path)
    scale = int(path.stem[-1])
    assert options['name'] == path.stem and options['scale'] == options['network_g']['upscale'] == scale
    assert options['datasets']['train']['gt_size'] == 32 * scale
    assert all(f'X{scale}' in section['dataroot_lq'] for section in options['datasets'].values())
    check_metrics(options, scale)
    check_network(options)


def check_metrics(options: dict, scale: int) -> None:
    metrics = options['val']['metrics']
    assert set(metrics) == {'psnr', 'ssim'}
    for name, metric in metrics.items():
        assert metric == {'type': f'calculate_{name}', 'crop_border': scale, 'test_y_channel': True}


def check_network(options: dict) -> None:
    from basicsr.archs import build_network

    from rfdn_plugin.archs import NETWORKS

    network = options['network_g']
    net, plain = build_network(network), NETWORKS[network['type']](upscale=options['scale'])
    assert type(net) is NETWORKS[network['type']]
    if network['type'] == options['name'].partition('_')[2].partition('_x')[0]:  # no ablation row: as registered
        assert {name: tensor.shape for name, tensor in net.state_dict().items()} == {
            name: tensor.shape for name, tensor in plain.state_dict().items()
        }


@pytest.mark.parametrize('path', [*TRAIN_FILES, *QUICKSTART_FILES, *ZOO_FILES, *TEST_FILES], ids=name_of)
def test_basicsr_reads_the_file_as_we_do(path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """BasicSR's own parser accepts every file, and no number in it is text to PyYAML's YAML 1.1."""
    from basicsr.utils.options import parse_options

    monkeypatch.setattr(sys, 'argv', ['train.py', '-opt', str(path)])
    theirs, _ = parse_options(str(tmp_path), is_train='train' in path.parts)
    ours = read_yaml(path)
    assert yaml.safe_load(path.read_text(encoding='utf-8')) == ours
    assert theirs['network_g'] == ours['network_g'] and theirs.get('train') == ours.get('train')


@pytest.mark.parametrize('path', TRAIN_FILES, ids=name_of)
def test_every_dataset_section_builds(path: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch):
    """With the folders pointed at a small LMDB, BasicSR's dataset gives patches of the file's size."""
    from basicsr.data import build_dataset

    options = load_training_options(path)
    scale, section = options['scale'], options['datasets']['train']
    section.update(phase='train', scale=scale, gt_size=section['gt_size'] // 8)
    section['dataroot_gt'] = str(tiny_data / 'HR_sub.lmdb')
    section['dataroot_lq'] = str(tiny_data / Path(section['dataroot_lq']).name)
    dataset = build_dataset(section)
    dataset.set_epoch(0)
    sample = dataset[0]
    channels = options['network_g']['num_in_ch']
    assert sample['gt'].shape == (channels, 8 * scale, 8 * scale) and sample['lq'].shape == (channels, 8, 8)


@pytest.mark.parametrize('path', [*TRAIN_FILES, *TEST_FILES], ids=name_of)
def test_every_set_to_validate_or_test_on_builds(path: Path, photographs: Path, tmp_path: Path):
    """With the folders pointed at images that are named as the file says."""
    from basicsr.data import build_dataset

    options = (load_training_options if path in TRAIN_FILES else load_test_options)(path)
    scale, channels = options['scale'], options['network_g']['num_in_ch']
    for phase, section in options['datasets'].items():
        if phase == 'train':
            continue
        folder = tmp_path / phase
        folder.mkdir()
        for image in photographs.iterdir():
            (folder / f'{image.stem}x{scale}.png').symlink_to(image)
        section.update(
            phase=phase.partition('_')[0], scale=scale, dataroot_gt=str(photographs), dataroot_lq=str(folder)
        )
        sample = build_dataset(section)[1]
        assert sample['gt'].shape[0] == sample['lq'].shape[0] == channels
        assert Path(sample['lq_path']).stem == f'{Path(sample["gt_path"]).stem}x{scale}'


# --- the schema ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ('overrides', 'words'),
    [
        (['train:optim_g:lrr=1'], ['train.optim_g', "'lrr'", 'did you mean lr?']),
        (['train:total_itr=1'], ['train.total_itr', 'unknown key', 'total_iter']),
        (['network_g:num_fet=3'], ['network_g', 'num_fet', 'num_feat']),
        (['network_g:attention=se'], ['network_g', 'attention', 'cca']),
        (['network_g:type=RFDM'], ['network_g', 'RFDM', 'did you mean RFDN']),
        (['network_g:upscale=3'], ['network_g.upscale', 'scale is 2']),
        (['datasets:train:gt_size=65'], ['datasets.train.gt_size', '65', 'take 64']),
        (['datasets:val:filename_tmp=x'], ['datasets.val.filename_tmp', 'did you mean filename_tmpl']),
        (['datasets:train:bath_size_per_gpu=4'], ['bath_size_per_gpu', 'batch_size_per_gpu']),
        (['datasets:train:io_backend:type=zip'], ['datasets.train.io_backend.type', 'lmdb', 'zip']),
        (['train:scheduler:gama=1'], ['train.scheduler.gama', 'gamma']),
        (['train:scheduler:type=StepLR'], ['train.scheduler', 'StepLR', 'MultiStepLR']),
        (['train:optim_g:lr=-1'], ['train.optim_g.lr', 'greater than 0', '-1']),
        (['train:optim_g:lr=abc'], ['train.optim_g.lr', 'number', 'abc']),
        (['train:optim_g:type=Adan'], ['train.optim_g', 'Adan', 'did you mean Adam']),
        (['train:pixel_opt:type=L1los'], ['train.pixel_opt', 'L1Loss']),
        (['train:pixel_opt:weight=1'], ['train.pixel_opt', 'weight', 'loss_weight']),
        (['val:metrics:psnr:crop_boder=2'], ['val.metrics.psnr', 'crop_boder', 'crop_border']),
        (['model_type=RFDNModle'], ['model_type', 'RFDNModle', 'RFDNModel']),
        (['model_type=rfdnmodel'], ['model_type', 'did you mean RFDNModel?']),
        (['network_g:type=imdn'], ['network_g', 'did you mean IMDN?']),
        (['train:optim_g:type=adam'], ['train.optim_g', 'did you mean Adam?']),
        (['num_gpu=-1'], ['num_gpu', '-1']),
        (['name=a/b'], ['name', 'a/b']),
        (['train:pixel_opt=~'], ['neither pixel_opt nor perceptual_opt']),
        (['datasets:train:prefetch_mode=cuda'], ['datasets.train', 'pin_memory']),
        (['datasets:train:type=PairedImageDataset'], ['datasets.train', 'sample_seed', 'FastPairedImageDataset']),
        (
            ['datasets:train:resident=true', 'datasets:train:sample_seed=~'],
            ['datasets.train', 'resident', 'sample_seed'],
        ),
        (['datasets:train:resident=true', 'datasets:train:color=y'], ['datasets.train', 'resident', 'color']),
        (['train:precision=fp8'], ['train.precision', 'bf16', 'fp8']),
        (['train:accum_iter=0'], ['train.accum_iter', 'greater than or equal to 1']),
        (['train:accum_iter=65'], ['train.accum_iter is 65', 'take 64']),
        (['train:grad_clip=-1'], ['train.grad_clip', 'greater than 0']),
        (['train:compile=fast'], ['train.compile', 'reduce-overhead', 'fast']),
        (['train:fft_opt={type: FFTLos}'], ['train.fft_opt', 'FFTLoss']),
        (['model_type=SRModel'], ['logger.keep_checkpoints is not known to SRModel', 'RFDNModel']),
        (['logger:save_best:dataset=Set6'], ['logger.save_best.dataset is Set6', 'Set5']),
        (['logger:save_best:metric=niqe'], ['logger.save_best.metric is niqe', 'psnr, ssim']),
        (['logger:keep_checkpoints=0'], ['logger.keep_checkpoints', 'greater than or equal to 1']),
        (['logger:wandb:project=x'], ['logger', 'use_tb_logger: true']),
        (
            ['train:scheduler={type: CosineAnnealingRestartLR, periods: [100]}'],
            ['train.scheduler.periods', '100 of 1000000'],
        ),
        (
            ['train:scheduler={type: CosineAnnealingRestartLR, periods: [500000, 500000]}'],
            ['train.scheduler', '2 periods'],
        ),
        (['network_g={type: RFDN}'], ['network_g.upscale is 4', 'scale is 2']),
        (['val=~'], ['datasets has a val section', 'val_freq']),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else '',
)
def test_a_problem_is_one_line_that_names_the_key_and_the_cure(overrides: list[str], words: list[str]):
    with pytest.raises(RFDNError) as error:
        load_training_options(EXAMPLE, overrides)
    message = str(error.value)
    assert '\n' not in message and message.startswith(str(EXAMPLE))
    assert all(word in message for word in words), message


def test_all_problems_are_listed_at_once():
    with pytest.raises(RFDNError) as error:
        load_training_options(EXAMPLE, ['train:total_iter=0', 'scael=3', 'logger:print_freq=no'])
    lines = str(error.value).splitlines()
    assert '3 problems' in lines[0] and len(lines) == 4


@pytest.mark.parametrize('text', ['1e-3', '1E-3', '.1e-2', '+1e-3', '0.001', '1.0e-3'])
def test_every_way_to_write_a_float_is_a_number(tmp_path: Path, text: str):
    path = tmp_path / 'options.yml'
    path.write_text(EXAMPLE.read_text().replace('lr: 5.0e-4', f'lr: {text}'))
    assert load_training_options(path)['train']['optim_g']['lr'] == 1e-3
    assert load_training_options(EXAMPLE, [f'train:optim_g:lr={text}'])['train']['optim_g']['lr'] == 1e-3


@pytest.mark.parametrize(
    ('content', 'words'),
    [
        ("name: !!python/object/apply:os.system ['touch ran']", ['line 1', 'no safe YAML']),
        ('name: [1, 2', ['no safe YAML']),
        ('name: a\nname: b', ["'name' twice"]),
        ('- a list', ['no option file']),
        ('', ['no option file']),
        (b'\xff\xfe\x00', ['no safe YAML']),
    ],
)
def test_files_that_are_no_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | bytes, words: list[str]
):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / 'options.yml'
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(RFDNError) as error:
        load_training_options(path)
    assert all(word in str(error.value) for word in words), str(error.value)
    assert not (tmp_path / 'ran').exists()


def test_a_missing_file():
    with pytest.raises(RFDNError, match=r'no option file .*nowhere\.yml'):
        load_training_options('nowhere.yml')


@pytest.mark.parametrize(
    ('entry', 'words'),
    [
        ('trian:total_iter=1', ['no section trian', 'did you mean train']),
        ('train', ['SECTION:KEY=VALUE']),
        ('train.total_iter=5', ['joined by colons: train:total_iter=5']),
        ('datasets.train:gt_size = 64', ['joined by colons: datasets:train:gt_size=64']),
        ('datasets:val=~', ['datasets.val: must be a section with keys of its own, not ~: give them, or leave']),
        ('val=5', ['val: must be a section with keys of its own, not 5.']),
        ('train:optim_g=~', ['train.optim_g: ', 'not ~']),
        ('train:optim_g:lr=~', ['train.optim_g.lr: ', 'not ~']),
        ('train:optim_g:betas:0=0.8', ['train:optim_g:betas is a list, no section', 'train:optim_g:betas=...']),
        ('train:total_iter:x=1', ['train:total_iter is 1000000, one value, no section']),
        ('train:optim_h:lr=1', ['no section train:optim_h', 'did you mean optim_g']),
        ('train:optim_g:betas=[0.9', ['no YAML value']),
        ("name=!!python/object/apply:os.system ['touch ran']", ['no YAML value']),
    ],
)
def test_force_yml_is_parsed_not_executed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: str, words: list[str]
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RFDNError) as error:
        load_training_options(EXAMPLE, [entry])
    assert all(word in str(error.value) for word in words), str(error.value)
    assert not (tmp_path / 'ran').exists()


def test_force_yml_takes_negative_numbers_lists_and_values_with_an_equals_sign():
    options = load_training_options(
        EXAMPLE, ['train:warmup_iter=-1', 'train:scheduler:milestones=[1, 2]', 'datasets:train:dataroot_gt=a=b.lmdb']
    )
    assert options['train']['warmup_iter'] == -1 and options['train']['scheduler']['milestones'] == [1, 2]
    assert options['datasets']['train']['dataroot_gt'] == 'a=b.lmdb'
