"""The sections of the option files of training and testing as typed structs: keys, types, ranges, and what each means.

`load` puts them together and checks what goes across sections; the docstring under a key is its text in editors. The
sections of `datasets` are in `datasets`. Registered losses, metrics and the classes of torch.optim are looked up, and their
arguments checked.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from rfdn_plugin.options.base import OfTwoNetworks, Ours, Section
from rfdn_plugin.options.registry import check_arguments, check_metric, check_registered
from rfdn_plugin.options.yaml_io import did_you_mean

Registered = Annotated[dict[str, Any], AfterValidator(lambda value: check_registered('LOSS', value))]
PositiveInt = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, lt=1)]


class PathOptions(Section):
    """Weights and training states to start from."""

    pretrain_network_g: str | None = None
    """Weights to start from, of any layout; `~` for none."""
    param_key_g: str | None = 'params'
    """Which weights of the file: `params`, or `params_ema` for the averaged ones."""
    strict_load_g: bool = True
    """`false` allows the upsampler to be of another scale."""
    resume_state: str | None = None
    """A `.state` file to go on from; `--auto_resume` finds the newest."""
    ignore_resume_networks: list[str] | None = None
    """Networks, as `network_g`, that keep what `pretrain_network_*` names when a training goes on."""
    pretrain_network_d: Annotated[str | None, OfTwoNetworks()] = None
    """Weights of the discriminator to start from; `~` for none."""
    param_key_d: Annotated[str | None, OfTwoNetworks()] = 'params'
    """Which weights of that file."""
    strict_load_d: Annotated[bool, OfTwoNetworks()] = True
    """`false` allows the discriminator to differ from that file."""


class Optimizer(BaseModel):
    """An optimizer of `torch.optim`, or Muon for convolutions."""

    model_config = ConfigDict(extra='allow', use_attribute_docstrings=True)
    type: str
    """A class of `torch.optim`, or `Muon` (ours: torch's takes no convolutions); its arguments stand beside it."""
    lr: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    """Learning rate."""

    @model_validator(mode='after')
    def _known(self) -> Optimizer:
        import torch

        from rfdn_plugin.utils.optimizers import find_optimizer

        cls = find_optimizer(self.type)
        if cls is None:
            raise ValueError(f'{self.type!r} is no optimizer of torch.optim{did_you_mean(self.type, dir(torch.optim))}')
        arguments = self.__pydantic_extra__ or {}
        check_arguments(self.type, cls.__init__, arguments, given={'self', 'params', 'lr'})
        try:
            cls([torch.nn.Parameter(torch.zeros(1))], **{'lr': self.lr, **arguments})
        except Exception as error:  # torch's optimizers check some arguments, and fall over the others
            reason = str(error) if isinstance(error, ValueError | TypeError) else f'{type(error).__name__}: {error}'
            raise ValueError(f'{self.type} does not take these arguments ({reason})') from None
        return self


class MultiStepScheduler(Section):
    """A learning rate that falls in steps."""

    type: Literal['MultiStepLR', 'MultiStepRestartLR']
    """The same class of BasicSR by two names."""
    milestones: list[PositiveInt]
    """Iterations at which the learning rate is multiplied by gamma."""
    gamma: Annotated[float, Field(gt=0)] = 0.1
    """The factor of the learning rate at each milestone."""
    restarts: list[int] = [0]
    """Iterations at which the learning rate begins again."""
    restart_weights: list[float] = [1]
    """The share of the learning rate that each restart begins with."""

    @model_validator(mode='after')
    def _one_weight_a_restart(self) -> MultiStepScheduler:
        if len(self.restarts) != len(self.restart_weights):
            raise ValueError(
                f'{len(self.restarts)} restarts need as many restart_weights, not {len(self.restart_weights)}'
            )
        return self


class CosineScheduler(Section):
    """A learning rate that falls along a cosine, once or several times."""

    type: Literal['CosineAnnealingRestartLR']
    """The class of BasicSR."""
    periods: list[PositiveInt]
    """Iterations of each cosine."""
    restart_weights: list[float] = [1]
    """The share of the learning rate that each cosine begins with."""
    eta_min: Annotated[float, Field(ge=0)] = 0
    """The learning rate at the end of a cosine."""

    @model_validator(mode='after')
    def _one_weight_a_period(self) -> CosineScheduler:
        if len(self.periods) != len(self.restart_weights):
            raise ValueError(
                f'{len(self.periods)} periods need as many restart_weights, not {len(self.restart_weights)}'
            )
        return self


class TrainSection(Section):
    """Section `train`: optimizer, schedule, losses and length of a training."""

    ema_decay: Share = 0
    """Decay of the exponential moving average of the weights; 0 for none. Where it is on, validation uses it."""
    optim_g: Optimizer
    """The optimizer of the network."""
    scheduler: Annotated[MultiStepScheduler | CosineScheduler, Field(discriminator='type')]
    """How the learning rate changes over the training."""
    total_iter: PositiveInt
    """Iterations after which the training ends."""
    warmup_iter: int = -1
    """Iterations over which the learning rate rises linearly; -1 for none."""
    pixel_opt: Registered | None = None
    """A loss of BasicSR's registry and its arguments."""
    perceptual_opt: Registered | None = None
    """A loss on the features of a VGG, `PerceptualLoss`, and its arguments; its weights are fetched once."""
    fft_opt: Annotated[Registered | None, Ours()] = None
    """A further loss, added to the others: `FFTLoss` with a weight of 0.05 as in SAFMN (ours)."""
    precision: Annotated[Literal['auto', 'fp32', 'bf16', 'fp16'], Ours()] = 'fp32'
    """Precision of the network's arithmetic (autocast); weights, optimizer and losses stay in fp32. `auto`: bf16 where the
    processor or GPU is fast with it, else fp32 (ours)."""
    channels_last: Annotated[bool, Ours()] = False
    """Keep images and weights with the channels innermost: faster convolutions on most devices (ours)."""
    compile: Annotated[
        Literal['default', 'reduce-overhead', 'max-autotune', 'max-autotune-no-cudagraphs'] | bool, Ours()
    ] = False
    """Train through torch.compile, with the mode of that name: minutes at the start, faster steps on a GPU (ours)."""
    accum_iter: Annotated[PositiveInt, Ours()] = 1
    """Parts in which a batch goes through the network: the same gradient with less memory (ours)."""
    grad_clip: Annotated[Annotated[float, Field(gt=0)] | None, Ours()] = None
    """Largest norm of all gradients together; longer ones are shortened to it (ours)."""
    loss_limit: Annotated[Annotated[float, Field(gt=1)] | None, Ours()] = 100
    """A loss that is so many times its median stops the training, as NaN does; `~` for NaN only (ours)."""
    upsampler_start: Annotated[Literal['resampled', 'random'], Ours()] = 'random'
    """When fine-tuning from another scale: resample the upsampler's kernel (ours), or leave it random (BasicSR's way)."""

    gan_opt: Annotated[Registered | None, OfTwoNetworks()] = None
    """The adversarial loss, `GANLoss` for example, and its arguments."""
    ldl_opt: Annotated[Registered | None, OfTwoNetworks()] = None
    """A further loss of SRGANModel and what is made from it, on the places where artifacts are likely."""
    optim_d: Annotated[Optimizer | None, OfTwoNetworks()] = None
    """The optimizer of the discriminator."""
    net_d_iters: Annotated[PositiveInt, OfTwoNetworks()] = 1
    """The network is trained in every iteration of so many; the discriminator in each."""
    net_d_init_iters: Annotated[Annotated[int, Field(ge=0)], OfTwoNetworks()] = 0
    """Iterations at the start in which the discriminator is trained alone."""

    @model_validator(mode='after')
    def _has_a_loss(self) -> TrainSection:
        if self.pixel_opt is None and self.perceptual_opt is None and self.gan_opt is None:
            raise ValueError('neither pixel_opt nor perceptual_opt: give a loss, for example pixel_opt: {type: L1Loss}')
        return self


class ValSection(Section):
    """Section `val`: what is measured and saved in validations and tests."""

    val_freq: PositiveInt | None = None
    """Iterations between validations (training only)."""
    save_img: bool
    """Write every upscaled image."""
    suffix: str | None = None
    """Added to the names of written images; `~` for the experiment's name."""
    pbar: bool = False
    """Show a progress bar for each set."""
    metrics: dict[str, Annotated[dict[str, Any], AfterValidator(lambda value: check_metric(value))]] | None = None
    """Metrics of BasicSR's registry by the name to show them under."""


class Wandb(Section):
    """Section `logger.wandb`: the project of Weights & Biases that gets losses and results (package `wandb`)."""

    project: str | None = None
    """The project; `~` for none."""
    resume_id: str | None = None
    """The run to go on with; `~` for a new one."""


class Best(Section):
    """Section that names the result by which the best weights are chosen."""

    metric: str
    """A name in `val.metrics`."""
    dataset: str
    """The `name` of a validation set."""


class LoggerSection(Section):
    """Section `logger`: what is logged and kept, and how often."""

    print_freq: PositiveInt
    """Iterations between lines of the log."""
    save_checkpoint_freq: PositiveInt
    """Iterations between checkpoints."""
    keep_checkpoints: Annotated[PositiveInt | None, Ours()] = None
    """How many of them to keep, the newest; `~` for all. The last and the best are kept in any case (ours)."""
    save_best: Annotated[Best | None, Ours()] = None
    """Keep the weights of the best validation as `net_g_best.pth` (ours)."""
    use_tb_logger: bool
    """Write for TensorBoard (package `tensorboard`)."""
    wandb: Wandb | None = None
    """Weights & Biases; `~` for none."""

    @model_validator(mode='after')
    def _wandb_reads_tensorboard(self) -> LoggerSection:
        if self.wandb is not None and self.wandb.project is not None and not self.use_tb_logger:
            raise ValueError('wandb is fed by the TensorBoard logger: set use_tb_logger: true, or wandb.project: ~')
        return self


class DistParams(Section):
    """How several processes talk; read with `--launcher slurm` alone, torchrun says it otherwise."""

    backend: Literal['nccl', 'gloo'] = 'nccl'
    """`nccl` between GPUs, `gloo` between CPUs."""
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """The port of the first process; `~` for 29500."""
