"""
The sabotage works: everything has its mutant, every mutant applies, and a few of them are tried.

All of them are tried by ``python tests/break_once.py``.
"""
import ast

import pytest

from golden_stick.graph.rules import RULES
from tests.break_once import MUTANTS, ROOT, attempt, source_of
from tests.mutants_of_rules import RULE_MUTANTS, WALK_MUTANTS, Mutant
from tests.mutants_of_steps import STEP_MUTANTS

# (file, function or method): each must have been broken.
STEPS = {
    ("graph/labels.py", "solve"), ("graph/labels.py", "fresh"), ("graph/flow.py", "run"), ("graph/flow.py", "bind"),
    ("graph/flow.py", "sum_up"), ("graph/flow.py", "scatter_site"), ("graph/groups.py", "_groups"),
    ("graph/cost.py", "count_macs"), ("graph/cost.py", "count_parameters"),
    ("prune/ranking.py", "removable_first"), ("prune/importance.py", "group_importance"),
    ("criteria/weights.py", "l1"), ("criteria/data_driven.py", "taylor"), ("criteria/data_driven.py", "hessian"),
    ("criteria/collect.py", "_gate_gradients"), ("criteria/collect.py", "_squared_gradients"),
    ("criteria/collect.py", "_activations"), ("prune/budget.py", "_mildest"), ("prune/ranking.py", "shares_of_pools"),
    ("prune/slimmer.py", "slim"), ("prune/resizers.py", "resizer_of"), ("prune/rehearsal.py", "_misfits"),
    ("prune/rehearsal.py", "_suspects"), ("prune/ranking.py", "round_counts"), ("prune/cells.py", "_mask"),
    ("prune/cells.py", "construct"),
    ("prune/cells.py", "__init__"), ("prune/cells.py", "_exchange"), ("prune/verify.py", "verify"),
    ("prune/calibration.py", "calibrate"), ("prune/trace.py", "_compile"), ("prune/pruner.py", "apply"),
    ("prune/pruner.py", "convert"), ("evaluation.py", "evaluation"),
    ("scop/cells.py", "construct"), ("scop/cells.py", "mixed"), ("scop/cells.py", "_real_half"),
    ("scop/scales.py", "construct"), ("scop/scales.py", "settled"), ("scop/features.py", "_change"),
    ("scop/features.py", "scales"), ("scop/automatic.py", "_of_channels"), ("scop/automatic.py", "_in_one_unit"),
    ("scop/conditions.py", "_isolated"), ("graph/segments.py", "segments_of"), ("scop/cells.py", "add_flags_recursive"),
    ("scop/selection.py", "scop_importance"), ("scop/selection.py", "_ranks"), ("scop/pruner.py", "after_step"),
    ("scop/pruner.py", "_check_trained"), ("scop/pruner.py", "_restore"), ("deploy/files.py", "whole_file"),
    ("deploy/checkpoint.py", "_difference"), ("deploy/checkpoint.py", "load_slim"), ("deploy/slim_file.py", "_parsed"),
    ("deploy/slim_file.py", "read_slim"), ("deploy/slim_file.py", "kept_positions"),
    ("deploy/fold/sites.py", "_before"), ("deploy/fold/sites.py", "_origins"), ("deploy/fold/sites.py", "_channels"),
    ("deploy/fold/sites.py", "_chosen"), ("deploy/fold/moves.py", "moved"), ("deploy/fold/moves.py", "_index"),
    ("deploy/fold/moves.py", "places"),
    ("deploy/fold/sites.py", "_reading_layer"), ("deploy/fold/sites.py", "_owner"), ("deploy/fold/network.py", "fold"),
    ("deploy/fold/network.py", "_before"), ("deploy/fold/network.py", "_after"), ("deploy/fold/cells.py", "_give_bias"),
    ("deploy/mindir.py", "write_mindir"), ("deploy/mindir.py", "_check"), ("config.py", "check"),
}
CHEAP = ("pad: padded channels can go", "one more is removed")


def broken_function(mutant):
    """Name of the innermost function in which a mutant's passage stands."""
    text = (ROOT / "golden_stick" / mutant.file).read_text()
    line = text[:text.index(mutant.old)].count("\n") + 1
    line += len(mutant.old) - len(mutant.old.lstrip("\n"))
    around = [node for node in ast.walk(ast.parse(text))
              if isinstance(node, ast.FunctionDef) and node.lineno <= line <= node.end_lineno]
    return max(around, key=lambda node: node.lineno).name if around else ""


@pytest.mark.parametrize("mutant", MUTANTS, ids=[f"{mutant.file}: {mutant.what}" for mutant in MUTANTS])
def test_every_mutant_applies_and_is_python(mutant):
    compile(source_of(mutant), mutant.file, "exec")
    path, *names = mutant.tests.split("[")[0].split("::")
    tests = ROOT / path
    assert tests.exists()
    assert all(f"def {name}(" in tests.read_text() or f"class {name}:" in tests.read_text() for name in names)


def test_mutants_have_names_of_their_own():
    names = [(mutant.file, mutant.what) for mutant in MUTANTS]
    assert len(names) == len(set(names))


def test_every_rule_of_the_table_has_a_mutant_that_bears_its_name():
    assert {rule.flow.__name__ for rule in RULES.values()} <= {broken_function(mutant) for mutant in RULE_MUTANTS}
    assert all(mutant.what.startswith(f"{broken_function(mutant)}: ") or broken_function(mutant).startswith("_")
               for mutant in RULE_MUTANTS)


def test_every_step_has_a_mutant():
    assert STEPS <= {(mutant.file, broken_function(mutant)) for mutant in WALK_MUTANTS + STEP_MUTANTS}


@pytest.mark.parametrize("what", CHEAP)
def test_a_mutant_is_noticed(what):
    (mutant,) = [mutant for mutant in MUTANTS if mutant.what == what]
    outcome = attempt(mutant)
    assert outcome.noticed, outcome
    assert outcome.by.startswith(mutant.tests)


def test_a_change_that_breaks_nothing_survives():
    mutant = Mutant("nothing", "prune/plan.py", "min(counts[group.name], ", "min(1 * counts[group.name], ",
                    "tests/graph/test_plan.py")
    outcome = attempt(mutant)
    assert (outcome.noticed, outcome.by) == (False, "survived")


def test_a_package_that_cannot_be_imported_proves_nothing():
    mutant = Mutant("no Python", "prune/plan.py", "min(counts[group.name], ", "min((counts[group.name], ",
                    "tests/graph/test_plan.py")
    outcome = attempt(mutant)
    assert not outcome.noticed
    assert "pytest ended with" in outcome.by


def test_a_passage_that_does_not_stand_once_is_refused():
    with pytest.raises(AssertionError, match="the passage must stand once in prune/plan.py, but stands 0 times"):
        source_of(Mutant("nowhere", "prune/plan.py", "no such passage", "", "tests/graph"))
