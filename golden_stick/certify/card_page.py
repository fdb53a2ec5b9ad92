"""A pruning card as a page to read."""
import json
from typing import Any, List, Mapping

__all__ = ["SECTIONS", "page_of"]


# Key of the record -> title, in the order of the page. The first four stand in forms of their own.
SECTIONS = {
    "networks": "Networks", "parameters": "Sizes", "macs": "Sizes", "widths": "Widths", "base": "Origin",
    "data": "Data", "accuracy": "Accuracy", "discordance": "Paired discordance of predictions",
    "fine_tuning": "Fine-tuning", "controls": "Other criteria", "latency": "Latency",
    "peak_memory": "Peak memory: bytes by which the process grew while each was loaded and first run, in this order",
    "selector": "Selector and guarantee", "control": "Scientific control", "scales": "Scales of the control",
    "certificate": "Certificate", "run": "Run", "notes": "Notes of the run", "not_tested": "Not tested",
    "machine": "Machine and versions",
}


def page_of(record: Mapping[str, Any]) -> str:
    """The page, as Markdown."""
    lines = ["# Pruning card", "", f"Made {record['date']} by `{record['command']}`.", "",
             f"**Guaranteed:** {record['guarantee']}", "", "## Networks", "",
             f"* original: {record['networks']['original']}", f"* slim: {record['networks']['slim']}",
             f"* algorithm: {record['algorithm']}, {json.dumps(record['config'])}", "",
             "| | before | after | kept | removed |", "|---|---|---|---|---|"]
    for name in ("parameters", "macs"):
        size = record[name]
        lines.append(f"| {name} | {size['before']:,} | {size['after']:,} | {size['kept']:.1%} | "
                     f"{size['removed']:.1%} |")
    lines += ["", f"{record['convention']}.", "", "## Widths", "", "| layer | before | after |", "|---|---|---|"]
    lines += [f"| {layer['path']} | {layer['before']} | {layer['after']} |" for layer in record["widths"]]
    for key, title in list(SECTIONS.items())[4:]:
        lines += ["", f"## {title}", "", *_listed(_latency(record[key]) if key == "latency" else record[key])]
    return "\n".join(lines)


def _listed(part: Any) -> List[str]:
    """A part of the record as a list of Markdown."""
    if isinstance(part, str):
        return [part]
    if isinstance(part, Mapping):
        return [f"* {key}: {_inline(value)}" for key, value in part.items()]
    return [f"* {_inline(item)}" for item in part] or ["None."]


def _inline(value: Any) -> str:
    """A value on one line; numbers and words as they are, and of a mapping its own text where it has one."""
    if isinstance(value, Mapping):
        rest = [f"{key}: {_inline(item)}" for key, item in value.items() if key not in ("text", "values", "mean",
                                                                                       "deviation", "seeds")
                or "text" not in value]
        return "; ".join(([value["text"]] if "text" in value else []) + rest) or "none"
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value)


def _latency(part: Any) -> Any:
    """Times of a benchmark, one line each; what each call took stays in the record."""
    if isinstance(part, str):
        return part
    hardware = {"on": part["machine"], "rounds": part["rounds"], "busy with other processes": part["foreign_load"]}
    return {**hardware, **{
        f"{item['name']}, {item['runtime']}, batch {item['batch_size']}, "
        f"{'all' if item['threads'] is None else item['threads']} threads":
        item["reason"] or f"{1e3 * item['latency']:.3g} ms (quartiles "
        f"{', '.join(f'{1e3 * second:.3g}' for second in item['quartiles'])})" for item in part["measurements"]}}
