#!/usr/bin/env bash
# Make a virtual environment and install this package into it with all that it needs.
#   scripts/install.sh FOLDER [EXTRAS]      for example: scripts/install.sh .venv onnx,spandrel
# A finished environment is left as it is until pyproject.toml, setup.py, this script or the Python in $PYTHON change.
set -euo pipefail

repository=$(cd "$(dirname "$0")/.." && pwd)
folder=${1:?usage: scripts/install.sh FOLDER [EXTRAS]}
extras=${2:+[$2]}

suitable() { "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null; }
find_python() {
  for candidate in "${PYTHON:-}" python3.11 python3.12 python3.13 python3.10 python3.14 python3 python; do
    if [ -n "$candidate" ] && command -v "$candidate" >/dev/null && suitable "$candidate"; then
      command -v "$candidate"
      return
    fi
  done
  echo "install.sh: no Python 3.10 to 3.14 found: install one, or name it in \$PYTHON" >&2
  return 1
}

version() { "$1" -c 'import sys; print(*sys.version_info[:2])' 2>/dev/null || true; }

wanted=$(cd "$repository" && cat pyproject.toml setup.py scripts/install.sh scripts/basicsr_build/*.py | cksum)"$extras"
# A Python that $PYTHON names is the one that is installed for; else any that is there and still runs will do.
present=$(version "$folder/bin/python")
if [ -n "${PYTHON:-}" ] && [ "$present" != "$(version "$(find_python)")" ]; then
  present=
fi
if [ -z "$present" ] || [ "$(cat "$folder/installed" 2>/dev/null)" != "$wanted" ]; then
  python=$(find_python)
  # An attempt without the system's venv package leaves a Python without pip behind.
  if [ -z "$present" ] || ! "$folder/bin/python" -m pip --version >/dev/null 2>&1; then
    "$python" -m venv --clear "$folder"
  fi
  pip=("$folder/bin/python" -m pip --disable-pip-version-check install --quiet)
  echo "Installing into $folder: torch is large, this takes some minutes"
  "${pip[@]}" --upgrade pip setuptools wheel cython numpy
  "${pip[@]}" 'torch>=2.3' 'torchvision>=0.18'
  # With build isolation pip would download a second torch only to build basicsr, which is pure Python.
  # Its setup.py reads the version with exec() and locals(), which Python 3.13 took apart (PEP 667): there exec() is
  # called as before for the time of the build, from a sitecustomize.py that only this build sees.
  shim=$(mktemp -d)
  cp "$repository/scripts/basicsr_build/sitecustomize.py" "$shim"
  PYTHONPATH=$shim "${pip[@]}" --no-build-isolation 'basicsr>=1.4.2'
  rm -r "$shim"
  "${pip[@]}" --no-build-isolation --editable "$repository$extras"
  echo "$wanted" >"$folder/installed"
else
  # The same environment may serve another checkout than the one that made it.
  "$folder/bin/python" -m pip --disable-pip-version-check install --quiet --no-build-isolation --no-deps --editable "$repository"
fi
