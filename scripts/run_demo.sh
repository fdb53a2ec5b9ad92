#!/usr/bin/env bash
# Sets up an environment of its own and runs the main job on scikit-learn's handwritten digits.
#   bash scripts/run_demo.sh [options of examples/resnet_cifar10/demo.py]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup_environment.sh"
cd "$REPOSITORY"
exec "$PYTHON" examples/resnet_cifar10/demo.py "$@"
