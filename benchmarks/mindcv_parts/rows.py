"""One row a network, each measured in a process of its own, and the command line of those that measure so."""
import argparse
import datetime
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import mindspore as ms

from golden_stick.cells.networks import scratch_directory
from mindcv_parts.networks import table

ROOT = Path(__file__).resolve().parents[2]


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
