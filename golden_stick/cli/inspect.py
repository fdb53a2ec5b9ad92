"""``golden-stick inspect``: what a file holds. No network is needed."""
import argparse
import difflib
import json
from typing import Any, Callable, Dict, List, Mapping, Sequence

from golden_stick.base.errors import CheckpointError
from golden_stick.cli.options import say

__all__ = ["as_ranges", "kept_lines", "kept_of", "shortened", "add", "inspection", "inspection_text"]


# What a line has room for beside names and numbers.
_ROOM = 56


def kept_of(file: Any) -> Dict[str, Dict[str, Any]]:
    """
    Parameter of a slim file -> axis, as text -> its length in the original and the positions kept there. Axes that are
    whole, and parameters that are whole, have no axis.
    """
    from golden_stick.graph.plan import PruningPlan
    lengths: Dict[Any, int] = {}
    for step in file.steps:
        for axis in step.axes if isinstance(step, PruningPlan) else ():
            lengths.setdefault((axis.parameter, axis.axis), axis.size)
    return {name: {str(axis): {"of": lengths[name, axis], "positions": list(positions)}
                   for axis, positions in sorted(file.kept.get(name, {}).items())} for name in file.values}


def as_ranges(positions: Sequence[int]) -> List[str]:
    """Ascending numbers as ranges: 0, 1, 2, 5 are ``['0-2', '5']``."""
    runs: List[List[int]] = []
    for position in positions:
        if runs and position == runs[-1][1] + 1:
            runs[-1][1] = position
        else:
            runs.append([position, position])
    return [str(first) if first == last else f"{first}-{last}" for first, last in runs]


def shortened(ranges: Sequence[str]) -> str:
    """As many ranges as a line has room for, and the last."""
    text = ", ".join(ranges)
    if len(text) <= _ROOM:
        return text
    first = text[:_ROOM].rpartition(",")[0]
    return f"{first}, ... {ranges[-1]}"


def kept_lines(record: Mapping[str, Any], names: Sequence[str], say: Any) -> List[str]:
    """
    A line for each axis that lost positions, and for each parameter that lost none.

    Args:
        record (Mapping): Of `inspection`, of a slim file.
        names (Sequence[str]): The parameters to speak of.
        say (Callable): Ranges -> text.

    Returns:
        list[str].

    Raises:
        CheckpointError: If the file has no such parameter.
    """
    rows = []
    for name in names:
        if name not in record["kept"]:
            near = difflib.get_close_matches(name, record["kept"], n=1, cutoff=0.0)
            raise CheckpointError(f"For 'golden-stick', '--parameter' must be a parameter of '{record['file']}', but "
                                  f"got '{name}': the nearest name there is '{near[0] if near else ''}'.")
        known = record["original_shapes"] is None or name in record["original_shapes"]
        axes = record["kept"][name]
        rows += [(f"{name} axis {axis}", f"{len(found['positions'])} of {found['of']}: "
                  f"{say(as_ranges(found['positions']))}") for axis, found in axes.items()]
        if not known:
            rows.append((name, "not in the original: a folding made it"))
        elif not axes:
            rows.append((name, "whole"))
    wide = max((len(name) for name, _ in rows), default=0)
    return [f"  {name:<{wide}}  {text}" for name, text in rows]


_FIRST = 5


def add(commands: Any) -> None:
    """Add the command."""
    command = commands.add_parser("inspect", help="show what a slim file or checkpoint holds", allow_abbrev=False,
                                  formatter_class=argparse.RawDescriptionHelpFormatter, description="""
Show the kind of a file, its size and digests, and of a slim file how it was made, what its writer added, the width of
every layer before and after, and which positions of the original each parameter kept. No network is needed.
""".strip(), epilog="example:\ngolden-stick inspect slim.safetensors --parameter layer1.0.conv1.weight")
    command.set_defaults(run=_run)
    command.add_argument("file", help="a slim file or a checkpoint, .safetensors or .ckpt")
    shown = command.add_mutually_exclusive_group()
    shown.add_argument("--json", action="store_true", help="print the same as JSON, all positions included")
    shown.add_argument("--kept", action="store_true", help="print all kept positions, however many they are")
    shown.add_argument("--parameter", action="append", default=[], help="print the kept positions of this parameter "
                       "alone, all of them; repeat for several")


def _run(options: argparse.Namespace) -> None:
    record = inspection(options.file)
    if (options.kept or options.parameter) and "kept" not in record:
        raise CheckpointError(f"For 'golden-stick', '{'--kept' if options.kept else '--parameter'}' must stand with a "
                              f"slim file, but '{options.file}' is a {record['kind']}.")
    if options.json:
        say(json.dumps(record, indent=2))
    elif options.parameter:
        say("\n".join(kept_lines(record, options.parameter, ", ".join)))
    else:
        say(inspection_text(record, ", ".join if options.kept else shortened))


