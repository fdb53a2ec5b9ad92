#!/usr/bin/env bash
# Trains a network data-parallel on several devices of one machine, by msrun.
#   bash scripts/run_distribute_train.sh WORKERS CONFIG [options of train.py]
set -euo pipefail
if [[ $# -lt 2 || ! "$1" =~ ^[1-9][0-9]*$ ]]; then
  echo "usage: bash scripts/run_distribute_train.sh WORKERS CONFIG [options of examples/resnet_cifar10/train.py]" >&2
  exit 2
fi
workers="$1"
config="$(realpath "$2")"
shift 2
source "$(dirname "${BASH_SOURCE[0]}")/setup_environment.sh"
logs="${GOLDEN_STICK_LOGS:-log}"
mkdir -p "$logs"
echo "Workers write to $logs/worker_*.log"
# msrun starts `python`: let that be the environment's.
PATH="$(dirname "$PYTHON"):$PATH" exec "$(dirname "$PYTHON")/msrun" \
  --worker_num="$workers" --local_worker_num="$workers" --master_port="${MASTER_PORT:-8118}" --log_dir="$logs" \
  --join=True --cluster_time_out=120 \
  "$REPOSITORY/examples/resnet_cifar10/train.py" --config "$config" --distributed "$@"
