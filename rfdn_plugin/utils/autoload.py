"""The switch of `rfdn autoload`: whether every start of this Python imports the plugin, and BasicSR's own scripts work.

A line beside the installed packages does it, which Python runs when it starts: milliseconds, for the import loads neither
torch nor basicsr. It is off until somebody turns it on, and does nothing where the plugin has been removed meanwhile.
"""

from __future__ import annotations

import os
import site
import subprocess
import sys
import sysconfig
from pathlib import Path

from rfdn_plugin.utils.errors import RFDNError
from rfdn_plugin.utils.files import atomic_write

FILE = 'rfdn_plugin_autoload.pth'
"""Python runs the lines of such files in the order of their names: those that say where packages lie come before it."""

LINE = "import importlib.util; importlib.util.find_spec('rfdn_plugin') and __import__('rfdn_plugin')\n"


def folders() -> list[Path]:
    """Folders where the line may stand: beside the packages of this Python, then beside the user's own, where there are such."""
    places = [sysconfig.get_path('purelib')]
    if site.ENABLE_USER_SITE:
        places.append(site.getusersitepackages())
    return [Path(place) for place in places]


def state() -> Path | None:
    """The file with the line, where the switch is on; None where it is off."""
    return next((folder / FILE for folder in folders() if (folder / FILE).is_file()), None)


def turn_on() -> Path:
    """Write the line, and see in a new Python that it works; the file that has it.

    Raises:
        RFDNError: It can be written nowhere, or Python does not run it.
    """
    there = state()
    path = there or _write()
    code = 'import sys; sys.exit("rfdn_plugin" not in sys.modules)'
    outcome = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=path.parent)
    if outcome.returncode:
        if there is None:
            path.unlink()
        reason = (outcome.stderr.strip().splitlines() or ['Python does not run it'])[-1]
        raise RFDNError(f'{path} has no effect ({reason}): import rfdn_plugin in the script instead.')
    return path


def _write() -> Path:
    for folder in folders():
        if folder.is_dir() and os.access(folder, os.W_OK):
            with atomic_write(folder / FILE, 'w') as stream:
                stream.write(LINE)
            return folder / FILE
    raise RFDNError(f'{" and ".join(map(str, folders()))} cannot be written to: use a virtual environment of your own.')


def turn_off() -> list[Path]:
    """Remove the line wherever it stands; the files that were removed."""
    removed = []
    for folder in folders():
        path = folder / FILE
        if path.is_file():
            path.unlink()
            removed.append(path)
    return removed
