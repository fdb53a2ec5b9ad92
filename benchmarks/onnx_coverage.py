"""
The classification networks of mindcv as ONNX files, before and after pruning by 40 %: writes docs/onnx.md.

    pip install --no-deps mindcv==0.3.0
    python benchmarks/onnx_coverage.py                                 one of every kind, see mindcv_models.csv here
    python benchmarks/onnx_coverage.py --models resnet50 densenet121   only these; writes no page

Each network has a process of its own, so that a crash costs one row. The rows are collected in `--output`, and
`--resume` keeps those that stand there.
"""
import json
import tempfile
import warnings
from pathlib import Path

import common  # noqa: F401, it sets what MindSpore reads as it is imported

# isort: split
import mindspore as ms
import numpy as np
import onnx
import onnxruntime
from mindcv_parts.networks import CONFIG, build, distance, run
from mindcv_parts.rows import facts, failure, run_table

import golden_stick as gs
from golden_stick.base.errors import GoldenStickError

TOLERANCE = 1e-4
# The file is made for the first batch size and measured at the second, and at the first where it takes no other.
EXPORTED, MEASURED = 1, 3

PAGE = """# ONNX files of the networks of mindcv

{scope} of [mindcv](https://github.com/mindspore-lab/mindcv) {mindcv}, written by
`gs.export(net, (1, 3, size, size), "net.onnx", file_format="ONNX")` as it is, and again after
`gs.OneShot({config})`. Written by `python benchmarks/onnx_coverage.py`; nothing in the table is
written by hand.

{summary}

{versions}

* *difference*: the largest between the network's outputs in MindSpore and the file's in ONNX Runtime on fresh inputs,
  as a fraction of the largest output, computed here and not by golden_stick. *equal* means at most {tolerance:g}.
* *batch*: the batch sizes that the file takes; its outputs are compared at batch size {measured}, which is not the one
  it was made for, and at {exported} where it takes no other.
* The networks are untrained. Scales and shifts of the normalizations are random, and so is every parameter that would
  begin as a single number. Statistics are those of random images, moved a little.

| family | network | input | before pruning | difference | batch | after pruning | difference | batch | remarks |
|---|---|---|---|---|---|---|---|---|---|
{rows}
"""


def compare(network, size, folder):
    """One file, written and compared: outcome, difference and batch sizes, as plain data."""
    path = str(Path(folder) / "network.onnx")
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            gs.export(network, (EXPORTED, 3, size, size), path, file_format="ONNX")
    except GoldenStickError as error:
        return failure(error)
    notes = {item.key: item.value for item in onnx.load(path).metadata_props}
    free = notes["golden_stick.batch"] == "any"
    data = np.random.default_rng(1).normal(size=(MEASURED if free else EXPORTED, 3, size, size)).astype(np.float32)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    got = session.run(None, {session.get_inputs()[0].name: data})
    ms.ms_memory_recycle()
    difference = distance(run(network, ms.Tensor(data)), got)
    row = {"outcome": "equal" if difference <= TOLERANCE else "differs", "difference": difference,
           "batch": "any" if free else str(EXPORTED)}
    fixed = [str(item.message) for item in said if "the ONNX file takes" in str(item.message)]
    return {**row, "failure": fixed[0]} if fixed else row


def measure(name, size):
    """One network before and after pruning: a row, as plain data."""
    found = {}
    try:
        with tempfile.TemporaryDirectory() as folder:
            network = build(name, size)
            found["before"] = compare(network, size, folder)
            algorithm = gs.OneShot(CONFIG)
            slim = algorithm.convert(algorithm.apply(network, inputs=(2, 3, size, size)))
            found["after"] = compare(slim, size, folder)
    except Exception as error:  # pylint: disable=broad-except
        found.setdefault("before", {"outcome": "crash"})
        found["after"] = failure(error)
    return found


def complete(row):
    """A row, of a network whose process ended without one, too."""
    return row if "before" in row else {"before": {"outcome": row["outcome"]}, "after": row}


def line(name, row):
    """One row of the page."""
    cells = [row["family"], name, str(row["input"])]
    for key in ("before", "after"):
        difference = row[key].get("difference")
        cells += [row[key]["outcome"], "" if difference is None else f"{difference:.1e}", row[key].get("batch", "")]
    said = dict.fromkeys(row[key]["failure"] for key in ("before", "after") if "failure" in row[key])
    return f"| {' | '.join(cells)} | {'; '.join(said)} |".replace("\n", " ")


def summary(rows):
    """The outcomes, counted."""
    count = {key: sum(row[key]["outcome"] == "equal" for row in rows.values()) for key in ("before", "after")}
    both = sum(all(row[key]["outcome"] == "equal" for key in ("before", "after")) for row in rows.values())
    free = sum(all(row[key].get("batch") == "any" for key in ("before", "after")) for row in rows.values())
    return (f"{len(rows)} networks: equal within {TOLERANCE:g} before pruning: {count['before']}, after pruning: "
            f"{count['after']}, both: {both}; any batch size before and after: {free}.")


def page(rows):
    """The whole page."""
    versions = {"onnx": onnx.__version__, "ONNX Runtime": onnxruntime.__version__}
    return PAGE.format(config=json.dumps(CONFIG), summary=summary(rows), **facts(rows, **versions),
                       tolerance=TOLERANCE, measured=MEASURED, exported=EXPORTED,
                       rows="\n".join(line(*item) for item in rows.items()))


if __name__ == "__main__":
    run_table(__doc__, "onnx", 900, ms.PYNATIVE_MODE, measure, line, summary, page, complete)
