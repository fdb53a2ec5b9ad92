#!/usr/bin/env bash
# Turns a checkpoint of the knockoff phase into a slim file and a MindIR.
#   bash scripts/run_convert.sh NETWORK CHECKPOINT OUTPUT [options of golden-stick convert]
# NETWORK is file.py:factory; OUTPUT.ckpt and OUTPUT.mindir are written.
set -euo pipefail
if [[ $# -lt 3 || "$1" == -* || "$2" == -* || "$3" == -* ]]; then
  echo "usage: bash scripts/run_convert.sh NETWORK CHECKPOINT OUTPUT [options of golden-stick convert]" >&2
  exit 2
fi
network="$1"
checkpoint="$(realpath "$2")"
output="$3"
shift 3
source "$(dirname "${BASH_SOURCE[0]}")/setup_environment.sh"
exec "$(dirname "$PYTHON")/golden-stick" convert --network "$network" --checkpoint "$checkpoint" \
  --output "$output.ckpt" --mindir "$output.mindir" "$@"
