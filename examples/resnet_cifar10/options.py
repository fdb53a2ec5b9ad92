"""Options of the scripts: from a YAML file, overridden by the command line."""
import argparse
import difflib
import sys
from typing import Any, Dict, Optional, Sequence

import yaml
from data import SOURCES

__all__ = ["STEPS", "parse_options"]

STEPS = ("train", "prune", "finetune", "eval", "export")

# name -> (type, default, help). What every step knows.
_COMMON = {
    "network": (str, "resnet20", "factory in resnet.py, such as resnet20, resnet56, resnet50_cifar"),
    "source": (str, "digits", f"one of {', '.join(sorted(SOURCES))}"),
    "path": (str, None, "folder or archive of the data; the digits need none"),
    "validation_size": (float, 0.1, "fraction of the training images to validate on"),
    "seed": (int, 0, "of initial weights, split, order and augmentation"),
    "batch_size": (int, 128, "images per step and device"),
    "checkpoint": (str, None, "weights to start from: .ckpt, .npz under PyTorch's names, or a slim file"),
    "output": (str, "outputs", "folder for the results; made if it is missing"),
    "mode": (str, "graph", "graph or pynative"),
}
_TRAINING = {
    "epochs": (int, 10, "passes over the training images"),
    "learning_rate": (float, 0.1, "of the first step; a cosine takes it to zero"),
    "train_limit": (int, 0, "use only so many training images; 0 for all"),
}
_SGD = {
    "momentum": (float, 0.9, "of SGD, in Nesterov's form"),
    "weight_decay": (float, 5e-4, "of weights of convolutions and dense layers"),
    "label_smoothing": (float, 0.0, "in [0, 1)"),
}
_DISTILLATION = {
    "teacher": (str, None, "checkpoint of the original network, to learn from besides the labels; none by default"),
    "temperature": (float, 4.0, "of the teacher's answers"),
    "teacher_weight": (float, 0.9, "of the teacher's answers, in [0, 1]; the labels have the rest"),
    "warmup": (float, 0.1, "fraction of the steps in which the learning rate of a reconstructed network rises"),
}
_PRUNING = {
    "prune_rate": (float, 0.45, "fraction of the removable channels of each group to remove"),
    "residual": (str, "group", "group, scatter or keep"),
    "score": (str, "fisher", "what filters are ranked by: fisher, gamma (as published) or scale"),
    "mixing": (str, "blocks", "what mixes at a time in the knockoff phase: blocks, layers or joint"),
    "turn_steps": (int, 5, "steps until the next block mixes; all must have had a turn at the end"),
    "sampler": (str, "permutation", "what stands in for a sample: permutation, noise or gaussian"),
    "draws": (int, 1, "sets of scales, each trained against draws of its own"),
    "schedule": (str, "cosine", "of the scales' learning rate: cosine, down to zero, or constant"),
    "beta1": (float, 0.9, "of Adam, which trains the scales"),
    "beta2": (float, 0.999, "of Adam, which trains the scales"),
    "calibration_batches": (int, 20, "training batches to recover the slim network on; 0 for none"),
}
_OF_STEP: Dict[str, Dict[str, Any]] = {
    "train": {**_TRAINING, **_SGD},
    "prune": {**_TRAINING, **_PRUNING},
    "finetune": {**_TRAINING, **_SGD, **_DISTILLATION},
    "eval": {"split": (str, "validation", "validation or test; look at test once, at the end")},
    "export": {"export_batch": (int, 1, "samples per call of the exported network")},
}


def parse_options(step: str, arguments: Optional[Sequence[str]] = None, description: str = "") -> argparse.Namespace:
    """
    The options of one step.

    The file given by ``--config`` holds common keys at its top and those of a step under the step's name, such as
    ``train: {epochs: 10}``. What stands on the command line wins.

    Args:
        step (str): One of `STEPS`.
        arguments (Sequence[str]): The command line without the program. Default: ``None``, that of the process.
        description (str): For ``--help``.

    Returns:
        argparse.Namespace, with every option of the step.

    Raises:
        SystemExit: As argparse does, with a message, if an option or a key of the file is unknown or of another type.
    """
    known = {**_COMMON, **_OF_STEP[step]}
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--config", help="YAML file with defaults")
    if step in ("train", "prune", "finetune"):
        parser.add_argument("--distributed", action="store_true", help="data-parallel, as one of msrun's workers")
    if step == "prune":
        parser.add_argument("--resume", action="store_true",
                            help="keep the state of the knockoff phase in the output folder, and go on from it")
    for name, (kind, default, text) in known.items():
        text = f"{text} (default: {default})"
        parser.add_argument("--" + name.replace("_", "-"), type=kind, default=default, help=text)
    first = parser.parse_known_args(arguments)[0]
    if first.config:
        parser.set_defaults(**_read(parser, first.config, step, known))
    options = parser.parse_args(arguments)
    options.command = " ".join(sys.argv)
    return options


def _read(parser: argparse.ArgumentParser, path: str, step: str, known: Dict[str, Any]) -> Dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            content = yaml.safe_load(file) or {}
    except (OSError, yaml.YAMLError) as error:
        parser.error(f"--config must be a readable YAML file, but got {path!r}: {error}")
    if not isinstance(content, dict):
        parser.error(f"{path} must hold keys with values, but got a {type(content).__name__}")
    defaults: Dict[str, Any] = {}
    for key, value in content.items():
        if key in STEPS:
            if not isinstance(value, dict):
                parser.error(f"'{key}' in {path} must hold keys with values, but got {value!r}")
            for inner in value:
                _check(parser, path, f"{key}.{inner}", inner, {**_COMMON, **_OF_STEP[key]})
            if key == step:
                defaults.update(value)
        else:
            _check(parser, path, key, key, _COMMON)
            defaults.setdefault(key, value)
    for key, value in defaults.items():
        kind = known[key][0]
        fits = isinstance(value, (int, float) if kind is float else kind) and not isinstance(value, bool)
        if value is not None and not fits:
            parser.error(f"'{key}' in {path} must be of type {kind.__name__}, but got {value!r}")
    return defaults


def _check(parser: argparse.ArgumentParser, path: str, shown: str, key: str, known: Dict[str, Any]) -> None:
    if key not in known:
        near = difflib.get_close_matches(key, list(known) + list(STEPS), n=1, cutoff=0.0)[0]
        parser.error(f"unknown key '{shown}' in {path}: did you mean '{near}'?")
