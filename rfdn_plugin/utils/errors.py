"""The error that is meant for a person: one line that says what, where and what to do."""

from __future__ import annotations

import errno


class RFDNError(Exception):
    """A problem that the user can fix. The command line prints its text as one line and exits with 1.

    Write the text as "what is wrong (where): what to do", without a traceback in mind.
    """


class UsageError(RFDNError):
    """A problem of the command line that shows only when the command runs: exit code 2."""


_CURES = {
    errno.ENOSPC: 'make room',
    errno.EDQUOT: 'make room',
    errno.EFBIG: 'see the limits of the disk and of the shell (ulimit -f)',
    errno.EACCES: 'see its permissions',
    errno.EPERM: 'see its permissions',
    errno.EROFS: 'name another folder',
    errno.EISDIR: 'name a file',
    errno.ENOTDIR: 'name a folder before the last part of the path',
    errno.EEXIST: 'name another place',
    errno.ENOENT: 'check the path',
    errno.ELOOP: 'remove the link, which leads to itself',
    errno.ENAMETOOLONG: 'take a shorter name',
}


def explain(error: OSError) -> str:
    """Explain in one line what the operating system refused, for which file, and what can be done about it."""
    what = error.strerror or str(error)
    where = f'{error.filename}: ' if error.filename else ''
    cure = f': {_CURES[error.errno]}' if error.errno in _CURES else ''
    return f'{where}{what}{cure}.'


def first_line(error: BaseException) -> str:
    """The text of an exception in one line without a full stop; its type where it has no text."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip('.')


def describe(error: Exception) -> str:
    """An exception in a line without a full stop: its text, with its type where the text says little alone."""
    if isinstance(error, OSError) and error.errno is not None:
        return explain(error).rstrip('.')
    text = first_line(error)
    is_meant_for_people = isinstance(error, RFDNError | ValueError | OSError)
    return text if is_meant_for_people or text == type(error).__name__ else f'{type(error).__name__}: {text}'
