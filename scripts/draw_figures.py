"""
Draws the figures of docs from measured files and traced networks.   python scripts/draw_figures.py [--measure]

Of the figures, the networks are traced and pruned here, accuracies and chances are read from what the benchmarks have
written, and with --measure the losses of the SCOP tutorial are taken anew.
"""
import argparse
import json
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Callable, Dict, Iterable, Sequence, Tuple

os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX2")
os.environ.setdefault("GLOG_v", "4")

import numpy as np  # noqa: E402
from mindspore import nn, ops  # noqa: E402

import golden_stick as gs  # noqa: E402
from golden_stick.bench.clock import is_quiet  # noqa: E402
from golden_stick.cli.networks import call_factory  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from scripts.walk_journeys import blocks, run  # noqa: E402

FIGURES, SIMULATED = ROOT / "docs" / "figures", ROOT / "benchmarks" / "simulations" / "certificate.json"
# Told apart by everyone (Okabe and Ito), with text of enough contrast on white.
INK, GREY, PALE, BLUE, ORANGE, GREEN = "#1a1a1a", "#5f6368", "#d9dce1", "#0064a4", "#c24d00", "#00785a"


class Picture:
    """An SVG of a size, with a title that is read aloud."""

    def __init__(self, width: int, height: int, title: str):
        self.parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
                      f'height="{height}" font-family="system-ui, sans-serif" font-size="13" role="img">',
                      f"<title>{title}</title>", '<rect width="100%" height="100%" fill="#fff"/>']

    def text(self, x: float, y: float, text: str, anchor: str = "start", colour: str = INK, size: int = 13) -> None:
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}" '
                          f'font-size="{size}">{text}</text>')

    def box(self, x: float, y: float, width: float, height: float, fill: str, stroke: str = INK) -> None:
        self.parts.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{fill}" '
                          f'stroke="{stroke}" rx="2"/>')

    def line(self, points: Iterable[Tuple[float, float]], colour: str = GREY, width: float = 1.5,
             dash: str = "") -> None:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self.parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}" '
                          f'stroke-dasharray="{dash}"/>')

    def arrow(self, x: float, y: float, to_x: float, to_y: float, colour: str = GREY) -> None:
        self.line([(x, y), (to_x, to_y)], colour)
        along = np.array([to_x - x, to_y - y]) / np.hypot(to_x - x, to_y - y)
        across = np.array([-along[1], along[0]])
        tip = np.array([to_x, to_y])
        corners = [tip, tip - 7 * along + 3.5 * across, tip - 7 * along - 3.5 * across]
        self.parts.append(f'<polygon points="{" ".join(f"{a:.1f},{b:.1f}" for a, b in corners)}" fill="{colour}"/>')

    def dot(self, x: float, y: float, colour: str, radius: float = 5) -> None:
        self.parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{colour}"/>')

    def cells(self, x: float, y: float, values: Sequence, colours: Sequence[str], size: float = 24) -> None:
        for place, (value, colour) in enumerate(zip(values, colours)):
            self.box(x + place * size, y, size, size, colour)
            self.text(x + (place + 0.5) * size, y + size / 2 + 5, str(value), "middle",
                      "#fff" if colour in (BLUE, ORANGE, GREEN, GREY) else INK)

    def __str__(self) -> str:
        return "\n".join([*self.parts, "</svg>", ""])


