#!/usr/bin/env bash
# Sets up an environment of its own and runs the tests.   bash scripts/run_tests.sh [arguments of pytest]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup_environment.sh"
cd "$REPOSITORY"
exec "$PYTHON" -m pytest --numprocesses 4 --dist worksteal "$@"
