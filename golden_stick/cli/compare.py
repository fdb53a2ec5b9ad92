"""``golden-stick compare``: several criteria on one network and budget."""
import argparse
from typing import Any, Optional, Tuple

from golden_stick.base.errors import ArgumentError
from golden_stick.cli.options import add_command, network_and_inputs, say
from golden_stick.cli.prune import add_budget_options, config_of

__all__ = ["add"]


# These stand in every record, all others only where they are not the default: so older folders can be gone on with.
_ALWAYS = ("prune_rate", "target_macs", "target_params", "ranking", "residual", "round_to")


def add(commands: Any) -> None:
    """Add the command."""
    command = add_command(commands, "compare", _run, "compare criteria at one budget, with equal fine-tuning", """
Prune a trained classifier by several criteria to one budget, re-estimate statistics, fine-tune all alike, with several
seeds, and compare accuracies: on the validation split, and at the very end once on the test split. The controls random
and unpruned are always there. Writes comparison.json, comparison.md, comparison.svg and .png and the fine-tuned
networks into a folder. The same command goes on where it was interrupted.
""", """
golden-stick compare --network resnet.py:resnet20 --inputs 1,3,32,32 --checkpoint trained.ckpt \\
    --data images.py:splits --criteria l1,taylor,scop --target-macs 0.5 --epochs 1 --seeds 3 \\
    --rates 0.2,0.4,0.6 --output comparison
""")
    command.add_argument("--checkpoint", help="checkpoint of the trained network (default: as the factory builds it)")
    command.add_argument("--data", required=True, help="package.module:factory or path/to/file.py:factory that returns "
                         "(train, validation) or (train, validation, test): batches of images and labels each, "
                         "mindspore.dataset or lists; train may be a function of the seed")
    command.add_argument("--criteria", required=True, type=_names, help="separated by commas: l1, l2, bn_scale, fpgm, "
                         "lamp, taylor, hessian, activation, scop, random")
    add_budget_options(command, "none, a rate or a target must be given")
    command.add_argument("--rates", type=_numbers, default=(), help="prune rates of one-shot curves, separated by "
                         "commas (default: none)")
    command.add_argument("--epochs", type=int, default=1, help="of fine-tuning (default: 1)")
    command.add_argument("--learning-rate", type=float, default=0.01, help="of fine-tuning, at its begin (default: "
                         "0.01)")
    command.add_argument("--seeds", type=int, default=3, help="how many (default: 3)")
    command.add_argument("--calibration-batches", type=int, default=8, help="batches that criteria and normalizations "
                         "look at (default: 8)")
    command.add_argument("--knockoff-steps", type=int, default=200, help="steps on the scales of scop (default: 200)")
    command.add_argument("--knockoff-learning-rate", type=float, default=0.01, help="of Adam on the scales of scop "
                         "(default: 0.01)")
    command.add_argument("--turn-steps", type=int, help="of scop: steps until the next block mixes")
    command.add_argument("--scales-data", help="factory of batches that the weights have not seen, on which the scales "
                         "of scop are trained (default: those of calibration)")
    command.add_argument("--loss", help="factory of a loss of outputs and labels (default: nn.CrossEntropyLoss)")
    command.add_argument("--output", required=True, help="folder for everything that is written")


def _names(text: str) -> Tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _numbers(text: str) -> Tuple[float, ...]:
    try:
        return tuple(float(number) for number in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"must be numbers separated by commas, but got {text!r}") from error


def _run(options: argparse.Namespace) -> None:
    from golden_stick import compare
    from golden_stick.cli.networks import call_factory
    from golden_stick.prune.pruner import PRUNER_OPTIONS
    network, inputs = network_and_inputs(options, options.checkpoint)
    budget = {key: value for key, value in config_of(options, PRUNER_OPTIONS).items()
              if key in _ALWAYS or value != PRUNER_OPTIONS[key].default}
    scop = {} if options.turn_steps is None else {"turn_steps": options.turn_steps}
    found = compare(network, inputs, options.criteria, budget, *_splits(call_factory(options.data, option="--data")),
                    loss=call_factory(options.loss, option="--loss") if options.loss else None,
                    learning_rate=options.learning_rate, epochs=options.epochs, seeds=options.seeds,
                    rates=options.rates, calibration_batches=options.calibration_batches,
                    knockoff_steps=options.knockoff_steps, knockoff_learning_rate=options.knockoff_learning_rate,
                    scop=scop, scales_data=_given(options.scales_data), folder=options.output, on_trial=_say_trial)
    say(f"\n{found}\n\nwrote {options.output}: comparison.json, .md, .svg, .png and the networks")


def _given(scales_data: Optional[str]) -> Any:
    from golden_stick.cli.networks import call_factory
    return None if scales_data is None else call_factory(scales_data, option="--scales-data")


def _splits(data: Any) -> Tuple[Any, ...]:
    if not isinstance(data, tuple) or len(data) not in (2, 3):
        raise ArgumentError(f"For 'golden-stick', '--data' must name a factory that returns (train, validation) or "
                            f"(train, validation, test), but it returned {type(data).__name__}.")
    return data


def _say_trial(trial: Any) -> None:
    at = "budget" if trial.prune_rate is None else f"rate {trial.prune_rate:g}"
    tuned = "" if trial.finetuned is None else f", fine-tuned {100 * trial.finetuned:.2f} %"
    say(f"{trial.criterion}, seed {trial.seed}, {at}: validation {100 * trial.pruned:.2f} % as pruned, "
        f"{100 * trial.recalibrated:.2f} % re-estimated{tuned}")
