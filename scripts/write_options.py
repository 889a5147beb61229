#!/usr/bin/env python3
"""Write the option files below options/train and options/test, and the schemas of all: one table of networks, two
recipes, many plain files.

The files are complete BasicSR YAML and are read on their own; this script only keeps them alike. After a change to it or
to what the options may say, run `python scripts/write_options.py` and commit what it wrote;
`tests/options` fails where the two differ.

There is a file for what somebody starts from: another network type, stage or test is a few `--force_yml` entries away
(docs/training.md).
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
SCALES = (2, 3, 4)
LR_PATCH = 64
BENCHMARKS = ('Set5', 'Set14', 'B100', 'Urban100', 'Manga109')


@dataclass(frozen=True)
class Network:
    """A row of the table: what an option file says of a network.

    Attributes:
        type: The registered name.
        arguments: Beside `upscale`, with a comment each.
        title: In the first line of its files.
        dataset: DIV2K or DF2K.
        notes: Comment lines below the title.
        variant: Distinguishes files of one network (an ablation row); part of the experiment's name.
        scales: For which there are files.
        color: 'y' for a network that sees brightness alone.
        lr: Learning rate at the start.
        stage2: The scales with a file that goes on from the trained weights.
        tests: Whether there are files for `rfdn test`; the leaderboard's files compare the other networks.
    """

    type: str
    arguments: dict[str, tuple[object, str]]
    title: str
    dataset: str = 'DIV2K'
    notes: tuple[str, ...] = ()
    variant: str = ''
    scales: tuple[int, ...] = field(default=SCALES)
    color: str = ''
    lr: str = '5.0e-4'
    stage2: tuple[int, ...] = ()
    tests: bool = False

    @property
    def name(self) -> str:
        return f'{self.type}_{self.variant}' if self.variant else self.type

    @property
    def folder(self) -> str:
        """The folder of its files below options/train and options/test."""
        return 'ablation' if self.variant else self.type


def _plain(**arguments: object) -> dict[str, tuple[object, str]]:
    """Arguments without a comment."""
    return {name: (value, '') for name, value in arguments.items()}


_RFDN = _plain(num_feat=48, num_block=6, distillation_rate=0.5, attention='cca', block_residual=True)

NETWORKS = (
    Network(
        type='RFDN',
        arguments=_RFDN,
        title='RFDN (arXiv 2009.11551)',
        stage2=(2,),
        tests=True,
    ),
    Network(
        type='RFDN_L',
        arguments=_RFDN | _plain(num_feat=52),
        title='RFDN-L (arXiv 2009.11551)',
        tests=True,
    ),
    Network(
        type='E_RFDN',
        arguments=_RFDN | _plain(num_feat=50, num_block=4, attention='esa', block_residual=False),
        title='E-RFDN, winner of AIM 2020 (arXiv 2009.11551, section 4.5)',
        tests=True,
        dataset='DF2K',
        notes=(
            'The challenge entry was trained on DF2K (DIV2K + Flickr2K); its further recipe is not published, so this',
            "is the paper's for RFDN.",
        ),
    ),
    Network(
        type='IMDN',
        arguments=_plain(num_feat=64, num_block=6, distillation_rate=0.25),
        title='IMDN (arXiv 1909.11856)',
        notes=(
            'The recipe is that of RFDN, for a fair comparison; the published weights were made with HR patches of',
            '192 at every scale, batch 16 and Adam 2e-4 (Zheng222/IMDN, train_IMDN.py). IMDN-R (arXiv 2009.11551, section',
            '3.1) is the same with --force_yml network_g:type=IMDN_R and a name of its own.',
        ),
        scales=(2, 4),
    ),
    Network(
        type='IDN',
        arguments=_plain(num_feat=64, num_block=4),
        title='IDN (arXiv 1803.09454)',
        notes=('It is trained on Y alone. The recipe is that of RFDN, for a fair comparison; its own is another.',),
        scales=(2, 4),
        color='y',
    ),
    Network(
        type='RFANet',
        arguments=_plain(num_feat=64, num_block=30),
        title='RFANet (CVPR 2020)',
        notes=(
            'The recipe is that of RFDN with the smaller learning rate that a deep network wants. 11 million parameters:',
            'for a GPU with room for them, or with a smaller batch.',
        ),
        scales=(2, 4),
        lr='1.0e-4',
    ),
    *(
        Network(
            type='RFDN',
            arguments=_RFDN
            | {'shallow_residual': (shallow_residual, 'SRB'), 'feature_distillation': (feature_distillation, 'FDC')},
            title=f'Ablation of RFDN (arXiv 2009.11551, section 4.3): {title}',
            notes=(
                'The exact shapes of the ablation are not published; see RFDB in rfdn_plugin/archs/rfdn.py. The last row,',
                'both, is RFDN: options/train/RFDN.',
            ),
            variant=variant,
            scales=(2, 4),
        )
        for variant, title, shallow_residual, feature_distillation in (
            ('base', 'plain convolutions', False, False),
            ('SRB', 'shallow residuals', True, False),
            ('FDC', 'distillation connections', False, True),
        )
    ),
)


@dataclass(frozen=True)
class Recipe:
    """What distinguishes the ways to train a network: the text of some sections of its file."""

    suffix: str
    start: str
    summary: str
    path: str
    upsampler: str
    lr: str
    scheduler: str
    total_iter: int
    loss: str


def first_stage(network: Network, scale: int) -> Recipe:
    """The paper's recipe: x2 from scratch, the other scales from it."""
    scheduler = """  scheduler:
    type: MultiStepLR
    milestones: [200000, 400000, 600000, 800000]
    gamma: 0.5
"""
    common = {'lr': network.lr, 'scheduler': scheduler, 'total_iter': 1_000_000, 'loss': 'L1Loss'}
    lr = network.lr.replace('.0e', 'e')
    summary = f"""\
# Recipe of the paper: batch 64 of {LR_PATCH}x{LR_PATCH} LR patches, flips and rotations, L1, Adam {lr} halved every
# 200K of 1M iterations."""
    if scale == 2:
        path = """path:
  pretrain_network_g: ~
  strict_load_g: true
  resume_state: ~
"""
        return Recipe(suffix='scratch', start='from scratch', summary=summary, path=path, upsampler='', **common)
    path = f"""path:
  pretrain_network_g: experiments/{experiment(network, 2)}/models/net_g_latest.pth
  param_key_g: params_ema
  strict_load_g: false  # the upsampler, and only it, has other shapes at another scale
  resume_state: ~
"""
    upsampler = "  upsampler_start: resampled  # ours: from the x2 upsampler's kernel; random is BasicSR's behaviour\n"
    start = 'fine-tuned from its x2 weights'
    return Recipe(suffix='finetune', start=start, summary=summary, path=path, upsampler=upsampler, **common)


