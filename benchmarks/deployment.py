"""
What pruning gains where networks are deployed: ours in MindSpore and ONNX Runtime, Torch-Pruning's in PyTorch.

    python benchmarks/deployment.py --torch-python PATH --gs-python PATH
                                                           everything; writes docs/deployment.md: an hour or two
    python benchmarks/deployment.py --quick                small images, few rounds, batch 1; writes no page
    python benchmarks/deployment.py --networks resnet50 --batches 1 16 --seconds 120

Each network is pruned by 45 %, down to a multiple of 16 filters. Measured in turn, in one run: the original, the
slim one and its native twin (built by hand at the slim widths), as MindIR and as ONNX files; and in PyTorch the
original and what Torch-Pruning makes of it, at the same widths and as it comes. `--torch-python` is the Python of an
environment with torch and torch-pruning, and `--gs-python` that of one with mindspore-gs (see
benchmarks/sides/README.md), whose masked network runs in GRAPH mode beside its original. Without them those columns
stay empty, as ONNX Runtime's does where onnx and onnxruntime are not installed.

Each network and batch size has a process of its own, so that a crash costs one row. The rows are collected in
`--output`, and `--resume` keeps those that stand there and were measured with the same settings. Run it on a quiet
machine: what other processes used of it stands in every row.
"""
import json
import os
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from common import ROOT, command_line, write_json, write_page
from deployment_parts.page import page, row_text, versions_of
from deployment_parts.tables import IMAGE

RATE, ROUND_TO = 0.45, 16
QUICK_IMAGE = 64
BATCHES = (1, 16)
# A network and batch size that takes longer is given up: a row that says so.
TIMEOUT = 3600


def settings(options, name, batch):
    """What a row was measured with: another setting is another row."""
    size = min(IMAGE[name], QUICK_IMAGE) if options.quick else IMAGE[name]
    return {"network": name, "batch": batch, "size": size, "seconds": options.seconds, "rounds": options.rounds,
            "threads": options.threads,
            "torch": bool(options.torch_python), "gs": bool(options.gs_python),
            "onnx": bool(find_spec("onnx") and find_spec("onnxruntime"))}


def measure_in_own_process(options, row):
    """The row, completed by a process of its own, or with the reason why there is none."""
    with tempfile.TemporaryDirectory() as folder:
        order, reply = Path(folder, "order.json"), Path(folder, "reply.json")
        order.write_text(json.dumps({"settings": row, "torch_python": options.torch_python,
                                     "gs_python": options.gs_python, "rate": RATE, "round_to": ROUND_TO,
                                     "folder": folder}))
        command = [sys.executable, "-m", "deployment_parts.measure", str(order), str(reply)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(
            [str(ROOT), str(ROOT / "benchmarks"), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)}
        try:
            ended = subprocess.run(command, env=environment, timeout=TIMEOUT, check=False, stderr=subprocess.PIPE,
                                   text=True, errors="replace")
        except subprocess.TimeoutExpired:
            return {"settings": row, "error": f"took longer than {TIMEOUT} s"}
        if not reply.exists():
            last = [line for line in ended.stderr.splitlines() if line.strip() and "__del__" not in line]
            return {"settings": row, "error": f"ended with code {ended.returncode}: {last[-1] if last else ''}"}
        return json.loads(reply.read_text())


def main() -> None:
    parser = command_line(__doc__, page="docs/deployment.md")
    parser.add_argument("--networks", nargs="+", choices=tuple(IMAGE), default=list(IMAGE))
    parser.add_argument("--batches", nargs="+", type=int, default=None)
    parser.add_argument("--torch-python", help="Python of an environment with torch and torch-pruning")
    parser.add_argument("--gs-python", help="Python of an environment with mindspore-gs")
    parser.add_argument("--seconds", type=float, default=120.0, help="to measure, for each network and batch size")
    parser.add_argument("--rounds", type=int, nargs=2, default=(10, 2000), help="at least and at most so many rounds")
    parser.add_argument("--threads", type=int, help="processors that may be used (default: all)")
    parser.add_argument("--quick", action="store_true", help="images of 64 x 64 at most, batch 1, 3 rounds, no page")
    parser.add_argument("--resume", action="store_true", help="keep the rows that the output holds already")
    parser.add_argument("--output", type=Path, help="default: outputs/deployment.json, or deployment_quick.json")
    options = parser.parse_args()
    options.rounds = [3, 3] if options.quick else list(options.rounds)
    options.batches = options.batches or ([1] if options.quick else list(BATCHES))
    output = options.output or ROOT / "outputs" / f"deployment{'_quick' if options.quick else ''}.json"
    rows = [row for row in (json.loads(output.read_text()) if output.exists() else [])
            if options.resume or row["settings"]["network"] not in options.networks]
    for name in options.networks:
        for batch in options.batches:
            wanted = settings(options, name, batch)
            if any(row["settings"] == wanted and "error" not in row for row in rows):
                print(f"{name}, batch {batch}: measured before", flush=True)
                continue
            row = measure_in_own_process(options, wanted)
            rows = [other for other in rows if (other["settings"]["network"], other["settings"]["batch"]) !=
                    (name, batch)] + [row]
            write_json(output, rows)
            print(row_text(row), flush=True)
    if not options.quick:
        order = list(IMAGE)
        rows.sort(key=lambda row: (order.index(row["settings"]["network"]), row["settings"]["batch"]))
        write_page(options.page, page(rows, RATE, ROUND_TO))
    print(versions_of(rows))


if __name__ == "__main__":
    main()
