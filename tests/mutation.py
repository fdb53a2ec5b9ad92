"""
Mutation testing: a seeded sample of small changes to the code, each against the tests of its folder.

    python tests/mutation.py [--count 200] [--seed 0] [--folders graph layers plan budget slim onnx knockoffs]

The changes are made on the syntax tree, by cosmic-ray's operators. A place in the code is drawn first, then what
becomes of it: a `+`, of which eleven things can become, weighs no more than a `not`. Two workers have MindSpore
imported already and fork for every mutant, each in a copy of the repository of its own. Results are kept, line by
line, in outputs/mutation.jsonl: what was killed is not tried again, a survivor is when its tests have changed.
Survivors that change nothing a test could see stand in mutation_accepted.json, with the reason.
"""
import argparse
import ast
import difflib
import hashlib
import importlib
import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

ROOT = Path(__file__).resolve().parents[1]
ACCEPTED = Path(__file__).with_name("mutation_accepted.json")

# Folder -> (patterns of files, tests: the quick ones first).
PLANNING = ("tests/prune/test_ranking.py", "tests/prune/test_budgets.py", "tests/prune/test_schedule.py",
            "tests/prune/test_pruners.py")
Targets = Mapping[str, Tuple[Tuple[str, ...], Tuple[str, ...]]]
TARGETS: Targets = {
    "graph": (("golden_stick/graph/[!l]*.py", "golden_stick/graph/rules/*.py"), ("tests/graph",)),
    "layers": (("golden_stick/graph/layers.py",), ("tests/graph", "tests/test_layers.py")),
    "plan": (("golden_stick/prune/plan.py",), PLANNING),
    "budget": (("golden_stick/prune/budget.py",), PLANNING),
    "slim": (("golden_stick/cells/slim.py",), ("tests/cells",)),
    "onnx": (("golden_stick/deploy/onnx/*.py",),
             ("tests/deploy/test_onnx_by_hand.py", "tests/deploy/test_onnx_rules.py", "tests/deploy/test_onnx.py")),
    "knockoffs": (("golden_stick/knockoffs/*.py",), ("tests/knockoffs",)),
}
PRELOAD = ("mindspore", "scipy.stats", "onnx", "onnxruntime", "pytest")
# Those that change nothing, or nothing that matters: identity of small numbers and names, and no operator at all.
LEFT_OUT = re.compile(r"NoOp|Variable|_Is$|_IsNot$|_Is_Eq$|_IsNot_NotEq$")
NOT_COPIED = shutil.ignore_patterns(".git", ".venv", "outputs", "__pycache__", "*.egg-info", "shared", ".*_cache")
KILLED, SURVIVED, TIMEOUT = "killed", "survived", "timeout"


@dataclass(frozen=True)
class Mutant:
    """One change to one file."""

    folder: str
    path: str
    line: int
    function: str
    operator: str
    before: str
    after: str
    source: str

    @property
    def key(self) -> str:
        """The same for the same file with the same change in it."""
        return hashlib.sha256(f"{self.path}\0{self.source}".encode()).hexdigest()[:16]


def operators() -> Dict[str, object]:
    """Name -> operator of cosmic-ray."""
    from cosmic_ray.plugins import get_operator, operator_names
    names = (name for name in sorted(operator_names()) if not LEFT_OUT.search(name))
    return {name.split("/")[1]: get_operator(name)() for name in names}


def sites(source: str) -> Dict[Tuple[int, int, str], List[Tuple[str, int]]]:
    """(line, column, kind) of all that can be changed -> what can become of it: operator, and which of its places."""
    from cosmic_ray.ast import get_ast

    def nodes(node: object) -> Iterator[object]:
        yield node
        for child in getattr(node, "children", ()):
            yield from nodes(child)

    result: Dict[Tuple[int, int, str], List[Tuple[str, int]]] = {}
    every = list(nodes(get_ast(source)))
    for name, operator in operators().items():
        positions = (position for node in every for position in operator.mutation_positions(node))
        for occurrence, (start, _) in enumerate(positions):
            result.setdefault((*start, name.split("_")[0]), []).append((name, occurrence))
    return result


def function_at(source: str, line: int) -> str:
    """Qualified name of the innermost function or class that holds a line, or nothing."""
    names: List[str] = []
    body = ast.parse(source).body
    while True:
        inside = [node for node in body if isinstance(node, (ast.FunctionDef, ast.ClassDef))
                  and node.lineno <= line <= (node.end_lineno or 0)]
        if not inside:
            return ".".join(names)
        names.append(inside[0].name)
        body = inside[0].body


