"""
The classification networks of mindcv, each pruned by 40 % and compared with its masked form: writes docs/mindcv.md.

    pip install --no-deps mindcv==0.3.0
    python benchmarks/mindcv_coverage.py                                 one of every kind, see mindcv_models.csv here
    python benchmarks/mindcv_coverage.py --models resnet50 densenet121   only these; writes no page
    python benchmarks/mindcv_coverage.py --all-variants                  every name that mindcv lists: hours

Each network has a process of its own, so that a crash costs one row. The rows are collected in `--output`: what stands
there already is not run again, unless `--again` says so.
"""
import os

os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX2")
os.environ.setdefault("GLOG_v", "4")

import argparse  # noqa: E402
import json  # noqa: E402
import platform  # noqa: E402
import re  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
import traceback  # noqa: E402
from collections import Counter  # noqa: E402
from pathlib import Path  # noqa: E402

import mindcv  # noqa: E402
import mindspore as ms  # noqa: E402
import numpy as np  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from mindcv_parts.networks import CONFIG, all_variants, build, distance, run, table  # noqa: E402
from mindcv_parts.rows import collect, run_apart  # noqa: E402

import golden_stick as gs  # noqa: E402
from golden_stick.base.errors import GoldenStickError, NothingToPruneError, TraceError, first_line  # noqa: E402
from golden_stick.cells.networks import scratch_directory  # noqa: E402

TOLERANCE = 1e-5
# Below this part of removable filters, the page says what keeps the others.
LITTLE = 0.5

PAGE = """# The networks of mindcv

{scope} of [mindcv](https://github.com/mindspore-lab/mindcv) {mindcv}, pruned by
`gs.OneShot({config})`. Written by `python benchmarks/mindcv_coverage.py`; nothing in the table is written by hand.

{summary}

{versions}

* *removable*: filters that may go, of all filters. *parameters*, *MACs*: before and after, in millions.
* *difference*: the largest between the masked and the slim network's outputs on fresh inputs, as a fraction of the
  largest output, computed here and not by golden_stick. *effect*: the same between the masked and the original one:
  what equality would be worth nothing without.
* *seconds*: `apply`, which traces, groups and slims once for trial, and `convert`, which slims, traces and verifies.
* The networks are untrained. Scales and shifts of the normalizations are random, and so is every parameter that would
  begin as a single number, such as the layer scales of 0.000001, which would hide a mistake. Statistics are those of
  random images, moved a little: with others, numbers grow from layer to layer, and so do their roundings.
* *remarks*: why a network failed; operators without a rule; and, where less than half of the filters is removable, the
  most frequent reasons, with the number of layers.

| family | network | input | outcome | removable | parameters | MACs | difference | effect | seconds | remarks |
|---|---|---|---|---|---|---|---|---|---|---|
{rows}
"""


def measure(name, size):
    """One network, pruned and compared: a row, as plain data."""
    try:
        network = build(name, size)
    except Exception as error:  # pylint: disable=broad-except
        return {"outcome": "not built", "failure": f"{type(error).__name__}: {first_line(error)}"}
    try:
        return prune(network, size)
    except NothingToPruneError as error:
        return {"outcome": "nothing to prune", "failure": first_line(error)}
    except TraceError as error:
        return {"outcome": "not compiled", "failure": first_line(error)}
    except GoldenStickError as error:
        return {"outcome": "refused", "failure": f"{type(error).__name__}: {first_line(error)}"}
    except Exception as error:  # pylint: disable=broad-except
        frame = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(frame.filename).name}, {frame.name}"
        return {"outcome": "crash", "failure": f"{type(error).__name__} in {where}: {first_line(error)}"}


def prune(network, size):
    """Apply, convert and compare on inputs that neither has seen; the row's numbers."""
    algorithm, start = gs.OneShot(CONFIG), time.perf_counter()
    masked = algorithm.apply(network, inputs=(2, 3, size, size))
    applied = time.perf_counter()
    slim = algorithm.convert(masked)
    converted = time.perf_counter()
    data = ms.Tensor(np.random.default_rng(1).normal(size=(2, 3, size, size)).astype(np.float32))
    wanted = run(masked, data)
    difference, effect = distance(wanted, run(slim, data)), distance(wanted, run(network, data))
    report = algorithm.report
    filters, fixed = (sum(getattr(layer, key) for layer in report.layers) for key in ("before", "fixed"))
    return {
        # Written so that NaN is no equality.
        "outcome": "exact" if difference <= TOLERANCE else "differs",
        "removable": 1 - fixed / filters, "difference": difference, "effect": effect,
        "parameters": [report.parameters_before, report.parameters_after],
        "macs": [report.macs_before, report.macs_after], "without_rule": list(report.without_rule),
        "seconds": [applied - start, converted - applied], "reasons": reasons(report),
    }


