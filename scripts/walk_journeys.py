"""
The journeys of the documentation, each from an empty folder, by what its page prints and nothing else.

    python scripts/walk_journeys.py [PAGE ...] [--transcript docs/journeys.md]

A block with a title is a file, a shell block is run line by line, and what a text block shows must have been printed.
Where a page begins in the folder of another, that one is walked before, up to the command that the page names.
An error of a command, a traceback or a line that was not printed ends the walk.
"""
import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, List, Optional, Tuple

ROOT = Path(__file__).resolve().parents[1]
JOURNEYS = ("docs/tutorials/cnn.md", "docs/tutorials/transformer.md", "docs/tutorials/checkpoint.md",
            "docs/tutorials/scop.md", "docs/howto/deploy.md")
BEFORE = re.compile(r"^Begin in the folder of\s\[[^\]]+\]\(([^)]+)\), after `([^`]+)`", re.MULTILINE)
FENCE = re.compile(r"^```(\w+)(?: title=\"([^\"]+)\")?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


HEAD = """\
# Five journeys, walked

Written by `python scripts/walk_journeys.py --transcript docs/journeys.md`: each began in an empty folder, and did what
its page prints and nothing else. Seconds are those of a machine that other work had a share in.
"""


@dataclass(frozen=True)
class Block:
    """
    A block of a page.

    Args:
        language (str): As the page says: ``'python'``, ``'bash'``, ``'text'`` and the like.
        title (str): The file that it is, or an empty str.
        text (str): What stands in it.
    """

    language: str
    title: str
    text: str

    @property
    def commands(self) -> List[str]:
        """Commands of a shell block, without comments; a line that ends in a backslash goes on in the next."""
        lines = (re.sub(r"(^|\s+)#.*", "", line) for line in re.sub(r"\\\n\s*", "", self.text).splitlines())
        return [line.strip() for line in lines if line.strip()]


def blocks(page: str) -> List[Block]:
    """The blocks of a page's text, in order."""
    return [Block(language, title, text) for language, title, text in FENCE.findall(page)]


def unprinted(shown: str, output: str) -> List[str]:
    """Lines of a text block that are not in an output; ``...`` stands for anything in a line, spaces for any spaces."""
    printed = {" ".join(line.split()) for line in output.splitlines()}
    patterns = {line: re.escape(" ".join(line.split())).replace(re.escape("..."), ".*") for line in shown.splitlines()}
    return [line for line, pattern in patterns.items() if line.strip() not in ("", "...") and
            not any(re.fullmatch(pattern, one) for one in printed)]


def before(page: Path) -> Optional[Tuple[Path, str]]:
    """The page in whose folder a page begins, and the command after which it does; None if the folder is empty."""
    found = BEFORE.search(page.read_text(encoding="utf-8"))
    return (page.parent / found[1], found[2]) if found else None


def walk(page: Path, folder: str, until: str = "") -> Iterator[str]:
    """The transcript of a page, piece by piece, while its commands run in a folder, up to a command or the end."""
    printed, first = "", before(page)
    if first:
        yield from walk(first[0], folder, first[1])
    for block in blocks(page.read_text(encoding="utf-8")):
        if block.title:
            Path(folder, block.title).write_text(block.text, encoding="utf-8")
            yield f"# {block.title}: {len(block.text.splitlines())} lines, as the page has them\n"
        elif block.language == "bash":
            for command in block.commands:
                start = time.perf_counter()
                output = run(command, folder)
                printed += output
                yield f"$ {command}\n{output.rstrip()}\n# {time.perf_counter() - start:.0f} s\n"
                if command == until:
                    return
        elif block.language == "text" and unprinted(block.text, printed):
            raise SystemExit(f"{page}: not printed: {unprinted(block.text, printed)}\n{printed}")


def run(command: str, folder: str) -> str:
    """What a command prints; it must end well."""
    environment = {"ONEDNN_MAX_CPU_ISA": "AVX2", **os.environ,
                   "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", command], cwd=folder, env=environment, text=True, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode or "Traceback" in done.stdout:
        raise SystemExit(f"exit code {done.returncode} of: {command}\n{done.stdout}")
    return done.stdout


def main(arguments=None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", nargs="*", default=JOURNEYS, metavar="PAGE", help=f"default: {', '.join(JOURNEYS)}")
    parser.add_argument("--transcript", type=Path, help="page to write of what was printed, once all have ended well")
    options = parser.parse_args(arguments)
    parts = [HEAD]
    for name in options.pages:
        parts.append(f"\n## {Path(name).stem}\n\nBy [{name}]({os.path.relpath(name, 'docs')}).\n\n````text\n")
        with tempfile.TemporaryDirectory() as folder:
            for piece in walk(ROOT / name, folder):
                parts.append(piece.replace(folder, "."))
                print(parts[-1], end="", flush=True)
        parts.append("````\n")
    if options.transcript:
        options.transcript.write_text("".join(parts), encoding="utf-8")


if __name__ == "__main__":
    main()
