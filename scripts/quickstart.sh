#!/usr/bin/env bash
# The main job on any machine: install, then `rfdn quickstart` (LMDBs from photographs, RFDN x2 from scratch, x3 and x4
# fine-tuned from it, all three against bicubic on images that training never saw).
#   scripts/quickstart.sh [FOLDER]      default: quickstart/ in the checkout
# About 10 minutes on 2 CPU cores after the installation. Interrupted or run again, it goes on where it stopped.
set -euo pipefail

repository=$(cd "$(dirname "$0")/.." && pwd)
"$repository/scripts/install.sh" "$repository/.venv"
exec "$repository/.venv/bin/rfdn" quickstart "${1:-$repository/quickstart}"
