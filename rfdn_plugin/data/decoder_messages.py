"""What the C libraries behind OpenCV print about an image while they decode it.

libjpeg goes on after damaged data and only prints a line, libtiff likewise: the image that comes back is wrong, and
nothing else tells. The lines go to the process's error stream, where they are caught.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
import threading
from collections.abc import Iterator

import cv2

_ONE_AT_A_TIME = threading.RLock()  # the error stream belongs to the whole process
# The lines of OpenCV's log (those that go on begin with >), libjpeg (the warnings of its jerror.h), libpng and libtiff.
_OF_A_DECODER = re.compile(
    r'\[ ?(WARN|ERROR|FATAL|INFO)\b|Corrupt JPEG|Premature end of JPEG|Inconsistent progression|Invalid SOS|Unknown Adobe'
    r'|Warning: unknown JFIF|Application transferred|Unsupported marker|libpng |libtiff|TIFF|tempfile\.tif|\w+Decode: '
    r'|JPEGLib: |> '
)
# What concerns the pixels, not their description (a colour profile, a date).
_PIXELS_ARE_WRONG = re.compile(
    r'\[ERROR|\[FATAL|(Corrupt JPEG|JPEGLib: Corrupt)(?!.*ICC)|Premature end|Inconsistent progression|Invalid SOS'
    r'|Application transferred|libpng error'
)
_PLACE = re.compile(r'^\[ ?(WARN|ERROR|FATAL|INFO):[^\]]*\] (global )?\S+ ')


_files: dict[int, int] = {}  # process -> descriptor


def _file_of_this_process() -> int:
    """A file without a name; a forked process must not write into that of its parent."""
    process = os.getpid()
    if process not in _files:
        for descriptor in _files.values():
            os.close(descriptor)
        _files.clear()
        if hasattr(os, 'memfd_create'):
            _files[process] = os.memfd_create('decoder messages')
        else:
            with tempfile.TemporaryFile() as stream:
                _files[process] = os.dup(stream.fileno())
    return _files[process]


class Messages(list[str]):
    """Lines that decoders printed, without the place in their source."""

    pixels_are_wrong = False
    """Whether one of them says that the pixels are not those of the file."""


@contextlib.contextmanager
def decoder_messages() -> Iterator[Messages]:
    """Catch what decoders print inside the block; the list that is given is filled when the block is left.

    Lines that are not a decoder's, which other threads wrote meanwhile, are passed on. Where the process has no error
    stream nothing is caught.
    """
    messages = Messages()
    with _ONE_AT_A_TIME:
        caught = _file_of_this_process()
        try:
            stream = os.dup(2)
        except OSError:
            yield messages
            return
        level = cv2.utils.logging.getLogLevel()
        try:
            cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_WARNING)
            os.dup2(caught, 2)
            try:
                yield messages
            finally:
                os.dup2(stream, 2)
                cv2.utils.logging.setLogLevel(level)
                size = os.lseek(caught, 0, os.SEEK_CUR)
                written = os.pread(caught, size, 0) if size else b''
                if size:
                    os.ftruncate(caught, 0)
                    os.lseek(caught, 0, os.SEEK_SET)
                for line in written.splitlines(keepends=True):
                    text = line.decode('utf-8', 'replace').strip()
                    if _OF_A_DECODER.match(text):
                        messages.pixels_are_wrong |= bool(_PIXELS_ARE_WRONG.search(text))
                        messages.append(_PLACE.sub('', text))
                    elif text:
                        os.write(stream, line)
        finally:
            os.close(stream)
