"""
What MkDocs does for the site besides turning pages of docs into HTML.   Named in mkdocs.yml.

The start pages are the READMEs, and files of the repository that pages link to (examples, benchmarks) become pages that
show them: so all links work, also where the site is read from the disk.
"""
import os
import posixpath
import re
import subprocess
import sys
from pathlib import Path
from typing import Iterator

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
# Page of the site -> the file of the repository that it shows.
PAGES = {"index.md": "README.md", "zh/index.md": "README_CN.md", "changelog.md": "CHANGELOG.md"}
LINK = re.compile(r"(\]\(|src=\")((?!https?:|#|mailto:)[^)#\s\"]+)")
LANGUAGES = {".py": "python", ".sh": "bash", ".yaml": "yaml", ".csv": "text"}


def on_files(files: Files, config) -> Files:
    """Add the pages that are not files of docs."""
    for page, source in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    files.append(File.generated(config, "reference/cli.md", content=command_line()))
    for path in sorted(linked(files)):
        files.append(File.generated(config, shown_at(path), content=shown(path)))
    return files


def on_page_markdown(markdown: str, page, **_) -> str:
    """Links as the site has them."""
    return LINK.sub(lambda found: found[1] + site_link(found[2], page.file.src_uri), markdown)


def on_page_content(html: str, **_) -> str:
    """An empty corner of a table is no heading: it would be read aloud as one."""
    return re.sub(r"<th([^>]*)></th>", r"<td\1></td>", html)


def linked(files: Files) -> Iterator[str]:
    """Paths in the repository, of files outside docs that pages link to, and that those link to in turn."""
    left = [(file.src_uri, file.content_string) for file in files.documentation_pages()]
    seen = set()
    while left:
        uri, text = left.pop()
        for _, target in LINK.findall(text):
            path = in_repository(target, uri)
            if path and path not in seen and not path.startswith("docs/") and path not in PAGES.values():
                seen.add(path)
                yield path
                if path.endswith(".md"):
                    left.append((shown_at(path), (ROOT / path).read_text(encoding="utf-8")))


def in_repository(target: str, uri: str) -> str:
    """The path in the repository of the file that a page links to, or an empty str."""
    source = PAGES.get(uri) or (uri[len("source/"):] if uri.startswith("source/") else f"docs/{uri}")
    if uri.startswith("source/") and not uri.endswith("README.md"):
        return ""
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
    path = posixpath.join(path, "README.md") if (ROOT / path).is_dir() else path
    return path if (ROOT / path).is_file() else ""


def shown_at(path: str) -> str:
    """The page that shows a file of the repository."""
    for page, source in PAGES.items():
        if source == path:
            return page
    if path.startswith("docs/"):
        return path[len("docs/"):]
    return f"source/{path}" if path.endswith(".md") else f"source/{path}.md"


def site_link(target: str, uri: str) -> str:
    """A link of a page, as the site has it; one to no file of the repository stays, and MkDocs complains of it."""
    path = in_repository(target, uri)
    return posixpath.relpath(shown_at(path), posixpath.dirname(uri) or ".") if path else target


def shown(path: str) -> str:
    """The text of the page that shows a file."""
    text = (ROOT / path).read_text(encoding="utf-8")
    if path.endswith(".md"):
        return text
    return f"# {path}\n\n````{LANGUAGES.get(Path(path).suffix, 'text')}\n{text}````\n"


def command_line() -> str:
    """The help of every command, as it is printed."""
    def said(*words: str) -> str:
        run = [sys.executable, "-m", "golden_stick.cli", *words, "--help"]
        return subprocess.run(run, cwd=ROOT, env={**os.environ, "COLUMNS": "100"}, check=True, capture_output=True,
                              text=True).stdout

    whole = said()
    names = re.findall(r"^    (\w+)", whole, re.MULTILINE)
    head = "# Command line\n\nHelp as printed. In order of use: [from the shell](../shell.md).\n\n"
    parts = [f"```text\n{whole}```", *(f"## {name}\n\n```text\n{said(name)}```" for name in names)]
    return head + "\n\n".join(parts) + "\n"
