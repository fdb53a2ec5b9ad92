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


# A network's inputs are whatever its `construct` takes, its outputs whatever it gives, batches, samples and data sets
# whatever the user's loader gives, and a value that is checked whatever the user wrote.
ANYTHING = re.compile(r"(.*_)?(batch|batches|data|inputs|outputs?|images|labels|value)$")


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
    """module.function(parameter) of all that take anything and are not named for it; `return` for what is given."""
    for module, tree in TREES.items():
        for name, node in public_functions(tree):
            for item in node.args.posonlyargs + node.args.args + node.args.kwonlyargs:
                if bare(item.annotation) and not ANYTHING.match(item.arg):
                    yield f"{module}.{name}({item.arg})"
            if bare(node.returns):
                yield f"{module}.{name}(return)"
