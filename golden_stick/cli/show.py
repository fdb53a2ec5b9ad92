"""
``golden-stick inspect``: what a file holds; ``golden-stick trace``: what could be pruned in a network, and why;
``golden-stick report``: all that files tell of a pruning, as a page.
"""
import argparse
import difflib
import json
import os
from collections import Counter
from dataclasses import asdict
from typing import Any, Callable, Dict, List, Mapping, Sequence, Tuple

from golden_stick.base.display import table
from golden_stick.base.errors import ArgumentError, CheckpointError, first_line
from golden_stick.base.files import write_json
from golden_stick.cli.networks import network_and_inputs, trace_aloud
from golden_stick.cli.options import (
    CLI,
    add_command,
    add_network_options,
    add_options,
    config_of,
    give,
    output_files,
    say,
)
from golden_stick.prune.options import POLICIES, PRUNER_OPTIONS

__all__ = ["add_inspect", "add_report", "add_trace", "as_ranges", "inspection", "inspection_text", "overview",
           "overview_text"]

# How many parameters of a checkpoint are shown, and how many lines of what became of widths.
_FIRST, _CHANGES = 5, 10


def add_inspect(commands: Any) -> None:
    """Add the command `inspect`."""
    command = add_command(commands, "inspect", _inspect, "show what a slim file or checkpoint holds", """
Show the kind of a file, its size and digests, and of a slim file how it was made, what its writer added and what became
of the layers' widths; with --kept also which positions of the original each parameter kept. No network is needed.
""", "golden-stick inspect slim.safetensors --parameter layer1.0.conv1.weight")
    command.add_argument("file", help="a slim file or a checkpoint, .safetensors or .ckpt")
    shown = command.add_mutually_exclusive_group()
    shown.add_argument("--kept", action="store_true", help="print the width of every layer, and all positions that "
                       "were kept")
    shown.add_argument("--parameter", action="append", default=[], help="print the kept positions of this parameter "
                       "alone, all of them; repeat for several")


def _inspect(options: argparse.Namespace) -> None:
    record = inspection(options.file)
    if (options.kept or options.parameter) and "kept" not in record:
        raise CheckpointError(f"For '{CLI}', '{'--kept' if options.kept else '--parameter'}' must stand with a "
                              f"slim file, but '{options.file}' is a {record['kind']}.")
    if options.parameter:
        say("\n".join(_kept_lines(record, options.parameter)))
    else:
        say(inspection_text(record, options.kept))
    give(record)


def inspection(path: str) -> Dict[str, Any]:
    """What a slim file or a checkpoint holds, as plain data."""
    from golden_stick.deploy.slim_file import read_slim, read_tensors, weights_digest
    from golden_stick.graph.plan import parameters_in
    if path.endswith(".mindir"):
        raise CheckpointError(f"For '{CLI}', 'inspect' takes a slim file or a checkpoint, but got the exported "
                              f"network '{path}': it must be loaded and run instead.")
    values, record = read_tensors("inspect", path)
    scales, shapes = any(name.endswith(".real_scale") for name in values), {
        name: list(value.shape) for name, value in values.items()}
    facts = {"file": path, "kind": "slim file" if record else "checkpoint of SCOP's knockoff phase" if scales
             else "checkpoint", "bytes": os.path.getsize(path), "tensors": len(values),
             "parameters": parameters_in(shapes), "weights_digest": weights_digest(values)}
    return {**facts, **(_inspection_of_slim(read_slim(path)) if record else {}), "shapes": shapes}


