"""What mypy and ruff say, and where a signature takes or gives anything at all."""
import ast
import re
import subprocess
import sys

from tests.test_structure import ROOT, TREES


def output(*command):
    """What a checker says of the repository: nothing, where it is content."""
    result = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    return "" if result.returncode == 0 else result.stdout + result.stderr


def test_mypy_finds_nothing(tmp_path):
    assert output("mypy", "--no-error-summary", "--cache-dir", str(tmp_path)) == ""


def test_ruff_finds_nothing():
    assert output("ruff", "check", "--quiet", "--no-cache", "golden_stick", "tests", "benchmarks", "examples") == ""


# Where a public signature takes or gives anything at all: module.function(parameter) or (return), and why.
ANYTHING = {
    r".*\((.*_)?(batch|batches|data|inputs|outputs?|images|labels)\)|.*\.run_network\(return\)":
        "what `construct` takes and gives, and what a loader gives, are the user's",
    r".*\(.*value\)|.*\.(check_\w+|as_\w+|path_of|known_uses|contenders_of|argument)\(.*\)":
        "what a user wrote, which is looked at here",
    r"golden_stick\.graph\.flow\.number\(return\)": "what stands in a network's code: a number, a tuple, an array",
    r"golden_stick\.cells\.wrappers\.(decoded\(return\)|encoded\(.*\))": "what JSON can hold",
    r"golden_stick\.bench\.benchmark\.benchmark\(contenders\)": "Cells, files, or dicts of them",
    r".*\(run_context\)": "MindSpore's, which says nothing of its types",
    r"golden_stick\.knockoffs\.exchangeability\.exchangeability\((real|knockoffs)\)": "arrays of any library",
    r"golden_stick\.bench\.contenders\.onnx_session\(.*\)|golden_stick\.deploy\.onnx\..*":
        "objects of onnx and onnxruntime, which may be missing; numbers of a graph, of any type",
    r"golden_stick\.cli\..*": "groups of commands have no public type; nor has MindSpore before it is imported",
    r"golden_stick\.(certify\.card\.pruning_card\(controls\)|deploy\.slim_network\.take_step\(step\)"
    r"|cells\.slim\.(remember\(step\)|moved\(.*\)))": "of several classes, of folders above",
}


def public_functions(tree):
    """(name, node) of functions and methods without an underscore, of classes without one."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield node.name, node
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef) and not inner.name.startswith("_"):
                    yield f"{node.name}.{inner.name}", inner


def bare(annotation):
    """Whether anything is allowed: Any itself, or Any that may be missing; not a Dict[str, Any]."""
    return annotation is not None and ast.unparse(annotation) in ("Any", "Optional[Any]")


def takes_anything():
    """module.function(parameter) of all that take anything; `return` for what is given."""
    for module, tree in TREES.items():
        for name, node in public_functions(tree):
            for item in node.args.posonlyargs + node.args.args + node.args.kwonlyargs:
                if bare(item.annotation):
                    yield f"{module}.{name}({item.arg})"
            if bare(node.returns):
                yield f"{module}.{name}(return)"


def test_anything_goes_only_where_it_must():
    places = list(takes_anything())
    assert [place for place in places if not any(re.fullmatch(pattern, place) for pattern in ANYTHING)] == []
    assert [pattern for pattern in ANYTHING if not any(re.fullmatch(pattern, place) for place in places)] == []
