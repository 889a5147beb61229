"""Public weights that are recognised by their fingerprint, for what their names and shapes do not show.

A fingerprint (`Checkpoint.fingerprint`) belongs to the values, not to the file: it holds for the same weights in any
layout or format. What is said of each file was read in the code that its authors publish beside it, and tried on Set5.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class KnownWeights:
    """Origin, network and licence of weights that others have published, found by their fingerprint.

    Attributes:
        name: Title and origin.
        type: The network here that they belong to; None where this package has none.
        undetermined: Its arguments that neither names nor shapes of the weights show.
        licence: As the source repository states it.
        refusal: Where `type` is None: what the network is, and the tensor or property that gives it away.
    """

    name: str
    type: str | None
    undetermined: dict[str, Any] = field(default_factory=dict)
    licence: str = 'none stated'
    refusal: str = ''


_AIM_2020 = {'img_range': 255.0, 'block_residual': False, 'shallow_residual': True}
_NTIRE_2022 = 'ofsoundof/NTIRE2022_ESR'

KNOWN_WEIGHTS: dict[str, KnownWeights] = {
    'd6cafee3fc33319a9d3336f0dae8cee929b6b6c7c7b90c5718e8ddf1ba51fb98': KnownWeights(
        'E-RFDN, winner of AIM 2020 (njulj/RFDN, RFDN_AIM.pth)', 'E_RFDN', _AIM_2020, 'MIT'
    ),
    '6eb8010d0f5d566b6bef5b4ebbee3eebe9a01f13186ec6198050fd4449bb57d1': KnownWeights(
        'E-RFDN of NTIRE 2024, RFDN_AIM within 1.3e-5 (Amazingren/NTIRE2024_ESR, team30_RFDN.pkl)',
        'E_RFDN',
        _AIM_2020,
        'MIT',
    ),
    'ee25d4256227dfc765cc6de56736252218a1a7d5bd29cdb0b3125b218e830b0d': KnownWeights(
        f'RFDN40, E-RFDN with 40 channels ({_NTIRE_2022}, team22_rep_rfdn.pth)',
        'E_RFDN',
        {'img_range': 1.0, 'block_residual': False, 'shallow_residual': True},
        'MIT',
    ),
    **{
        fingerprint: KnownWeights(f'IMDN x{scale} (Zheng222/IMDN, IMDN_x{scale}.pth)', 'IMDN', {'img_range': 1.0})
        for scale, fingerprint in (
            (2, '5804854a86c12a6ed7b59b2392238068621f707fe86464f8a8ef7f91dbcd55fa'),
            (3, 'f56eaf414c663457fb796dc6f8f892042d5c05a57476eb91437cd7ce213b4253'),
            (4, 'a74e579bb8ea77e5204d5465833571f4388968f24617ac22bbed45357e97c68b'),
        )
    },
    **{
        fingerprint: KnownWeights(
            f'IDN x{scale} (Zheng222/IDN-Caffe, IDN_x{scale}.caffemodel)', 'IDN', {'img_range': 1.0, 'upscale': scale}
        )
        for scale, fingerprint in (
            (2, 'bba17af6ff1b6c81ebd380880480edd4c0e1ae33a008e716a18633eead663f79'),
            (3, 'ed8a1158f2dba69fa71b59f004a4415478e12f8956d2e1fdb0896d27ba710537'),
            (4, 'c745586f6b4725543c39ea1d37da74ee2c046ea398990c58047292ecd5833f95'),
        )
    },
    'e416400b5ebbdcfbc024ca208064c229cb40af94097c539a8a1fa6ca51897f4f': KnownWeights(
        f'RFDN-dilated ({_NTIRE_2022}, team13_rfdn_dilated.pth)',
        None,
        licence='MIT',
        refusal='B1.c2_r and B1.c3_r are convolutions with dilation 2 and 5, which their shapes do not show',
    ),
    '6538a0afc38ee106d3ac3781c2acf8fda61fdf2709088a1dd5d51603ca366c2d': KnownWeights(
        f'FasterRFDN ({_NTIRE_2022}, team25_frfdn.pth)',
        None,
        licence='MIT',
        refusal='B1.c2_r.weight is 32x32x3x3: its blocks halve their width at each step',
    ),
    '71f2b90634b61430b09174fed3674520ecb8af21f0fd433414297ad5fccca9aa': KnownWeights(
        f'RFDN pruned from 50 to 40 channels ({_NTIRE_2022}, team40_rfdn_pruned.pth)',
        None,
        licence='MIT',
        refusal='B1.esa.conv1.weight is 12x40x1x1: its attention kept the 12 channels that belong to 50',
    ),
    'e572c5f4b204be478d038a00bbcb70412da8d55c6fe8735723a45bbc10ac2f5a': KnownWeights(
        f'ARFDN ({_NTIRE_2022}, team14_arfdn.pth)',
        None,
        licence='MIT',
        refusal='B1.c1_l1.weight is 25x50x3x1: its blocks are made of 3x1 and 1x3 convolutions',
    ),
    'a122eaca556dcd593414b63b853215573d305bfaf5b9c2a408213fbc5e5090c9': KnownWeights(
        f'the IMDN baseline of AIM 2019 ({_NTIRE_2022}, imdn_baseline.pth)',
        None,
        licence='MIT',
        refusal='model.1.sub.0.conv1x1.weight: its blocks have no attention and its body no fusion',
    ),
    'd48aeeb471d594b19c253dd07ea04fee0b1ab3a613108314789524a220d8e58d': KnownWeights(
        f'RLFN ({_NTIRE_2022}, team04_rlfn.pth)',
        None,
        licence='MIT',
        refusal='B1.c5.weight is 46x46x1x1: its blocks distil nothing',
    ),
    'fdf551dd568ed6d3a3e11ceb3dcbbccc0735b2acb75e125a0568eb5c07e2fba2': KnownWeights(
        f'BSRN-S ({_NTIRE_2022}, team18_bsrn.pth)',
        None,
        licence='MIT',
        refusal='fea_conv.pw.weight is 48x12: its convolutions are separated into pointwise and depthwise ones',
    ),
}
