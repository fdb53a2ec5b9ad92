#!/usr/bin/env bash
# Accuracy of a checkpoint (.ckpt, .npz or slim file).
#   bash scripts/run_eval.sh CONFIG CHECKPOINT [options of eval.py]
set -euo pipefail
if [[ $# -lt 2 || "$1" == -* || "$2" == -* ]]; then
  echo "usage: bash scripts/run_eval.sh CONFIG CHECKPOINT [options of examples/resnet_cifar10/eval.py]" >&2
  exit 2
fi
config="$(realpath "$1")"
checkpoint="$(realpath "$2")"
shift 2
source "$(dirname "${BASH_SOURCE[0]}")/setup_environment.sh"
exec "$PYTHON" "$REPOSITORY/examples/resnet_cifar10/eval.py" --config "$config" --checkpoint "$checkpoint" "$@"
