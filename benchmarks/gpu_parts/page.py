"""From the seconds of benchmarks/gpu_latency.py to docs/gpu.md."""
import numpy as np
from common import machine_text, table, verdict_table
from deployment_parts.page import TWIN, spread
from deployment_parts.tables import VITS

NAMES = {"slim": "any width", "slim16": "multiples of 16", "slim64": "multiples of 64", "slim heads": "whole heads"}
NETWORKS = {"resnet50": "ResNet-50", "mobilenet_v2": "MobileNetV2", "vit_b": "ViT-B/16"}
HEAD = "# What pruning gains on a GPU"
NOT_RUN = f"""{HEAD}

Not run: no GPU was at hand. Where there is one, `benchmarks/gpu_latency.py` measures it:

    python benchmarks/gpu_latency.py export      here: ONNX files without weights
    python benchmarks/gpu_latency.py time        on the machine with the GPU; its JSON belongs beside this page
    python benchmarks/gpu_latency.py page        writes this page

`golden-stick bench original.onnx slim.onnx --inputs 1,3,224,224 --provider cuda` times files in ONNX Runtime on a GPU,
where onnxruntime-gpu is installed, and never falls back to the CPU: not run, for the same reason.
"""
METHOD = """Written by `python benchmarks/gpu_latency.py page` from [gpu.json](gpu.json), measured on {date}: {machine}.
The ONNX files were made with {made}; each was folded and exported by golden_stick, and became a PyTorch module by
onnx2torch. Weights were drawn where they were timed.

Each network was pruned to at most 45 % of its MACs (`target_macs`), to widths of any number and to multiples
(`round_to`) of 16 and of 64; *whole heads* removes attention heads instead of making all narrower (`heads`). The
*native twin* was built by hand at the widths of the second. ViT-B keeps the width of its stream, which layer
normalizations average over{heads}.

Each module is a CUDA graph, whose replays are timed between events: 10 ms of replays a turn after one that does not
count, all variants of a network in turn, in every round in another order. Evaluation; channels last where there are
convolutions; cuDNN tries its algorithms before. *TF32* is float32 whose products may be TF32; *float32* forbids that.
Before it is timed, each module must give what ONNX Runtime gives on the CPU in float32. At most they lay apart by
{limits}, norm of the difference over norm. At batch 1 weights and activations may stay in the GPU's cache from one
replay to the next.
"""


def page(record):
    """The text of docs/gpu.md; of None, that it was not run."""
    if record is None:
        return NOT_RUN
    good = [row for row in record["rows"] if "error" not in row]
    parts = [HEAD, "", METHOD.format(date=record["date"], machine=machine_text(record["machine"]),
                                     made=machine_text(record["made by"]), limits=limits(good),
                                     heads=head_widths(record["networks"])),
             "MACs, in billions, and the original's over them:", "", sizes(record["networks"]), ""]
    for name, network in record["networks"].items():
        rows = [row for row in good if row["network"] == name]
        if rows:
            parts += [f"## {NETWORKS.get(name, name)}", "", *section(network, rows)]
    parts += ["## What was asked for", "", verdict_table(verdicts(good)), ""] if good else []
    parts += [f"Not measured: {row_name(row)}: {row['error']}" for row in record["rows"] if "error" in row]
    return "\n".join(parts).rstrip() + "\n"


def limits(rows):
    """Precision -> the largest difference that there was, in words."""
    largest = {}
    for row in rows:
        largest[row["precision"]] = max(largest.get(row["precision"], 0.0), *row["differences"].values())
    return ", ".join(f"{value:.1g} ({precision})" for precision, value in largest.items())


