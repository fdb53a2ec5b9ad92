"""``golden-stick convert``: from any checkpoint that a user has to a slim file, MindIR or ONNX."""
import argparse
import contextlib
import os
import tempfile
from typing import Any, Iterator

from golden_stick.cli.shared import add_command, network_and_inputs, output_files, say
from golden_stick.cli.slimming import (
    ANYWHERE,
    add_criterion_options,
    add_slim_options,
    config_of,
    export_to,
    make_slim,
    pruning_data,
)
from golden_stick.errors import ArgumentError

__all__ = ["add"]

# What the copy-and-paste examples are about: the four kinds of checkpoints.
_EXAMPLES = """
original: prune by a criterion, to a checked ONNX file
  golden-stick convert --network resnet.py:resnet20 --inputs 1,3,32,32 --checkpoint trained.ckpt \\
      --criterion l1 --prune-rate 0.45 --onnx slim.onnx
knockoff phase of SCOP: score by its scales
  golden-stick convert --network resnet.py:resnet20 --inputs 1,3,32,32 --checkpoint knockoff.ckpt \\
      --prune-rate 0.45 --output slim.safetensors
masked network that was fine-tuned: --masked-from is what it was made from, options as it was made with
  golden-stick convert --network resnet.py:resnet20 --inputs 1,3,32,32 --checkpoint masked.ckpt \\
      --masked-from trained.ckpt --criterion l1 --prune-rate 0.45 --output slim.safetensors --mindir slim.mindir
slim file: for deployment, normalizations folded
  golden-stick convert --network resnet.py:resnet20 --inputs 1,3,32,32 --checkpoint slim.safetensors --fold \\
      --onnx slim.onnx
"""


def add(commands: Any) -> None:
    """Add the command."""
    command = add_command(commands, "convert", _run, "make a slim file, MindIR or ONNX of any checkpoint", f"""
{_EXAMPLES.strip()}

The kind is read from the file. Of a network that trained on several devices, name the files of all ranks, a pattern in
quotes, or their folder. A network that is slimmed is proven equal to the masked one, and every exported file is run and
compared before it stands under its name. All files are written, or none.
""", """
golden-stick convert --network resnet.py:resnet20 --inputs 1,3,32,32 --checkpoint 'rank_*/net.ckpt' --target-macs 0.5 \\
    --output slim.safetensors --onnx slim.onnx
""")
    command.add_argument("--checkpoint", required=True, nargs="+", help="a .ckpt or .safetensors file, the files of "
                         "all ranks, a pattern, or a folder")
    command.add_argument("--masked-from", help="of a masked network: the checkpoint that it was made from")
    command.add_argument("--mixing", help="as the knockoff phase was trained: blocks, layers or joint (default: what "
                         "the file says, joint or blocks)")
    command.add_argument("--fdr", type=float, help="with --prune-rate auto: false discovery rate (default: 0.1)")
    command.add_argument("--fold", action="store_true", help="of a slim file: normalizations become part of the layers "
                         "beside them before it is written")
    add_criterion_options(command)
    add_slim_options(command, required=False)


def _run(options: argparse.Namespace) -> None:
    from golden_stick.deploy.sources import read_source
    if not any(getattr(options, name) for name in ("output", "mindir", "onnx")):
        raise ArgumentError("For 'golden-stick', one of '--output', '--mindir' and '--onnx' must say what is written, "
                            "but none does.")
    source = read_source("golden-stick", options.checkpoint)
    kind = "masked" if options.masked_from else source.kind
    if options.masked_from and source.kind != "original":
        raise ArgumentError(f"For 'golden-stick', '--masked-from' must stand with the checkpoint of a masked network, "
                            f"but '{source.files[0]}' is of kind '{source.kind}'.")
    if options.fold and kind != "slim":
        raise ArgumentError(f"For 'golden-stick', '--fold' must stand with a slim file, which needs no fine-tuning "
                            f"any more, but '{source.files[0]}' is of kind '{kind}'.")
    say(f"read {len(source.values)} parameters of kind '{kind}' from {', '.join(source.files)}")
    options.checkpoint = list(source.files)
    if kind == "knockoff":
        _read_schedule(options, source.values)
    with _one_file(source) as path:
        {"slim": _slim, "knockoff": _knockoff, "masked": _masked, "original": _original}[kind](options, path)


def _read_schedule(options: argparse.Namespace, values: Any) -> None:
    """How the phase was mixed, as far as its parameters tell."""
    held = [array for name, array in values.items() if name.endswith(".held_scale")]
    options.mixing = options.mixing or ("blocks" if held else "joint")
    options.draws = len(held[0]) if held and held[0].ndim == 2 else 1


def _original(options: argparse.Namespace, path: str) -> None:
    from golden_stick import OneShot
    make_slim(options, OneShot(config_of(options, OneShot.options)), path, **pruning_data(options))


def _masked(options: argparse.Namespace, path: str) -> None:
    from golden_stick import OneShot
    make_slim(options, OneShot(config_of(options, OneShot.options)), options.masked_from, trained=path,
              **pruning_data(options))


def _knockoff(options: argparse.Namespace, path: str) -> None:
    from golden_stick import SCOP
    # The sampler has done its work when there is a checkpoint.
    config = config_of(options, (key for key in SCOP.options if key != "sampler"))
    # The phase holds the original's weights as well, under their own names.
    make_slim(options, SCOP(config), path, trained=path)


def _slim(options: argparse.Namespace, path: str) -> None:
    from golden_stick import fold, load_slim, save_slim
    with output_files(options, **ANYWHERE) as paths:
        network, inputs = network_and_inputs(options)
        slim = load_slim(network, path)
        slim = fold(slim, inputs) if options.fold else slim
        if "output" in paths:
            save_slim(slim, paths["output"])
        export_to(paths, slim, inputs)


@contextlib.contextmanager
def _one_file(source: Any) -> Iterator[str]:
    """A file that holds all that several hold."""
    if source.slim or (len(source.files) == 1 and source.files[0].endswith(".ckpt")):
        yield source.files[0]
        return
    import mindspore as ms
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "merged.ckpt")
        ms.save_checkpoint([{"name": name, "data": ms.Tensor(array)} for name, array in source.values.items()], path)
        yield path
