"""The way of a network through the package is as short as it says, and what is counted is what is called."""
import pytest

from tests import way_of_a_network


@pytest.mark.parametrize("name", way_of_a_network.WAYS)
def test_a_network_leads_through_few_files(name):
    run, limit = way_of_a_network.WAYS[name]
    way = way_of_a_network.way_of(run)
    assert {"comp_algo.py", "cells/slim.py", "prune/pruner.py"} <= set(way)
    assert len(way) <= limit, sorted(way)


def test_functions_that_are_called_count_and_bodies_of_modules_and_classes_do_not():
    from golden_stick.graph.ir import Labels

    with way_of_a_network.entered() as way:
        labels = Labels()
        labels.fresh(3)
        exec(compile("class Inner: pass", str(way_of_a_network.PACKAGE / "other.py"), "exec"))
    assert dict(way) == {"graph/ir.py": {"Labels.__init__", "Labels.fresh"}}
