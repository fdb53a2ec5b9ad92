"""
The classification networks of mindcv as ONNX files, before and after pruning by 40 %: writes docs/onnx.md.

    pip install --no-deps mindcv==0.3.0
    python benchmarks/onnx_coverage.py                                 one of every kind, see mindcv_models.csv here
    python benchmarks/onnx_coverage.py --models resnet50 densenet121   only these; writes no page

Each network has a process of its own, so that a crash costs one row. The rows are collected in `--output`: what stands
there already is not run again, unless `--again` says so.
"""
import os

os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX2")
os.environ.setdefault("GLOG_v", "4")

import json  # noqa: E402
import platform  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
import traceback  # noqa: E402
import warnings  # noqa: E402
from pathlib import Path  # noqa: E402

import mindcv  # noqa: E402
import mindspore as ms  # noqa: E402
import numpy as np  # noqa: E402
import onnx  # noqa: E402
import onnxruntime  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from mindcv_parts.networks import CONFIG, build, distance, run, table  # noqa: E402
from mindcv_parts.rows import run_apart, run_table  # noqa: E402

import golden_stick as gs  # noqa: E402
from golden_stick.base.errors import GoldenStickError, NothingToPruneError, first_line  # noqa: E402

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
        return {"outcome": "refused", "failure": f"{type(error).__name__}: {first_line(error)}"}
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
    except NothingToPruneError as error:
        found["after"] = {"outcome": "nothing to prune", "failure": first_line(error)}
    except Exception as error:  # pylint: disable=broad-except
        frame = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(frame.filename).name}, {frame.name}"
        found.setdefault("before", {"outcome": "crash"})
        found["after"] = {"outcome": "crash", "failure": f"{type(error).__name__} in {where}: {first_line(error)}"}
    return found


def measure_apart(name, size, seconds):
    """`measure` in a process of its own, which may crash or hang."""
    row = run_apart(__file__, name, size, seconds)
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
    dates = sorted({row["date"] for row in rows.values()})
    versions = (f"golden_stick {gs.__version__}, MindSpore {ms.__version__}, onnx {onnx.__version__}, ONNX Runtime "
                f"{onnxruntime.__version__}, mindcv {mindcv.__version__}, numpy {np.__version__}, Python "
                f"{platform.python_version()}; {platform.machine()}, {os.cpu_count()} cores, no GPU used; "
                f"{' to '.join(dict.fromkeys((dates[0], dates[-1])))}.")
    ordered = sorted(rows.items(), key=lambda item: (item[1]["family"], item[0]))
    scope = "One network of every kind" if set(rows) == set(table()) else f"{len(rows)} of {len(table())} networks"
    return PAGE.format(scope=scope, mindcv=mindcv.__version__, config=json.dumps(CONFIG), summary=summary(rows),
                       versions=versions, tolerance=TOLERANCE, measured=MEASURED, exported=EXPORTED,
                       rows="\n".join(line(*item) for item in ordered))


def main() -> None:
    run_table(__doc__, "onnx", 900, {"measure": measure, "measure_apart": measure_apart, "line": line,
                                        "summary": summary, "page": page})


if __name__ == "__main__":
    main()