def _inspection_of_slim(file: Any) -> Dict[str, Any]:
    """What only a slim file holds."""
    from golden_stick.deploy.fold.plan import Folding
    from golden_stick.deploy.slim_file import Reconstruction, Sparsity
    from golden_stick.graph.plan import PruningPlan, in_words, parameters_in
    widths: Dict[str, List[int]] = {}
    lengths: Dict[Tuple[str, int], int] = {}
    steps: List[Dict[str, Any]] = []
    for step in file.steps:
        if isinstance(step, Folding):
            steps.append({"step": "fold", "folded": len(step.folded), "kept": len(step.kept)})
            continue
        if isinstance(step, Reconstruction):
            steps.append({"step": "reconstruct", **step.to_dict()})
            continue
        if isinstance(step, Sparsity):
            steps.append({"step": "sparse", **step.to_dict(), "size": step.size, "zeros": step.zeros})
            continue
        steps.append({"step": "prune", "layers": len(step.layers)})
        for layer in step.layers:
            widths[layer.path] = [widths.get(layer.path, [layer.before])[0], layer.after]
        for axis in step.axes:
            lengths.setdefault((axis.parameter, axis.axis), axis.size)
    kept = {name: {str(axis): {"of": lengths[name, axis], "positions": list(positions)}
                   for axis, positions in sorted(file.kept.get(name, {}).items())} for name in file.values}
    untouched = {name: f"{in_words(item.reasons)}: {item.remedy}" for step in file.steps
                 if isinstance(step, PruningPlan) for item in step.untouched for name in item.parameters}
    return {"format_version": file.version, "network": file.network, "steps": steps, "widths": widths,
            "untouched": untouched,
            "original_parameters": parameters_in(dict(file.original)),
            "original_digest": file.digests["original"], "metadata": dict(file.metadata), "kept": kept,
            "original_shapes": {name: list(shape) for name, shape in file.original}}


_STEPS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "prune": lambda step: f"pruned, {step['layers']} layers shrank",
    "sparse": lambda step: f"made sparse, {step['zeros']:,} of {step['size']:,} weights became zero",
    "fold": lambda step: f"folded, {step['folded']} normalizations went and {step['kept']} stayed",
    "reconstruct": lambda step: f"reconstructed, {sum(layer['change'] != 'nothing' for layer in step['layers'])} of "
                                f"{len(step['layers'])} layers were solved anew with {step['samples']} samples"}


def inspection_text(record: Mapping[str, Any], in_full: bool) -> str:
    """What `inspection` returned, for people: on one screen, or with every layer and all that was kept."""
    is_slim = "steps" in record
    before = f"{record['original_parameters']:,} -> " if is_slim else ""
    lines = [f"{record['file']}: {record['kind']}, {record['bytes']:,} bytes",
             f"tensors          {record['tensors']:,}", f"parameters       {before}{record['parameters']:,}"]
    if is_slim:
        lines += [f"network          {record['network']}", f"format version   {record['format_version']}"]
    lines.append(f"weights          sha256 {record['weights_digest']}")
    if not is_slim:
        lines += [f"  {name} {tuple(shape)}" for name, shape in list(record["shapes"].items())[:_FIRST]]
        return "\n".join(lines + _more(len(record["shapes"]), _FIRST, "tensors"))
    lines.append(f"original         sha256 {record['original_digest']} (names and shapes)")
    lines += [f"metadata         {key}: {json.dumps(value)}" for key, value in record["metadata"].items()]
    lines += [f"step {number}: {_STEPS[step['step']](step)}" for number, step in enumerate(record["steps"], 1)]
    if not in_full:
        hint = "--kept shows every layer and which positions were kept, --parameter those of one, --json all"
        return "\n".join([*lines, *_changes(record["widths"]), hint])
    wide = max((len(path) for path in record["widths"]), default=0)
    lines += [f"  {path:<{wide}}  {before} -> {after}" for path, (before, after) in record["widths"].items()]
    lines.append("kept positions, as counted in the original:")
    return "\n".join(lines + _kept_lines(record, list(record["kept"])))


def _changes(widths: Mapping[str, Sequence[int]]) -> List[str]:
    """A line for each change of a width, with the layers that it is of."""
    from golden_stick.graph.plan import first_three
    layers: Dict[str, List[str]] = {}
    for path, (before, after) in widths.items():
        layers.setdefault(f"{before} -> {after}", []).append(path)
    wide = max(map(len, layers), default=0)
    lines = [f"  {change:<{wide}}  {first_three(paths)}" for change, paths in layers.items()]
    return lines[:_CHANGES] + _more(len(lines), _CHANGES, "changes of widths")


def _more(count: int, shown: int, what: str) -> List[str]:
    return [f"  and {count - shown} more {what}"] if count > shown else []


