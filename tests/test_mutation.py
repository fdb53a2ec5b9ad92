"""The mutation driver on a module of five lines: what tests see is killed, what they do not see survives."""
import json

import pytest

from tests import mutation

TOY = """def larger(one, other):
    if one > other:
        return one
    return other + 0
"""
CHECK = """from toy import larger
def test_larger():
    assert larger(3, 2) == 3 and larger(2, 5) == 5
"""


@pytest.fixture
def project(tmp_path):
    (tmp_path / "toy.py").write_text(TOY)
    (tmp_path / "checks").mkdir()
    (tmp_path / "checks" / "test_toy.py").write_text(CHECK)
    return tmp_path


def run(project, accepted=()):
    """Unlisted survivors of all mutants, by one worker; the lines that were written."""
    results, listed = project / "outputs" / "results.jsonl", project / "accepted.json"
    listed.write_text(json.dumps(accepted))
    targets = {"toy": (("toy.py",), ("checks",))}
    unlisted = mutation.run(project, targets, 100, 0, results, listed, preload=("pytest",), workers=1)
    return unlisted, [json.loads(line) for line in results.read_text().splitlines()]


def test_what_tests_do_not_see_survives_and_is_listed_by_its_syntax(project, capsys):
    unlisted, lines = run(project)
    outcomes = {(item["operator"].split("_")[0], item["line"]): item["outcome"] for item in lines}
    assert outcomes["AddNot", 2] == outcomes["NumberReplacer", 4] == "killed"
    assert unlisted == [item["outcome"] for item in lines].count("survived")
    assert {item["function"] for item in lines} == {"larger"}
    survivors = [item for item in lines if item["outcome"] == "survived"]
    assert f"{len(survivors)} survived (0 of them listed" in capsys.readouterr().out

    # The same again: what is known is not tried, and a list of what is accepted holds wherever the function stands.
    entries = [{"operator": item["operator"], "function": "larger", "before": item["before"], "after": item["after"],
                "reason": "a sum of nothing"} for item in survivors]
    assert run(project, entries) == (0, lines)
    (project / "toy.py").write_text("# Moved down.\n" + TOY)
    assert run(project, entries)[0] == 0


def test_a_sample_is_the_same_for_a_seed_and_another_for_another(project):
    targets = {"toy": (("toy.py",), ("checks",))}
    first, again, other = ([item.key for item in mutation.sample(project, targets, 2, seed)] for seed in (0, 0, 5))
    assert first == again != other


def test_tests_that_fail_on_the_code_as_it_is_are_refused(project):
    (project / "toy.py").write_text(TOY.replace(">", "<"))
    with pytest.raises(SystemExit, match="checks must pass on the code as it is, but it does not"):
        run(project)


def test_a_mutant_that_never_ends_is_a_time_out(project, monkeypatch):
    (project / "checks" / "test_toy.py").write_text("import time\ntime.sleep(100)\n")
    monkeypatch.chdir(project)
    assert mutation.passed(["checks"], 1.0) == mutation.TIMEOUT


def test_every_pattern_and_every_test_of_the_table_is_there():
    for folder, (patterns, tests) in mutation.TARGETS.items():
        assert all(list(mutation.ROOT.glob(pattern)) for pattern in patterns), folder
        assert all((mutation.ROOT / item).exists() for item in tests), folder
