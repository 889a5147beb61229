"""`python -m rfdn_plugin.train` is `rfdn train`, for launchers that start a module (torchrun, SLURM)."""

from __future__ import annotations

import sys

from rfdn_plugin.cli import main

if __name__ == '__main__':
    sys.exit(main(['train', *sys.argv[1:]]))
