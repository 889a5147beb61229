"""Option files with the structure of BasicSR's published ones: which sections and keys they have, and of what type.

`tests/options/test_published.py` puts RFDN into them. Folders, sizes and lengths are the tests' own.
"""

from __future__ import annotations

HEAD = """
name: {name}
model_type: {model}
scale: 2
num_gpu: {num_gpu}
manual_seed: 0

datasets:
  train:
    name: photographs
    type: PairedImageDataset
    dataroot_gt: {data}/HR_sub.lmdb
    dataroot_lq: {data}/LR_bicubic_X2_sub.lmdb
    filename_tmpl: '{}'
    io_backend:
      type: lmdb
    gt_size: 48
    use_hflip: true
    use_rot: true
    use_shuffle: true
    num_worker_per_gpu: 0
    batch_size_per_gpu: 2
    dataset_enlarge_ratio: 100
    prefetch_mode: ~
  val:
    name: photographs_again
    type: PairedImageDataset
    dataroot_gt: {data}/HR_sub.lmdb
    dataroot_lq: {data}/LR_bicubic_X2_sub.lmdb
    io_backend:
      type: lmdb
"""

PATHS = """
path:
  pretrain_network_g: ~
  strict_load_g: true
  resume_state: ~
"""

ADAM = '{type: Adam, lr: !!float 1e-4, weight_decay: 0, betas: [0.9, 0.99]}'

TRAIN = f"""
train:
  ema_decay: 0.999
  optim_g: {ADAM}
  scheduler:
    type: MultiStepLR
    milestones: [200000]
    gamma: 0.5
  total_iter: 2
  warmup_iter: -1
  pixel_opt:
    type: L1Loss
    loss_weight: 1.0
    reduction: mean
"""

TAIL = """
val:
  val_freq: !!float 5e3
  save_img: false
  metrics:
    psnr:
      type: calculate_psnr
      crop_border: 2
      test_y_channel: false

logger:
  print_freq: 1
  save_checkpoint_freq: !!float 5e3
  use_tb_logger: false
  wandb:
    project: ~
    resume_id: ~

dist_params:
  backend: nccl
  port: 29500
"""

NETWORKS = {
    'EDSR': """
network_g:
  type: EDSR
  num_in_ch: 3
  num_out_ch: 3
  num_feat: 64
  num_block: 16
  upscale: 2
  res_scale: 1
  img_range: 255.
  rgb_mean: [0.4488, 0.4371, 0.4040]
""",
    'RCAN': """
network_g:
  type: RCAN
  num_in_ch: 3
  num_out_ch: 3
  num_feat: 64
  num_group: 10
  num_block: 20
  squeeze_factor: 16
  upscale: 2
  res_scale: 1
  img_range: 255.
  rgb_mean: [0.4488, 0.4371, 0.4040]
""",
    'SwinIR': """
network_g:
  type: SwinIR
  upscale: 2
  in_chans: 3
  img_size: 48
  window_size: 8
  img_range: 1.
  depths: [6, 6]
  embed_dim: 60
  num_heads: [6, 6]
  mlp_ratio: 2
  upsampler: 'pixelshuffle'
  resi_connection: '1conv'
""",
    'RRDBNet': """
network_g:
  type: RRDBNet
  num_in_ch: 3
  num_out_ch: 3
  scale: 2
  num_feat: 64
  num_block: 23
""",
}

RFDN = """
network_g:
  type: RFDN
  upscale: 2
  num_feat: 12
  num_block: 2
"""

_GAN_TRAIN = f"""
train:
  ema_decay: 0.999
  optim_g: {ADAM}
  optim_d: {ADAM}
  scheduler:
    type: MultiStepLR
    milestones: [200000]
    gamma: 0.5
  total_iter: 2
  warmup_iter: -1
  pixel_opt:
    type: L1Loss
    loss_weight: !!float 1e-2
    reduction: mean
  gan_opt:
    type: GANLoss
    gan_type: vanilla
    real_label_val: 1.0
    fake_label_val: 0.0
    loss_weight: !!float 5e-3
  net_d_iters: 1
  net_d_init_iters: 0
"""

