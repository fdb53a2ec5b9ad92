"""
Filters of which one knows that they are not needed: which criterion finds them, and what it takes with them.

    python benchmarks/planted_redundancy.py --data cifar10_images.zip     writes docs/planted.md: about 5 minutes a seed
    python benchmarks/planted_redundancy.py --quick                       textures, one seed, seconds; writes no page

A small network is trained, and every layer gets dead, irrelevant, weak and duplicate filters that hardly change what it
computes (benchmarks/planted/network.py). Every criterion scores all filters. Images are split four ways: the weights
train on one set, SCOP's scales on another, the certified mode tests on a third, accuracies are those of the test set.
"""
import os

os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX2")
os.environ.setdefault("GLOG_v", "4")

import argparse  # noqa: E402
import json  # noqa: E402
import sys  # noqa: E402
import warnings  # noqa: E402
from pathlib import Path  # noqa: E402

import mindspore as ms  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from planted.data import load_sets  # noqa: E402
from planted.measure import SAMPLERS, measure  # noqa: E402
from planted.page import page, verdicts  # noqa: E402

from golden_stick.criteria import CRITERIA  # noqa: E402

EVERY = (*CRITERIA, *(f"scop, {sampler}" for sampler in SAMPLERS))


def parse(arguments=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="folder or archive of train/<class>/<name>.jpg and test/..., 32 x 32 pixels")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--images", type=int, default=30000, help="to train on")
    parser.add_argument("--epochs", type=int, default=10, help="of training the network")
    parser.add_argument("--steps", type=int, default=400, help="of the knockoff phase: 10 turns of each of 4 layers")
    parser.add_argument("--criteria", nargs="+", default=list(EVERY), choices=EVERY)
    parser.add_argument("--quick", action="store_true", help="textures, one seed, little of everything, no page")
    parser.add_argument("--output", type=Path, default=ROOT / "outputs" / "planted.json")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "planted.md")
    options = parser.parse_args(arguments)
    if options.quick:
        options.data, options.seeds, options.images, options.epochs, options.steps = None, 1, 1000, 2, 40
    return options


def main(arguments=None):
    options = parse(arguments)
    ms.set_context(mode=ms.GRAPH_MODE)
    # Scores that equal |gamma| are one of the things that the page shows.
    warnings.filterwarnings("ignore", message="For 'SCOP', scores must tell more")
    rows = json.loads(options.output.read_text()) if options.output.exists() and not options.quick else []
    options.output.parent.mkdir(parents=True, exist_ok=True)
    for seed in range(options.seeds):
        if seed not in [row["seed"] for row in rows]:
            sets = load_sets(options.data, options.images, seed)
            rows.append(measure(sets, seed, options.epochs, options.steps, options.criteria))
            options.output.write_text(json.dumps(rows, indent=1))
    text = page(rows, options)
    print(text)
    if not options.quick:
        options.page.write_text(text)
    return verdicts(rows)


if __name__ == "__main__":
    main()
