"""
The report as one page of HTML: whole in itself, with no script, read on a phone as on paper. It is made of plain data
alone, each record of a kind: what reports, certificates and the like write as JSON, and what a slim file holds.
"""
import html
import json
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

from golden_stick.base.errors import ArgumentError, ArgumentTypeError
from golden_stick.base.files import PathLike, now, path_of, whole_file
from golden_stick.graph.plan import in_words

__all__ = ["KINDS", "page_of", "record_of_result", "write_page_of"]

Record = Mapping[str, Any]


class _Html(str):
    """Text that is HTML already. All other text is escaped where an element takes it in."""


def _tag(name: str, *content: Any, **attributes: Any) -> _Html:
    """An element. Content that is None is left out; of attributes, a final _ in the name."""
    given = "".join(f' {key.rstrip("_").replace("_", "-")}="{html.escape(str(value))}"'
                    for key, value in attributes.items() if value is not None)
    return _Html(f"<{name}{given}>{_joined(content)}</{name}>")


def _joined(content: Iterable[Any]) -> _Html:
    return _Html("".join(item if isinstance(item, _Html) else html.escape(str(item))
                         for item in content if item is not None))


def _table(caption: str, head: Sequence[Any], rows: Iterable[Sequence[Any]], words: Sequence[int] = (0,)) -> _Html:
    """A table that can be moved under its frame; columns but those in `words` are numbers, the first names the row."""
    def cells(row: Sequence[Any]) -> List[_Html]:
        return [_tag("th", item, scope="row") if not at else _tag("td", item, class_=None if at in words else "number")
                for at, item in enumerate(row)]

    body = [_tag("tr", *cells(row)) for row in rows]
    top = _tag("tr", *(_tag("th", item, scope="col", class_=None if at in words else "number")
                       for at, item in enumerate(head)))
    whole = _tag("table", _tag("caption", caption), _tag("thead", top), _tag("tbody", *body))
    return _tag("div", whole, class_="frame", tabindex="0", role="region", aria_label=caption)


def _bar(whole: float, *parts: Tuple[str, float]) -> _Html:
    """Parts, each over the one before, of a bar as long as `whole`; what they say stands beside it in numbers."""
    spans = [_tag("span", class_=kind, style=f"width:{100 * min(1.0, part / whole if whole else 0.0):.2f}%")
             for kind, part in parts]
    return _tag("div", *spans, class_="bar", aria_hidden="true")


def _listing(value: Any) -> _Html:
    """Plain data as they are: mappings as terms, sequences as lists, numbers and words."""
    if isinstance(value, Mapping) and value:
        return _tag("dl", *(part for key, item in value.items()
                            for part in (_tag("dt", str(key).replace("_", " ")), _tag("dd", _listing(item)))))
    if isinstance(value, (list, tuple)) and any(isinstance(item, (Mapping, list, tuple)) for item in value):
        return _tag("ul", *(_tag("li", _listing(item)) for item in value))
    if isinstance(value, (list, tuple)):
        return _joined([", ".join(map(_short, value)) or "none"])
    return _joined([_short(value)])


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else "none" if value in (None, {}) else json.dumps(value)


def _change(before: float, after: float) -> str:
    return f"{before:,} → {after:,} ({100 * (1 - after / before) if before else 0:.1f} % less)"


# What the sections are made of: kind of a record -> record. Each gives None where nothing of its own is there.
Records = Mapping[str, Record]
_REPORT, _SLIM, _CERTIFICATE, _SENSITIVITY, _COMPARISON, _BENCHMARK, _CARD = KINDS = (
    "golden_stick report", "slim file", "golden_stick certificate", "golden_stick sensitivity",
    "golden_stick comparison", "golden_stick benchmark", "golden_stick pruning card")