class Axes:
    """A plot's frame: places of values, ticks and names."""

    def __init__(self, picture: Picture, at: Tuple[float, float, float, float], x_range, y_range):
        self.picture, (self.left, self.top, self.right, self.bottom) = picture, at
        self.x_range, self.y_range = x_range, y_range
        picture.line([(self.left, self.top), (self.left, self.bottom), (self.right, self.bottom)], INK, 1)

    def place(self, x: float, y: float) -> Tuple[float, float]:
        (x0, x1), (y0, y1) = self.x_range, self.y_range
        return (self.left + (x - x0) / (x1 - x0) * (self.right - self.left),
                self.bottom - (y - y0) / (y1 - y0) * (self.bottom - self.top))

    def ticks(self, xs: Iterable[float], ys: Iterable[float], x_name: str, y_name: str) -> None:
        for x in xs:
            at = self.place(x, self.y_range[0])
            self.picture.text(at[0], at[1] + 18, f"{x:g}", "middle", GREY)
        for y in ys:
            at = self.place(self.x_range[0], y)
            self.picture.text(at[0] - 8, at[1] + 4, f"{y:g}", "end", GREY)
            self.picture.line([at, self.place(self.x_range[1], y)], PALE, 1)
        self.picture.text((self.left + self.right) / 2, self.bottom + 40, x_name, "middle")
        self.picture.text(self.left - 44, self.top - 12, y_name)

    def curve(self, points: Iterable[Tuple[float, float]], colour: str, dots: bool = True) -> None:
        places = [self.place(*point) for point in points]
        self.picture.line(places, colour, 2)
        for place in places if dots else ():
            self.picture.dot(*place, colour)


