"""The house: which module may use which, how large anything may be, and what importing costs. One test a rule."""
import ast
import re
import subprocess
import sys
from pathlib import Path

import golden_stick

ROOT = Path(golden_stick.__file__).parent.parent
PACKAGE = ROOT / "golden_stick"

# From the ground up: a folder uses itself and those before it.
FOLDERS = ("base", "graph", "cells", "deploy", "bench", "criteria", "recover", "comp_algo", "prune", "knockoffs",
           "scop", "pruner", "certify", "compare", "cli")
PUBLIC = {"CompAlgo", "OneShot", "PrunerFtCompressAlgo", "PrunerKfCompressAlgo", "SCOP", "UniPruner", "Unstructured",
          "add_algorithm", "add_criterion", "add_layer", "benchmark", "certify", "compare", "distill", "errors",
          "exchangeability", "export", "find_groups", "fold", "fold_report", "load_slim", "load_state",
          "prune_in_steps", "pruning_card", "reconstruct", "reconstruction_report", "safe_filters", "safe_together",
          "save_slim", "save_state", "sensitivity", "slim", "slim_optimizer", "trace", "verify"}


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text()) for name, path in MODULES.items()}


def imports(name):
    """Modules of golden_stick that a module imports, wherever in the file it does."""
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Import):
            yield from (item.name for item in node.names if item.name.split(".")[0] == "golden_stick")
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "golden_stick":
            for item in node.names:
                full = f"{node.module}.{item.name}"
                yield full if full in MODULES else node.module


def folder(name):
    return name.split(".")[1]


def test_there_are_at_most_fourteen_folders():
    assert sum((PACKAGE / name).is_dir() for name in FOLDERS) <= 14
    assert {folder(name) for name in MODULES if "." in name} == set(FOLDERS)


def upward(name, used):
    """Whether an import leads up; a folder's modules use it and those below, and the command line what users call."""
    if "." not in used:
        return folder(name) != "cli"
    return FOLDERS.index(folder(used)) > FOLDERS.index(folder(name))


def test_imports_run_down():
    assert [(name, used) for name in MODULES if "." in name for used in imports(name) if upward(name, used)] == []


# Modules that import others of golden_stick inside functions, and why. The command line does so to start at once.
LATE = {"golden_stick.bench.benchmark": "ONNX files are measured without MindSpore"}


def test_imports_inside_functions_spare_start_up_or_an_optional_package():
    """Never to dodge a circle."""
    late = {name for name, tree in TREES.items() if "." in name and folder(name) != "cli"
            for function in functions(tree) for node in ast.walk(function)
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("golden_stick")}
    assert late == set(LATE)


def test_no_two_modules_import_each_other_in_a_circle():
    left = {name: set(imports(name)) - {name} for name in MODULES if name != "golden_stick"}
    left = {name: {used for used in users if used != "golden_stick"} for name, users in left.items()}
    while left:
        ready = {name for name, used in left.items() if not used & set(left)}
        assert ready, f"a circle among {sorted(left)}"
        left = {name: used for name, used in left.items() if name not in ready}


def test_all_imports_of_golden_stick_are_absolute():
    for name, tree in TREES.items():
        assert not [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level], name


GROUND_FLOOR = """
import sys, types
for blocked in ("mindspore", "scipy"):
    sys.modules[blocked] = None
package = types.ModuleType("golden_stick")
package.__path__ = [{path!r}]
sys.modules["golden_stick"] = package
import {modules}
used = {{name.split(".")[1] for name in sys.modules if name.startswith("golden_stick.")}}
assert used == {{"graph", "base"}}, used
print("golden_stick.graph.groups" in sys.modules)
"""


def test_the_ground_floor_runs_without_mindspore():
    modules = [name for name in MODULES if name.startswith("golden_stick.graph")]
    code = GROUND_FLOOR.format(path=str(PACKAGE), modules=", ".join(modules))
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout.strip()) == (0, "True"), result.stderr


def test_the_ground_floor_imports_the_standard_library_and_numpy_only():
    for name in (name for name in MODULES if name.startswith("golden_stick.graph")):
        used = {item.name for node in ast.walk(TREES[name]) if isinstance(node, ast.Import) for item in node.names}
        used |= {node.module for node in ast.walk(TREES[name]) if isinstance(node, ast.ImportFrom)}
        tops = {module.split(".")[0] for module in used}
        known = getattr(sys, "stdlib_module_names", tops)
        assert tops <= {"numpy", "golden_stick"} | set(known), name
        assert not {"mindspore", "scipy", "sklearn"} & tops, name


