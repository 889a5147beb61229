"""Which LR image belongs to which HR image, by their names: the one rule of every command.

Names are compared without their suffixes. An LR image is named after its HR image by a template, as BasicSR's
`filename_tmpl`: `{}` stands for the name of the HR image.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePath

from rfdn_plugin.utils.errors import RFDNError
from rfdn_plugin.utils.text import some_of

# DIV2K's bicubic and its mild and other degradations, the same name, and what other packs of test sets use.
_TEMPLATES = (
    *('{}x{scale}', '{}', '{}x{scale}m', '{}x{scale}w', '{}x{scale}d', '{}_x{scale}', '{}-x{scale}'),
    *('{}_LR', '{}_LR_x{scale}', '{}_LRx{scale}', '{}_x{scale}_LR', '{}_lr', '{}_SRF_{scale}_LR'),
    *('{}_bicubic', '{}_bicubic_x{scale}', '{}_LRBI_x{scale}', '{}_LRBIx{scale}'),
)


COMMON_MULTIPLE = 12
"""Of the scales 2, 3 and 4: to which some test sets were cropped before they were made small."""


@dataclass(frozen=True)
class Pairing:
    """HR images with their LR images, both by their names without suffixes.

    Attributes:
        template: What the LR is named by, with the scale filled in.
        lr_of: The LR name of each HR name, whether or not it is there.
        missing: HR names whose LR is not there, sorted.
        surplus: LR names that belong to no HR, sorted.
    """

    template: str
    lr_of: dict[str, str]
    missing: list[str]
    surplus: list[str]

    @property
    def is_complete(self) -> bool:
        """Whether each HR has its LR and nothing is left over."""
        return not self.missing and not self.surplus


def lr_templates(scale: int) -> list[str]:
    """The known ways of naming an LR image of a scale after its HR image, the most usual first."""
    return list(dict.fromkeys(template.replace('{scale}', str(scale)) for template in _TEMPLATES))


def fill_template(template: str, name: str) -> str:
    """`filename_tmpl` with the name of the HR image filled in, as BasicSR does it.

    Raises:
        RFDNError: The template has other fields than one `{}`.
    """
    try:
        filled = template.format(name)
    except (KeyError, IndexError, ValueError, AttributeError) as error:
        raise RFDNError(
            f'{template!r} is not a template of BasicSR: {{}} stands for the name of the HR image, as in "{{}}x2".'
        ) from error
    if name and name not in filled:
        raise RFDNError(f'{template!r} lacks {{}}, which stands for the name of the HR image, as in "{{}}x2".')
    return filled


def pair_names(hr: Iterable[str], lr: Iterable[str], scale: int, template: str | None = None) -> Pairing:
    """Pair HR and LR images by their names.

    Args:
        hr: Names of the HR images without suffixes, perhaps with folders before them.
        lr: Names of the LR images, likewise.
        scale: The scale of the LR.
        template: How the LR images are named; of the known ways the one that fits most images where None.

    Raises:
        RFDNError: The template is none.
    """
    hr_names, lr_names = list(hr), set(lr)
    templates = lr_templates(scale) if template is None else [template]
    pairings = [_by_template(hr_names, lr_names, candidate) for candidate in templates]
    return min(pairings, key=lambda pairing: len(pairing.missing))  # the first of several


def _by_template(hr: list[str], lr: set[str], template: str) -> Pairing:
    lr_of = {name: fill_template(template, name) for name in hr}
    missing = sorted(name for name, low in lr_of.items() if low not in lr)
    return Pairing(template, lr_of, missing, sorted(lr - set(lr_of.values())))


def stems_of(names: Iterable[str]) -> dict[str, str]:
    """The file names by their names without suffix.

    Raises:
        RFDNError: Two differ in their suffix only.
    """
    found: dict[str, str] = {}
    for name in names:
        stem = PurePath(name).with_suffix('').as_posix()
        if stem in found:
            raise RFDNError(f'{found[stem]} and {name} differ in their suffix only: remove or rename one of them.')
        found[stem] = name
    return found


def explain_unpaired(pairing: Pairing, hr_place: object, lr_place: object) -> str:
    """Name what is missing on either side: `no LR in X for a, b; no HR in Y for c`; '' for a complete pairing."""
    sentences = []
    if pairing.missing:
        sentences.append(f'no LR in {lr_place} for {some_of(pairing.missing)}')
    if pairing.surplus:
        sentences.append(f'no HR in {hr_place} for {some_of(pairing.surplus)}')
    return '; '.join(sentences)


def explain_sizes(hr: tuple[int, ...], lr: tuple[int, ...], scale: int, *, exact: bool) -> tuple[str, str]:
    """Check the sizes of an HR and LR pair against the scale.

    Args:
        hr: Height and width of the HR; what follows is not looked at.
        lr: Height and width of the LR; what follows is not looked at.
        scale: The factor that is wanted between them.
        exact: Whether the HR must be the LR times the scale, as in a training. In test sets it may go on beyond that,
            by what a crop to a multiple of the scale leaves over: BasicSR crops it.

    Returns:
        A kind of `rfdn verify` ('exchanged-pair' or 'wrong-scale') and the sentence; twice '' where the sizes fit.
    """

    def fits(large: tuple[int, ...], small: tuple[int, ...], factor: int, surplus: int) -> bool:
        return all(0 <= high - low * factor <= surplus for high, low in zip(large[:2], small[:2], strict=True))

    if fits(hr, lr, scale, 0 if exact else scale - 1):
        return '', ''
    sizes = f'HR {hr[0]}x{hr[1]}, LR {lr[0]}x{lr[1]}'
    if fits(lr, hr, scale, scale - 1):
        return 'exchanged-pair', f'{sizes}: HR and LR are exchanged'
    ratio = round(hr[0] / lr[0])
    if ratio != scale and ratio > 1 and fits(hr, lr, ratio, ratio - 1):
        return 'wrong-scale', f'{sizes}: the LR is of scale {ratio}, not {scale}'
    if not exact and fits(hr, lr, scale, COMMON_MULTIPLE - 1):
        return '', ''
    if fits(hr, lr[1::-1], scale, scale - 1):
        return 'wrong-scale', f'{sizes}: one of them lies on its side'
    if hr[:2] == lr[:2]:
        return 'wrong-scale', f'{sizes}: the LR was not made smaller'
    return 'wrong-scale', f'{sizes}: not x{scale}'
