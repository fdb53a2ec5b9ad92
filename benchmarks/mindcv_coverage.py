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
import csv  # noqa: E402
import datetime  # noqa: E402
import json  # noqa: E402
import platform  # noqa: E402
import re  # noqa: E402
import signal  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
import traceback  # noqa: E402
from collections import Counter  # noqa: E402
from pathlib import Path  # noqa: E402

import mindcv  # noqa: E402
import mindspore as ms  # noqa: E402
import numpy as np  # noqa: E402
from mindcv.models.registry import get_pretrained_cfg  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import golden_stick as gs  # noqa: E402
from golden_stick.errors import GoldenStickError, NothingToPruneError, TraceError, first_line  # noqa: E402
from golden_stick.evaluation import scratch_directory  # noqa: E402
from golden_stick.prune.calibration import calibrate  # noqa: E402

CONFIG, TOLERANCE = {"criterion": "l1", "prune_rate": 0.4}, 1e-5
# Below this part of removable filters, the page says what keeps the others.
LITTLE = 0.5
# Networks that take any size are given this one, for speed.
SMALL, USUAL = 64, 224
# How many batches of images normalizations are fitted to.
BATCHES = 2

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


def table():
    """Network -> (family, size of its input), for one network of every kind."""
    with (ROOT / "benchmarks" / "mindcv_models.csv").open() as file:
        return {row["model"]: (row["family"], int(row["input"])) for row in csv.DictReader(file)}


def all_variants():
    """The same for every name of mindcv, with sizes from the names' families."""
    known = table()
    sizes = dict(known.values())
    found = {}
    for family in mindcv.list_modules():
        for name in mindcv.list_models(module=family):
            found[name] = known.get(name, (family, _size(name, sizes.get(family, USUAL))))
    return dict(sorted(found.items()))


def _size(name, size):
    if size == SMALL:
        return size
    written = re.search(r"(?:_|[a-z])(224|256|384|448)$", name)
    return int(written.group(1)) if written else get_pretrained_cfg(name).get("input_size", (3, size, size))[-1]


def build(name, size, seed=0):
    """
    A network of mindcv, without what hides mistakes: normalizations of ones and zeros, layer scales near zero.

    Its normalizations fit its features, as in a trained network: with statistics drawn at random, numbers grow from
    layer to layer, and so do their roundings.
    """
    ms.set_seed(seed)
    network, generator = mindcv.create_model(name, pretrained=False), np.random.default_rng(seed)
    norms = [cell for _, cell in network.cells_and_names() if hasattr(cell, "moving_mean")]
    statistics = {item.name for cell in norms for item in (cell.moving_mean, cell.moving_variance)}
    for cell in norms:
        assign(cell.gamma, generator.uniform(0.5, 1.5, cell.num_features))
        assign(cell.beta, generator.normal(0.0, 0.3, cell.num_features))
    for parameter in network.get_parameters():
        values = parameter.asnumpy()
        if parameter.name not in statistics and values.dtype == np.float32 and np.ptp(values) == 0:
            assign(parameter, generator.uniform(0.5, 1.5, values.shape) if values.flat[0] != 0 else
                   generator.normal(0.0, 0.1, values.shape))
    if norms:
        fit(network, norms, size, generator)
    return network


def fit(network, norms, size, generator):
    """Statistics of random images, and a little away from them."""
    mode = ms.get_context("mode")
    # A few runs are not worth a compilation.
    ms.set_context(mode=ms.PYNATIVE_MODE)
    calibrate(network, generator.normal(size=(BATCHES, 4, 3, size, size)).astype(np.float32))
    ms.set_context(mode=mode)
    for cell in norms:
        mean, variance = cell.moving_mean.asnumpy(), cell.moving_variance.asnumpy()
        # A channel that never varies would be multiplied by a huge number once it does.
        variance = variance + 0.1 * variance.mean()
        assign(cell.moving_mean, mean + np.sqrt(variance) * generator.normal(0.0, 0.1, mean.shape))
        assign(cell.moving_variance, variance * generator.uniform(0.8, 1.25, variance.shape))


def assign(parameter, values):
    parameter.set_data(ms.Tensor(np.asarray(values, np.float32)))


def run(network, data):
    """The outputs, as arrays."""
    outputs = network.set_train(False)(data)
    return [item.asnumpy() for item in (outputs if isinstance(outputs, (tuple, list)) else (outputs,))]


def distance(wanted, got):
    """Largest difference, as a fraction of the largest number in `wanted`; infinite where shapes differ."""
    if [item.shape for item in wanted] != [item.shape for item in got]:
        return float("inf")
    scale = max(np.abs(item).max() for item in wanted)
    return float(max(np.abs(one - other).max() for one, other in zip(wanted, got)) / scale)


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


def run_apart(script, name, size, seconds):
    """The row that a script prints for one network, or why it printed none."""
    command = [sys.executable, str(Path(script).resolve()), "--single", name, str(size)]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return {"outcome": "crash", "failure": f"no end after {seconds} s"}
    lines = ended.stdout.splitlines()
    if ended.returncode == 0 and lines:
        return json.loads(lines[-1])
    if ended.returncode == -signal.SIGKILL:
        return {"outcome": "not enough memory", "failure": "the machine's memory did not suffice"}
    said = [line for line in ended.stderr.splitlines() if line.strip()] or [""]
    return {"outcome": "crash", "failure": f"the process ended with {ended.returncode}: {said[-1].strip()}"}


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


def collect(asked, options, measure_one, show):
    """Measure what is not in the file yet; each row is written at once, and shown."""
    rows = json.loads(options.output.read_text()) if options.output.is_file() else {}
    options.output.parent.mkdir(parents=True, exist_ok=True)
    for number, (name, (family, size)) in enumerate(asked.items(), 1):
        if options.again or name not in rows:
            start = time.perf_counter()
            rows[name] = {"family": family, "input": size, "date": str(datetime.date.today()),
                          **measure_one(name, size, options.seconds)}
            options.output.write_text(json.dumps(rows, indent=1))
            print(f"{number}/{len(asked)} {time.perf_counter() - start:.0f} s {show(name, rows[name])}", flush=True)
    return {name: rows[name] for name in asked}


def run_table(about, name, seconds, steps):
    """The command line of a benchmark over `table()`, in PyNative mode, whose `steps` are functions named as here."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", metavar="NAME")
    parser.add_argument("--again", action="store_true", help="measure also what stands in the output already")
    parser.add_argument("--seconds", type=float, default=seconds,
                        help=f"what one network may take (default: {seconds})")
    parser.add_argument("--output", type=Path, default=ROOT / "outputs" / f"{name}.json")
    parser.add_argument("--page", type=Path, help=f"default: docs/{name}.md, and none with --models")
    parser.add_argument("--single", nargs=2, metavar=("NAME", "SIZE"), help="one row to stdout, in this process")
    options = parser.parse_args()
    if options.single:
        # Each network runs a few times only: compiling it for that would take longer than all the rest.
        ms.set_context(mode=ms.PYNATIVE_MODE)
        with scratch_directory():
            print(json.dumps(steps["measure"](options.single[0], int(options.single[1]))))
        return
    known = table()
    unknown = sorted(set(options.models or ()) - set(known))
    if unknown:
        parser.error(f"the table has no {', '.join(unknown)}")
    asked = {model: known[model] for model in options.models or known}
    rows = collect(asked, options, steps["measure_apart"], steps["line"])
    print(steps["summary"](rows))
    target = options.page or (None if options.models else ROOT / "docs" / f"{name}.md")
    if target:
        target.write_text(steps["page"](rows))


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