def test_the_package_stays_small():
    """500 lines of a file are a question; lines of 120 characters fit side by side."""
    lines = {name: path.read_text().splitlines() for name, path in MODULES.items()}
    assert len(lines) <= 110
    assert {name: len(text) for name, text in lines.items() if len(text) > 500} == {}
    assert [f"{name}:{number}" for name, text in lines.items() for number, line in enumerate(text, 1)
            if len(line) > 120 or line != line.rstrip()] == []


def functions(tree):
    return [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]


def length(function):
    """Lines of a function without its docstring and decorators."""
    first = function.body[0]
    has_text = isinstance(first, ast.Expr) and isinstance(getattr(first.value, "value", None), str)
    return function.end_lineno - function.lineno + 1 - (first.end_lineno - first.lineno + 1 if has_text else 0)


def test_functions_stay_under_45_lines():
    assert {f"{name}.{item.name}": length(item) for name, tree in TREES.items() for item in functions(tree)
            if length(item) >= 45} == {}


CHANGEABLE = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.Call)


def test_no_bare_except_and_no_mutable_default():
    for name, tree in TREES.items():
        bare = [node.lineno for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler) and not node.type]
        mutable = [f"{item.name}, line {default.lineno}" for item in functions(tree)
                   for default in item.args.defaults + item.args.kw_defaults if isinstance(default, CHANGEABLE)]
        assert (bare, mutable) == ([], []), name


def exported(tree):
    """The value of `__all__`, or None."""
    values = [node.value for node in tree.body if isinstance(node, ast.Assign) and
              getattr(node.targets[0], "id", "") == "__all__"]
    return ast.literal_eval(values[0]) if values else None


def test_every_module_says_what_it_is_and_what_it_offers():
    assert [name for name, tree in TREES.items() if tree.body and not ast.get_docstring(tree)] == []
    left_out = {}
    for name, tree in TREES.items():
        tops = {node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
        if tops and "." in name:
            offered = exported(tree)
            assert offered is not None and len(offered) == len(set(offered)), name
            left_out[name] = {item for item in tops if item[0] != "_"} - set(offered) - HELPERS.get(name, set())
    assert {name: items for name, items in left_out.items() if items} == {}


# Rules are reached through the table, the flow's two questions by the modules that ask them, the parser by tests, the
# Cells of a knockoff phase through the algorithm that puts them in.
HELPERS = {
    "golden_stick.graph.flow": {"axes_of", "is_data", "number"},
    "golden_stick.graph.ir": {"flatten"},
    "golden_stick.graph.rules": {
        "elementwise", "residual_sum", "convolution", "matrix_product", "channel_parameters", "spatial",
        "along_one_axis", "reduction", "reshape", "transpose", "concat", "strided_slice", "pad", "first_input",
    },
    "golden_stick.scop.cells": {"MixingLayer", "OneKnockoffInput", "PhaseNetwork", "PhaseOfOneInput"},
    "golden_stick.scop.samplers": {"KnockoffChange", "StandardNormal"},
    "golden_stick.scop.scales": {"BlockSchedule", "FullPrecision", "RealScale", "ScheduledScale"},
}


def test_the_public_names_are_these():
    assert set(golden_stick.__all__) == PUBLIC
    assert len(golden_stick.__all__) == len(PUBLIC)
    assert all(hasattr(golden_stick, name) for name in PUBLIC)


def test_the_changelogs_newest_version_is_the_packages():
    newest = re.search(r"^## \[(\S+)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE).group(1)
    assert newest == golden_stick.__version__


TIMED = """
import time
import mindspore
begin = time.process_time()
import golden_stick
import sys
sys.stderr.write(f"seconds={time.process_time() - begin}")
"""


def test_importing_prints_nothing_and_adds_at_most_three_twentieths_of_a_second_of_work():
    seconds = []
    for _ in range(3):
        result = subprocess.run([sys.executable, "-c", TIMED], capture_output=True, text=True, check=True, cwd=ROOT)
        assert result.stdout == ""
        seconds.append(float(re.search(r"seconds=(\S+)$", result.stderr).group(1)))
    # What shares its core takes longer, and nothing takes less.
    assert min(seconds) <= 0.15
