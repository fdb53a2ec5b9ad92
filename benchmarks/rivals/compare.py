"""
golden_stick on the networks of `tests/rival_cases.py`, beside Torch-Pruning on the same: writes docs/rivals.md.

    python benchmarks/rivals/compare.py --torch-pruning torch_pruning.json [--output docs/rivals.md] [--resume]

The JSON file is written by `benchmarks/rivals/torch_pruning.py`, see README.md here. All in the table is measured. The
rows of golden_stick are collected in `--rows`, and `--resume` keeps those that stand there.
"""
import json
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common import collect, command_line, setting, table, today, write_page  # noqa: E402

# isort: split
import numpy as np  # noqa: E402

import golden_stick as gs  # noqa: E402
from golden_stick.base.errors import NothingToPruneError, SlimError, TraceError, VerifyError  # noqa: E402
from tests.rival_cases import CASES  # noqa: E402

CONFIG, TOLERANCE, LONGEST = {"criterion": "l1", "prune_rate": 0.4}, 1e-5, 240

PAGE = """# Difficult networks, beside Torch-Pruning

{count} small networks, each with one thing that is difficult for structured pruning, pruned by golden_stick and by
Torch-Pruning at a rate of 0.4. Written by `benchmarks/rivals/compare.py`; nothing in the tables is written by hand.
Most of the networks were chosen because Torch-Pruning was seen to fail on them, the others because it was seen to work:
the counts say nothing about how often either succeeds on networks at large.

* *exact*: on fresh inputs, the slim network gives what the original gives when the removed channels are hidden from the
  layers that read them (within 1e-5 of the largest output). Behind it: filters before and after. *keeps*: a layer that
  the case is about and that lost nothing, with the reason, where one was given.
* *refused*: an error in place of a network. *wrong function*: the slim network runs, and gives something else.
* *with `...`*: run once more, with that argument of Torch-Pruning's pruner set as its user would for this network.
* MindSpore 2.10 has no CPU kernel for a roll: on its side, that case holds the slices and the concat that make one.

{versions}

{counts}

| case | golden_stick {ours} | Torch-Pruning {theirs} |
|---|---|---|
{rows}

The networks: [tests/rival_cases.py](../tests/rival_cases.py) and
[benchmarks/rivals/torch_pruning.py](../benchmarks/rivals/torch_pruning.py). To measure again, each in its environment:

```bash
python benchmarks/rivals/torch_pruning.py --output torch_pruning.json
python benchmarks/rivals/compare.py --torch-pruning torch_pruning.json --output docs/rivals.md
```
"""


def run(network, data):
    return network.set_train(False)(data).asnumpy()


def filters(network):
    """Layer -> its filters. The bare weight of a convolution is a layer of its own name."""
    return {item.name.removesuffix(".weight"): item.shape[0] for item in network.get_parameters()
            if len(item.shape) > 1 and item.name.endswith("weight")}


def judge(masked, slim, data):
    """What came of it, from running both networks on fresh inputs."""
    wanted, got = run(masked, data), run(slim, data)
    if wanted.shape != got.shape:
        return f"wrong function (output of shape {got.shape}, not {wanted.shape})"
    difference, scale = np.abs(wanted - got).max(), np.abs(wanted).max()
    if difference <= TOLERANCE * scale:
        return "exact"
    return f"wrong function (max diff {difference:.3g}, largest output {scale:.3g})"


def prune(case):
    """One run of golden_stick: its verdict, each layer's filters before and after, and why layers kept theirs."""
    network, algorithm = case.build(), gs.OneShot(CONFIG)
    try:
        masked = algorithm.apply(network, inputs=case.shape)
        if case.traced_only:
            planned = {layer.path: (layer.before, layer.after) for layer in algorithm.report.layers}
            return {"verdict": "compiles, not run (MindSpore has no CPU kernel)", "layers": planned}
        slim = algorithm.convert(masked)
        verdict, after = judge(masked, slim, case.data(1)), filters(slim)
    except (NothingToPruneError, SlimError, TraceError, VerifyError) as error:
        return {"verdict": f"refused: {str(error).strip().splitlines()[0]}", "layers": {}}
    except Exception as error:  # pylint: disable=broad-except
        return {"verdict": f"crash: {type(error).__name__}: {str(error).strip().splitlines()[:1]}", "layers": {}}
    layers = {name: (count, after[name]) for name, count in filters(network).items()}
    return {"verdict": verdict, "layers": layers,
            "reasons": {layer.path: layer.reasons[0] for layer in algorithm.report.layers if layer.reasons}}