def _summary(given: Records) -> Optional[_Html]:
    report, slim, facts = given.get(_REPORT), given.get(_SLIM), []
    if report:
        facts += [("Parameters", _change(report["parameters"]["before"], report["parameters"]["after"])),
                  ("MACs of one sample", _change(report["macs"]["before"], report["macs"]["after"]))]
        if report["largest_difference"] is not None:
            facts.append(("Checked: masked and slim outputs differ by", f"{report['largest_difference']:.3g}, of "
                          f"outputs up to {report['output_scale']:.3g}"))
        facts += [(f"Asked for: {target['name']} {target['wanted']:g}", f"{target['reached']:.4f}, "
                   f"{'reached' if target['met'] else 'NOT reached'}") for target in report["targets"]]
    elif slim:
        facts.append(("Parameters", _change(slim["original_parameters"], slim["parameters"])))
    if _CERTIFICATE in given:
        facts.append(("Certificate", given[_CERTIFICATE]["statement"]))
    for one in given.get(_BENCHMARK, {}).get("measurements", ()):
        if one["speed_up"] and one["baseline"] != one["name"]:
            facts.append((f"{one['name']}, {one['runtime']}, batch {one['batch_size']}",
                          f"{one['speed_up']:.2f} times as fast as {one['baseline']}"))
    return _tag("dl", *(_tag("div", _tag("dt", name), _tag("dd", text)) for name, text in facts),
                class_="facts") if facts else None


def _groups_of(layers: Sequence[Record]) -> Dict[str, int]:
    """Path of a layer that shares channels -> number of its group, as they come in the network."""
    groups: List[set] = []
    for layer in layers:
        members = {layer["path"], *layer["shares_with"]}
        if len(members) > 1:
            joined = [group for group in groups if group & members]
            groups = [group for group in groups if group not in joined] + [members.union(*joined)]
    return {path: number for number, group in enumerate(groups, 1) for path in group}


def _widths(given: Records) -> Optional[_Html]:
    layers = given[_REPORT]["layers"] if _REPORT in given else [
        {"path": path, "before": before, "after": after, "fixed": 0, "shares_with": ()}
        for path, (before, after) in given.get(_SLIM, {}).get("widths", {}).items()]
    if not layers:
        return None
    most, groups = max(layer["before"] for layer in layers), _groups_of(layers)
    rows = [(_tag("code", layer["path"] or "the network"),
             _bar(most, ("was", layer["before"]), ("is", layer["after"]), ("stays", layer["fixed"])),
             layer["before"], layer["after"], f"{100 * layer['after'] / layer['before']:.0f} %",
             layer["fixed"] or "", groups.get(layer["path"], "")) for layer in layers]
    return _joined([
        _tag("p", "A bar is as long as the layer had filters: full is what it has, outlined what it lost, striped what "
                  "always stays. Layers of one group lose the same channels."),
        _table("Filters of each layer, before and after", ("layer", "drawn", "before", "after", "left", "always stay",
                                                           "group"), rows, (0, 1))])


def _groups(given: Records) -> Optional[_Html]:
    layers: Sequence[Record] = given.get(_REPORT, {}).get("layers", ())
    groups = _groups_of(layers)
    members: Dict[int, List[str]] = {}
    for path in (layer["path"] for layer in layers if layer["path"] in groups):
        members.setdefault(groups[path], []).append(path)
    rows = [(number, _spaced(paths)) for number, paths in sorted(members.items())]
    return _table("Layers that share channels", ("group", "layers"), rows, (0, 1)) if rows else None


def _staying(given: Records) -> Optional[_Html]:
    rows: List[Tuple[Any, ...]] = [
        (in_words(item["reasons"]), item["remedy"], _names(item["parameters"]))
        for item in given.get(_REPORT, {}).get("untouched", ())]
    if _REPORT not in given:
        why: Dict[Tuple[str, str], List[str]] = {}
        for name, text in given.get(_SLIM, {}).get("untouched", {}).items():
            reason, _, remedy = text.partition(": ")
            why.setdefault((reason, remedy), []).append(name)
        rows = [(*cause, _names(names)) for cause, names in why.items()]
    barriers = given.get(_REPORT, {}).get("barriers", ())
    return _joined([
        _table("Parameters that keep their shapes", ("why", "what to do", "parameters"), rows, (0, 1, 2)),
        _tag("p", f"Operators without a rule, not pruned across: {'; '.join(barriers)}.") if barriers else None,
    ]) if rows or barriers else None


