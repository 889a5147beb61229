#!/usr/bin/env bash
# The main job on any machine: install, prepare an LMDB from photographs, train RFDN x2 from scratch, fine-tune x3 and x4
# from it, and compare all three with bicubic on images that training never saw.
#   scripts/quickstart.sh [FOLDER]      default: quickstart/ in the checkout
# About 10 minutes on 2 CPU cores after the installation. Interrupted or run again, it goes on where it stopped.
set -euo pipefail

repository=$(cd "$(dirname "$0")/.." && pwd)
work=${1:-$repository/quickstart}
mkdir -p "$work"
work=$(cd "$work" && pwd)

"$repository/scripts/install.sh" "$repository/.venv"
export PATH="$repository/.venv/bin:$PATH"
started=$SECONDS
cd "$work"

echo; echo "== 1. Photographs to LMDBs"
python "$repository/scripts/quickstart.py" photographs images
rfdn prepare --hr images/train --out datasets/photographs --scales 2 3 4 --crop-size 240 --step 120 --encoding bmp
rfdn prepare --hr images/heldout --out datasets/heldout --scales 2 3 4 --crop-size 0

echo; echo "== 2. RFDN x2 from scratch, x3 and x4 fine-tuned from it"
for scale in 2 3 4; do
  rfdn train -opt "$repository/options/train/quickstart/quickstart_RFDN_x$scale.yml" --auto_resume
done

echo; echo "== 3. Against bicubic, on images that training never saw"
rfdn leaderboard -opt "$repository/options/leaderboard/quickstart.yml" --out results
verdict=0
python "$repository/scripts/quickstart.py" verdict results/leaderboard.json || verdict=$?

echo
echo "Done in $(((SECONDS - started) / 60)) min $(((SECONDS - started) % 60)) s after the installation. In $work:"
echo "  datasets/      the LMDBs"
echo "  experiments/   weights (models/net_g_latest.pth) and logs of the three trainings"
echo "  results/       leaderboard.json, .md, .html and the images side by side"
exit "$verdict"
