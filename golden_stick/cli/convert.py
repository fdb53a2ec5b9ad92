"""
``golden-stick convert``: from any checkpoint that a user has to a slim file, MindIR or ONNX; ``export``: a network
written for deployment; ``verify``: a slim file checked.
"""
import argparse
import os
from dataclasses import asdict, replace
from functools import partial
from typing import Any, Dict, Set, Tuple

from golden_stick.base.errors import ArgumentError, CheckpointError
from golden_stick.cli import prune
from golden_stick.cli.networks import fill, network_and_inputs, trace_aloud
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
from golden_stick.prune.options import SCOP_OPTIONS

__all__ = ["add_convert", "add_export", "add_verify"]

_KINDS = ("original", "knockoff", "masked", "slim", "slim-weights", "mindspore-gs")
# To copy and paste, one for each kind.
_EXAMPLES = """
original: prune by a criterion, to a checked ONNX file
  golden-stick convert --network resnet.py:resnet20 --inputs 1,3,32,32 --checkpoint trained.ckpt \\
      --criterion l1 --prune-rate 0.45 --onnx slim.onnx
knockoff phase of SCOP: score by its scales
  golden-stick convert --network resnet.py:resnet20 --inputs 1,3,32,32 --checkpoint knockoff.ckpt \\
      --prune-rate 0.45 --output slim.safetensors
masked network that was fine-tuned: its checkpoint tells how it was masked
  golden-stick convert --network resnet.py:resnet20 --inputs 1,3,32,32 --checkpoint masked.ckpt \\
      --output slim.safetensors --mindir slim.mindir
slim file: for deployment, normalizations folded
  golden-stick convert --network resnet.py:resnet20 --inputs 1,3,32,32 --checkpoint slim.safetensors --fold \\
      --onnx slim.onnx
weights of a slim network, as mindspore.save_checkpoint wrote them: --recipe is its slim file
  golden-stick convert --network resnet.py:resnet20 --inputs 1,3,32,32 --checkpoint tuned.ckpt \\
      --recipe slim.safetensors --output tuned.safetensors --onnx tuned.onnx
"""


class _Noted(argparse.Action):
    """Stores a value, and that it was given: an option that says nothing of a kind is refused, not overlooked."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: Any = None) -> None:
        setattr(namespace, self.dest, values)
        namespace.given = {**namespace.given, option_string: self.dest}


def add_convert(commands: Any) -> None:
    """Add the command `convert`."""
    command = add_command(commands, "convert", _convert, "make a slim file, MindIR or ONNX of any checkpoint", f"""
{_EXAMPLES.strip()}

The kind is read from the file. Of a network that trained on several devices, name the files of all ranks, a pattern in
quotes, or their folder, and the strategy file if each rank holds a part of a parameter. A network that is slimmed is
checked against the masked one, and every exported file is run and compared before it stands under its name. All files
are written, or none. Checkpoints of both phases of MindSpore Golden Stick's SCOP are read as well: docs/migration.md.
""", """
golden-stick convert --network resnet.py:resnet20 --inputs 1,3,32,32 --checkpoint 'rank_*/net.ckpt' --target-macs 0.5 \\
    --output slim.safetensors --onnx slim.onnx