class Example(nn.Cell):
    """Two convolutions that are added, a third beside them, a last that reads all."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3), nn.Conv2d(3, 2, 3)
        self.d = nn.Conv2d(6, 5, 3)

    def construct(self, x):
        return self.d(ops.cat((self.a(x) + self.b(x), self.c(x)), 1))


def labels() -> Picture:
    """Fresh labels, and those that meet in the sum."""
    picture = Picture(680, 210, "Each convolution makes fresh labels; a sum unites those that meet, a concatenation "
                                "puts them in a row")
    rows = {"a": (1, 2, 3, 4), "b": (5, 6, 7, 8), "c": (9, 10)}
    for place, (name, values) in enumerate(rows.items()):
        y = 30 + 60 * place
        picture.text(20, y + 17, f"conv {name}")
        picture.cells(80, y, values, ["#fff"] * len(values))
    picture.text(20, 20, "fresh labels", colour=GREY)
    picture.arrow(180, 42, 232, 68), picture.arrow(180, 102, 232, 76)
    picture.text(240, 58, "sum: 1 = 5, 2 = 6, 3 = 7, 4 = 8", colour=GREY)
    picture.cells(240, 66, (1, 2, 3, 4), ["#fff"] * 4)
    picture.arrow(340, 80, 412, 104), picture.arrow(132, 162, 412, 120)
    picture.text(660, 90, "concatenation: in a row, read by conv d", "end", GREY)
    picture.cells(420, 98, (1, 2, 3, 4, 9, 10), ["#fff"] * 6)
    return picture


def groups() -> Picture:
    """What belongs together, as traced."""
    grouping = gs.find_groups(gs.trace(Example(), (1, 3, 8, 8)))
    picture = Picture(680, 230, "Positions of weights of one colour shrink together: a group")
    colours = dict(zip((number for group in grouping for number in group.channels.tolist()),
                       (colour for group, colour in zip(grouping, (BLUE, ORANGE)) for _ in group.channels)))
    places = {("a", 0): (20, 40), ("b", 0): (20, 100), ("c", 0): (20, 160), ("d", 1): (360, 100)}
    for item in grouping.slices:
        path, kind = item.parameter.rsplit(".", 1)
        if kind == "weight" and (path, item.axis) in places:
            x, y = places[path, item.axis]
            picture.text(x, y - 6, f"{path}.weight, axis {item.axis}: {item.role}")
            names = [f"{number}" for number in item.channels]
            picture.cells(x, y, names, [colours.get(number, "#fff") for number in item.channels.tolist()])
    for name, y in (("a", 52), ("b", 112), ("c", 172)):
        picture.arrow(120 if name != "c" else 72, y, 352, 112)
    picture.text(360, 180, f"{len(grouping)} groups: " + "; ".join(
        f"{len(group.channels)} channels of {', '.join(group.layers)}" for group in grouping), colour=GREY)
    picture.text(360, 200, "conv d makes the output: its filters stay", colour=GREY)
    return picture


def masks() -> Picture:
    """Zero does not stay zero: the mask stands where the channel is read."""
    picture = Picture(680, 190, "A mask behind the producer is undone by a sigmoid; a mask before the consumer is not")
    for y, title, values in ((50, "mask behind conv a: not what the slim network gives", ("0", "0.5", "0.5")),
                             (140, "mask before conv b: exactly what the slim network gives",
                              ("x", "sigmoid(x)", "0"))):
        picture.text(20, y - 22, title, colour=ORANGE if y == 50 else GREEN)
        for place, name in enumerate(("conv a", "sigmoid", "conv b")):
            picture.box(20 + 230 * place, y - 10, 100, 36, "#fff")
            picture.text(70 + 230 * place, y + 13, name, "middle")
        for place, value in enumerate((values[0], values[1])):
            picture.arrow(120 + 230 * place, y + 8, 250 + 230 * place, y + 8)
            picture.text(180 + 230 * place, y + 2, value, "middle", GREY)
        at = 150 if y == 50 else 396
        picture.box(at - 6, y + 12, 70, 20, ORANGE if y == 50 else GREEN)
        picture.text(at + 29, y + 27, "mask 0", "middle", "#fff")
        picture.text(590, y + 13, f"reads {values[2]}", colour=GREY)
    return picture


def recovered() -> Picture:
    """Accuracy as pruned, with statistics re-estimated, with layers solved anew: rows of docs/recovery.md."""
    text = (ROOT / "docs" / "recovery.md").read_text(encoding="utf-8").split("## resnet20")[1]
    text = re.split("\n## |Trained further", text)[0]
    base = float(re.search(r"Before pruning: ([\d.]+)", text).group(1))
    rows = [[cell.strip(" *") for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")]
    wanted = {("l1", "inside"): "l1", ("reconstruction", "inside, shared out"): "reconstruction"}
    chosen = [(wanted[row[0], row[1]], row) for row in rows if (row[0], row[1]) in wanted]
    picture = Picture(680, 60 + 78 * len(chosen), "Test accuracy of ResNet-20, pruned and recovered three ways")
    picture.text(20, 22, f"ResNet-20, CIFAR-10 (JPEG), test accuracy in %; the line is the network before: {base:g}")
    picture.line([(140 + 3.4 * base, 34), (140 + 3.4 * base, 50 + 78 * len(chosen))], INK, 1, "4 3")
    for place, (name, row) in enumerate(chosen):
        y = 42 + 78 * place
        picture.text(20, y + 24, name), picture.text(20, y + 42, f"{float(row[2]):.0%} of the MACs", colour=GREY)
        for part, (value, what, colour) in enumerate(zip(row[4:7], ("as pruned", "statistics re-estimated",
                                                                     "layers solved anew"), (GREY, ORANGE, BLUE))):
            picture.box(140, y + 21 * part, 3.4 * float(value), 17, colour, colour)
            picture.text(134 + 3.4 * float(value), y + 13 + 21 * part, value, "end", "#fff")
            picture.text(440, y + 13 + 21 * part, what, colour=colour)
    return picture


def knockoffs() -> Picture:
    """One mixing layer."""
    picture = Picture(680, 200, "Features of an image and of its control are mixed by one trained scale per filter")
    for y, name, what in ((40, "image", "real features"), (130, "control", "features of the control")):
        picture.box(20, y - 16, 90, 36, "#fff"), picture.text(65, y + 7, name, "middle")
        picture.arrow(110, y + 2, 170, y + 2), picture.box(170, y - 16, 110, 36, "#fff")
        picture.text(225, y + 7, "layer", "middle"), picture.line([(280, y + 2), (420, y + 2)])
        picture.text(286, y - 6, what, colour=GREY)
    picture.arrow(425, 132, 470, 64)
    picture.box(420, 22, 130, 40, BLUE), picture.text(485, 47, "s·A + (1 − s)·B", "middle", "#fff")
    picture.arrow(550, 42, 640, 42), picture.text(560, 34, "goes on", colour=GREY)
    picture.arrow(418, 132, 640, 132), picture.text(530, 124, "goes on unmixed", colour=GREY)
    picture.text(20, 182, "s: one trained number in [0, 1] per filter, from 0.5. At 0.5 or below, the control does as "
                          "well.", colour=GREY)
    return picture


def certificates() -> Picture:
    """Chances of a certificate by the true drop."""
    found = json.loads(SIMULATED.read_text(encoding="utf-8"))
    picture = Picture(680, 330, "Chance of a certificate by the true drop in accuracy, for 1,000 to 5,000 images")
    axes = Axes(picture, (70, 50, 520, 270), (-0.5, 1), (0, 1))
    claim = f"a drop below {100 * found['bound']:g} point, {found['confidence']:.0%} confidence"
    axes.ticks((-0.5, 0, 0.5, 1), (0, 0.1, 0.5, 1), "true drop of accuracy, in points",
               f"chance of a certificate: {claim}")
    for images, colour in zip(sorted({row["images"] for row in found["power"]}), (GREY, ORANGE, BLUE)):
        points = [(100 * row["drop"], row["exact_test"]) for row in found["power"] if row["images"] == images]
        axes.curve(points, colour)
        x, y = axes.place(*points[1])
        picture.text(x + 4, y - 8, f"{images:,} images", colour=colour)
    picture.text(530, axes.place(1, 0.1)[1] + 4, "at most 0.1 is promised", size=12)
    return picture


def network() -> Picture:
    """The first tutorial's network, before and after: a column for each layer, as high as it has filters."""
    with tempfile.TemporaryDirectory() as folder:
        page = (ROOT / "docs" / "tutorials" / "cnn.md").read_text(encoding="utf-8")
        path = Path(folder, "my_net.py")
        path.write_text(next(block.text for block in blocks(page) if block.title == "my_net.py"), encoding="utf-8")
        algorithm = gs.OneShot({"prune_rate": 0.4})
        algorithm.convert(algorithm.apply(call_factory(f"{path}:build"), (1, 1, 8, 8)))
    report = algorithm.report
    order = ("stem.0", "first.body.0", "first.body.3", "down.0", "second.body.0", "second.body.3", "head.2")
    layers = {layer.path: layer for layer in report.layers}
    picture = Picture(680, 250, f"A small residual network before and after pruning: {report.parameters_before:,} and "
                                f"{report.parameters_after:,} parameters")
    middle, step, low = 120, 92, 196
    for place, path in enumerate(order):
        before, after = layers[path].before, layers[path].after
        x = 30 + step * place
        picture.box(x, middle - 2 * before, 40, 4 * before, PALE, GREY)
        picture.box(x, middle - 2 * after, 40, 4 * after, BLUE)
        picture.text(x + 20, middle + 5, str(after), "middle", "#fff")
        picture.text(x + 20, middle - 2 * before - 6, f"{before}", "middle", GREY)
        picture.text(x + 20, 232, path.replace(".body", ""), "middle", size=12)
        if place:
            picture.arrow(x - step + 42, middle, x - 3, middle)
    for first, last in ((0, 2), (3, 5)):  # the shortcuts
        x, to = 50 + step * first, 50 + step * last
        top = middle + 2 * layers[order[last]].before + 3
        picture.line([(x, top), (x, low), (to, low), (to, top)], ORANGE)
        picture.text((x + to) / 2, low + 15, "added: they share their channels", "middle", ORANGE, 12)
    numbers = ((report.parameters_before, report.parameters_after, "parameters"),
               (report.macs_before, report.macs_after, "MACs"))
    picture.text(30, 20, "filters before (grey) and after (blue): " + ", ".join(
        f"{before:,} to {after:,} {what}" for before, after, what in numbers))
    return picture