def head_widths(networks):
    """What became of the heads of vision transformers: in `widths`, the first behind the patches' are of queries."""
    if "vit_b" not in networks:
        return ""
    heads, found = VITS["vit_b"][4], []
    for variant, name in NAMES.items():
        width = networks["vit_b"]["variants"][variant]["widths"][1]
        usual = VITS["vit_b"][3] // heads
        found.append(f"{width // usual} of {usual} ({name})" if variant == "slim heads" else
                     f"{heads} of {width / heads:g} ({name})")
    return f"; its {heads} heads of {VITS['vit_b'][3] // heads} become " + ", ".join(found)


def row_name(row):
    return f"{NETWORKS.get(row['network'], row['network'])}, {row['precision']}, batch {row['batch']}"


def slim_ones(network):
    return [variant for variant in network["variants"] if variant in NAMES]


def saved(network, variant):
    return network["variants"]["original"]["macs"] / network["variants"][variant]["macs"]


def sizes(networks):
    return table(["network", "original", *NAMES.values()],
                 [[NETWORKS.get(name, name), f"{network['variants']['original']['macs'] / 1e9:.3g}",
                   *(f"{network['variants'][variant]['macs'] / 1e9:.3g} ({saved(network, variant):.2f})"
                     if variant in network["variants"] else "-" for variant in NAMES)]
                  for name, network in networks.items()])


def section(network, rows):
    """Times, and what follows from them."""
    slim, head = slim_ones(network), ["precision", "batch"]
    times = table([*head, "original", *(NAMES[variant] for variant in slim), "twin", "clock, MHz; W; °C"],
                  [[row["precision"], str(row["batch"]),
                    *(in_brackets(np.multiply(1e3, row["seconds"][variant]), ",.3f")
                      for variant in ("original", *slim, "twin")), state_text(row)] for row in rows])
    gains = table([*head, *(f"{NAMES[variant]} (MACs {saved(network, variant):.2f})" for variant in slim),
                   "16 / its twin"],
                  [[row["precision"], str(row["batch"]), *(gain(network, row, variant) for variant in slim),
                    "{:.3f} [{:.3f}, {:.3f}]".format(*twin(row))] for row in rows])
    return ["Milliseconds, medians [quartiles]:", "", times, "",
            "Speed-up (efficiency: speed-up over the ratio of MACs), medians of the ratios within the rounds; and the "
            "time of multiples of 16 over that of their twin:", "", gains, "", shape_text(network, rows), ""]


def in_brackets(values, form):
    return "{} [{}, {}]".format(*(format(value, form) for value in np.quantile(values, (0.5, 0.25, 0.75))))


def state_text(row):
    state = row.get("state", {})
    return "; ".join(f"{state[key]:.0f}" if key in state else "-" for key in ("clock", "power", "temperature"))


def speed_up(row, variant):
    return spread(row["seconds"]["original"], row["seconds"][variant])[0]


def gain(network, row, variant):
    value = speed_up(row, variant)
    return f"{value:.2f} ({value / saved(network, variant):.2f})"


def twin(row):
    return spread(row["seconds"]["slim16"], row["seconds"]["twin"])


def shape_text(network, rows):
    """What multiples do: efficiency of each, its median over the rows of each precision."""
    lines = []
    for precision in dict.fromkeys(row["precision"] for row in rows):
        medians = {variant: np.median([speed_up(row, variant) / saved(network, variant) for row in rows
                                       if row["precision"] == precision]) for variant in slim_ones(network)}
        lines.append(f"{precision} " + ", ".join(f"{value:.2f} ({NAMES[variant]})"
                                                 for variant, value in medians.items()))
    return "Efficiency, median over the batch sizes: " + "; ".join(lines) + "."


def verdicts(rows):
    """Of each network, by its worst row: (claim, figure, yes or no)."""
    for name in dict.fromkeys(row["network"] for row in rows):
        (value, low, high), row = max((twin(row), row_name(row)) for row in rows if row["network"] == name)
        yield (f"{row}, the worst of its rows: slim at most {TWIN:.0%} slower than its twin (median [quartiles])",
               f"{value:.3f} [{low:.3f}, {high:.3f}]", value <= 1 + TWIN)