def changed_lines(before: str, after: str) -> Tuple[str, str]:
    """The lines that differ, without their indentation."""
    lines = list(difflib.ndiff(before.splitlines(), after.splitlines()))
    old, new = (" ".join(line[2:].strip() for line in lines if line.startswith(sign)) for sign in "-+")
    return old, new


def sample(root: Path, targets: Targets, count: int, seed: int) -> List[Mutant]:
    """So many mutants of the targets, drawn without replacement: the same for a seed while the code is the same."""
    from cosmic_ray.mutating import mutate_code
    found = [(folder, path, site, variants) for folder, (patterns, _) in targets.items() for pattern in patterns
             for path in sorted(root.glob(pattern)) for site, variants in sorted(sites(path.read_text()).items())]
    generator, known, mutants = random.Random(seed), operators(), []
    for folder, path, site, variants in generator.sample(found, min(count, len(found))):
        operator, occurrence = generator.choice(variants)
        source = path.read_text()
        mutated = mutate_code(source, known[operator], occurrence)
        mutants.append(Mutant(folder, str(path.relative_to(root)), site[0], function_at(source, site[0]), operator,
                              *changed_lines(source, mutated), mutated))
    return mutants


COPY = Path()


def prepare(root: Path, copies: str, preload: Sequence[str]) -> None:
    """What a worker does once: a copy of the repository, and the imports that take seconds."""
    global COPY
    COPY = Path(copies) / str(os.getpid())
    shutil.copytree(root, COPY, ignore=NOT_COPIED)
    os.chdir(COPY)
    sys.path.insert(0, str(COPY))
    os.environ["PYTHONPATH"] = str(COPY)
    for name in preload:
        importlib.import_module(name)


def passed(tests: Sequence[str], seconds: float) -> str:
    """Runs tests in a fork of this process, until the first that fails: what became of it."""
    child = os.fork()
    if not child:
        os.setsid()
        log = os.open("mutation.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1)
        os.dup2(log, 2)
        code = 1
        try:
            import pytest
            for name in [name for name in sys.modules if name.partition(".")[0] in ("tests", "golden_stick")]:
                del sys.modules[name]  # Those of the original, where this file is one of them.
            code = int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *tests]))
        finally:
            os._exit(code)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return KILLED if status else SURVIVED
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return TIMEOUT


def attempt(mutant: Optional[Mutant], tests: Sequence[str], seconds: float) -> Tuple[str, float]:
    """Outcome and seconds of the tests against a mutant; against the code as it is where that is None."""
    begin = time.monotonic()
    if mutant is None:
        outcome = passed(tests, seconds)
        if outcome != SURVIVED:
            print((COPY / "mutation.log").read_text()[-3000:], file=sys.stderr)
        return outcome, time.monotonic() - begin
    path = COPY / mutant.path
    original = path.read_text()
    try:
        _write(path, mutant.source)
        return passed(tests, seconds), time.monotonic() - begin
    finally:
        _write(path, original)


def _write(path: Path, source: str) -> None:
    path.write_text(source)
    # Two sources of one length within a second would share their bytecode.
    for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*"):
        compiled.unlink()


def digest(root: Path, tests: Sequence[str]) -> str:
    """Of the files of some tests."""
    whole = hashlib.sha256()
    for item in tests:
        for path in sorted((root / item).rglob("*.py")) or [root / item]:
            whole.update(path.read_bytes())
    return whole.hexdigest()[:16]


def known_results(path: Path) -> Dict[str, Dict[str, object]]:
    """Key of a mutant -> its last result."""
    lines = path.read_text().splitlines() if path.exists() else []
    return {result["key"]: result for result in map(json.loads, lines)}


def accepted(mutant: Mutant, entries: Sequence[Mapping[str, str]]) -> bool:
    """Whether a survivor is listed: by what is changed in which function, not by where that stands."""
    return any(all(getattr(mutant, name) == value for name, value in entry.items() if name != "reason")
               for entry in entries)