_REAL_DATA = """
name: {name}
model_type: RealESRGANModel
scale: 2
num_gpu: {num_gpu}
manual_seed: 0

l1_gt_usm: true
percep_gt_usm: true
gan_gt_usm: false

resize_prob: [0.2, 0.7, 0.1]
resize_range: [0.15, 1.5]
gaussian_noise_prob: 0.5
noise_range: [1, 30]
poisson_scale_range: [0.05, 3]
gray_noise_prob: 0.4
jpeg_range: [30, 95]
second_blur_prob: 0.8
resize_prob2: [0.3, 0.4, 0.3]
resize_range2: [0.3, 1.2]
gaussian_noise_prob2: 0.5
noise_range2: [1, 25]
poisson_scale_range2: [0.05, 2.5]
gray_noise_prob2: 0.4
jpeg_range2: [30, 95]
gt_size: 48
queue_size: 4

datasets:
  train:
    name: photographs
    type: RealESRGANDataset
    dataroot_gt: {photographs}
    meta_info: {meta_info}
    io_backend:
      type: disk
    blur_kernel_size: 21
    kernel_list: ['iso', 'aniso', 'generalized_iso', 'generalized_aniso', 'plateau_iso', 'plateau_aniso']
    kernel_prob: [0.45, 0.25, 0.12, 0.03, 0.12, 0.03]
    sinc_prob: 0.1
    blur_sigma: [0.2, 3]
    betag_range: [0.5, 4]
    betap_range: [1, 2]
    blur_kernel_size2: 21
    kernel_list2: ['iso', 'aniso', 'generalized_iso', 'generalized_aniso', 'plateau_iso', 'plateau_aniso']
    kernel_prob2: [0.45, 0.25, 0.12, 0.03, 0.12, 0.03]
    sinc_prob2: 0.1
    blur_sigma2: [0.2, 1.5]
    betag_range2: [0.5, 4]
    betap_range2: [1, 2]
    final_sinc_prob: 0.8
    gt_size: 48
    use_hflip: true
    use_rot: false
    use_shuffle: true
    num_worker_per_gpu: 0
    batch_size_per_gpu: 2
    dataset_enlarge_ratio: 1
    prefetch_mode: ~
"""

FILES = {
    'EDSR': ('SRModel', HEAD + '{network}' + PATHS + TRAIN + TAIL),
    'RCAN': ('SRModel', HEAD + '{network}' + PATHS + TRAIN + TAIL),
    'SwinIR': ('SwinIRModel', HEAD + '{network}' + PATHS + TRAIN + TAIL),
    'ESRGAN': (
        'ESRGANModel',
        HEAD
        + '{network}\nnetwork_d:\n  type: UNetDiscriminatorSN\n  num_in_ch: 3\n  num_feat: 8\n'
        + PATHS
        + _GAN_TRAIN
        + TAIL,
    ),
    'Real-ESRGAN': (
        'RealESRGANModel',
        _REAL_DATA
        + '{network}\nnetwork_d:\n  type: UNetDiscriminatorSN\n  num_in_ch: 3\n  num_feat: 8\n  skip_connection: true\n'
        + PATHS.replace('strict_load_g', 'param_key_g: params_ema\n  strict_load_g')
        + _GAN_TRAIN
        + TAIL.partition('\nlogger:')[1]
        + TAIL.partition('\nlogger:')[2],
    ),
}
"""The model type and the text of each file; `network`, `name`, `data`, `photographs`, `meta_info`, `num_gpu` are open."""


def published(kind: str, network: str, **places: object) -> str:
    """The text of a file.

    Args:
        kind: A key of `FILES`.
        network: Its section `network_g`.
        places: What else stands open in it.
    """
    model, text = FILES[kind]
    values = {'name': f'try_{kind}', 'model': model, 'num_gpu': 0, 'network': network, **places}
    for key, value in values.items():
        text = text.replace(f'{{{key}}}', str(value))
    return text