def tradeoff() -> Picture:
    """Latency against accuracy: what benchmarks/tradeoff.py measured."""
    found = json.loads((FIGURES / "tradeoff.json").read_text(encoding="utf-8"))
    before, *after = sorted(found["rows"].values(), key=lambda row: -row["macs"])
    picture = Picture(680, 360, "Latency against accuracy of ResNet-20, before and after pruning")
    longest = np.ceil(max(row["ms"] for row in found["rows"].values()) * 12) / 10
    lowest = 5 * np.floor(20 * min(row["accuracy"] for row in after) - 0.2)
    axes = Axes(picture, (70, 50, 640, 300), (0, longest), (lowest, 5 * np.ceil(20 * before["accuracy"])))
    axes.ticks(np.arange(0, longest + 0.01, 0.2), np.arange(lowest, axes.y_range[1] + 1, 5),
               "latency of one image in ONNX Runtime, one thread, ms",
               f"test accuracy in %, ResNet-20, CIFAR-10 (JPEG), {found['test_images']:,} images")
    axes.curve([(row["ms"], 100 * row["accuracy"]) for row in after], BLUE)
    for row in after:
        x, y = axes.place(row["ms"], 100 * row["accuracy"])
        said = f"{row['macs']:.0%} of the MACs: {100 * row['accuracy']:.1f} %, {row['ms']:.2f} ms"
        picture.text(*((x + 9, y + 16, said, "start") if x < 420 else (x - 9, y - 8, said, "end")), BLUE)
    x, y = axes.place(before["ms"], 100 * before["accuracy"])
    picture.dot(x, y, INK, 6)
    picture.text(x, y - 20, f"before: {100 * before['accuracy']:.1f} %, {before['ms']:.2f} ms", "middle")
    if not is_quiet(found["foreign_load"]):
        said = f"other work kept {found['foreign_load']:.1f} processors busy meanwhile"
        picture.text(640, 355, said, "end", GREY, 12)
    picture.text(80, 290, "blue: pruned, recovered on unlabelled images, no training", colour=BLUE)
    return picture


