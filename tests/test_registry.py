"""Tables that are filled by calls and by entry points of installed packages."""
import sys

import pytest

from golden_stick.base.config import Registry
from golden_stick.base.errors import ArgumentError, ArgumentTypeError, DependencyError

GROUP = "golden_stick.tested"


def accept(thing):
    if not isinstance(thing, int):
        raise TypeError(f"it is no int, but {thing!r}")
    return thing


@pytest.fixture
def make(tmp_path, monkeypatch):
    """A registry that begins with 'one', where a package is installed whose entry points are the lines given."""
    def made(*lines, **modules):
        package = tmp_path / "plugins-1.0.dist-info"
        package.mkdir()
        (package / "METADATA").write_text("Metadata-Version: 2.1\nName: plugins\nVersion: 1.0\n")
        (package / "entry_points.txt").write_text("\n".join([f"[{GROUP}]", *lines]) + "\n")
        for name, text in modules.items():
            (tmp_path / f"{name}.py").write_text(text)
            monkeypatch.delitem(sys.modules, name, raising=False)
        monkeypatch.syspath_prepend(tmp_path)
        return Registry("number", GROUP, {"one": 1}, accept)
    return made


def test_calls_and_entry_points_fill_one_table(make):
    numbers = make("three = plugged_three:VALUE", plugged_three="VALUE = 3")
    numbers.add("add_number", "two", 2)
    assert list(numbers) == ["one", "two", "three"] and len(numbers) == 3
    assert "three" in numbers and "four" not in numbers
    assert "plugged_three" not in sys.modules
    assert dict(numbers) == {"one": 1, "two": 2, "three": 3}
    del numbers["two"]
    assert "two" not in numbers
    with pytest.raises(KeyError):
        numbers["two"]


def test_a_name_is_given_once(make):
    numbers = make("one = plugged_one:VALUE", "three = plugged_one:VALUE", plugged_one="VALUE = 7")
    with pytest.warns(UserWarning, match="the number 'one' of the entry point 'plugged_one:VALUE' is left out: its "
                                         "name is taken"):
        assert list(numbers) == ["one", "three"]
    assert numbers["one"] == 1
    for name in ("one", "three"):
        with pytest.raises(ArgumentError, match=f"For 'add_number', 'name' must be a new name, but got '{name}', "
                                                f"which is taken"):
            numbers.add("add_number", name, 5)
    with pytest.raises(ArgumentTypeError, match="For 'add_number', 'name' must be a str, but got int"):
        numbers.add("add_number", 5, 5)


@pytest.mark.parametrize("text,reason", [("raise RuntimeError('no licence')", "no licence"), ("", "no attribute"),
                                         ("VALUE = 'x'", "it is no int, but 'x'")])
def test_a_broken_plug_in_is_named_and_breaks_nothing_else(make, text, reason):
    numbers = make("broken = plugged_broken:VALUE", plugged_broken=text)
    assert numbers["one"] == 1 and "broken" in numbers
    message = "For 'golden_stick', the number 'broken' must be what the entry point 'plugged_broken:VALUE' of an " \
              f"installed package names, but it cannot be loaded: .*{reason}"
    with pytest.raises(DependencyError, match=message):
        numbers["broken"]
    with pytest.warns(UserWarning, match=f"'broken' .*{reason}"):
        assert numbers.loaded() == [("one", 1)]


def test_an_algorithm_is_a_class_of_its_kind():
    from golden_stick.comp_algo import add_algorithm

    with pytest.raises(ArgumentTypeError, match="For 'add_algorithm', 'kind' must be a subclass of CompAlgo"):
        add_algorithm("mine", 3)