def _kept_lines(record: Mapping[str, Any], names: Sequence[str]) -> List[str]:
    """A line for each axis of these parameters that lost positions, and for each parameter that lost none."""
    rows = []
    for name in names:
        if name not in record["kept"]:
            near = difflib.get_close_matches(name, record["kept"], n=1, cutoff=0.0)
            raise CheckpointError(f"For '{CLI}', '--parameter' must be a parameter of '{record['file']}', but "
                                  f"got '{name}': the nearest name there is '{near[0] if near else ''}'.")
        axes = record["kept"][name]
        rows += [(f"{name} axis {axis}", f"{len(kept['positions'])} of {kept['of']}: "
                  f"{', '.join(as_ranges(kept['positions']))}") for axis, kept in axes.items()]
        if name not in record["original_shapes"]:
            rows.append((name, "not in the original: a folding made it"))
        elif not axes:
            rows.append((name, ", ".join(("whole", *filter(None, [record["untouched"].get(name)])))))
    wide = max((len(name) for name, _ in rows), default=0)
    return [f"  {name:<{wide}}  {text}" for name, text in rows]


def as_ranges(positions: Sequence[int]) -> List[str]:
    """Ascending numbers as ranges: 0, 1, 2, 5 are ``['0-2', '5']``."""
    runs: List[List[int]] = []
    for position in positions:
        if runs and position == runs[-1][1] + 1:
            runs[-1][1] = position
        else:
            runs.append([position, position])
    return [str(first) if first == last else f"{first}-{last}" for first, last in runs]


def add_trace(commands: Any) -> None:
    """Add the command `trace`."""
    command = add_command(commands, "trace", _trace, "show what could be pruned, what could not, and why", """
Show a network's operators and whether there is a rule for each, its size, its channel groups, and the layers with
filters that always stay. An operator without a rule is not pruned across.
""", """
golden-stick trace --network resnet.py:resnet20 --inputs 1,3,32,32 --output trace.json
""")
    add_network_options(command)
    add_options(command, PRUNER_OPTIONS, POLICIES)
    command.add_argument("--output", help="where to write the same as JSON besides")


def _trace(options: argparse.Namespace) -> None:
    with output_files(options, output=".json") as paths:
        network, inputs = network_and_inputs(options)
        record = overview(network, inputs, trace_aloud(network, inputs), config_of(options, POLICIES))
        say(overview_text(record))
        if "output" in paths:
            write_json(CLI, paths["output"], record)
    give(record)


def overview(network: Any, inputs: Tuple[Any, ...], graph: Any, policies: Mapping[str, Any]) -> Dict[str, Any]:
    """
    What can be pruned in a network, what cannot, and why, as plain data: after the slimming for trial that `apply`
    does. `policies` are keyword arguments of :func:`golden_stick.find_groups`, such as ``residual``.
    """
    from golden_stick.graph.plan import count_macs, count_parameters, untouched_by
    from golden_stick.graph.rules import RULES
    from golden_stick.prune.trial import surviving_groups, with_hidden
    defaults = {key: option.default for key, option in PRUNER_OPTIONS.items()}
    whole = with_hidden(CLI, network, inputs, graph)
    grouping, _ = surviving_groups(CLI, network, whole, inputs, {**defaults, **policies})
    shrinking = list(dict.fromkeys(item.parameter for item in grouping.slices))
    counts = sorted(Counter(node.operator for node in graph.nodes).items())
    return {
        "network": type(network).__name__,
        "inputs": [list(item.shape) for item in graph.inputs],
        **policies,
        "operators": [{"operator": name, "count": count, "rule": name in RULES} for name, count in counts],
        "parameters": count_parameters(graph),
        "macs": count_macs(graph),
        "groups": [{"name": group.name, "channels": len(group.channels), "layers": list(group.layers)}
                   for group in grouping],
        "fixed": [asdict(layer) for layer in grouping.fixed],
        "barriers": list(grouping.without_rule),
        "shrinking": shrinking,
        "untouched": [asdict(item) for item in untouched_by(grouping, shrinking)],
    }