def kept(case, result):
    """The layers that the case is about and that lost nothing."""
    unchanged = [name for name, (before, after) in result["layers"].items() if before == after]
    return [name for name in case.shrinks + case.keeps if name in unchanged]


def cell(case, result):
    """One run in words."""
    verdict = result["verdict"]
    text = verdict if len(verdict) <= LONGEST else f"{verdict[:LONGEST].rstrip()} ..."
    if not verdict.startswith(("exact", "nothing", "wrong", "compiles")):
        return text.replace("|", "\\|")
    changed = [f"{name} {before} → {after}" for name, (before, after) in result["layers"].items() if before != after]
    reasons = result.get("reasons", {})
    remains = [name + (f" ({reasons[name]})" if name in reasons else "") for name in kept(case, result)]
    text += f": {', '.join(changed)}" if changed else ""
    return (text + (f"; keeps {', '.join(remains)}" if remains else "")).replace("|", "\\|")


def kind(case, result):
    """The verdict without its particulars."""
    short = result["verdict"].split(":")[0].split(" (")[0].split(",")[0]
    return "exact, but keeps layers that the case is about" if short == "exact" and kept(case, result) else short


def table_of_counts(ours, theirs):
    """How often each verdict was given; for Torch-Pruning in the first run of each case, and in the last."""
    columns = {
        "golden_stick": Counter(kind(case, ours[case.name]) for case in CASES),
        "Torch-Pruning, nothing set": Counter(kind(case, theirs[case.name][""]) for case in CASES),
        "Torch-Pruning, arguments set": Counter(kind(case, list(theirs[case.name].values())[-1]) for case in CASES),
    }
    return table(["verdict", *columns], [[verdict, *(str(counted[verdict]) for counted in columns.values())]
                                         for verdict in sorted(set().union(*columns.values()))])


def page(ours, measured):
    """The whole page."""
    theirs, versions = measured["cases"], measured["versions"]
    rows = []
    for case in CASES:
        runs = theirs[case.name].items()
        words = "<br>".join((f"with `{told}`: " if told else "") + cell(case, result) for told, result in runs)
        rows.append(f"| {case.name} | {cell(case, ours[case.name])} | {words} |")
    named = [setting({}, (row["date"] for row in ours.values())),
             f"Torch-Pruning {versions['torch-pruning']}, PyTorch {versions['torch']}, numpy {versions['numpy']}, "
             f"Python {versions['python']}; {measured['machine']}."]
    return PAGE.format(count=len(CASES), versions="\n\n".join(named), counts=table_of_counts(ours, theirs),
                       rows="\n".join(rows), ours=gs.__version__, theirs=versions["torch-pruning"])


def main() -> None:
    parser = command_line(__doc__, "docs/rivals.md")
    parser.add_argument("--torch-pruning", type=Path, required=True, help="what torch_pruning.py wrote")
    parser.add_argument("--rows", type=Path, default=Path("outputs/rivals.json"), help="default: outputs/rivals.json")
    parser.add_argument("--resume", action="store_true", help="keep the rows that are there already")
    options = parser.parse_args()
    measured, cases = json.loads(options.torch_pruning.read_text()), {case.name: case for case in CASES}
    missing = set(cases) ^ set(measured["cases"])
    if missing:
        parser.error(f"both sides must have the same cases, but only one has {sorted(missing)}")
    ours = collect(cases, options.rows, options.resume, lambda name: {**prune(cases[name]), "date": today()},
                   lambda name, row: f"{name:<62} {cell(cases[name], row)}")
    write_page(options.output, page(ours, measured))


if __name__ == "__main__":
    main()
