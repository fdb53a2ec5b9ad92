"""
Planted redundancy: which criterion finds filters that are known to do nothing, and what certified pruning removes.

    python benchmarks/planted_redundancy.py --data FILE.zip     5 seeds; writes docs/planted.md, its figure and JSON
    python benchmarks/planted_redundancy.py --seeds 1           on gratings drawn here; writes outputs/planted.md

`--data` is a folder or .zip of train/<class>/*.jpg and test/<class>/*.jpg, 32x32 pixels, 10 classes, such as CIFAR-10
as JPEG files. What is planted, and what is measured, stands at the head of the page, which is written after each seed.
An interrupted run goes on with `--resume`: seeds that stand in the JSON file with the same settings are not run again.
A missed threshold is printed and stands on the page; the command ends with code 1 then.
"""
import json
import sys
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.common import ROOT, command_line, write_json  # noqa: E402

# isort: split
import mindspore as ms  # noqa: E402

from benchmarks.planted import page as pages  # noqa: E402
from benchmarks.planted.experiment import SCOP_RUNS, Settings, run  # noqa: E402
from benchmarks.planted.images import CLASSES, SHARES, load  # noqa: E402
from benchmarks.planted.planting import WEAK_FORMS  # noqa: E402
from golden_stick.criteria import CRITERIA  # noqa: E402

_WEAK = {
    "random": "random weights, the scale that is usual in its layer, and random outgoing weights of 2 % of the usual "
              "deviation",
    "copy": "a copy of an original with 2 % of its outgoing weights; 98 % stay with the original",
}


def parse(arguments=None):
    defaults = Settings()
    parser = command_line(__doc__)
    parser.add_argument("--data", help="folder or .zip of JPEG files (default: gratings drawn here)")
    parser.add_argument("--images", type=int, help="so many training images (default: all; gratings: 4,000)")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=defaults.epochs)
    parser.add_argument("--steps", type=int, default=defaults.steps, help="of training SCOP's scales")
    parser.add_argument("--criteria", nargs="+", default=list(CRITERIA), choices=list(CRITERIA))
    parser.add_argument("--scop", nargs="*", default=list(defaults.scop), choices=list(SCOP_RUNS))
    parser.add_argument("--rates", nargs="+", type=float, default=list(defaults.rates), help="shares that are removed")
    parser.add_argument("--page-only", action="store_true", help="run no seed: the page of those in the JSON file")
    parser.add_argument("--resume", action="store_true", help="keep the seeds that stand in the JSON file")
    parser.add_argument("--weak", choices=WEAK_FORMS, default="random", help="form of the weak filters")
    parser.add_argument("--output", type=Path, help="the page (default: docs/planted.md with --data, else "
                                                    "outputs/planted.md); figure and JSON stand beside it")
    options = parser.parse_args(arguments)
    options.output = options.output or ROOT / ("docs" if options.data else "outputs") / "planted.md"
    return options


def earlier(path: Path, settings: Settings, data: str, images: int) -> list:
    """The rows of a file that were made with these settings and images."""
    rows = json.loads(path.read_text()) if path.is_file() else []
    wanted = {**json.loads(json.dumps(asdict(settings))), "data": data, "known": images}
    return [row for row in rows if {**row["settings"], "data": row["data"], "known": row["known"]} == wanted
            and set(row["images"]) == {*SHARES, "test"}]


def main(arguments=None) -> int:
    options = parse(arguments)
    ms.set_context(mode=ms.GRAPH_MODE)
    known, test = load(options.data, options.images or 4000)
    known = known.take(slice(options.images)) if options.images else known
    if int(known.labels.max()) >= CLASSES:
        raise SystemExit(f"--data must have at most {CLASSES} classes, but has {int(known.labels.max()) + 1}")
    settings = Settings(epochs=options.epochs, steps=options.steps, criteria=tuple(options.criteria),
                        scop=tuple(options.scop), rates=tuple(options.rates), weak=options.weak)
    data = Path(options.data).name if options.data else "gratings drawn by the command"
    words = [word for word in (sys.argv[1:] if arguments is None else arguments)
             if word not in ("--page-only", "--resume")]
    shown = " ".join(words).replace(options.data or "\0", data)
    facts = {"command": f"python benchmarks/planted_redundancy.py {shown}".rstrip(), "data": data,
             "epochs": options.epochs, "weak": _WEAK[options.weak], "wanted": options.seeds,
             "figure": options.output.with_suffix(".svg").name}
    kept = options.resume or options.page_only
    done = earlier(options.output.with_suffix(".json"), settings, data, len(known)) if kept else []
    rows = []
    for seed in range(options.seeds):
        of_seed = [row for row in done if row["seed"] == seed]
        if options.page_only and not of_seed:
            continue
        rows += of_seed or [{**run(known, test, seed, settings), "data": data, "known": len(known)}]
        print(f"seed {seed}: {rows[-1]['seconds']:.0f} s, accuracy {rows[-1]['accuracy']:.3f}", flush=True)
        write_json(options.output.with_suffix(".json"), rows)
        pages.draw(rows, options.output.with_suffix(".svg"))
        options.output.write_text(pages.page(rows, facts), encoding="utf-8")
    if not rows:
        raise SystemExit(f"--page-only needs seeds with these settings in {options.output.with_suffix('.json')}")
    checks = pages.check(rows)
    for what, value, held in checks:
        print(f"{'held  ' if held else 'MISSED'}  {value:6.3f}  {what}")
    return int(not all(held for _, _, held in checks))


if __name__ == "__main__":
    sys.exit(main())