def summary(mutants: Sequence[Mutant], outcomes: Mapping[str, str], entries: Sequence[Mapping[str, str]]) -> int:
    """Prints score and survivors; the number of survivors that are not listed."""
    from scipy.stats import binomtest
    survivors = [item for item in mutants if outcomes[item.key] == SURVIVED]
    timeouts = sum(outcomes[item.key] == TIMEOUT for item in mutants)
    unlisted = [item for item in survivors if not accepted(item, entries)]
    total, caught = len(mutants), len(mutants) - len(survivors)
    interval = binomtest(caught, total).proportion_ci(method="wilson")
    print(f"{total} mutants: {caught - timeouts} killed, {timeouts} timed out, {len(survivors)} survived "
          f"({len(survivors) - len(unlisted)} of them listed with a reason)")
    print(f"score {caught / total:.1%}, 95 % interval {interval.low:.1%} to {interval.high:.1%}")
    for item in sorted(unlisted, key=lambda item: (item.path, item.line)):
        print(f"\n{item.path}:{item.line}  {item.function}  {item.operator}\n- {item.before}\n+ {item.after}")
    return len(unlisted)


def clean_seconds(pool: ProcessPoolExecutor, test_sets: Sequence[Tuple[str, ...]]) -> Dict[Tuple[str, ...], float]:
    """What each set of tests takes on the code as it is; it must pass."""
    results = {tests: pool.submit(attempt, None, tests, 1800) for tests in test_sets}
    seconds = {}
    for tests, future in results.items():
        outcome, seconds[tests] = future.result()
        if outcome != SURVIVED:
            raise SystemExit(f"{' '.join(tests)} must pass on the code as it is, but it does not.")
        print(f"{' '.join(tests)}: {seconds[tests]:.0f} s on the code as it is")
    return seconds


def run(root: Path, targets: Targets, count: int, seed: int, results: Path, accepted_file: Path,
        preload: Sequence[str] = PRELOAD, workers: int = 2) -> int:
    """Draws mutants, tries those that are not known, prints what came out; the number of unlisted survivors."""
    mutants = sample(root, targets, count, seed)
    known, outcomes = known_results(results), {}
    digests = {folder: digest(root, tests) for folder, (_, tests) in targets.items()}
    for item in mutants:
        old = known.get(item.key)
        if old and (old["outcome"] != SURVIVED or old["tests"] == digests[item.folder]):
            outcomes[item.key] = str(old["outcome"])
    todo = [item for item in mutants if item.key not in outcomes]
    results.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as copies, results.open("a") as lines, ProcessPoolExecutor(
            workers, multiprocessing.get_context("spawn"), prepare, (root, copies, preload)) as pool:
        needed = sorted({targets[item.folder][1] for item in todo})
        clean, begin = clean_seconds(pool, needed), time.monotonic()
        futures = {}
        for item in todo:
            tests = targets[item.folder][1]
            futures[pool.submit(attempt, item, tests, 20 + 3 * clean[tests])] = item
        for done, future in enumerate(as_completed(futures), 1):
            item, (outcome, seconds) = futures[future], future.result()
            outcomes[item.key] = outcome
            record = {key: value for key, value in asdict(item).items() if key != "source"}
            lines.write(json.dumps({"key": item.key, **record, "outcome": outcome, "seconds": round(seconds, 1),
                                    "tests": digests[item.folder]}) + "\n")
            lines.flush()
            each = (time.monotonic() - begin) / done
            print(f"\r{done}/{len(todo)}, {list(outcomes.values()).count(SURVIVED)} survived, {each:.1f} s each, "
                  f"{each * (len(todo) - done) / 60:.0f} min left ", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    entries = json.loads(accepted_file.read_text()) if accepted_file.exists() else []
    return summary(mutants, outcomes, entries)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="of the sample (default: %(default)s)")
    parser.add_argument("--count", type=int, default=200, help="mutants to try (default: %(default)s)")
    parser.add_argument("--folders", nargs="+", choices=TARGETS, default=list(TARGETS), help="default: all")
    parser.add_argument("--results", type=Path, default=ROOT / "outputs" / "mutation.jsonl",
                        help="where they are kept (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="processes at a time (default: %(default)s)")
    options = parser.parse_args()
    for name, value in {"ONEDNN_MAX_CPU_ISA": "AVX2", "GLOG_v": "4", "OMP_NUM_THREADS": "1"}.items():
        os.environ.setdefault(name, value)
    targets = {name: TARGETS[name] for name in options.folders}
    return int(run(ROOT, targets, options.count, options.seed, options.results, ACCEPTED, workers=options.workers) > 0)


if __name__ == "__main__":
    sys.exit(main())
