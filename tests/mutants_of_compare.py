"""What could be wrong in comparisons of criteria, each broken once."""
from tests.mutants_of_rules import Mutant

_RUN, _BY_HAND = "tests/compare/test_compare.py", "tests/compare/test_result.py"

COMPARE_MUTANTS = (
    Mutant("compare: the test split is looked at early", "compare/compare.py",
           "    config = {**settings.to_dict()", "    list(test_data or ())\n    config = {**settings.to_dict()", _RUN),
    Mutant("compare: nothing is re-estimated", "compare/compare.py",
           "        calibrate(slim, [images for images, _ in calibration])\n", "", _RUN),
    Mutant("compare: seeds share one order", "compare/compare.py",
           "train(slim, batches.finetuning(seed)", "train(slim, batches.finetuning(0)", _RUN),
    Mutant("compare: held-out data are not used", "compare/batches.py", "if self._held_out is None:", "if True:", _RUN),
    Mutant("compare: the user's word for held-out data is taken", "compare/settings.py", 'if "held_out" in scop:',
           "if False:", _RUN),
    Mutant("compare: missed budgets are passed over", "compare/compare.py", "all(target.met for", "any(True for", _RUN),
    Mutant("compare: no control", "compare/settings.py", "(*names, CONTROL)", "names", _RUN),
    Mutant("compare: batches are not compared", "compare/batches.py",
           "if digest and known.setdefault(use, digest) != digest:", "if not known.setdefault(use, digest):", _RUN),
    Mutant("compare: lists keep their order", "compare/batches.py", ".permutation(len(data))", ".integers(1, size=1)",
           _RUN),
    Mutant("compare: another comparison goes on", "compare/store.py",
           "if not _agree(found[key], value)]", "if False]", _RUN),
    Mutant("compare: deviation of the population", "compare/result.py", "statistics.stdev(", "statistics.pstdev(",
           _BY_HAND),
    Mutant("compare: ranked by the test split", "compare/result.py",
           "(self.finetuned or self.recalibrated).mean", "(self.test or self.recalibrated).mean", _BY_HAND),
)