def inspection(path: str) -> Dict[str, Any]:
    """
    What a file holds, as plain data.

    Args:
        path (str): A slim file or a checkpoint.

    Returns:
        dict.

    Raises:
        CheckpointError: If it is missing, damaged, or neither.
    """
    import os

    from golden_stick.deploy.slim_file import read_slim, read_tensors, weights_digest
    if path.endswith(".mindir"):
        raise CheckpointError(f"For 'golden-stick', 'inspect' takes a slim file or a checkpoint, but got the exported "
                              f"network '{path}': it must be loaded and run instead.")
    values, record = read_tensors("inspect", path)
    scales = any(name.endswith(".real_scale") for name in values)
    found = {"file": path, "kind": "slim file" if record else "checkpoint of SCOP's knockoff phase" if scales
             else "checkpoint", "bytes": os.path.getsize(path), "tensors": len(values),
             "parameters": sum(value.size for value in values.values()), "weights_digest": weights_digest(values)}
    return {**found, **_slim(read_slim(path))} if record else {**found, "shapes": _shapes(values)}


def _shapes(values: Mapping[str, Any]) -> Dict[str, Any]:
    return {name: list(value.shape) for name, value in values.items()}


def _slim(file: Any) -> Dict[str, Any]:
    """What only a slim file holds."""
    from golden_stick.deploy.fold.plan import Folding
    widths: Dict[str, Any] = {}
    steps = []
    for step in file.steps:
        if isinstance(step, Folding):
            steps.append({"step": "fold", "folded": len(step.folded), "kept": len(step.kept)})
            continue
        steps.append({"step": "prune", "layers": len(step.layers)})
        for layer in step.layers:
            widths[layer.path] = [widths.get(layer.path, [layer.before])[0], layer.after]
    before = None if file.original is None else sum(_size(shape) for _, shape in file.original)
    return {"format_version": file.version, "network": file.network, "steps": steps, "widths": widths,
            "original_parameters": before, "original_digest": file.digests.get("original"),
            "metadata": dict(file.metadata), "shapes": _shapes(file.values), "kept": kept_of(file),
            "original_shapes": None if file.original is None else {name: list(shape) for name, shape in file.original}}


def _size(shape: Any) -> int:
    size = 1
    for length in shape:
        size *= length
    return size


def inspection_text(record: Mapping[str, Any], ranges: Callable[[Sequence[str]], str] = shortened) -> str:
    """
    What `inspection` returned, for people.

    Args:
        record (Mapping): It.
        ranges (Callable): How the ranges of a parameter's kept positions become text. Default: `shortened`.

    Returns:
        str, of several lines.
    """
    lines = [f"{record['file']}: {record['kind']}, {record['bytes']:,} bytes",
             f"tensors          {record['tensors']:,}", f"parameters       {record['parameters']:,}"]
    if "steps" not in record:
        shown = [f"  {name} {tuple(shape)}" for name, shape in list(record["shapes"].items())[:_FIRST]]
        more = [f"  and {len(record['shapes']) - _FIRST} more"] if len(record["shapes"]) > _FIRST else []
        return "\n".join(lines + [f"weights          sha256 {record['weights_digest']}"] + shown + more)
    if record["original_parameters"]:
        lines[-1] = f"parameters       {record['original_parameters']:,} -> {record['parameters']:,}"
    lines += [f"network          {record['network']}", f"format version   {record['format_version']}",
              f"weights          sha256 {record['weights_digest']}"]
    if record["original_digest"]:
        lines.append(f"original         sha256 {record['original_digest']} (names and shapes)")
    lines += [f"metadata         {key}: {json.dumps(value)}" for key, value in record["metadata"].items()]
    for number, step in enumerate(record["steps"], 1):
        lines.append(f"step {number}: " + (f"pruned, {step['layers']} layers shrank" if step["step"] == "prune" else
                                          f"folded, {step['folded']} normalizations went and {step['kept']} stayed"))
    wide = max((len(path) for path in record["widths"]), default=0)
    lines += [f"  {path:<{wide}}  {before} -> {after}" for path, (before, after) in record["widths"].items()]
    hint = "; --kept or --parameter shows all of a long list" if ranges is shortened else ""
    lines += [f"kept positions, as counted in the original{hint}:", *kept_lines(record, list(record["kept"]), ranges)]
    return "\n".join(lines)