def _names(names: Sequence[str], what: str = "parameters") -> _Html:
    """Names; of more than three, how many of `what` they are, and all of them on request."""
    listed = _spaced(names)
    return listed if len(names) <= 3 else _tag("details", _tag("summary", f"{len(names)} {what}"), listed)


def _spaced(names: Iterable[str]) -> _Html:
    return _Html(" ".join(_tag("code", name) for name in names))


def _scores(given: Records) -> Optional[_Html]:
    report = given.get(_REPORT, {})
    paths = {layer["weight"]: layer["path"] for layer in report.get("layers", ())}
    rows = [(_tag("code", paths.get(name, name)), _ranges(found["stay"], found["go"]), *map(_ends, (
        found["stay"], found["go"]))) for name, found in report.get("scores", {}).items()]
    return _joined([
        _tag("p", "Least, median and largest score of the filters that stay (box above, full) and that go (box below, "
                  "outlined), each layer on a scale of its own. Boxes hold the middle half. How layers are compared, "
                  "the configuration says."),
        _table("Scores of the filters", ("layer", "drawn", "stay", "go"), rows, (0, 1))]) if rows else None


def _ends(five: Sequence[float]) -> str:
    return " / ".join(f"{five[at]:.3g}" for at in (0, 2, 4)) if five else "none"


def _ranges(stay: Sequence[float], go: Sequence[float]) -> _Html:
    low, high = min((*stay, *go)), max((*stay, *go))
    marks = []
    for five, top, kind in ((stay, 2, "is"), (go, 14, "was")):
        at = [100 * (value - low) / (high - low) if high > low else 50.0 for value in five]
        if at:
            marks += [_tag("path", d=f"M{at[0]:.1f} {top + 4}H{at[4]:.1f}"),
                      _tag("rect", x=f"{at[1]:.1f}", y=top, width=f"{max(at[3] - at[1], 0.6):.1f}", height=8,
                           class_=kind), _tag("path", d=f"M{at[2]:.1f} {top - 2}v12", class_="median")]
    return _tag("svg", *marks, viewBox="-1 -1 102 26", class_="ranges", preserveAspectRatio="none", aria_hidden="true")


_VERDICTS = {True: "holds", False: "does NOT hold", None: "cannot be checked"}


def _scales(given: Records) -> Optional[_Html]:
    control = given.get(_REPORT, {}).get("control", {})
    if not control:
        return None
    most = max(control["histogram"])
    rows = [(f"{at / 10:.1f} to {(at + 1) / 10:.1f}", _bar(most, ("is", count)), f"{count:,}")
            for at, count in enumerate(control["histogram"])]
    settings = {key: value for key, value in control.items() if key not in ("histogram", "conditions", "over_time")}
    return _joined([
        _over_time(control["over_time"]) if len(control.get("over_time", ())) > 1 else None,
        _table("Scales at the end", ("scale", "drawn", "filters"), rows, (0, 1)),
        *(_tag("p", f"{item['name']} {_VERDICTS[item['holds']]}: {item['text']}") for item in control["conditions"]),
        _tag("details", _tag("summary", "Settings of the control"), _listing(settings))])


def _over_time(rows: Sequence[Record]) -> _Html:
    """Deciles and median of all scales, by step of the optimizer, as a figure and as a table."""
    last, wide, tall = rows[-1]["step"] or 1, 600, 200

    def line(key: str) -> List[str]:
        return [f"{wide * row['step'] / last:.1f} {tall * (1 - row[key]):.1f}" for row in rows]

    band = " L".join((*line("decile_9"), *reversed(line("decile_1"))))
    lines = [_tag("path", d=f"M0 {tall * part}H{wide}", class_="grid") for part in (0, 0.5, 1)]
    labels = [_tag("text", text, x=x, y=y, text_anchor=anchor) for text, x, y, anchor in (
        ("1", -8, 6, "end"), ("0.5", -8, tall / 2 + 5, "end"), ("0", -8, tall + 2, "end"),
        ("step 0", 0, tall + 24, "start"), (f"step {last:,}", wide, tall + 24, "end"))]
    figure = _tag("svg", *lines, _tag("path", d=f"M{band}Z", class_="band"), _tag(
        "path", d=f"M{' L'.join(line('median'))}", class_="line"), *labels, viewBox=f"-60 -16 {wide + 80} {tall + 56}",
        role="img", aria_label="Median and deciles of the scales over the steps; the table below has the numbers")
    numbers = [(f"{row['step']:,}", *(f"{row[key]:.3f}" for key in ("decile_1", "median", "decile_9")))
               for row in rows]
    return _tag("figure", figure, _tag("figcaption", "Scales over the steps: the median, and the band that holds eight "
                "of ten."), _tag("details", _tag("summary", "In numbers"), _table(
                    "Scales over the steps", ("step", "first decile", "median", "ninth decile"), numbers)))


