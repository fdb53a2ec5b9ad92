"""From the rows of the deployment benchmark to lines and to docs/deployment.md."""
import numpy as np
from common import machine_text, table, verdict_table
from sides.client import GS

from deployment_parts.tables import WARM

# What issue 5 asks for.
TWIN, EFFICIENCY, OVER_RIVAL = 0.02, 0.85, 1.2
QUIET = 0.2
TORCH = ("PyTorch", "PyTorch, frozen")
RUNTIMES = ("MindIR", "ONNX Runtime", *TORCH)
FILES = ("checkpoint", "slim file", "MindIR", "ONNX Runtime", "PyTorch checkpoint")


def ratio(row, over, under, clock="seconds"):
    """`spread` of one time over another; None if one was not measured."""
    seconds = row[clock]
    return spread(seconds[over], seconds[under]) if over in seconds and under in seconds else None


def spread(over, under):
    """Median over the rounds of one time over another, and its quartiles."""
    return [float(value) for value in np.quantile(np.divide(over, under), (0.5, 0.25, 0.75))]


def facts(row):
    """What follows from the times: speed-ups, efficiencies, and how far the slim network is from its twin."""
    saved = row["macs"]["original"] / row["macs"]["slim"]
    found = {"macs_ratio": saved, "speed_up": {}, "efficiency": {},
             "twin": {runtime: spread(two["slim"], two["twin"]) for runtime, two in row["pairs"].items()}}
    for runtime in RUNTIMES:
        speed_up = ratio(row, f"{runtime}, original", f"{runtime}, slim")
        if speed_up:
            found["speed_up"][runtime], found["efficiency"][runtime] = speed_up, speed_up[0] / saved
    found["own"] = {runtime: own_of(row, runtime) for runtime in TORCH if f"{runtime}, own" in row["seconds"]}
    found["best"] = max(value for runtime, value in found["efficiency"].items() if runtime not in TORCH)
    found["over_rival"] = {runtime: found["best"] / found["efficiency"][runtime]
                           for runtime in TORCH if runtime in found["efficiency"]}
    found["over_own"] = {runtime: found["best"] / own["efficiency"] for runtime, own in found["own"].items()}
    return found


def own_of(row, runtime):
    """What Torch-Pruning's own pruner gains in one form of PyTorch."""
    macs, speed_up = row["torch"]["macs"], ratio(row, f"{runtime}, original", f"{runtime}, own")
    return {"macs_ratio": macs["original"] / macs["own"], "speed_up": speed_up,
            "efficiency": speed_up[0] * macs["own"] / macs["original"]}


def foreign(row):
    """Processors that others kept busy, without PyTorch's and mindspore-gs's side of this benchmark."""
    if row["foreign_load"] is None:
        return None
    return max(0.0, row["foreign_load"] - (row.get("torch_cpu", 0.0) + row.get("gs_cpu", 0.0)) / row["wall"])


def why_not(row):
    """What to say in place of mindspore-gs's times, or an empty str."""
    if "gs" not in row:
        return "not measured"
    if "error" in row["gs"]:
        return f"did not run: {row['gs']['error']}"
    return "" if row["gs"]["wrapped"] else "wraps no convolution of it"


def median(row, name, clock):
    return float(np.median(row[clock][name])) if name in row[clock] else None


def quartiles(row, name, clock):
    return [float(value) for value in np.quantile(row[clock][name], (0.25, 0.75))]


def milliseconds(value):
    return in_cell([value], 1e3, ",.1f")


def in_cell(values, scale, form):
    """Numbers in one cell, a dash for what was not measured."""
    return ", ".join("-" if value is None else format(scale * value, form) for value in values)


def row_text(row):
    """A row for the terminal."""
    head = ", batch ".join(row_name(row))
    if "error" in row:
        return f"{head}: NOT MEASURED, {row['error']}"
    found = facts(row)
    parts = [f"MACs ratio {found['macs_ratio']:.2f}"]
    for runtime, (value, low, high) in found["speed_up"].items():
        parts.append(f"{runtime} {value:.2f} [{low:.2f}, {high:.2f}] x faster, efficiency "
                     f"{found['efficiency'][runtime]:.2f}")
    parts += [f"{runtime} slim / twin {value:.3f} [{low:.3f}, {high:.3f}]"
              for runtime, (value, low, high) in found["twin"].items()]
    busy = foreign(row)
    parts.append(f"{row['rounds']} rounds; others kept {busy:.2f} processors busy" if busy is not None else
                 f"{row['rounds']} rounds")
    return f"{head}: " + "; ".join(parts)


