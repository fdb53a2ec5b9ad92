"""An algorithm of one's own needs one file, and public names alone."""
import re
import subprocess
import sys

import numpy as np
from mindspore import nn

from golden_stick.comp_algo import ALGORITHMS
from golden_stick.criteria import CRITERIA
from tests.examples.conftest import EXAMPLES, ROOT

PATH = EXAMPLES / "custom_algorithm.py"


def test_it_runs_and_says_what_each_did():
    run = subprocess.run([sys.executable, str(PATH)], capture_output=True, text=True, check=True,
                         cwd=ROOT)
    first, second, third = run.stdout.strip().split("\n\n")
    assert "OneShot after 'convert'" in first and "'criterion': 'largest_weight'" in first
    assert "MiddleOut after 'convert'" in second and re.search(r"target_macs 0.5: reached: 0\.\d+", second)
    assert third.endswith("weights are rounded to 4 bits")


def test_it_uses_no_private_name():
    assert not re.findall(r"\b_[a-z]\w*|\._\w+", PATH.read_text().replace("__", ""))


def test_what_it_defines():
    sys.path.insert(0, str(EXAMPLES))
    try:
        import custom_algorithm as example
    finally:
        sys.path.remove(str(EXAMPLES))
    assert "middle_out" not in ALGORITHMS and "largest_weight" not in CRITERIA
    network = nn.SequentialCell(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))
    sums = network[0].weight.asnumpy().sum((1, 2, 3))
    pruner = example.MiddleOut({"prune_rate": 0.5})
    slim = pruner.convert(pruner.apply(network, (1, 3, 8, 8)))
    kept = np.sort(np.argsort(np.abs(sums - np.median(sums)), kind="stable")[4:])
    np.testing.assert_array_equal(slim[0].weight.asnumpy(), network[0].weight.asnumpy()[kept])
    rounding = example.Rounding({"bits": 3})
    weight = rounding.convert(rounding.apply(network, (1, 3, 8, 8)))[0].weight.asnumpy()
    assert len(np.unique(weight)) <= 9 and len(np.unique(network[0].weight.asnumpy())) > 9