def _reconstruction(given: Records) -> Optional[_Html]:
    steps = [step for step in given.get(_SLIM, {}).get("steps", ()) if step["step"] == "reconstruct"]
    found = given.get(_REPORT, {}).get("reconstruction") or (steps[-1] if steps else None)
    if not found:
        return None
    whole = max((layer["before"] or 0.0 for layer in found["layers"]), default=0.0)
    rows = [(_tag("code", layer["path"]), "", "", "", layer["reason"]) if layer["reason"] else
            (_tag("code", layer["path"]), _bar(whole, ("was", layer["before"]), ("is", layer["after"])),
             f"{layer['before']:.4f}", f"{layer['after']:.4f}", layer["change"]) for layer in found["layers"]]
    return _joined([
        _tag("p", f"The part of what each layer gave in the original that is left unexplained: outlined before it was "
                  f"solved anew with {found['samples']:,} samples, full after; on {found['kept_aside']:,} others."),
        _table("What is left unexplained", ("layer", "drawn", "before", "after", "solved"), rows, (0, 1, 4))])


def _sensitivity(given: Records) -> Optional[_Html]:
    found = given.get(_SENSITIVITY)
    if not found:
        return None
    rows = [(_names(curve["layers"] or [""], "layers"), *(f"{value:.4g}" for value in curve["accuracies"]))
            for curve in found["curves"]]
    return _joined([_tag("p", f"What is measured when one group alone loses a fraction of its channels; "
                              f"{found['base']:.4g} before."),
                    _table("By prune rate of one group", ("layers", *(f"{rate:g}" for rate in found["rates"])), rows)])


def _latency(given: Records) -> Optional[_Html]:
    found = given.get(_BENCHMARK)
    if not found:
        return None
    slowest = max((one["latency"] or 0.0 for one in found["measurements"]), default=0.0)
    rows = [(one["name"], one["runtime"], one["batch_size"], "", "", one["reason"], "", "", one["threads"] or "all")
            if one["latency"] is None else
            (one["name"], one["runtime"], one["batch_size"], f"{1e3 * one['latency']:.2f}",
             f"{one['speed_up']:.2f}" if one["speed_up"] else "", _bar(slowest, ("is", one["latency"])),
             "{:.2f} to {:.2f}".format(*(1e3 * part for part in one["quartiles"])),
             "" if one["macs"] is None else f"{one['macs']:,}", one["threads"] or "all")
            for one in found["measurements"]]
    facts = ", ".join(f"{key} {value}" for key, value in found["machine"].items())
    head = ("network", "runtime", "batch", "ms", "times as fast", "drawn", "quartiles", "MACs", "threads")
    return _joined([_table("Time of a call", head, rows, (0, 1, 5)),
                    _tag("p", f"Medians of {found['rounds']} rounds, in turn, on {facts}.")])


def _certificate(given: Records) -> Optional[_Html]:
    found = given.get(_CERTIFICATE)
    if not found:
        return None
    rows: List[Tuple[Any, ...]] = [(f"{found['base']['name']} (base)", f"{found['base']['parameters']:,}",
                                    f"{found['base']['accuracy']:.4f}", "", "", "", "")]
    rows += [(item["name"], f"{item['parameters']:,}", f"{item['accuracy']:.4f}", item["lost"], item["gained"],
              "" if item["p_value"] is None else f"{item['p_value']:.4f}", "certified" if item["certified"] else
              "not tested" if item["p_value"] is None else "not certified") for item in found["candidates"]]
    return _joined([
        _tag("p", _tag("strong", found["statement"])),
        _table(f"Right answers on {found['images']:,} images", (
            "network", "parameters", "accuracy", "only it is wrong", "only the base is wrong", "p-value", "verdict"),
            rows, (0, 6)), *(_tag("p", f"Used before: {use}.") for use in found["used_before"])])


