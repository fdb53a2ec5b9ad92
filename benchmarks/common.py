"""
What the benchmarks share: the environment to measure in, command lines, files, tables and machines in words.

To be imported before MindSpore, which reads the variables that are set here when it is imported.
"""
import argparse
import datetime
import json
import os
import platform
import statistics
import sys
import time
from pathlib import Path

os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX2")
os.environ.setdefault("GLOG_v", "4")

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(folder) for folder in (ROOT, ROOT / "benchmarks") if str(folder) not in sys.path]


def command_line(about, output=None, page=None):
    """A parser whose help is the script's docstring, with `--output` and `--page`, where these have defaults."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option, default in (("--output", output), ("--page", page)):
        if default:
            parser.add_argument(option, type=Path, default=ROOT / default, help=f"default: {default}")
    return parser


def write_json(path, record):
    """Write a record, whose folder is made where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    part.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    part.replace(path)


def write_page(path, text):
    """Messages name files of the user's, here those of this repository."""
    path.write_text(text.replace(f"{ROOT}/", ""), encoding="utf-8")
    print(f"wrote {path}")


def collect(asked, path, resume, measure, say):
    """
    One row after the other; each is written at once, so that an interrupted run can go on.

    Args:
        asked (Iterable[str]): Names of the rows.
        path (Path): The JSON file that holds name -> row.
        resume (bool): Whether those that stand there are not measured again. Rows not asked for stay in any case.
        measure (Callable): Name -> row.
        say (Callable): Name and row -> what is printed about it.

    Returns:
        dict, name -> row, of those asked for.
    """
    asked, kept = list(asked), json.loads(path.read_text()) if path.is_file() else {}
    rows = {name: row for name, row in kept.items() if resume or name not in asked}
    for number, name in enumerate(asked, 1):
        if name in rows:
            print(f"{number}/{len(asked)} {name}: measured before", flush=True)
            continue
        start = time.perf_counter()
        rows[name] = measure(name)
        write_json(path, rows)
        print(f"{number}/{len(asked)} {time.perf_counter() - start:.0f} s {say(name, rows[name])}", flush=True)
    return {name: rows[name] for name in asked}


def table(head, rows):
    """A table in Markdown."""
    return "\n".join([f"| {' | '.join(head)} |", "|" + "---|" * len(head), *(f"| {' | '.join(row)} |" for row in rows)])


def verdict_table(verdicts):
    """What was asked for, and whether it was reached, of (claim, figure, yes or no)."""
    return table(["claim", "found", "reached"], [[claim, figure, "yes" if reached else "**no**"]
                                                 for claim, figure, reached in verdicts])


def machine_text(facts):
    return ", ".join(f"{key} {value}" for key, value in facts.items())


def setting(versions, dates):
    """Versions, machine and days in words; `versions` are those besides golden_stick, MindSpore, numpy and Python."""
    import mindspore as ms
    import numpy as np

    import golden_stick as gs
    days = sorted(set(dates))
    return (machine_text({"golden_stick": gs.__version__, "MindSpore": ms.__version__, **versions,
                          "numpy": np.__version__, "Python": platform.python_version()})
            + f"; {platform.machine()}, {os.cpu_count()} cores, no GPU used; "
            + " to ".join(dict.fromkeys((days[0], days[-1]))) + ".")


def today():
    return str(datetime.date.today())


def not_quiet(load):
    """A paragraph for pages of times, empty where other processes left the machine alone."""
    from golden_stick.bench.clock import is_quiet
    return [] if is_quiet(load) else [f"**The machine was not quiet**: other processes kept {load:.2f} processors busy "
                                      f"meanwhile. Do not quote these.", ""]


def timed(function, *arguments):
    """What a function returned, and its wall and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = function(*arguments)
    return result, time.perf_counter() - wall, time.process_time() - cpu


def medians(rounds):
    """Key -> the median over rounds of numbers, or of each number where it holds several."""
    return {key: [statistics.median(column) for column in zip(*(one[key] for one in rounds))]
            if isinstance(rounds[0][key], (list, tuple)) else statistics.median(one[key] for one in rounds)
            for key in rounds[0]}