def reasons(report):
    """Reason, without the place -> how many layers have it, the most frequent first."""
    found = Counter(reason for layer in report.layers
                    for reason in {re.sub(r" \([^()]* (?:in|after) .*\)$", "", text) for text in layer.reasons})
    return dict(found.most_common())


def measure_apart(name, size, seconds=600):
    """`measure` in a process of its own, which may crash or hang."""
    return run_apart(__file__, name, size, seconds)


def without_rule(row):
    """Names of the operators that have no rule."""
    return sorted({place.split()[0] for place in row.get("without_rule", ())})


def remarks(row):
    """What the numbers do not say."""
    found = [row["failure"]] if "failure" in row else []
    if without_rule(row):
        found.append(f"no rule: {', '.join(without_rule(row))}")
    if row.get("removable", 1) < LITTLE:
        found += [f"{reason} ({count} layers)" for reason, count in list(row["reasons"].items())[:3]]
    return "; ".join(found).replace("|", "\\|")


def change(before, after):
    return f"{before / 1e6:,.2f} → {after / 1e6:,.2f} ({100 * after / before - 100:.0f} %)"


def line(name, row):
    """One row of the page."""
    cells = [row["family"], name, str(row["input"]), row["outcome"]]
    if "difference" in row:
        cells += [f"{100 * row['removable']:.0f} %", change(*row["parameters"]), change(*row["macs"]),
                  f"{row['difference']:.1e}", f"{row['effect']:.1e}",
                  " + ".join(f"{seconds:.0f}" for seconds in row["seconds"])]
    else:
        cells += [""] * 6
    return f"| {' | '.join(cells + [remarks(row)])} |"


def summary(rows):
    """The outcomes, counted, and the operators without a rule."""
    outcomes = Counter(row["outcome"] for row in rows.values())
    operators = Counter(operator for row in rows.values() for operator in without_rule(row))
    pruned = sum("difference" in row for row in rows.values())
    others = "".join(f"; {key}: {count}" for key, count in outcomes.most_common() if key not in ("exact", "differs"))
    named = ", ".join(f"{operator} ({count} networks)" for operator, count in operators.most_common()) or "none"
    return (f"{len(rows)} networks: {pruned} pruned, {outcomes['exact']} of them exact{others}. "
            f"Operators without a rule: {named}.")


def page(rows):
    """The whole page."""
    dates = sorted({row["date"] for row in rows.values()})
    versions = (f"golden_stick {gs.__version__}, MindSpore {ms.__version__}, mindcv {mindcv.__version__}, numpy "
                f"{np.__version__}, Python {platform.python_version()}; {platform.machine()}, {os.cpu_count()} cores, "
                f"no GPU used; {' to '.join(dict.fromkeys((dates[0], dates[-1])))}.")
    scope = "One network of every kind" if set(rows) <= set(table()) else "The networks"
    ordered = sorted(rows.items(), key=lambda item: (item[1]["family"], item[0]))
    return PAGE.format(scope=scope, mindcv=mindcv.__version__, config=json.dumps(CONFIG), summary=summary(rows),
                       versions=versions, rows="\n".join(line(*item) for item in ordered))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", metavar="NAME")
    parser.add_argument("--all-variants", action="store_true")
    parser.add_argument("--again", action="store_true", help="measure also what stands in the output already")
    parser.add_argument("--seconds", type=float, default=600, help="what one network may take (default: 600)")
    parser.add_argument("--output", type=Path, default=ROOT / "outputs" / "mindcv.json")
    parser.add_argument("--page", type=Path, help="default: docs/mindcv.md, and none with --models")
    parser.add_argument("--single", nargs=2, metavar=("NAME", "SIZE"), help="one row to stdout, in this process")
    options = parser.parse_args()
    if options.single:
        ms.set_context(mode=ms.GRAPH_MODE)
        with scratch_directory():
            print(json.dumps(measure(options.single[0], int(options.single[1]))))
        return
    known = all_variants()
    unknown = sorted(set(options.models or ()) - set(known))
    if unknown:
        parser.error(f"mindcv has no {', '.join(unknown)}")
    asked = known if options.all_variants else {name: known[name] for name in options.models or table()}
    rows = collect(asked, options, measure_apart, line)
    print(summary(rows))
    target = options.page or (None if options.models else ROOT / "docs" / "mindcv.md")
    if target:
        target.write_text(page(rows))


if __name__ == "__main__":
    main()