def _comparison(given: Records) -> Optional[_Html]:
    found = given.get(_COMPARISON)
    if not found:
        return None

    def cell(spread: Optional[Record]) -> str:
        if spread is None:
            return ""
        return f"{100 * spread['mean']:.2f}" + (f" ± {100 * spread['deviation']:.2f}" if spread["deviation"] else "")

    rows = [(item["criterion"], "budget" if item["prune_rate"] is None else f"rate {item['prune_rate']:g}",
             f"{item['macs']:.3f}", f"{item['parameters']:.3f}",
             *(cell(item[state]) for state in ("pruned", "recovered", "finetuned", "test")))
            for item in found.get("summary", ())]
    head = ("criterion", "at", "MACs left", "parameters left", "pruned", "recovered", "fine-tuned", "test")
    return _joined([_tag("p", "Mean and deviation over the seeds, on the validation split but for the last column."),
                    _table("Accuracy in %", head, rows, (0, 1))]) if rows else None


def _card(given: Records) -> Optional[_Html]:
    found = given.get(_CARD)
    if not found:
        return None
    parts = [_tag("details", _tag("summary", key.replace("_", " ")), _listing(value)) for key, value in found.items()
             if key not in ("kind", "guarantee", "certificate", "latency", "widths")]
    return _joined([_tag("p", _tag("strong", found["guarantee"])), *parts])


def _notes(given: Records) -> Optional[_Html]:
    report, slim = given.get(_REPORT), given.get(_SLIM)
    lines = [_tag("ul", *(_tag("li", note) for note in report["notes"]))] if report and report["notes"] else []
    if report:
        lines.append(_tag("details", _tag("summary", f"Configuration of {report['algorithm']}, inputs "
                                                     f"{report['inputs']}"), _listing(report["config"])))
    if slim:
        facts = {key: slim[key] for key in ("file", "bytes", "network", "format_version", "weights_digest",
                                            "original_digest", "metadata")}
        lines.append(_tag("details", _tag("summary", f"Slim file of {slim['bytes']:,} bytes"), _listing(facts)))
    return _joined(lines) if lines else None


_SECTIONS: Tuple[Tuple[str, Callable[[Records], Optional[_Html]]], ...] = (
    ("Summary", _summary), ("Widths", _widths), ("Groups", _groups), ("What stays, and why", _staying),
    ("Scores", _scores), ("Scales", _scales), ("Reconstruction", _reconstruction), ("Sensitivity", _sensitivity),
    ("Latency", _latency), ("Certificate", _certificate), ("Criteria compared", _comparison), ("Card", _card),
    ("Notes and settings", _notes))