""")
    add_network_options(command)
    # The usage of so many options would push the examples off the screen.
    command.usage = "golden-stick convert --network NETWORK --inputs SHAPE --checkpoint FILE [FILE ...] [options]"
    command.register("action", None, _Noted)
    command.set_defaults(given={})
    command.add_argument("--checkpoint", required=True, nargs="+", help="a .ckpt or .safetensors file, the files of "
                         "all ranks, a pattern, or a folder")
    command.add_argument("--strategy", help="where MindSpore saved the parallel strategy, if each rank holds a part of "
                         "a parameter; paths must then name the rank, as rank_0/net.ckpt")
    command.add_argument("--kind", choices=_KINDS, help="what the checkpoint must be of (default: what it is of)")
    command.add_argument("--recipe", help="of the weights of a slim network alone: its slim file, with other weights; "
                         "what its metadata say of those is not taken over")
    add_options(command, SCOP_OPTIONS, ("mixing", "score", "fdr"), fdr="0.1",
                mixing="what the file says, joint or blocks", score="fisher, or gamma with prune_rate auto")
    command.add_argument("--fold", action="store_true", help="normalizations of the slim network become part of the "
                         "layers beside them before it is written")
    prune.add_pruning_options(command, required=False)
    command.add_argument("--slim", dest="output", metavar="SLIM", help="as --output, but never replaces a file: "
                         "elsewhere, --slim is a file to read")


def _convert(options: argparse.Namespace) -> None:
    from golden_stick.deploy.checkpoints import read_source
    if not any(getattr(options, name) for name in ("output", "mindir", "onnx")):
        raise ArgumentError(f"For '{CLI}', one of '--output', '--mindir' and '--onnx' must say what is written, "
                            f"but none does.")
    prune.check_outputs(options)
    source = read_source(CLI, options.checkpoint, options.strategy)
    kind = _kind(options, source)
    _refuse_options(options, kind, source.files[0])
    say(f"read {len(source.values)} tensors of kind '{kind}' from {', '.join(source.files)}")
    options.checkpoint = list(source.files)
    {"slim": _slim, "slim-weights": _slim, "knockoff": _knockoff, "masked": _masked, "original": _original,
     "mindspore-gs": _migrated}[kind](options, source)


def _kind(options: argparse.Namespace, source: Any) -> str:
    """What the files are of. What the options say of it must agree."""
    kind, file = source.kind, source.files[0]
    if options.recipe and kind != "original":
        raise ArgumentError(f"For '{CLI}', '--recipe' must stand with the weights of a slim network and nothing else, "
                            f"but '{file}' is of kind '{kind}'.")
    if options.recipe:
        kind = "slim-weights"
    elif options.kind == "slim-weights" and kind == "original":
        raise ArgumentError(f"For '{CLI}', '--kind slim-weights' must stand with '--recipe': '{file}' does not say "
                            f"what of the original they are.")
    if options.kind not in (None, kind):
        raise ArgumentError(f"For '{CLI}', '--kind' must be what '{file}' is of, '{kind}', but got '{options.kind}'.")
    return kind


def _refuse_options(options: argparse.Namespace, kind: str, file: str) -> None:
    """Refuse options that say nothing of this kind."""
    from golden_stick import SCOP, OneShot, Unstructured
    from golden_stick.prune import Pruner
    result = {"report", "card", "calibration_data", "recovery"}
    at_once = {*OneShot.options, *Unstructured.options, "data"}
    meant: Dict[str, Set[str]] = {"original": {*at_once, "evaluate", *result}, "masked": result,
                                  "knockoff": {*SCOP.options, "evaluate", *result},
                                  "mindspore-gs": {*Pruner.options, "evaluate", *result}}
    for option, name in options.given.items():
        kinds = [one for one in _KINDS if name in meant.get(one, ())]
        if kinds and kind not in kinds:
            raise ArgumentError(f"For '{CLI}', '{option}' must stand with a checkpoint of kind "
                                f"{' or '.join(map(repr, kinds))}, but '{file}' is of kind '{kind}'.")
    if options.fold and options.card:
        raise ArgumentError(f"For '{CLI}', '--card' must stand without '--fold': it is of the network before that.")
    taken = any(os.path.exists(f"{options.output}{ending}") for ending in ("", *prune.ANYWHERE["output"]))
    if "--slim" in options.given and ("--output" in options.given or taken):
        raise ArgumentError(f"For '{CLI}', '--slim' must be a new file, and stand without '--output', but got "
                            f"'{options.output}': give a slim file to read as '--checkpoint', and one to replace as "
                            f"'--output'.")


def _original(options: argparse.Namespace, source: Any) -> None:
    remedy = ": if these are the weights of a slim network, name its slim file as '--recipe'"
    prune.make_slim(options, partial(prune.by_criterion, options), partial(_fill, source, remedy=remedy))


def _masked(options: argparse.Namespace, source: Any) -> None:
    from golden_stick.cells.wrappers import PLAN, decoded
    from golden_stick.comp_algo import ALGORITHMS
    from golden_stick.graph.plan import PruningPlan
    from golden_stick.prune import OneShot, Pruner
    _refuse_weights(options)
    masked = decoded(source.values[PLAN])
    source = replace(source, values={name: array for name, array in source.values.items() if name != PLAN})

    def prepare() -> prune.Prepared:
        name = masked["algorithm"]
        known: Tuple[Any, ...] = (OneShot, *(kind for _, kind in ALGORITHMS.loaded()))
        kind = next((kind for kind in known if kind.__name__ == name and issubclass(kind, Pruner)), None)
        if kind is None:
            raise CheckpointError(f"For '{CLI}', '{source.files[0]}' must be of a network that a known algorithm masked"
                                  f", but it was '{name}', which no call of 'add_algorithm' and no package has added.")
        algorithm = kind({key: value for key, value in masked["config"].items() if value is not None})
        plan = PruningPlan.from_dict(masked["plan"])
        return algorithm, lambda *given: algorithm.apply_task(replace(algorithm.find_task(*given), plan=plan))

    prune.make_slim(options, prepare, partial(_fill, source))


def _refuse_weights(options: argparse.Namespace) -> None:
    """Recover the statistics of a masked network alone."""
    if options.recovery == "weights":
        raise ArgumentError(f"For '{CLI}', '--recovery' must be 'statistics' or 'none' for a masked network, whose "
                            f"weights may have been trained since it was masked, but got 'weights'.")
    options.recovery = options.recovery or (options.calibration_data and "statistics")


def _knockoff(options: argparse.Namespace, source: Any) -> None:
    from golden_stick import SCOP
    from golden_stick.scop.report import description_in
    from golden_stick.scop.samplers import FeatureSampler, PermutationSampler
    # How the phase was mixed, its parameters tell.
    known = description_in(source.values)
    held = [array for name, array in source.values.items() if name.endswith(".frozen_scale")]
    options.mixing = options.mixing or known.get("mixing", "blocks" if held else "joint")
    options.draws = len(held[0]) if held and held[0].ndim == 2 else 1
    # The sampler has done its work when there is a checkpoint; what it had fitted is in there all the same.
    source = replace(source, values={name: array for name, array in source.values.items()
                                     if not name.startswith(("sampler.", "mixing.sampler."))})
    config = config_of(options, (key for key in SCOP.options if key != "sampler"))
    features = any(name.endswith(".knockoff_mean") for name in source.values)
    config["sampler"] = FeatureSampler(None) if features else PermutationSampler()
    config["sampler"].name = known["name"]
    algorithm = SCOP(config)
    # The original's parameters are there under their own names; what is there besides is of the applied network.
    prune.make_slim(options, lambda: (algorithm, algorithm.apply), partial(_fill, source, exactly=False),
                    partial(_fill, source))


def _migrated(options: argparse.Namespace, source: Any) -> None:
    from golden_stick.prune import Pruner
    from golden_stick.pruner.scop import Migrated
    config = config_of(options, Pruner.options)
    if "--residual" not in options.given:
        config.pop("residual", None)
    algorithm = Migrated(config, source.values)
    if algorithm.tuned:
        _refuse_weights(options)
    prune.make_slim(options, lambda: (algorithm, algorithm.apply), lambda network: _fill(
        replace(source, values=algorithm.translate(network)), network))


def _slim(options: argparse.Namespace, source: Any) -> None:
    """Write a network that is slim already. Where there is a recipe, the checkpoint is its weights and nothing else."""
    from golden_stick import load_slim
    from golden_stick.deploy.slim_file import read_slim
    with output_files(options, **prune.ANYWHERE) as paths:
        network, inputs = network_and_inputs(options)
        slim = load_slim(network, options.recipe or source.files[0])
        try:
            if options.recipe:
                _fill(source, slim)
        except CheckpointError as error:
            raise CheckpointError(f"For '{CLI}', '--checkpoint' must hold the weights of the slim network of "
                                  f"'{options.recipe}', but: {error}") from error
        trace_aloud(slim, inputs)
        # What a recipe says besides is of other weights.
        prune.write_slim(options, paths, slim, inputs, None if options.recipe else read_slim(source.files[0]).metadata)
    give({name: getattr(options, name) for name in prune.ANYWHERE if getattr(options, name)})


def _fill(source: Any, network: Any, exactly: bool = True, remedy: str = "") -> None:
    """Put the values into a network that has these parameters, and no others if it is to be exact."""
    fill(network, source.values, source.files[0], exactly, remedy)
    if exactly:
        source.refuse_differing(CLI, [parameter.name for parameter in network.get_parameters()])


def add_export(commands: Any) -> None:
    """Add the command `export`."""
    command = add_command(commands, "export", _export, "write a network, slim or not, as MindIR or ONNX",
                          "Write a network as MindIR or ONNX, load the file, and check that it gives the same outputs.",
                          """
