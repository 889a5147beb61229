"""Lets the unchanged setup.py of BasicSR 1.4.2 build on Python 3.13 and later; put on PYTHONPATH by scripts/install.sh.

That setup.py runs its version file with `exec(code)` and reads `locals()['__version__']`. Since PEP 667 such a call
writes into a snapshot of the function's variables, which the next `locals()` does not show. Here it gets the caller's
globals and the live view of its variables, through which names reach `locals()`.
"""

import builtins
import sys

if sys.version_info >= (3, 13):
    _exec = builtins.exec

    def _exec_into_caller(code, globals=None, locals=None, /, **closure):
        if globals is not None or locals is not None:
            return _exec(code, globals, locals, **closure)
        caller = sys._getframe(1)
        return _exec(code, caller.f_globals, caller.f_locals, **closure)

    builtins.exec = _exec_into_caller
