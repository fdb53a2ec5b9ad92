#!/usr/bin/env bash
# Trains a network on one device.   bash scripts/run_standalone_train.sh CONFIG [options of train.py]
set -euo pipefail
if [[ $# -lt 1 || "$1" == -* ]]; then
  echo "usage: bash scripts/run_standalone_train.sh CONFIG [options of examples/resnet_cifar10/train.py]" >&2
  exit 2
fi
config="$(realpath "$1")"
shift
source "$(dirname "${BASH_SOURCE[0]}")/setup_environment.sh"
exec "$PYTHON" "$REPOSITORY/examples/resnet_cifar10/train.py" --config "$config" "$@"
