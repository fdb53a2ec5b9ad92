"""The pages of docs: their blocks run, their links and anchors lead somewhere, and the site is built of them."""
import importlib
import importlib.util
import io
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

import mindspore as ms
import pytest

import golden_stick as gs
from golden_stick.comp_algo import ALGORITHMS
from golden_stick.criteria.table import CRITERIA
from golden_stick.deploy.formats import FORMATS
from golden_stick.graph.layers import LAYERS
from golden_stick.graph.rules import RULES
from scripts.draw_figures import DRAWN, FIGURES
from scripts.walk_journeys import JOURNEYS, ROOT, before, blocks, unprinted, walk

DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
TUTORIAL = DOCS / "tutorials" / "cnn.md"
RUN = [DOCS / name for name in ("accuracy.md", "extending.md", *(f"howto/{name}.md" for name in (
    "budget", "certify", "files", "loop")))]


def titled(page):
    """File name -> text, of the files that a page has."""
    return {block.title: block.text for block in blocks(page.read_text(encoding="utf-8")) if block.title}


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """The folder of the first tutorial, where its network has been trained and pruned."""
    folder = tmp_path_factory.mktemp("tutorial")
    for name, text in titled(TUTORIAL).items():
        (folder / name).write_text(text, encoding="utf-8")
    with in_folder(folder):
        runpy.run_path("train.py", run_name="__main__")
        runpy.run_path("prune.py", run_name="__main__")
    return folder


@contextmanager
def in_folder(folder):
    """Work in a folder, whose modules can be imported; tables, mode and modules are as before when it ends."""
    place, path, modules, mode = os.getcwd(), sys.path[:], set(sys.modules), ms.get_context("mode")
    tables = [(table, set(table)) for table in (RULES, LAYERS, CRITERIA, FORMATS, ALGORITHMS)]
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        os.chdir(place)
        sys.path[:] = path
        ms.set_context(mode=mode)
        for name in set(sys.modules) - modules:
            if Path(getattr(sys.modules[name], "__file__", None) or "/").parent == Path(folder):
                del sys.modules[name]
        for table, names in tables:
            for name in set(table) - names:
                del table[name]


def run_blocks(page, folder):
    """What a page prints whose blocks are run in one namespace, which is a module: graph compilation reads its file."""
    text, output = page.read_text(encoding="utf-8"), io.StringIO()
    script = Path(folder, f"{page.stem}_page.py")
    parts = []
    for block in blocks(text):
        if block.title:
            Path(folder, block.title).write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            parts.append(block.text)
        elif block.language == "bash":
            parts += [f"assert main({shlex.split(command)[1:]!r}) == 0" for command in block.commands
                      if command.startswith("golden-stick ")]
    script.write_text("\n".join(["from golden_stick.cli import main", *parts]), encoding="utf-8")
    with in_folder(folder), redirect_stdout(output):
        importlib.import_module(script.stem)
    return output.getvalue()


# What they begin with trains a network; most train and prune several times more.
@pytest.mark.long
@pytest.mark.parametrize("page", RUN, ids=lambda page: page.stem)
def test_blocks_of_a_page_run_and_print_what_it_shows(page, begun, tmp_path):
    first = before(page)
    assert first is None or first[0].resolve() == TUTORIAL
    shutil.copytree(begun, tmp_path, dirs_exist_ok=True)
    output = run_blocks(page, tmp_path)
    shown = [block.text for block in blocks(page.read_text(encoding="utf-8")) if block.language == "text"]
    assert [unprinted(text, output) for text in shown if unprinted(text, output)] == []


def test_unprinted_sees_what_was_not_printed():
    output = "parameters  28,410 -> 11,280 (60.3 % removed)\nin folder /tmp/x: done\n"
    assert unprinted("parameters 28,410 -> 11,280 (60.3 % removed)\nin folder ...: done", output) == []
    assert unprinted("parameters 28,410\n...\nin folder", output) == ["parameters 28,410", "in folder"]


# Each trains a network, prunes it in processes of its own, and more: a minute each.
@pytest.mark.long
@pytest.mark.parametrize("page", JOURNEYS)
def test_a_journey_from_an_empty_folder(page, tmp_path):
    transcript = "".join(walk(ROOT / page, str(tmp_path)))
    assert transcript.count("\n$ ") >= 2 and "Traceback" not in transcript


def test_a_journey_ends_where_a_command_fails_or_a_line_was_not_printed(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("```bash\nexit 3\n```\n", encoding="utf-8")
    with pytest.raises(SystemExit, match="exit code 3 of: exit 3"):
        list(walk(page, str(tmp_path)))
    page.write_text("```bash\necho one \\\n  two    # a comment\n```\n```text\none two\nthree\n```\n", encoding="utf-8")
    with pytest.raises(SystemExit, match=r"not printed: \['three'\]"):
        list(walk(page, str(tmp_path)))


def slugs(text):
    """Anchors of a page, as MkDocs and GitHub make them of headings of these words."""
    plain = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    heads = re.findall(r"^#+ (.+)$", plain, re.MULTILINE)
    return {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", head).strip().lower()) for head in heads}


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md", ROOT / "README_CN.md"],
                         ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_anchors_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    wrong = []
    for target, _, anchor in re.findall(r"\]\(([^)#\s]*)(#([^)\s]+))?\)", re.sub(r"`[^`\n]*`", "", text)):
        place = page.parent / target if target else page
        if target.startswith("http"):
            continue
        if not place.exists():
            wrong.append(target)
        elif anchor and place.suffix == ".md" and anchor not in slugs(place.read_text(encoding="utf-8")):
            wrong.append(f"{target}#{anchor}")
    assert wrong == []


def test_every_public_name_is_in_the_reference():
    text = "\n".join(page.read_text(encoding="utf-8") for page in (DOCS / "reference").glob("*.md"))
    named = set(re.findall(r"^::: golden_stick\.(\w+)$", text, re.MULTILINE))
    assert set(gs.__all__) - {"errors"} == named


def test_figures_are_what_the_script_draws():
    assert {name for name, draw in DRAWN.items()
            if (FIGURES / f"{name}.svg").read_text(encoding="utf-8") != str(draw())} == set(), \
        "run: python scripts/draw_figures.py"


def test_figures_are_shown_with_words():
    shown = [found for page in [*PAGES, ROOT / "README.md", ROOT / "README_CN.md"]
             for found in re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", page.read_text(encoding="utf-8"))]
    assert {Path(path).stem for _, path in shown} >= set(DRAWN)
    assert [path for words, path in shown if not words] == []


# What the docs extra builds: half a minute.
@pytest.mark.long
@pytest.mark.skipif(not importlib.util.find_spec("mkdocs"), reason="the extra docs is not installed")
def test_the_site_builds_without_a_warning_and_loads_nothing_from_elsewhere(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    loaded = re.compile(r"<(?:script|link|img|iframe)[^>]*(?:src|href)=\"(?:https?:)?//")
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) > 40
    assert [page.name for page in pages if loaded.search(page.read_text(encoding="utf-8"))] == []
