"""
The classification networks of mindcv, each folded and compared with itself: writes docs/fold.md.

    pip install --no-deps mindcv==0.3.0
    python benchmarks/fold_coverage.py                                 one of every kind, see mindcv_models.csv here
    python benchmarks/fold_coverage.py --models resnet50 densenet121   only these; writes no page

Each network has a process of its own, so that a crash costs one row. The rows are collected in `--output`, and
`--resume` keeps those that stand there.
"""
import re
import time
from collections import Counter

from common import table

# isort: split
import mindspore as ms
import numpy as np
from mindcv_parts.networks import build, distance, run
from mindcv_parts.rows import facts, failure, run_table

import golden_stick as gs
from golden_stick.base.errors import GoldenStickError
from golden_stick.deploy.fold.network import restructured

TOLERANCE = 1e-5

PAGE = """# Folding the networks of mindcv

{scope} of [mindcv](https://github.com/mindspore-lab/mindcv) {mindcv}, as built, folded by `gs.fold`. Written by
`python benchmarks/fold_coverage.py`; nothing in the table is written by hand.

{summary}

{versions}

* *normalizations*: `BatchNorm` operators in the traced graph, before and after, counted in the graphs.
* *difference*: the largest between the original's and the folded network's outputs on fresh inputs, as a fraction of
  the largest output, computed here and not by golden_stick. *effect*: the same between the original and the network
  with the same normalizations left out and nothing folded: what equality would be worth nothing without.
* *seconds*: `gs.fold`, which traces, folds and compares; on a machine that did other things too.
* The networks are untrained. Scales and shifts of the normalizations are random, statistics are those of random images,
  moved a little. All ran in PyNative mode; the tests fold in both modes.
* *why the rest stays*: how many normalizations, and what stands beside them. Names of Cells are left out.

| family | network | input | outcome | normalizations | difference | effect | seconds | why the rest stays |
|---|---|---|---|---|---|---|---|---|
{rows}

## Why a normalization stays

{reasons}
"""


def measure(name, size):
    """One network, folded and compared: a row, as plain data."""
    try:
        return fold(build(name, size), size)
    except GoldenStickError as error:
        return failure(error)


def fold(network, size):
    """Fold and compare on inputs that neither has seen; the row's numbers."""
    shape = (2, 3, size, size)
    before = count(network, shape)
    if not before:
        return {"outcome": "no normalization"}
    start = time.perf_counter()
    folded = gs.fold(network, shape)
    seconds = time.perf_counter() - start
    report = gs.fold_report(folded)
    data = ms.Tensor(np.random.default_rng(1).normal(size=shape).astype(np.float32))
    wanted = run(network, data)
    difference = distance(wanted, run(folded, data))
    return {
        # Written so that NaN is no equality.
        "outcome": "exact" if difference <= TOLERANCE else "differs",
        "normalizations": [before, count(folded, shape)], "difference": difference,
        "effect": distance(wanted, run(restructured(network, report), data)) if report.folded else 0.0,
        "seconds": seconds, "reasons": dict(Counter(without_names(item.reason) for item in report.kept).most_common()),
        "kept": {item.normalization: item.reason for item in report.kept},
    }


def count(network, shape):
    """Batch normalizations in the traced graph."""
    return sum(node.operator in ("BatchNorm", "BatchNormExt") for node in gs.trace(network, shape).nodes)


def without_names(reason):
    """A reason without the path of the layer that it names."""
    return re.sub(r"'[^']*', (a convolution|a transposed|the layer|whose (?:channels|inputs|bias))", r"\1", reason)


def line(name, row):
    """One row of the page."""
    cells = [row["family"], name, str(row["input"]), row["outcome"]]
    if "difference" in row:
        before, after = row["normalizations"]
        why = "; ".join(f"{number}: {reason}" for reason, number in row["reasons"].items())
        cells += [f"{before} → {after}", f"{row['difference']:.1e}", f"{row['effect']:.1e}", f"{row['seconds']:.0f}",
                  why]
    else:
        cells += [""] * 4 + [row.get("failure", "").replace("|", "\\|")]
    return f"| {' | '.join(cells)} |"


def summary(rows):
    """The outcomes and the normalizations, counted."""
    done = [row for row in rows.values() if "difference" in row]
    before, after = (sum(row["normalizations"][at] for row in done) for at in (0, 1))
    others = Counter(row["outcome"] for row in rows.values() if "difference" not in row)
    failed = "".join(f"; {key}: {number}" for key, number in others.most_common())
    exact, bare = (sum(test(row) for row in done) for test in (
        lambda row: row["outcome"] == "exact", lambda row: not row["normalizations"][1]))
    return (f"{len(rows)} networks: {len(done)} folded, {exact} of them exact, {bare} without a normalization left"
            f"{failed}. Normalizations in all: {before:,} before, {after:,} after. Largest difference: "
            f"{max((row['difference'] for row in done), default=0.0):.1e}.")


def reasons(rows):
    """Each reason, how many normalizations have it, and where."""
    found, where = Counter(), {}
    for name, row in rows.items():
        for reason, number in row.get("reasons", {}).items():
            found[reason] += number
            where.setdefault(reason, []).append(name)
    return table(["normalizations", "reason", "networks"],
                 [[str(number), reason, ", ".join(where[reason])] for reason, number in found.most_common()])


def page(rows):
    """The whole page."""
    return PAGE.format(summary=summary(rows), reasons=reasons(rows), **facts(rows),
                       rows="\n".join(line(*item) for item in rows.items()))


if __name__ == "__main__":
    run_table(__doc__, "fold", 600, ms.PYNATIVE_MODE, measure, line, summary, page)
