#!/usr/bin/env bash
# Makes the virtual environment that the other scripts use, and installs golden_stick and what it needs into it.
# To be sourced: it leaves PYTHON (the environment's interpreter) and REPOSITORY behind.
#
#   GOLDEN_STICK_VENV   where the environment stands (default: .venv in the repository)

REPOSITORY="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
# Before MindSpore starts: without it, 3x3 convolutions are about 40 times slower on CPUs with AVX-512.
export ONEDNN_MAX_CPU_ISA="${ONEDNN_MAX_CPU_ISA:-AVX2}"
# MindSpore's C++ warnings say nothing that a user can act on.
export GLOG_v="${GLOG_v:-3}"

_golden_stick_setup() {
  local environment="${GOLDEN_STICK_VENV:-$REPOSITORY/.venv}"
  PYTHON="$environment/bin/python"
  local stamp="$environment/golden_stick.stamp" wanted started
  if ! command -v python3 >/dev/null; then
    echo "python3 is missing: apt-get install python3 python3-venv" >&2
    return 1
  fi
  wanted="$(python3 --version) $REPOSITORY $(cat "$REPOSITORY/setup.py" "$REPOSITORY/constraints.txt" | sha256sum)"
  if [[ -x "$PYTHON" && -f "$stamp" && "$(cat "$stamp")" == "$wanted" ]]; then
    return 0
  fi
  started=$SECONDS
  echo "Setting up $environment (about 800 MB to download, once) ..."
  if [[ ! -x "$PYTHON" ]] && ! python3 -m venv "$environment"; then
    rm -rf "$environment"
    echo "python3 cannot make virtual environments here: apt-get install python3-venv" >&2
    return 1
  fi
  "$PYTHON" -m pip install --quiet --disable-pip-version-check --constraint "$REPOSITORY/constraints.txt" \
    --editable "$REPOSITORY[examples,tests]" || return 1
  printf '%s' "$wanted" >"$stamp"
  echo "Set up in $((SECONDS - started)) s."
}

_golden_stick_setup
