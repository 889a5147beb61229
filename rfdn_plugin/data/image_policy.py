"""What becomes of each kind of odd image file: the written rule, which docs/datasets.md shows as a table."""

from __future__ import annotations

from rfdn_plugin.utils.errors import RFDNError

# kind of oddity -> (what is done, what is said). 'convert': the image is used, with a notice.
# 'skip': it is left out and counted with its reason; `--strict` makes that a failure.
POLICY: dict[str, tuple[str, str]] = {
    'grey': ('convert', 'greyscale (1, 2, 4 or 8 bit): the grey is used for all three channels'),
    '16-bit': ('convert', '16 bits a channel: rounded to 8 bits, value / 257'),
    'alpha': (
        'convert',
        'transparency: dropped, the colours are used as stored (divided by it where they were multiplied)',
    ),
    'palette': ('convert', 'palette: expanded to RGB'),
    'cmyk': ('convert', 'CMYK: converted to RGB without a colour profile, as Pillow does'),
    'colour-space': ('convert', 'stored in another colour space (YCbCr, LAB, HSV): converted to RGB by Pillow'),
    'orientation': ('convert', 'EXIF or TIFF orientation: turned as a viewer shows it'),
    'profile': ('convert', 'ICC colour profile: not applied, the values are used as stored'),
    'several': ('convert', 'animated or with several pages: the first image is used'),
    'misnamed': ('convert', 'content is of another format than the name says: read by its content'),
    'renamed': ('convert', 'name has dots, is not ASCII, or differs in the suffix only: a key is made from it'),
    'small': ('convert', 'a side below the crop size: that side is kept whole'),
    'maxval': ('convert', 'PNM file whose largest value is not 255 or 65535: scaled to 0..255'),
    'decoder-warning': ('convert', 'the decoder warned about something other than the pixels'),
    'empty': ('skip', 'empty file'),
    'lfs-pointer': ('skip', 'Git LFS pointer instead of the image: run `git lfs pull`'),
    'damaged': ('skip', 'damaged or truncated, also where a decoder goes on after it: download or copy it again'),
    'too-large': ('skip', 'declares more pixels than Pillow takes for safe (179 million)'),
    'unsupported': (
        'skip',
        'holds floating-point, signed or 32-bit values, or is stored in a way that no decoder here reads',
    ),
    'not-an-image': ('skip', 'not an image'),
    'side-file': ('skip', 'side file of an operating system'),
    'folder': ('skip', 'a folder'),
    'special-file': ('skip', 'not a file: a FIFO, a socket or a device'),
    'unreadable': ('skip', 'cannot be opened: see its permissions, and where a link leads'),
    'too-small': ('skip', 'a side is below one LR pixel, or below --min-size'),
    'lr-mismatch': ('skip', 'the given LR has not the size of the HR divided by the scale'),
    'lr-without-hr': ('skip', 'a given LR for which there is no HR'),
}


class ImageError(RFDNError):
    """A file that cannot be used. `kind` is its key in `POLICY`, `detail` what the decoder said, if anything."""

    def __init__(self, kind: str, detail: str = '') -> None:
        self.kind, self.detail = kind, detail
        super().__init__(POLICY[kind][1] + (f' ({detail})' if detail else ''))

    def __reduce__(self) -> tuple:  # an exception with its own arguments does not cross processes otherwise
        return type(self), (self.kind, self.detail)
