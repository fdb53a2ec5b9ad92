"""Options stand once: docstrings are made of the table, or name every key that it has."""
import re

import pytest

import golden_stick as gs
from golden_stick.base.config import Option, Switch, Whole, with_options
from golden_stick.prune import Pruner
from golden_stick.prune.options import ONE_SHOT_OPTIONS


@pytest.mark.parametrize("kind", [gs.OneShot, gs.SCOP, Pruner], ids=lambda kind: kind.__name__)
def test_docstrings_name_every_key_with_its_default(kind):
    text = re.sub(r"\s+", " ", f"{kind.__doc__} {Pruner.__doc__}").replace("``", "")
    for key, option in kind.options.items():
        entry = re.search(rf"\*\*{key}\*\* .*?Default: (.*?)\. ", text)
        assert entry, key
        assert entry[1] in ("none" if option.default is None else repr(option.default), str(option.default)), key


def test_every_option_says_what_it_is():
    assert all(option.help and not option.help.endswith(".") for option in ONE_SHOT_OPTIONS.values())


def test_a_docstring_has_the_options_that_its_base_has_not():
    class Base:
        options = {"bits": Option(8, Whole(2), "of a weight")}

    @with_options
    class Kind(Base):
        """
        Args:
            {options}
        """

        options = {**Base.options, "signed": Option(None, Switch(), "whether one of them is a sign")}

    assert Kind.__doc__.split("\n")[2].strip() == "- **signed** - Whether one of them is a sign. Default: none."
    assert "bits" not in Kind.__doc__ and "{options}" not in Kind.__doc__
