"""
What the steps of a pruning cost: knockoff, masked and slim, beside a plain training step and mindspore-gs's.

    python benchmarks/steps.py --gs-python PATH        everything; writes docs/steps.md: about half an hour
    python benchmarks/steps.py --networks resnet20 --rounds 5 --page outputs/steps.md

All steps of a network run in turn in one run; wall and CPU time. `--gs-python` is the Python of an environment with
mindspore-gs (see benchmarks/sides/README.md); without it those lines stay empty. Run it on a quiet machine: what other
processes used of it stands below every table.
"""
import os

os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX2")
os.environ.setdefault("GLOG_v", "4")

import argparse  # noqa: E402
import json  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from steps_parts.measure import measure  # noqa: E402
from steps_parts.page import page, row_text  # noqa: E402
from steps_parts.tables import DEFAULT, NETWORKS  # noqa: E402

RATE = 0.45


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=tuple(NETWORKS), default=list(DEFAULT))
    parser.add_argument("--gs-python", help="Python of an environment with mindspore-gs")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--output", type=Path, default=ROOT / "outputs" / "steps.json")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "steps.md")
    options = parser.parse_args()
    rows = []
    options.output.parent.mkdir(parents=True, exist_ok=True)
    for name in options.networks:
        batch, size = NETWORKS[name]
        settings = {"network": name, "batch": batch, "size": size, "rounds": options.rounds}
        rows.append(measure(settings, RATE, options.gs_python))
        options.output.write_text(json.dumps(rows, indent=1) + "\n")
        print(row_text(rows[-1]), flush=True)
    options.page.write_text(page(rows, RATE))
    print(f"wrote {options.page}")


if __name__ == "__main__":
    main()
