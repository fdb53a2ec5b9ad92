"""``golden-stick inspect``: what a file holds. No network is needed."""
import argparse
import json
from typing import Any, Callable, Dict, Mapping, Sequence

from golden_stick.cli.kept import kept_lines, kept_of, shortened
from golden_stick.cli.shared import say
from golden_stick.errors import CheckpointError

__all__ = ["add", "inspection", "inspection_text"]

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
    from golden_stick.deploy.fold import Folding
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
