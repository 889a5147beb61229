"""The error that is meant for a person: one line that says what, where and what to do."""

from __future__ import annotations


class RFDNError(Exception):
    """A fault that the user can mend. The command line prints its text as one line and exits with 1.

    Write the text as "what is wrong (where): what to do", without a traceback in mind.
    """
