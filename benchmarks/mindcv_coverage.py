"""
The classification networks of mindcv, each pruned by 40 % and compared with its masked form: writes docs/mindcv.md.

    pip install --no-deps mindcv==0.3.0
    python benchmarks/mindcv_coverage.py                                 one of every kind, see mindcv_models.csv here
    python benchmarks/mindcv_coverage.py --models resnet50 densenet121   only these; writes no page
    python benchmarks/mindcv_coverage.py --all-variants                  every name that mindcv lists: hours
    python benchmarks/mindcv_coverage.py --resume                        goes on where it was interrupted

Each network has a process of its own, so that a crash costs one row. The rows are collected in `--output`.
"""
import json
import re
import time
from collections import Counter

import common  # noqa: F401, it sets what MindSpore reads as it is imported

# isort: split
import mindspore as ms
import numpy as np
from mindcv_parts.networks import CONFIG, build, distance, run
from mindcv_parts.rows import facts, failure, run_apart, run_table

import golden_stick as gs
from golden_stick.base.errors import NothingToPruneError, first_line
from golden_stick.graph.plan import untouched_by

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
* *unaccounted*: parameters of two or more dimensions of which the report says neither how they shrink, as they do in
  the slim network, nor why they stay.
* *seconds*: `apply`, which traces, groups and slims once for trial, and `convert`, which slims, traces and verifies.
* The networks are untrained. Scales and shifts of the normalizations are random, and so is every parameter that would
  begin as a single number, such as the layer scales of 0.000001, which would hide a mistake. Statistics are those of
  random images, moved a little: with others, numbers grow from layer to layer, and so do their roundings.
* *remarks*: why a network failed; operators without a rule; and, where less than half of the filters is removable, the
  most frequent reasons, with the number of layers.

{columns}
{rows}
"""
COLUMNS = ("family", "network", "input", "outcome", "removable", "parameters", "MACs", "unaccounted", "difference",
           "effect", "seconds", "remarks")


def measure(name, size):
    """One network, pruned and compared: a row, as plain data."""
    try:
        network = build(name, size)
    except Exception as error:  # pylint: disable=broad-except
        return {"outcome": "not built", "failure": f"{type(error).__name__}: {first_line(error)}"}
    try:
        return prune(network, size)
    except NothingToPruneError as error:
        grouping = gs.find_groups(gs.trace(network, (1, 3, size, size)))
        return {**failure(error), "unaccounted": unaccounted(network, network, {}, untouched_by(grouping, ()))}
    except Exception as error:  # pylint: disable=broad-except
        return failure(error)


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
        "unaccounted": unaccounted(network, slim, report.shapes, report.untouched),
        "seconds": [applied - start, converted - applied], "reasons": reasons(report),
    }


def unaccounted(network, slim, shapes, untouched):
    """Names of the parameters of two or more dimensions that neither shrink as a report says nor stay for a reason."""
    why = {name for item in untouched if item.reasons and item.remedy for name in item.parameters}
    left = {item.name: item.shape for item in slim.get_parameters()}
    pairs = {item.name: (item.shape, left.get(item.name)) for item in network.get_parameters() if item.ndim > 1}
    return sorted(name for name, pair in pairs.items()
                  if pair != shapes.get(name, (pair[0], pair[0])) or (pair[0] == pair[1]) != (name in why))


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
    if row.get("unaccounted"):
        found.append(f"unaccounted: {', '.join(row['unaccounted'][:3])}")
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
    accounts = str(len(row["unaccounted"])) if "unaccounted" in row else ""
    if "difference" in row:
        cells += [f"{100 * row['removable']:.0f} %", change(*row["parameters"]), change(*row["macs"]), accounts,
                  f"{row['difference']:.1e}", f"{row['effect']:.1e}",
                  " + ".join(f"{seconds:.0f}" for seconds in row["seconds"])]
    else:
        cells += ["", "", "", accounts, "", "", ""]
    return f"| {' | '.join(cells + [remarks(row)])} |"


def summary(rows):
    """The outcomes, counted, and the operators without a rule."""
    outcomes = Counter(row["outcome"] for row in rows.values())
    operators = Counter(operator for row in rows.values() for operator in without_rule(row))
    pruned = sum("difference" in row for row in rows.values())
    others = "".join(f"; {key}: {count}" for key, count in outcomes.most_common() if key not in ("exact", "differs"))
    named = ", ".join(f"{operator} ({count} networks)" for operator, count in operators.most_common()) or "none"
    unknown = sum(len(row.get("unaccounted", ())) for row in rows.values())
    return (f"{len(rows)} networks: {pruned} pruned, {outcomes['exact']} of them exact{others}. "
            f"Parameters unaccounted for: {unknown}. Operators without a rule: {named}.")


def page(rows):
    """The whole page."""
    return PAGE.format(config=json.dumps(CONFIG), summary=summary(rows), **facts(rows),
                       columns=f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|",
                       rows="\n".join(line(*item) for item in rows.items()))


if __name__ == "__main__":
    run_table(__doc__, "mindcv", 600, ms.GRAPH_MODE, measure, line, summary, page)
