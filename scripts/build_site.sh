#!/usr/bin/env bash
# Builds the site of docs into build/site, where a warning is an error.   bash scripts/build_site.sh [options of mkdocs build]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup_environment.sh"
cd "$REPOSITORY"
if ! "$PYTHON" -c "import mkdocs, mkdocstrings" 2>/dev/null; then
  "$PYTHON" -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[docs]"
fi
# Material speaks of its successor at each start.
NO_MKDOCS_2_WARNING=1 exec "$PYTHON" -m mkdocs build --strict "$@"