def scop_loss() -> Picture:
    """Losses of the knockoff phase of the SCOP tutorial."""
    found = json.loads((FIGURES / "scop_loss.json").read_text(encoding="utf-8"))
    losses, turn = found["losses"], found["turn_steps"]
    picture = Picture(680, 280, "Loss of the knockoff phase: it jumps where a block begins to mix, and then falls")
    top = float(np.ceil(max(losses)))
    axes = Axes(picture, (70, 50, 650, 220), (1, len(losses)), (0, top))
    axes.ticks(range(turn, len(losses) + 1, turn), np.linspace(0, top, 5), "step", "loss")
    for number, first in enumerate(range(0, len(losses), turn)):
        x = axes.place(first + 1, 0)[0]
        picture.line([(x, 44), (x, 220)], PALE, 1)
        picture.text(x + 3, 40, f"block {number % found['blocks'] + 1}", colour=GREY, size=12)
    axes.curve(list(enumerate(losses, 1)), BLUE, dots=False)
    return picture


def measure_scop() -> None:
    """Run the tutorial, and note the losses of its phase."""
    page = (ROOT / "docs" / "tutorials" / "scop.md").read_text(encoding="utf-8")
    first = (ROOT / "docs" / "tutorials" / "cnn.md").read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        for block in (*blocks(first), *blocks(page)):
            if block.title:
                Path(folder, block.title).write_text(block.text, encoding="utf-8")
        run("python train.py", folder)
        printed = run("python scop.py", folder)
    record = {"command": "python scripts/draw_figures.py --measure",
              "turn_steps": int(re.search(r'"turn_steps": (\d+)', page).group(1)),
              "blocks": int(re.search(r"mixing: blocks, (\d+)", printed).group(1)),
              "losses": [round(float(value), 4) for value in re.findall(r"step: +\d+, loss is ([\d.]+)", printed)]}
    (FIGURES / "scop_loss.json").write_text(json.dumps(record) + "\n", encoding="utf-8")


DRAWN: Dict[str, Callable[[], Picture]] = {
    "labels": labels, "groups": groups, "masks": masks, "recovered": recovered, "knockoffs": knockoffs,
    "certificates": certificates, "network": network, "tradeoff": tradeoff, "scop_loss": scop_loss}


def main(arguments=None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", action="store_true", help="train the SCOP tutorial's network first: a minute")
    if parser.parse_args(arguments).measure:
        measure_scop()
    for name, draw in DRAWN.items():
        (FIGURES / f"{name}.svg").write_text(str(draw()), encoding="utf-8")


if __name__ == "__main__":
    main()
