"""One row a network of mindcv, each measured in a process of its own, and the command line of those that measure so."""
import json
import signal
import subprocess
import sys
import traceback
from pathlib import Path

import mindcv
import mindspore as ms
from common import ROOT, collect, command_line, setting, today, write_page

from golden_stick.base.errors import GoldenStickError, NothingToPruneError, TraceError, first_line
from golden_stick.cells.wrappers import scratch_directory
from mindcv_parts.networks import all_variants, table


def failure(error):
    """The row of a network that ended in an error."""
    said = first_line(error)
    if isinstance(error, (NothingToPruneError, TraceError)):
        return {"outcome": "not compiled" if isinstance(error, TraceError) else "nothing to prune", "failure": said}
    if isinstance(error, GoldenStickError):
        return {"outcome": "refused", "failure": f"{type(error).__name__}: {said}"}
    frame = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(frame.filename).name}, {frame.name}"
    return {"outcome": "crash", "failure": f"{type(error).__name__} in {where}: {said}"}


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


def run_table(about, name, seconds, mode, measure, line, summary, page, complete=lambda row: row):
    """
    The command of a benchmark over the networks of mindcv.

    Args:
        about (str): Its docstring.
        name (str): Of its page, docs/<name>.md.
        seconds (float): What one network may take.
        mode (int): MindSpore's: where each network runs a few times only, compiling it takes longer than all the rest.
        measure (Callable): The row of a network and size of its input.
        line, summary, page (Callable): A row, all rows in a sentence, and the whole page.
        complete (Callable): Makes a row of one that says why the process of a network gave none.
    """
    parser = command_line(about, f"outputs/{name}.json")
    parser.add_argument("--models", nargs="+", metavar="NAME", help="only these, and no page but where --page says so")
    parser.add_argument("--all-variants", action="store_true", help="every name that mindcv lists: hours")
    parser.add_argument("--resume", action="store_true", help="keep the rows that the output holds already")
    parser.add_argument("--seconds", type=float, default=seconds,
                        help=f"what one network may take (default: {seconds})")
    parser.add_argument("--page", type=Path, help=f"default: docs/{name}.md, and none with --models")
    parser.add_argument("--single", nargs=2, metavar=("NAME", "SIZE"), help="one row to stdout, in this process")
    options = parser.parse_args()
    if options.single:
        ms.set_context(mode=mode)
        with scratch_directory():
            print(json.dumps(measure(options.single[0], int(options.single[1]))))
        return
    known = all_variants() if options.all_variants or options.models else table()
    unknown = sorted(set(options.models or ()) - set(known))
    if unknown:
        parser.error(f"mindcv has no {', '.join(unknown)}")

    def row_of(model):
        family, size = known[model]
        row = complete(run_apart(sys.argv[0], model, size, options.seconds))
        return {"family": family, "input": size, "date": today(), **row}

    rows = collect(options.models or known, options.output, options.resume, row_of, line)
    print(summary(rows))
    target = options.page or (None if options.models else ROOT / "docs" / f"{name}.md")
    if target:
        write_page(target, page(dict(sorted(rows.items(), key=lambda item: (item[1]["family"], item[0])))))


def facts(rows, **versions):
    """What stands at the head of every page: which networks, and versions, machine and days."""
    return {"mindcv": mindcv.__version__, "versions": setting({**versions, "mindcv": mindcv.__version__},
                                                              (row["date"] for row in rows.values())),
            "scope": "One network of every kind" if set(rows) == set(table()) else f"{len(rows)} networks"}