def versions_of(rows):
    """Machine and versions, in words."""
    good = [row for row in rows if "error" not in row]
    if not good:
        return "nothing was measured"
    sides = (good[-1].get(side, {}).get("versions", {}) for side in ("torch", "gs"))
    return machine_text({**good[-1]["machine"], **{name: one for side in sides for name, one in side.items()}})


def verdicts(row):
    """What was asked for, and whether it was reached: (claim, figure, yes or no)."""
    found = facts(row)
    name = ", batch ".join(row_name(row))
    for runtime, (value, low, high) in found["twin"].items():
        # Only being slower breaks the promise; the quartiles say how far the median can be trusted.
        yield (f"{name}: slim at most {TWIN:.0%} slower than its twin, {runtime} (median [quartiles])",
               f"{value:.3f} [{low:.3f}, {high:.3f}]", value <= 1 + TWIN)
    if row["settings"]["network"] == "resnet50":
        yield (f"{name}: speed-up at least {EFFICIENCY} of the MACs ratio", f"{found['best']:.2f}",
               found["best"] >= EFFICIENCY)
        for key, whose in (("over_own", "as it comes"), ("over_rival", "at our widths")):
            for runtime, value in found[key].items():
                yield (f"{name}: efficiency at least {OVER_RIVAL} of Torch-Pruning's {whose} in {runtime}",
                       f"{value:.2f}", value >= OVER_RIVAL)


def row_name(row):
    """The first two cells of a row."""
    return [row["settings"]["network"], str(row["settings"]["batch"])]


def latencies(rows, clock):
    head = ["network", "batch", "MACs ratio"] + [
        f"{runtime}: original, slim, twin" if runtime not in TORCH else
        f"{runtime}: original, Torch-Pruning at our widths, as it comes" for runtime in RUNTIMES]
    head.append(f"MindSpore, {GS}: original, masked")
    lines = []
    for row in rows:
        cells = [*row_name(row), f"{facts(row)['macs_ratio']:.2f}"]
        for runtime in RUNTIMES:
            which = ("original", "slim", "twin" if runtime not in TORCH else "own")
            cells.append(in_cell([median(row, f"{runtime}, {one}", clock) for one in which], 1e3, ",.1f"))
        cells.append(why_not(row) or in_cell([median(row, f"{GS}, {one}", clock) for one in ("original", "masked")],
                                             1e3, ",.1f"))
        lines.append(cells)
    return table(head, lines)


def gains(rows):
    head = ["network", "batch"] + [f"{runtime}: speed-up (efficiency)" for runtime in RUNTIMES] + \
        [f"Torch-Pruning as it comes in {runtime}: MACs ratio, speed-up (efficiency)" for runtime in TORCH] + \
        [f"{GS}: speed-up", "slim / twin, MindIR", "slim / twin, ONNX Runtime", "same widths in PyTorch",
         "others' load"]
    lines = []
    for row in rows:
        found, busy = facts(row), foreign(row)
        cells = row_name(row)
        for runtime in RUNTIMES:
            gain = found["speed_up"].get(runtime)
            cells.append(f"{gain[0]:.2f} ({found['efficiency'][runtime]:.2f})" if gain else "-")
        owns = [found["own"].get(runtime) for runtime in TORCH]
        cells += [f"{own['macs_ratio']:.2f}, {own['speed_up'][0]:.2f} ({own['efficiency']:.2f})" if own else "-"
                  for own in owns]
        gain = ratio(row, f"{GS}, original", f"{GS}, masked")
        cells.append(f"{gain[0]:.2f}" if gain else "-")
        for runtime in RUNTIMES[:2]:
            twin = found["twin"].get(runtime)
            cells.append("{:.3f} [{:.3f}, {:.3f}]".format(*twin) if twin else "-")
        same = row.get("torch", {}).get("same_widths")
        cells += ["-" if same is None else "yes" if same else "NO", "not known" if busy is None else f"{busy:.2f}"]
        lines.append(cells)
    return table(head, lines)