_STYLE = """
:root{color-scheme:light dark;--ink:#1b1f24;--paper:#fff;--line:#6b7280;--soft:#eef1f5;--bar:#0b5cad;--band:#bcd6f2}
@media(prefers-color-scheme:dark){:root{--ink:#e6e8eb;--paper:#14171a;--line:#9aa3ad;--soft:#22272d;--bar:#7db7ff;
--band:#27476b}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:72rem;padding:1rem;background:var(--paper);color:var(--ink)}
body{font:1rem/1.5 system-ui,sans-serif}
h1{font-size:1.6rem;line-height:1.2}h2{font-size:1.25rem;margin:2.2rem 0 .6rem;border-bottom:1px solid var(--line)}
a{color:var(--bar)}nav ul{display:flex;flex-wrap:wrap;gap:.3rem 1rem;padding:0;list-style:none}
code{font-size:.9em;overflow-wrap:anywhere}
.frame{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:.92rem}
caption{text-align:left;font-weight:600;padding:.4rem 0}
th,td{text-align:left;vertical-align:top;padding:.25rem .9rem .25rem 0;border-bottom:1px solid var(--soft)}
thead th{border-bottom-color:var(--line)}tbody th{font-weight:400;min-width:8.5rem}td:not(.number){min-width:6rem}
.number{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,17rem),1fr));gap:.6rem}
.facts div{background:var(--soft);padding:.6rem .8rem;border-radius:.4rem}.facts dt{font-size:.85rem}
.facts dd{margin:0;font-weight:600}
dl dl{margin:0}dd{margin-left:1rem}dt{font-weight:600}dd,li{overflow-wrap:anywhere}
.bar{position:relative;height:1rem;margin-top:.25rem;min-width:5rem}
.bar span{position:absolute;inset:0 auto 0 0}.bar .was{border:1px solid var(--line)}.bar .is{background:var(--bar)}
.bar .stays{background:repeating-linear-gradient(45deg,var(--paper) 0 2px,transparent 2px 5px)}
svg{display:block;width:100%;height:auto;fill:none;stroke:var(--line)}figure{margin:0 0 1rem}
svg text{fill:var(--ink);stroke:none;font-size:14px}.grid{stroke:var(--soft)}
.band{fill:var(--band);stroke:none}.line{stroke:var(--bar);stroke-width:2}
.ranges{min-width:8rem;height:1.6rem}.ranges *{vector-effect:non-scaling-stroke}
.ranges .is{fill:var(--bar);stroke:var(--bar)}.ranges .median{stroke:var(--ink);stroke-width:2}
summary{cursor:pointer}:focus-visible{outline:2px solid var(--bar);outline-offset:2px}
@media(max-width:40rem){svg text{font-size:26px}}
@media print{details>*{display:block}}
"""


def page_of(title: str, records: Iterable[Record]) -> str:
    """
    The page.

    Args:
        title (str): What it is of.
        records (Iterable[Mapping]): Each of another one of `KINDS`, as its ``kind`` says. A section stands on the page
            where there are data for it.

    Returns:
        str, HTML in UTF-8.

    Raises:
        ArgumentError: If there is no record, one is of another kind, or two are of one.
    """
    given: Dict[str, Record] = {}
    for record in records:
        kind = record.get("kind")
        if kind not in KINDS or kind in given:
            raise ArgumentError(f"For 'report', there must be at most one record of each kind, {', '.join(KINDS)}, but "
                                f"got {'another' if kind in given else 'one of kind'} {kind!r}.")
        given[kind] = record
    sections = [(name, part) for name, make in _SECTIONS if (part := make(given)) is not None]
    if not sections:
        raise ArgumentError("For 'report', there must be a record that has something to show, but got none.")
    links = [_tag("li", _tag("a", name, href=f"#section-{number}")) for number, (name, _) in enumerate(sections)]
    body = [_tag("section", _tag("h2", name, id=f"section-{number}"), part, aria_labelledby=f"section-{number}")
            for number, (name, part) in enumerate(sections)]
    head = _Html('<meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'
                 '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; style-src '
                 '\'unsafe-inline\'">')
    document = _tag("html", _tag("head", head, _tag("title", title), _tag("style", _Html(_STYLE))), _tag(
        "body", _tag("header", _tag("h1", title), _tag("p", f"Written by golden_stick, {now()}."), _tag(
            "nav", _tag("ul", *links), aria_label="Sections")), _tag("main", *body)), lang="en")
    return f"<!DOCTYPE html>\n{document}\n"


def record_of_result(result: object) -> Record:
    """The plain data of a report, certificate, benchmark, comparison, sensitivity or card."""
    record = result if isinstance(result, Mapping) else getattr(result, "record", None)
    if record is None and hasattr(result, "to_dict"):
        record = result.to_dict()
    if not isinstance(record, Mapping):
        raise ArgumentTypeError(f"For 'report', what stands on the page must be a report, certificate, benchmark, "
                                f"comparison, sensitivity or card, but got {type(result).__name__}.")
    return record


def write_page_of(owner: str, path: PathLike, title: str, records: Iterable[Record]) -> str:
    """Write the page, whole or not at all, for the caller `owner`; its path."""
    text, path = page_of(title, records), path_of(owner, path)
    with whole_file(owner, path) as temporary:
        Path(temporary).write_text(text, encoding="utf-8")
    return path
