"""Ways to get a certificate wrong: the test, its bound, the sequence, the ledger, the filters."""
from tests.mutants_of_rules import Mutant

FOLDER = "tests/certify"
DROP, CERTIFY, SAFE, USED = (f"{FOLDER}/test_{name}.py" for name in ("drop", "certify", "safe_filters", "used_data"))
NUMBERS = f"{FOLDER}/test_distributions.py"


def _in(file, tests):
    def mutant(what, old, new="pass"):
        return Mutant(what, f"certify/{file}", old, new, tests)
    return mutant


_drop, _sequence, _numbers = _in("drop.py", DROP), _in("sequence.py", DROP), _in("equivalence.py", NUMBERS)
_certify, _ledger, _digest = _in("certify.py", CERTIFY), _in("ledger.py", CERTIFY), _in("fingerprints.py", CERTIFY)
_gates, _safe = _in("gates.py", SAFE), _in("safe_filters.py", SAFE)


def _known(what, old, new, tests=CERTIFY):
    return Mutant(what, "certify/known.py", old, new, tests)


def _uses(what, old, new="pass"):
    return Mutant(what, "uses.py", old, new, USED)


def _card(file, what, old, new="pass"):
    return Mutant(what, f"certify/{file}", old, new, f"{FOLDER}/test_card.py")


_together = _in("together.py", f"{FOLDER}/test_together.py")

CERTIFICATE_MUTANTS = (
    _drop("the error of the confidence set is not added", "high) + set_error))", "high)))"),
    _drop("the discordance is taken as observed", "max(low, max_drop), high)",
          "max((lost + gained) / images, max_drop), max((lost + gained) / images, max_drop))"),
    _drop("pieces are bounded by their starts", "above = _batched(boundary, images, (starts + max_drop) / 2, (ends",
          "above = _batched(boundary, images, (starts + max_drop) / 2, (starts"),
    _drop("ties are left out", "<= score + _TIE", "< score - _TIE"),
    _drop("half the variance of the null", "variance = images * (2 * rate +", "variance = images * (rate +"),
    _sequence("a failure does not stop the sequence", "if not going:", "if False:"),
    _sequence("lost and gained change places", "Comparison(lost, gained, len(base_right))",
              "Comparison(gained, lost, len(base_right))"),
    _numbers("no correction for many tests", "level * ranks / count", "level"),
    _numbers("the bound is forgotten", "(mean - eps) / error", "mean / error"),
    _certify("the smallest goes first", "key=lambda name: -_size", "key=lambda name: _size"),
    _known("the ledger is not read", "tuple(read_ledger(ledger)) if ledger is not None else ()", "()"),
    _known("the ledger is not written", "if self.ledger is not None:\n            add", "if False:\n            add"),
    _known("used images are not refused", "if found and self.reuse", "if False and self.reuse"),
    _known("what this process used is passed over", "self.listed) + here", "self.listed)", USED),
    _known("what the ledger has is told twice", "if (use.used_for, use.date, use.digest) not in listed", "", USED),
    _known("nothing is said of a missing ledger", "return text if ledger else", "return text if True else", USED),
    _uses("threads do not see each other", "found = self.earlier(samples)", "found = ()"),
    _uses("only the first batch counts", ".update(samples)", ".update(())"),
    _uses("nothing is forgotten", "self._uses.clear()"),
    _ledger("used data are passed over", "if item.images)", "if not item.images)"),
    _digest("labels are left out", "image_digest(image, int(label))", "image_digest(image)"),
    _digest("order counts", "sorted(samples)).encode()", "list(samples)).encode()"),
    _gates("a hidden channel stays hidden", "gate, values.reshape(gate.shape)",
           "gate, gate.asnumpy() * values.reshape(gate.shape)"),
    _gates("zeros are not put into weights", "self._zero(numbers)"),
    _together("a failed test ends nothing", "np.logical_and.accumulate(np.asarray(p_values) <= 1 - confidence)",
              "(np.asarray(p_values) <= 1 - confidence)"),
    _together("used images are passed over", "if again:", "if False:"),
    _together("one more goes than was tested", "sizes[passed - 1] if passed else 0",
              "sizes[min(passed, len(sizes) - 1)]"),
    _in("safe_filters.py", f"{FOLDER}/test_together.py")("the least sure go first", "(self.cost, self.p_values)",
                                                         "(self.cost, -self.p_values)"),
    _card("card_parts.py", "widths are not compared", "if not other:", "if True:"),
    _card("card_parts.py", "points of the curve count as the budget", 'if trial["prune_rate"] is None:', "if True:"),
    _card("card_parts.py", "lost and gained change places", '(b)": lost', '(b)": gained'),
    _card("card_parts.py", "every budget is equal", "found[key] == value", "True"),
    _card("card_control.py", "broken conditions are passed over", "if broken:", "if False:"),
    _card("card_control.py", "draws are knockoffs until tested", "if knockoffs else 'control'",
          "if knockoffs else 'knockoff'"),
    _card("card_words.py", "parts of parts are not looked into", "yield from absences(value, here)"),
    _card("card.py", "controls of other networks are taken", 'if controls is not None and', "if False and"),
    _safe("a layer loses all its filters", "removed.remove(int(", "print(int("),
)