def overview_text(record: Mapping[str, Any]) -> str:
    """What `overview` returned, for people."""
    from golden_stick.graph.plan import in_words
    lines = [f"parameters  {record['parameters']:,}", f"MACs        {record['macs']:,}"]
    lines.append(table(("operator", "rule", "count"), [
        (item["operator"], "yes" if item["rule"] else "NO", item["count"]) for item in record["operators"]], (0, 1)))
    lines.append(f"channel groups with residual '{record['residual']}', heads '{record['heads']}', "
                 f"normalization '{record['normalization']}': {len(record['groups'])}")
    lines.append(table(("group", "made by", "removable channels"), [
        (group["name"], ", ".join(group["layers"]), group["channels"]) for group in record["groups"]], (0, 1)))
    lines.append(f"layers with filters that always stay: {len(record['fixed'])}")
    lines += [f"  {layer['path']}: {layer['fixed']} of {layer['filters']}" for layer in record["fixed"]]
    stay = sum(len(item["parameters"]) for item in record["untouched"])
    lines.append(f"parameters that can shrink: {len(record['shrinking'])}; that stay: {stay}")
    lines += [f"  {in_words(item['reasons'])}: {', '.join(item['parameters'])} ({item['remedy']})"
              for item in record["untouched"]]
    if record["barriers"]:
        lines.append("operators without a rule, not pruned across: " + "; ".join(record["barriers"]))
    return "\n".join(lines)


def add_report(commands: Any) -> None:
    """Add the command `report`."""
    command = add_command(commands, "report", _report, "write what files tell of a pruning as one page of HTML", """
Gather a slim file and the JSON files that other commands wrote of it (report, certificate, card, benchmark, comparison,
sensitivity), in any order, into one page that needs nothing else: widths before and after, groups, what stays, why, and
what to do, scores, scales, reconstruction, latency, certificate. A section stands there where there are data for it.
""", "golden-stick report slim.safetensors report.json certificate.json --output report.html")
    command.add_argument("files", nargs="+", metavar="FILE", help="a slim file, or a .json file that "
                         "golden-stick wrote")
    command.add_argument("--output", required=True, help="where to write the page")
    command.add_argument("--title", help="its title (default: of the slim network's class)")


def _report(options: argparse.Namespace) -> None:
    from golden_stick.prune.page import write_page_of
    records = [_record_of(path) for path in options.files]
    kinds = {record["kind"]: record for record in records}
    _refuse_others(kinds, options.files)
    name = kinds.get("slim file", {}).get("network", "a network")
    with output_files(options, output=".html") as paths:
        write_page_of(CLI, paths["output"], options.title or f"What was pruned of {name}", records)
    give({"output": options.output})


def _record_of(path: str) -> Dict[str, Any]:
    """What a file tells, as a record with its kind."""
    if not path.endswith(".json"):
        record = inspection(path)
        if record["kind"] != "slim file":
            raise CheckpointError(f"For '{CLI}', 'report' must be given slim files, but '{path}' is a "
                                  f"{record['kind']}: it does not tell what was pruned.")
        return record
    try:
        with open(path, encoding="utf-8") as file:
            record = json.load(file)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"For '{CLI}', '{path}' must be a JSON file that can be read, but: {first_line(error)}"
                              ) from error
    if not isinstance(record, dict) or "kind" not in record:
        raise CheckpointError(f"For '{CLI}', '{path}' must be a file that golden-stick wrote, whole, but it does not "
                              f"say of which 'kind' it is.")
    return record


def _refuse_others(kinds: Mapping[str, Mapping[str, Any]], files: Sequence[str]) -> None:
    """Refuse a report of another network than the slim file's: what it says of widths would not hold."""
    slim, report = kinds.get("slim file"), kinds.get("golden_stick report")
    if slim and report:
        after = {name: shapes[1] for name, shapes in report["shapes"].items()}
        others = [name for name, shape in slim["shapes"].items() if after.get(name, shape) != shape]
        if others:
            raise ArgumentError(f"For '{CLI}', all of {', '.join(files)} must be of one network, but the report has "
                                f"another shape of '{others[0]}' than the slim file.")
