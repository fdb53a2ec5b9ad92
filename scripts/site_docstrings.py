"""
Docstrings in MindSpore's sections, in the form that mkdocstrings reads.   Named in mkdocs.yml.

MindSpore's pages are made by Sphinx: references are roles, `Inputs` and `Outputs` stand beside `Args` and `Returns`,
and platforms have a section of their own.
"""
import re
import textwrap
from typing import Any

from griffe import Extension, Object

# What stands in reStructuredText, and the same in Markdown. What is referred to may have no place in the site.
MARKUP = (
    (re.compile(r":(?:class|meth|func|attr|mod):`~?([\w.]+)`"),
     r'<autoref identifier="\1" optional><code>\1</code></autoref>'),
    (re.compile(r":math:`([^`]+)`"), r"\(\1\)"),
    (re.compile(r"`([^`<]+?)\s*<(https?://[^>]+)>`_"), r"[\1](\2)"),
    (re.compile(r"``([^`]+)``"), r"`\1`"),
)
OWN = re.compile(r"^(Inputs|Outputs|Supported Platforms):\n((?:[ ]{4}.*\n?|\n(?=[ ]{4}))+)", re.MULTILINE)
DRAWING = re.compile(r"^::\n\n((?:(?: {4}.*)?(?:\n|\Z))+)", re.MULTILINE)
OPTIONS = "those of [the options](../options.md)."


class MindSporeSections(Extension):
    """Rewrites every docstring before it is parsed."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        if obj.docstring:
            obj.docstring.value = rewritten(obj.docstring.value)


def rewritten(text: str) -> str:
    """The docstring, as Google's style and Markdown have it."""
    text = text.replace("{options}", OPTIONS)
    for pattern, replacement in MARKUP:
        text = pattern.sub(replacement, text)
    text = DRAWING.sub(lambda found: f"```text\n{textwrap.dedent(found[1]).rstrip()}\n```\n", text)
    return OWN.sub(lambda found: f"**{found[1]}:**\n\n{textwrap.dedent(found[2])}\n", text)
