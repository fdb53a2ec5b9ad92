"""What a pruning card says of the scientific control, the scales, and what the selector guarantees."""
from typing import Any, Dict, List, Mapping, Optional, Union

from golden_stick.certify.card_words import missing
from golden_stick.certify.certificate import Certificate
from golden_stick.knockoffs.exchangeability import Exchangeability
from golden_stick.report import Report

__all__ = ["automatic_statement", "control_of", "scales_of", "selector_of"]

_NONE = "none: {} compares filters with no control"
_BUDGETS = ("prune_rate", "target_macs", "target_params", "target_latency")
# Conditions without which a selection by knockoff+ has no rate. The others say what it is worth.
_NEEDED = ("C3", "C4", "C5", "C6")


def control_of(report: Report, knockoffs: Optional[Exchangeability]) -> Union[str, Dict[str, Any]]:
    """The kind of control, which is a knockoff only where that was tested, and the tests."""
    facts = report.control
    if not facts and "sampler" not in report.config:
        return _NONE.format(report.algorithm)
    found = {
        "kind": f"{facts.get('sampler', report.config['sampler'])}: a {knockoffs.verdict if knockoffs else 'control'}",
        "data of the scales": "held out, as the configuration states" if facts.get("held_out") else
                              "may have trained the weights: 'held_out' is not set",
        **{key: facts[key] for key in ("method", "grid", "positions", "fit", "draws", "mixing", "blocks", "turn_steps")
           if key in facts},
    }
    if knockoffs is None:
        return {**found, "exchangeability": missing(
            "give knockoffs=gs.exchangeability(images, sampler(images), labels); without it, no draw is called a "
            "knockoff")}
    return {**found, "exchangeability": {
        "verdict": knockoffs.verdict, "pairs": knockoffs.samples, "variables": knockoffs.variables,
        "gap of covariances (g1)": knockoffs.moment_gap, "gap of covariances across (g2)": knockoffs.cross_gap,
        "self-correlation": knockoffs.self_correlation, "all swapped, p": knockoffs.full_swap,
        "some swapped, p": knockoffs.partial_swap,
        "labels leak, p": missing("give labels to gs.exchangeability") if knockoffs.label_leak is None else
        knockoffs.label_leak,
        "two-sample test": "by permutation, of energy distances and covariances; no classifier was trained"}}


def scales_of(report: Report) -> Union[str, Dict[str, Any]]:
    """What became of the scales, and whether the scores say more than ``|gamma|``."""
    facts = report.control
    if not facts:
        return _NONE.format(report.algorithm) if "sampler" not in report.config else \
            missing("call 'convert' before 'report'")
    return {"scales": facts["scales"], "histogram, ten bins from 0 to 1": facts["histogram"],
            "share below 0.5": facts["below_half"], "share above 0.99": facts["above_0.99"],
            "rank correlation with |gamma|": "not defined: no layer has differing |gamma|"
            if facts["rank_correlation"] is None else facts["rank_correlation"]}


def selector_of(report: Report, knockoffs: Optional[Exchangeability], certificate: Optional[Certificate]
                ) -> Dict[str, Any]:
    """What decided how much goes, and exactly what that guarantees."""
    automatic = report.config.get("prune_rate") == "auto"
    by = {key: report.config[key] for key in _BUDGETS if report.config.get(key) is not None}
    found: Dict[str, Any] = {"budget": by, "reached": [str(target) for target in report.targets]}
    if automatic:
        found["q"] = report.config["fdr"]
    found["statement"] = automatic_statement(report, knockoffs) if automatic else (
        "the caller chose how much goes: by itself, that guarantees nothing")
    found["eps, delta"] = missing("give certificate=gs.certify(original, {'slim': slim}, held_out_data)") \
        if certificate is None else {"eps": certificate.max_drop, "delta": 1 - certificate.confidence}
    return found


def automatic_statement(report: Report, knockoffs: Optional[Exchangeability]) -> str:
    """The guarantee of ``"prune_rate": "auto"``, with the conditions that it stands on and what is known of them."""
    q = report.config["fdr"]
    rule = "e-values of knockoff+ in several draws" if report.config.get("draws", 1) > 1 else "knockoff+"
    promise = (f"Of the filters that {rule} selects to stay, the expected share of null ones (that tell nothing of the "
               f"label, given the other channels of their layer) is at most q = {q:g}, if {', '.join(_NEEDED)} hold")
    limits = "Nothing is said of filters wrongly removed, nor of accuracy, nor of filters that stay for other reasons."
    return f"{promise}. {_standing(report.control.get('conditions', ()), knockoffs)} {limits}"


def _standing(conditions: Any, knockoffs: Optional[Exchangeability]) -> str:
    known: Dict[str, Mapping[str, Any]] = {item["name"]: item for item in conditions if item["name"] in _NEEDED}
    holds = {name: known[name]["holds"] if name in known else None for name in _NEEDED}
    if knockoffs is not None and knockoffs.verdict == "control":
        holds["C6"] = False
    broken: List[str] = [name for name in _NEEDED if holds[name] is False]
    unknown: List[str] = [name for name in _NEEDED if holds[name] is None]
    tested = ", but for tests that found C6 not broken" if knockoffs is not None and "C6" in unknown else ""
    if broken:
        return f"THEY DO NOT: {', '.join(broken)} broken, so nothing is guaranteed here."
    if unknown:
        return f"Nobody checked {', '.join(unknown)}{tested}: the guarantee rests on them."
    return "They were checked, as far as they can be."