def second_stage(network: Network, scale: int) -> Recipe:
    """Ours: the trained weights again, with a small learning rate and the loss that PSNR measures."""
    path = f"""path:
  pretrain_network_g: experiments/{experiment(network, scale)}/models/net_g_latest.pth
  param_key_g: params_ema
  strict_load_g: true
  resume_state: ~
"""
    scheduler = """  scheduler:
    type: CosineAnnealingRestartLR
    periods: [250000]
    restart_weights: [1]
    eta_min: 1.0e-7
"""
    summary = """\
# Not of the paper: a warm start with L2, which is what PSNR measures, and a cosine from 1e-4 over 250K iterations,
# after the habit of later challenge winners (RLFN, arXiv 2205.07514)."""
    return Recipe(
        suffix='stage2',
        start='second stage, from the weights of its first',
        summary=summary,
        path=path,
        upsampler='',
        lr='1.0e-4',
        scheduler=scheduler,
        total_iter=250_000,
        loss='MSELoss',
    )


def experiment(network: Network, scale: int, suffix: str | None = None) -> str:
    return f'train_{network.name}_x{scale}_{suffix or ("scratch" if scale == 2 else "finetune")}'


def train_file(network: Network, scale: int, recipe: Recipe) -> str:
    comment = '\n'.join(f'# {note}' for note in network.notes) + ('\n' if network.notes else '')
    color = f'    color: {network.color}\n' if network.color else ''
    name = experiment(network, scale, recipe.suffix)
    return f"""# yaml-language-server: $schema=../../schemas/train.json
# {network.title}, x{scale} {recipe.start} on {network.dataset}.
{comment}{recipe.summary} Run: rfdn train -opt options/train/{network.folder}/{name}.yml

name: {name}
model_type: RFDNModel
scale: {scale}
num_gpu: auto
manual_seed: 0

datasets:
  train:
    name: {network.dataset}
    type: FastPairedImageDataset  # ours: PairedImageDataset, read faster
    sample_seed: 0  # ours: crops and flips that never repeat and that a resumed training takes up exactly
    dataroot_gt: datasets/{network.dataset}/HR_sub.lmdb
    dataroot_lq: datasets/{network.dataset}/LR_bicubic_X{scale}_sub.lmdb
{color}    io_backend:
      type: lmdb

    gt_size: {LR_PATCH * scale}
    use_hflip: true
    use_rot: true

    num_worker_per_gpu: 6
    batch_size_per_gpu: 64  # on one GPU; divide it by the number of GPUs
    dataset_enlarge_ratio: 100
    prefetch_mode: ~

  val:
    name: Set5
    type: PairedImageDataset
    dataroot_gt: datasets/Set5/HR
    dataroot_lq: datasets/Set5/LR_bicubic/X{scale}
{color}    filename_tmpl: '{{}}x{scale}'
    io_backend:
      type: disk

{_network(network, scale)}
{recipe.path}
train:
  ema_decay: 0.999  # ours, the paper has none: validated and saved beside the raw weights; 0 turns it off
{recipe.upsampler}  optim_g:
    type: Adam
    lr: {recipe.lr}
    weight_decay: 0
    betas: [0.9, 0.99]

{recipe.scheduler}
  total_iter: {recipe.total_iter}
  warmup_iter: -1

  pixel_opt:
    type: {recipe.loss}
    loss_weight: 1.0
    reduction: mean

val:
  val_freq: 5000
  save_img: false
{_metrics(scale)}
logger:
  print_freq: 100
  save_checkpoint_freq: 5000
  keep_checkpoints: 5  # ours: the newest, beside the last and the best; ~ keeps all
  save_best: {{metric: psnr, dataset: Set5}}  # ours: as net_g_best.pth
  use_tb_logger: false
  wandb:
    project: ~
    resume_id: ~
"""


