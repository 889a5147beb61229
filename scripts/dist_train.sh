#!/usr/bin/env bash
# Train in several processes, one a GPU (or, without GPUs, on the CPU with gloo).
#   scripts/dist_train.sh PROCESSES OPTION_FILE [flags of rfdn train]
# On several machines, start it on each with NODES, NODE_RANK (0, 1, ...) and MASTER_ADDR (the first machine) set;
# PROCESSES is the number on each. Below SLURM no script is needed:
#   srun --ntasks-per-node=4 --gres=gpu:4 python -m rfdn_plugin.train -opt OPTION_FILE --launcher slurm --auto_resume
set -euo pipefail

if [ $# -lt 2 ] || ! [[ $1 =~ ^[1-9][0-9]*$ ]]; then
  echo "usage: scripts/dist_train.sh PROCESSES OPTION_FILE [flags of rfdn train]" >&2
  exit 2
fi
processes=$1 options=$2
shift 2
if [ "${NODES:-1}" -gt 1 ]; then
  : "${NODE_RANK:?dist_train.sh: set NODE_RANK to the number of this machine, from 0}"
  : "${MASTER_ADDR:?dist_train.sh: set MASTER_ADDR to the name of the first machine}"
  meeting=(--nnodes "$NODES" --node_rank "$NODE_RANK" --master_addr "$MASTER_ADDR" --master_port "${MASTER_PORT:-29500}")
else
  meeting=(--standalone)
fi
exec "${PYTHON:-python}" -m torch.distributed.run "${meeting[@]}" --nproc_per_node "$processes" \
  -m rfdn_plugin.train -opt "$options" --launcher pytorch "$@"