golden-stick export --network resnet.py:resnet20 --slim slim.ckpt --inputs 1,3,32,32 --output slim.mindir
golden-stick export --network resnet.py:resnet20 --checkpoint resnet20.ckpt --inputs 1,3,32,32 --output resnet20.onnx
""")
    add_network_options(command)
    weights = command.add_mutually_exclusive_group(required=True)
    weights.add_argument("--slim", help="a slim file")
    weights.add_argument("--checkpoint", help="a checkpoint of the original network")
    command.add_argument("--output", required=True, help="where to write the file: its ending names the format, "
                         "such as .onnx; MindIR without one")
    command.add_argument("--opset", type=int, help="version of ONNX's operators, from 13 to 23 (default: 17)")
    command.add_argument("--any-size", action="store_true", help="inputs of any height and width: all axes behind the "
                         "second take any length")


def _export(options: argparse.Namespace) -> None:
    from golden_stick import export, load_slim
    from golden_stick.deploy.formats import FORMATS, format_of_path
    name = format_of_path(options.output)
    FORMATS[name].check(CLI, {} if options.opset is None else {"opset": options.opset})
    with output_files(options, output=FORMATS[name].ending) as paths:
        network, inputs = network_and_inputs(options, options.checkpoint)
        network = load_slim(network, options.slim) if options.slim else network
        trace_aloud(network, inputs)
        if options.any_size:
            from mindspore import Tensor
            inputs = tuple(Tensor(shape=[*item.shape[:2], *(None,) * (item.ndim - 2)], dtype=item.dtype)
                           if item.ndim > 2 else item for item in inputs)
        export(network, inputs, paths["output"], name, options.opset)
    give({"format": name, "output": options.output})


def add_verify(commands: Any) -> None:
    """Add the command `verify`."""
    command = add_command(commands, "verify", _verify, "check a slim file against the original architecture", """
