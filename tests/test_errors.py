"""The tree of errors is the one that is drawn, and every message is one string of one form."""
import ast
import builtins
import difflib
import re
from pathlib import Path

import pytest

import golden_stick
from golden_stick import errors

PACKAGE = Path(golden_stick.__file__).parent
LINE = re.compile(r"^(?P<indent>[│├└─ ]*)(?P<name>[A-Z]\w*Error)(?: \((?P<builtin>\w+)\))?(?P<text>.*)$")


def classes():
    return {name: value for name, value in vars(errors).items() if isinstance(value, type)}


def drawn():
    """Name -> (parent, built-in parent) of every class in the docstring's tree."""
    found, path = {}, []
    block = errors.__doc__.split("::")[1]
    for line in filter(None, (line[4:] for line in block.splitlines())):
        match = LINE.match(line)
        depth = len(match["indent"]) // 4
        path[depth:] = [match["name"]]
        found[match["name"]] = (path[depth - 1] if depth else "Exception", match["builtin"])
    return found


def raises():
    """(file, line, class name, arguments) of every `raise SomeError(...)`; and of errors that a function makes."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            call = node.exc if isinstance(node, ast.Raise) else node.value if isinstance(node, ast.Return) else None
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name):
                name = call.func.id
                if name in classes() or isinstance(node, ast.Raise) and not name.startswith("_"):
                    yield f"{path.relative_to(PACKAGE)}:{node.lineno}", name, call.args, call.keywords


def text_of(argument):
    """The literal text of a message, with a blank for everything computed."""
    parts = argument.values if isinstance(argument, ast.JoinedStr) else [argument]
    return "".join(part.value if isinstance(part, ast.Constant) else "\0" for part in parts)


RAISES = list(raises())
OWN = [item for item in RAISES if item[1] in classes()]
# The command line passes on what others say, and speaks of its own arguments.
LIBRARY = [item for item in OWN if not item[0].startswith("cli")]


def test_the_tree_in_the_docstring_is_the_tree_of_classes():
    real = {name: kind.__bases__ for name, kind in classes().items()}
    wanted = {}
    for name, (parent, builtin) in drawn().items():
        parents = (classes().get(parent, Exception),)
        wanted[name] = parents + ((getattr(builtins, builtin),) if builtin else ())
    assert real == wanted


def test_every_class_is_exported():
    assert {name for name in errors.__all__ if name in classes()} == set(classes())
    assert len(errors.__all__) == len(set(errors.__all__))


def test_every_error_is_caught_by_the_base_and_carries_its_message():
    for kind in classes().values():
        with pytest.raises(errors.GoldenStickError, match="^the message$") as caught:
            raise kind("the message")
        assert caught.value.args == ("the message",)
        assert kind.__doc__, kind


def test_every_leaf_of_the_tree_is_raised_somewhere():
    leaves = {name for name, kind in classes().items() if not kind.__subclasses__()}
    assert leaves <= {name for _, name, _, _ in OWN}
    assert "GoldenStickError" not in {name for _, name, _, _ in OWN}


def in_form(arguments, keywords):
    text = text_of(arguments[0]) if len(arguments) == 1 and not keywords else ""
    return text.startswith("For '") and re.search(" must | has an unknown key | could not | cannot ", text)


def test_every_message_is_one_string_that_names_its_owner_and_says_what_must_be():
    assert [place for place, _, arguments, keywords in LIBRARY if not in_form(arguments, keywords)] == []


# Graph mode knows built-in errors only, and a Cell's `construct` is compiled in it.
# Why a size is fixed becomes a warning before it leaves its package.
FIXED = {f"deploy/onnx/{name}.py": {"FixedSizes"} for name in ("sizes", "export")}
# Python asks a module for a name that it lacks: what is raised then is what `hasattr` expects.
BUILT_IN = {"__init__.py": {"AttributeError"}, "prune/__init__.py": {"AttributeError"},
            "recover/distill.py": {"ValueError"}, "scop/cells.py": {"ValueError"},
            "deploy/fold/plan.py": {"CannotFold"}, **FIXED}


def test_built_in_errors_are_raised_only_where_nothing_else_compiles():
    names = {}
    for place, name, _, _ in RAISES:
        if name not in classes():
            names.setdefault(place.split(":")[0], set()).add(name)
    assert {path: kinds for path, kinds in names.items() if not path.startswith("cli")} == BUILT_IN


TESTS = Path(__file__).parent
# What no test can find by its words, and why.
EXEMPT = {
    "a node must be an operator, but got a call of": "a guard: the called graphs are listed, which is refused first",
    "'network' must have the parameter '\0'": "two messages begin alike, and each is expected where it is raised",
    "'\0' must be one of \0, but got \0": "every word of it is computed; graph/test_table.py spells the results out",
    "'\0' must be \0, but got \0": "every word of it is computed; test_config.py spells the results out",
}


def expectations():
    """Texts of the tests that may be patterns of messages, escapes aside."""
    for path in TESTS.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.JoinedStr, ast.Constant)) and isinstance(getattr(node, "value", ""), str):
                text = text_of(node).replace("\\", "")
                if " " in text and "\n" not in text:
                    yield text


def common_part(one, other):
    match = difflib.SequenceMatcher(None, one, other, autojunk=False).find_longest_match(0, len(one), 0, len(other))
    return one[match.a:match.a + match.size]


# So many letters in common are no accident.
SHARED = 15


def pieces(text):
    return {text[start:start + SHARED] for start in range(len(text) - SHARED + 1)}


def test_every_message_is_expected_by_some_test():
    """Some text in a test shares with each message a piece of 15 letters or more that no other message has."""
    tails = {re.sub(r"^For '[^']*', ", "", text_of(arguments[0])): place for place, _, arguments, _ in LIBRARY}
    texts = [(text, pieces(text)) for text in set(expectations())]
    missing = []
    for tail, place in tails.items():
        others = [other for other in tails if other != tail]
        of_tail = pieces(tail)
        parts = {common_part(tail, text) for text, of_text in texts if not of_tail.isdisjoint(of_text)}
        own = [part for part in parts if "\0" not in part]
        found = any(not any(part in other for other in others) for part in own)
        if not found and not any(text in tail for text in EXEMPT):
            missing.append(f"{place}: {tail}")
    assert not missing, "\n".join(missing)
