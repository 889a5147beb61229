#!/bin/bash
# Keeps a long training going: starts it again, with --auto_resume, whenever it ends before its last iteration.
#   scripts/zoo/supervise.sh OPTIONS.yml LOG
# Each start and end is a line in LOG.supervisor. SIGTERM to this script is passed on and ends both.
set -u
options=$1 log=$2
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
child=0
trap 'kill -TERM $child 2>/dev/null; wait $child; echo "$(date -Is) stopped by a signal" >> "$log.supervisor"; exit 75' TERM INT HUP
while :; do
  echo "$(date -Is) start" >> "$log.supervisor"
  python -m rfdn_plugin train -opt "$options" --auto_resume >> "$log" 2>&1 &
  child=$!
  wait $child
  status=$?
  echo "$(date -Is) exit $status" >> "$log.supervisor"
  [ "$status" = 0 ] && exit 0
  [ "$status" = 2 ] && exit 2
  sleep "${RFDN_RESTART_SECONDS:-10}"
done
