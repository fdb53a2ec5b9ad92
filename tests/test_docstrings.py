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
    rules = dict(RULES)
    yield
    ms.set_context(mode=before)
    # An example may add a rule; what checks the table must not find it there.
    RULES.clear()
    RULES.update(rules)


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples_give_what_they_show(name, pynative):
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert result.attempted > 0
    assert result.failed == 0


def sections(text):
    """Title -> text of every section of a docstring."""
    parts = SECTION.split(inspect.cleandoc(text or ""))
    return dict(zip(parts[1::2], parts[2::2]))


def public_functions():
    """(place, function node, its class or None) for all that modules export: functions, classes' public methods."""
    for name, tree in TREES.items():
        exported = getattr(importlib.import_module(name), "__all__", ())
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and node.name in exported:
                yield pytest.param(node, None, id=f"{name}.{node.name}")
            if isinstance(node, ast.ClassDef) and node.name in exported:
                for inner in node.body:
                    if isinstance(inner, ast.FunctionDef) and not inner.name.startswith("_"):
                        yield pytest.param(inner, node, id=f"{name}.{node.name}.{inner.name}")


FUNCTIONS = list(public_functions())
CONSTRUCT = "construct"


@pytest.mark.parametrize("node, owner", [case for case in FUNCTIONS if case.values[0].name != CONSTRUCT])
def test_every_public_function_has_a_docstring(node, owner):
    base = owner is not None and any("Callback" in ast.unparse(item) for item in owner.bases)
    assert ast.get_docstring(node) or base


@pytest.mark.parametrize("node, owner", FUNCTIONS)
def test_what_a_function_raises_itself_is_in_its_docstring(node, owner):
    raised = {item.exc.func.id for item in ast.walk(node)
              if isinstance(item, ast.Raise) and isinstance(item.exc, ast.Call)}
    where = owner if node.name == CONSTRUCT else node
    text = sections(ast.get_docstring(where)).get("Raises", "")
    assert {name for name in raised if f"{name}:" not in text} == set()


@pytest.mark.parametrize("node, owner", FUNCTIONS)
def test_documented_arguments_are_those_of_the_signature(node, owner):
    found = sections(ast.get_docstring(node))
    if "Args" not in found:
        return
    named = re.findall(r"^    (\w+(?:, \w+)*) \(", found["Args"], re.MULTILINE)
    arguments = [item.arg for item in node.args.args + node.args.kwonlyargs if item.arg not in ("self", "cls")]
    assert [name for item in named for name in item.split(", ")] == arguments


@pytest.mark.parametrize("node, owner", FUNCTIONS)
def test_documented_functions_say_what_they_return(node, owner):
    found = sections(ast.get_docstring(node))
    returns = node.returns is not None and ast.unparse(node.returns) not in ("None", "Iterator[str]", "NoReturn")
    if "Args" in found and returns:
        assert "Returns" in found
    if "Returns" in found:
        assert node.returns is not None


@pytest.mark.parametrize("name", [name for name in golden_stick.__all__ if name != "errors"])
def test_the_public_names_are_documented_in_full(name):
    thing = getattr(golden_stick, name)
    found = sections(thing.__doc__)
    assert {"Args", "Raises"} <= set(found)
    if inspect.isfunction(thing):
        assert "Returns" in found
    else:
        assert "Supported Platforms" in found


def cells():
    for name in MODULES:
        module = importlib.import_module(name)
        for item in getattr(module, "__all__", ()):
            thing = getattr(module, item)
            if inspect.isclass(thing) and issubclass(thing, nn.Cell) and thing.__module__ == name:
                yield pytest.param(thing, id=thing.__name__)


@pytest.mark.parametrize("kind", cells())
def test_every_cell_says_what_goes_in_and_what_comes_out(kind):
    wanted = {"Inputs", "Outputs", "Supported Platforms"}
    if len(inspect.signature(kind.__init__).parameters) > 1:
        wanted.add("Args")
    assert wanted <= set(sections(kind.__doc__))
