"""Docstrings: their examples run, and they say what goes in, what comes out and what is raised."""
import ast
import doctest
import importlib
import inspect
import re

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn

import golden_stick
from golden_stick.graph.layers import LAYERS
from golden_stick.graph.rules import RULES
from tests.test_structure import MODULES, TREES

SECTION = re.compile(r"^(Args|Inputs|Outputs|Returns|Raises|Examples|Note|Supported Platforms):$", re.MULTILINE)
WITH_EXAMPLES = sorted(name for name, path in MODULES.items() if ">>> " in path.read_text())


@pytest.fixture(name="pynative")
def fixture_pynative():
    before = ms.get_context("mode")
    ms.set_context(mode=ms.PYNATIVE_MODE)
    ms.set_seed(0)
    np.random.seed(0)
    tables = [(table, dict(table)) for table in (RULES, LAYERS)]
    yield
    ms.set_context(mode=before)
    # An example may add a rule or a layer; what checks the table must not find it there.
    for table, rows in tables:
        table.clear()
        table.update(rows)


# Examples make an optimizer before `convert`, to show `slim_optimizer`, and train nothing where none is the matter.
@pytest.mark.filterwarnings("ignore:.*must be trained by an optimizer of its own", "ignore:.*no weight of it changed")
def test_examples_give_what_they_show(pynative):
    results = {name: doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
               for name in WITH_EXAMPLES}
    assert {name: result for name, result in results.items() if result.failed or not result.attempted} == {}


def sections(text):
    """Title -> text of every section of a docstring."""
    parts = SECTION.split(inspect.cleandoc(text or ""))
    return dict(zip(parts[1::2], parts[2::2]))


def public_functions():
    """place -> (function node, its class or None) of all that modules export: functions, classes' public methods."""
    for name, tree in TREES.items():
        exported = getattr(importlib.import_module(name), "__all__", ())
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and node.name in exported:
                yield f"{name}.{node.name}", (node, None)
            if isinstance(node, ast.ClassDef) and node.name in exported:
                for inner in node.body:
                    if isinstance(inner, ast.FunctionDef) and not inner.name.startswith("_"):
                        yield f"{name}.{node.name}.{inner.name}", (inner, node)


def of_users(packages=("golden_stick", *(f"golden_stick.{name}" for name in (
        "bench", "certify", "compare", "criteria", "deploy.onnx", "graph.rules", "knockoffs", "prune", "pruner",
        "scop")))):
    """module.name of all that users import: what the package and its folders with public names offer."""
    things = (getattr(importlib.import_module(name), item) for name in packages
              for item in getattr(importlib.import_module(name), "__all__", ()))
    return {f"{thing.__module__}.{thing.__qualname__}" for thing in things if hasattr(thing, "__qualname__")}


FUNCTIONS = dict(public_functions())
OF_USERS = of_users()
CONSTRUCT = "construct"


def breaking(rule, places=FUNCTIONS):
    """place -> what a rule has against it, of all functions that modules export."""
    return {place: against for place in places if (against := rule(*FUNCTIONS[place]))}


def test_every_public_function_has_a_docstring():
    def missing(node, owner):
        base = owner is not None and any("Callback" in ast.unparse(item) for item in owner.bases)
        return not (ast.get_docstring(node) or base or node.name == CONSTRUCT)

    assert breaking(missing) == {}


def test_what_a_function_raises_itself_is_in_its_docstring():
    def missing(node, owner):
        raised = {item.exc.func.id for item in ast.walk(node)
                  if isinstance(item, ast.Raise) and isinstance(item.exc, ast.Call)}
        text = sections(ast.get_docstring(owner if node.name == CONSTRUCT else node)).get("Raises", "")
        return {name for name in raised if f"{name}:" not in text}

    # Functions of the house may say in a line what they are for; what users call says all.
    assert breaking(missing, [place for place in FUNCTIONS if place in OF_USERS or place.rpartition(".")[0] in OF_USERS
                              ]) == {}


def test_documented_arguments_are_those_of_the_signature():
    def different(node, _):
        parts = sections(ast.get_docstring(node))
        named = re.findall(r"^    (\w+(?:, \w+)*) \(", parts.get("Args", ""), re.MULTILINE)
        documented = [name for item in named for name in item.split(", ")]
        arguments = [item.arg for item in node.args.args + node.args.kwonlyargs if item.arg not in ("self", "cls")]
        return "Args" in parts and documented != arguments and (documented, arguments)

    assert breaking(different) == {}


def test_documented_functions_say_what_they_return():
    def missing(node, _):
        parts = sections(ast.get_docstring(node))
        returns = node.returns is not None and ast.unparse(node.returns) not in ("None", "Iterator[str]", "NoReturn")
        return "Args" in parts and returns and "Returns" not in parts or "Returns" in parts and node.returns is None

    assert breaking(missing) == {}


def test_the_public_names_are_documented_in_full():
    for name in (name for name in golden_stick.__all__ if name != "errors"):
        thing = getattr(golden_stick, name)
        wanted = {"Args", "Raises"}
        if not inspect.isfunction(thing):
            wanted.add("Supported Platforms")
        elif inspect.signature(thing).return_annotation is not None:
            wanted.add("Returns")
        assert wanted <= set(sections(thing.__doc__)), name


def cells():
    for name in MODULES:
        module = importlib.import_module(name)
        for item in getattr(module, "__all__", ()):
            thing = getattr(module, item)
            if inspect.isclass(thing) and issubclass(thing, nn.Cell) and f"{name}.{item}" in OF_USERS:
                yield thing


def test_every_cell_that_users_make_says_what_goes_in_and_what_comes_out():
    assert any(cells())
    for kind in cells():
        wanted = {"Inputs", "Outputs", "Supported Platforms"}
        if len(inspect.signature(kind.__init__).parameters) > 1:
            wanted.add("Args")
        assert wanted <= set(sections(kind.__doc__)), kind