def work_rates(rows):
    """Billions of MACs a second: a runtime that is far from the processor's peak before pruning has room above 1."""
    lines = []
    for row in rows:
        cells = row_name(row)
        for runtime in RUNTIMES:
            times = {one: median(row, f"{runtime}, {one}", "seconds") for one in ("original", "slim")}
            cells.append(in_cell([time and row["macs"][one] / time for one, time in times.items()],
                                 row["settings"]["batch"] / 1e9, ".3g"))
        lines.append(cells)
    return table(["network", "batch"] + [f"{runtime}: original, slim" for runtime in RUNTIMES], lines)


def memories(rows):
    lines = []
    for row in rows:
        cells = row_name(row)
        for runtime in RUNTIMES[:2]:
            values = [row["memory"].get(f"{runtime}, {which}") for which in ("original", "slim")]
            cells.append(in_cell(values, 2**-20, ".0f"))
        lines.append(cells)
    return table(["network", "batch", "MindIR: original, slim", "ONNX Runtime: original, slim"], lines)


def files(rows):
    found = {}
    for row in rows:
        # The sizes are those of a network and not of a batch.
        found.setdefault(row["settings"]["network"], row["bytes"])
    lines = []
    for name, sizes in found.items():
        cells = [name]
        for kind in FILES:
            values = [sizes.get(kind)] if kind == "slim file" else [
                sizes.get(f"{kind}, {which}") for which in ("original", "slim")]
            cells.append(in_cell(values, 1e-6, ".1f"))
        lines.append(cells)
    return table(["network", "checkpoint: original, slim", "slim file", "MindIR: original, slim",
                  "ONNX: original, slim", "PyTorch checkpoint: original, Torch-Pruning"], lines)


def page(rows, rate, round_to):
    """The text of docs/deployment.md."""
    good = [row for row in rows if "error" not in row]
    if not good:
        return "# Deployment\n\nNothing was measured.\n"
    noisy = [row for row in good if (foreign(row) or 0) >= QUIET]
    threads = good[-1]["settings"].get("threads")
    processors = "all processors" if threads is None else f"{threads} of the processors"
    parts = ["# What pruning gains where networks are deployed", "",
             "Written by `python benchmarks/deployment.py`. " + versions_of(rows) + ".", "",
             f"Each network is pruned by {rate:.0%} down to a multiple of {round_to} filters, by their l1 "
             f"norm: of a latency, the weights do not matter. Its *native twin* was built by hand at the slim widths. "
             f"Torch-Pruning's network has the same widths; *as it comes* is what its own pruner makes at {rate:.0%} "
             f"with its defaults, which round no width. *PyTorch* calls the module, as a script does; *frozen* is "
             f"what `torch.jit` traces, freezes and optimizes for inference, which folds its batch normalizations as "
             f"our export does. All run in turn in one run: each once a round, "
             f"after calls that do not count, for {WARM} s and one at least. Random weights, evaluation, float32, "
             f"{processors}. In MindSpore and ONNX Runtime all three networks went through the same export. {GS}'s "
             f"column is the network that it gives back, masked at the same rate, beside the original under the names "
             f"that it wants, in GRAPH mode: it is not smaller, so there is no MACs ratio to reach.", ""]
    if noisy:
        parts += [f"**The machine was not quiet** for {len(noisy)} of {len(good)} rows (last column of the second "
                  f"table): do not quote them.", ""]
    parts += ["Medians, in milliseconds a call:", "", latencies(good, "seconds"), "",
              "The same in CPU time of all threads, to which those add that wait by spinning:", "",
              latencies(good, "cpu_seconds"), "",
              "Speed-up: the original's time over the slim one's in the same runtime, median of the ratios within the "
              "rounds. Efficiency: speed-up over MACs ratio. Slim / twin: the same of these two, in rounds of theirs "
              "alone, with quartiles in brackets. Others' load: processors that other processes kept busy "
              "meanwhile.", "", gains(good), "",
              "Billions of MACs a second. A runtime that leaves the processor half idle before pruning can gain more "
              "than the MACs ratio, and one that is near its peak cannot:", "", work_rates(good), "",
              "Memory, in MiB: what the process grew by at its highest, while the file was loaded and first run:", "",
              memories(good), "", "Files, in megabytes:", "", files(good), "", "What was asked for:", "",
              verdict_table(verdict for row in good for verdict in verdicts(row)), ""]
    parts += [f"Not measured: {row_text(row)}" for row in rows if "error" in row]
    return "\n".join(parts).rstrip() + "\n"
