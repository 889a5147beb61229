"""RFDN, RFDN_L and E_RFDN for spandrel, the loader that chaiNNer and ComfyUI read models with.

    import rfdn_plugin.spandrel
    rfdn_plugin.spandrel.install()
    model = spandrel.ModelLoader().load_from_file('RFDN_AIM.pth')

spandrel hands over the weights alone, without the file's metadata, and has nobody to ask: what neither the shapes nor
`weights.identify.known` tell is found by a trial (`identify(by_trial=True)`). Weights that belong to no network
here are refused with the tensor that gives them away.
"""

from __future__ import annotations

from pathlib import Path

from spandrel import (
    MAIN_REGISTRY,
    Architecture,
    ArchSupport,
    ImageModelDescriptor,
    ModelTiling,
    SizeRequirements,
    StateDict,
)
from spandrel.util import KeyCondition

from rfdn_plugin import zoo
from rfdn_plugin.archs.rfdn import RFDN
from rfdn_plugin.weights.checkpoint import Checkpoint, read_checkpoint
from rfdn_plugin.weights.identify import identify
from rfdn_plugin.weights.loading import build_network
from rfdn_plugin.zoo import PREFIX, weights_path, zoo_folder, zoo_names


class RFDNArch(Architecture[RFDN]):
    """The RFDN family as spandrel's kind of architecture, recognised by its names."""

    def __init__(self) -> None:
        names = ('fea_conv', 'B1.c1_r', 'B1.c4', 'B1.c5', 'c.0', 'LR_conv', 'upsampler.0')
        super().__init__(id='RFDN', detect=KeyCondition.has_all(*(f'{name}.weight' for name in names)))

    def load(self, state_dict: StateDict) -> ImageModelDescriptor[RFDN]:
        """Build the network of a state dict.

        Raises:
            RFDNError: It belongs to no network here, or the trial is not clear (an untrained network).
        """
        checkpoint = Checkpoint(Path('the state dict'), dict(state_dict), 'flat')
        identity = identify(_shipped(checkpoint) or checkpoint, by_trial=True)
        network, arguments = build_network(identity), identity.arguments
        attention = arguments['attention'] or 'no attention'
        return ImageModelDescriptor(
            network,
            state_dict,
            architecture=self,
            purpose='SR' if identity.upscale > 1 else 'Restoration',
            tags=[f'{arguments["num_feat"]}nf', f'{arguments["num_block"]}nb', attention],
            supports_half=False,
            supports_bfloat16=True,
            scale=identity.upscale,
            input_channels=arguments['num_in_ch'],
            output_channels=arguments['num_out_ch'],
            size_requirements=SizeRequirements(minimum=network.minimum_size),
            # ESA's and CCA's gates come from the whole image: a tile does not see what the image sees.
            tiling=ModelTiling.SUPPORTED if arguments['attention'] is None else ModelTiling.DISCOURAGED,
        )


def _shipped(checkpoint: Checkpoint) -> Checkpoint | None:
    """The weights of the zoo or of the package that have these values, with the card, which spandrel does not hand over."""
    folders = dict.fromkeys((zoo_folder(), Path(zoo.__file__).parent))
    shipped = (read_checkpoint(weights_path(PREFIX + name, folder)) for folder in folders for name in zoo_names(folder))
    return next((other for other in shipped if other.fingerprint == checkpoint.fingerprint), None)


def install() -> None:
    """Make spandrel's loaders recognise the RFDN family; a second call changes nothing."""
    MAIN_REGISTRY.add(ArchSupport.from_architecture(RFDNArch()), ignore_duplicates=True)
