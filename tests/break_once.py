"""
Sabotage: break every rule and every step once, and see the tests fail.

    python tests/break_once.py            all of it, some minutes on two cores
    python tests/break_once.py pad scop   only what is named so

Each mutant is a copy of the package with one passage changed, on which only the tests that concern it run, up to the
first failure. The table says what was broken and which test noticed. Exit code 1 if any mutant survives.
"""
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, Sequence

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from tests.mutants_of_bench import BENCH_MUTANTS  # noqa: E402
from tests.mutants_of_certificates import CERTIFICATE_MUTANTS  # noqa: E402
from tests.mutants_of_compare import COMPARE_MUTANTS  # noqa: E402
from tests.mutants_of_convert import CONVERT_MUTANTS  # noqa: E402
from tests.mutants_of_onnx import ONNX_MUTANTS  # noqa: E402
from tests.mutants_of_rules import RULE_MUTANTS, WALK_MUTANTS, Mutant  # noqa: E402
from tests.mutants_of_steps import STEP_MUTANTS  # noqa: E402

MUTANTS = (RULE_MUTANTS + WALK_MUTANTS + STEP_MUTANTS + CERTIFICATE_MUTANTS + BENCH_MUTANTS + COMPARE_MUTANTS
           + CONVERT_MUTANTS + ONNX_MUTANTS)
WORKERS = 2
SECONDS = 600


class Outcome(NamedTuple):
    """Whether a mutant was noticed, by which test, or what went wrong with the run itself."""

    noticed: bool
    by: str
    seconds: float


def source_of(mutant: Mutant, root: Path = ROOT) -> str:
    """The file of a mutant, broken. The passage must stand there exactly once."""
    text = (root / "golden_stick" / mutant.file).read_text()
    count = text.count(mutant.old)
    assert count == 1, f"'{mutant.what}': the passage must stand once in {mutant.file}, but stands {count} times"
    return text.replace(mutant.old, mutant.new)


def copy_of_the_house(folder: Path) -> None:
    """Package, tests and settings, without caches."""
    for name in ("golden_stick", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)


def run_tests(folder: Path, tests: Sequence[str]) -> subprocess.CompletedProcess:
    options = ["-x", "-q", "--no-header", "--tb=no", "-p", "no:cacheprovider"]
    command = [sys.executable, "-B", "-m", "pytest", *options, *tests]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=False)


def attempt(mutant: Mutant) -> Outcome:
    """Break one thing and run the tests that concern it."""
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy_of_the_house(folder)
        (folder / "golden_stick" / mutant.file).write_text(source_of(mutant))
        try:
            result = run_tests(folder, [mutant.tests])
        except subprocess.TimeoutExpired:
            return Outcome(False, f"no end after {SECONDS} s", time.perf_counter() - begin)
    seconds = time.perf_counter() - begin
    failed = re.search(r"^(?:FAILED|ERROR) (\S+)", result.stdout, re.MULTILINE)
    # 1 is a failed test. Anything else, such as a package that cannot be imported, proves nothing about the tests.
    if result.returncode == 1 and failed:
        return Outcome(True, failed.group(1), seconds)
    return Outcome(False, "survived" if result.returncode == 0 else f"pytest ended with {result.returncode}", seconds)


def sound_tests(mutants: Sequence[Mutant]) -> bool:
    """Whether the tests pass on the package as it is; if not, a failure says nothing."""
    result = run_tests(ROOT, sorted({mutant.tests for mutant in mutants}))
    if result.returncode:
        print(f"the tests must pass before anything is broken, but do not:\n{result.stdout}")
    return result.returncode == 0


def main(words: Sequence[str]) -> int:
    chosen = [mutant for mutant in MUTANTS
              if not words or any(word in f"{mutant.file} {mutant.what}" for word in words)]
    if not sound_tests(chosen):
        return 1
    survivors = 0
    with ThreadPoolExecutor(WORKERS) as pool:
        for mutant, outcome in zip(chosen, pool.map(attempt, chosen)):
            survivors += not outcome.noticed
            mark = " " if outcome.noticed else "!"
            print(f"{mark} {mutant.file:<22} {mutant.what:<58} {outcome.seconds:5.1f} s  {outcome.by}", flush=True)
    print(f"{len(chosen)} mutants, {survivors} not noticed")
    return 1 if survivors or not chosen else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