def test_file(network: Network, scale: int) -> str:
    color = f'    color: {network.color}\n' if network.color else ''
    sets = '\n'.join(
        f"""  test_{number}:
    name: {name}
    type: PairedImageDataset
    dataroot_gt: datasets/{name}/HR
    dataroot_lq: datasets/{name}/LR_bicubic/X{scale}
{color}    filename_tmpl: '{{}}x{scale}'
    io_backend:
      type: disk
"""
        for number, name in enumerate(BENCHMARKS, start=1)
    )
    name = f'test_{network.name}_x{scale}'
    return f"""# yaml-language-server: $schema=../../schemas/test.json
# {network.title}, x{scale}: PSNR and SSIM on Y, {scale} pixels cropped from each border, on five benchmark sets.
# Run: rfdn test -opt options/test/{network.folder}/{name}.yml

name: {name}
model_type: RFDNModel
scale: {scale}
num_gpu: auto
manual_seed: 0

datasets:
{sets}
{_network(network, scale)}
path:
  pretrain_network_g: experiments/{experiment(network, scale)}/models/net_g_latest.pth
  param_key_g: params_ema
  strict_load_g: true

val:
  save_img: true
  suffix: ~  # add a suffix to the names of the images; ~ adds the name of this test
{_metrics(scale)}"""


def _network(network: Network, scale: int) -> str:
    channels = 1 if network.color else 3
    lines = ['network_g:', f'  type: {network.type}', f'  num_in_ch: {channels}', f'  num_out_ch: {channels}']
    lines.append(f'  upscale: {scale}')
    for key, (value, comment) in network.arguments.items():
        lines.append(f'  {key}: {_scalar(value)}' + (f'  # {comment}' if comment else ''))
    return '\n'.join(lines) + '\n'


def _scalar(value: object) -> str:
    if value is None:
        return '~'
    return str(value).lower() if isinstance(value, bool) else str(value)


def _metrics(scale: int) -> str:
    def metric(name: str) -> str:
        return f"""    {name}:
      type: calculate_{name}
      crop_border: {scale}
      test_y_channel: true
"""

    return '  metrics:\n' + metric('psnr') + metric('ssim')


def all_files() -> dict[Path, str]:
    """Every option file that this script keeps, by its path below the repository."""
    files: dict[Path, str] = {}
    for network in NETWORKS:
        for scale in network.scales:
            for stage in (first_stage, second_stage) if scale in network.stage2 else (first_stage,):
                recipe = stage(network, scale)
                path = Path('options/train', network.folder, f'{experiment(network, scale, recipe.suffix)}.yml')
                files[path] = train_file(network, scale, recipe)
            if network.tests:
                path = Path('options/test', network.folder, f'test_{network.name}_x{scale}.yml')
                files[path] = test_file(network, scale)
    return files


def main() -> None:
    for path, text in all_files().items():
        target = REPOSITORY / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding='utf-8')
    for kind in ('train', 'test', 'leaderboard'):
        target = REPOSITORY / 'options/schemas' / f'{kind}.json'
        subprocess.run([sys.executable, '-m', 'rfdn_plugin', 'schema', kind, '-o', str(target)], check=True)
    print(f'{len(all_files())} option files and 3 schemas written below options/.')


if __name__ == '__main__':
    main()