Check the digests of a slim file, build the slim network from the original one step by step, and prove every pruning:
put the weights of the slim network into the places where they stand in the larger one, mask all others, and compare the
outputs. Of a folding, the file does not hold the weights from before: that normalizations and layers stand beside each
other in the network is checked, and a pruning before it is checked with the weights that the factory gives.
""", """
golden-stick verify --network resnet.py:resnet20 --slim slim.ckpt --inputs 1,3,32,32 --samples 8
""")
    add_network_options(command)
    command.add_argument("--slim", required=True, help="the slim file")
    command.add_argument("--tolerance", type=float, help="largest difference allowed, as a fraction of the largest "
                         "output (default: 1e-5, or 0.0078 where an output is of float16)")
    command.add_argument("--samples", type=int, help="how many samples to compare, whatever the shapes say")


def _verify(options: argparse.Namespace) -> None:
    from golden_stick import load_slim, verify
    from golden_stick.cells.slim import unslim
    from golden_stick.cells.wrappers import masked_network
    from golden_stick.deploy.fold.network import check_folding
    from golden_stick.deploy.slim_file import Reconstruction, Sparsity, read_slim
    from golden_stick.deploy.slim_network import original_of, placed, take_step
    from golden_stick.graph.plan import PruningPlan
    network, inputs = network_and_inputs(options)
    narrow = load_slim(network, options.slim)
    file = read_slim(options.slim)
    steps = file.steps
    say("digests agree: the weights are those that were written, for a network of these names and shapes")
    trace_aloud(network, inputs)
    stages = [original_of(network, file, options.slim)]
    for step in steps[:-1]:
        stages.append(take_step(stages[-1], placed(stages[-1], step)))
    whose, compared = "the weights of the file", []
    # From the last to the first: what one step came from, the step before led to.
    for number in range(len(steps), 0, -1):
        stage = stages[number - 1]
        step = placed(stage, steps[number - 1])
        if isinstance(step, PruningPlan):
            wide = unslim(stage, narrow, step)
            result = verify(masked_network(wide, step), narrow, inputs, options.tolerance)
            say(f"step {number}, pruned: verified with {whose}: largest difference {result.largest_difference:.3g}, "
                f"largest output {result.output_scale:.3g}, allowed {result.tolerance:g} of it")
            compared.append({"step": number, **asdict(result)})
            narrow = wide
        elif isinstance(step, Reconstruction):
            say(f"step {number}, reconstructed: names and shapes stay; outputs were not compared, since the file does "
                f"not hold the weights from before")
        elif isinstance(step, Sparsity):
            say(f"step {number}, made sparse: names and shapes stay; {step.zeros:,} of {step.size:,} weights were zero")
        else:
            check_folding("verify", stage, step, inputs)
            say(f"step {number}, folded: {len(step.folded)} normalizations stand beside their layers; outputs were not "
                f"compared, since the file does not hold the weights from before")
            narrow, whose = stage, "weights of the factory"
    give({"slim": options.slim, "steps": len(steps), "compared": compared})
