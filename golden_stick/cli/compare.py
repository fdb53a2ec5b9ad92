"""``golden-stick compare``: several criteria on one network, at one budget."""
import argparse
import json
import os
from typing import Any

from golden_stick.cli.shared import add_command, network_and_inputs, say

__all__ = ["add"]


def add(commands: Any) -> None:
    """Add the command."""
    command = add_command(commands, "compare", _run, "compare criteria on one network, at one budget", """
Prune a network by several criteria to one budget, fine-tune each alike, and write a table, a figure and all numbers.
--data names a function that returns golden_stick.compare.ComparisonData: training, validation and test images. The
test images are looked at once, at the end. A run that was stopped goes on where it was, if there are no test images.
""", """
golden-stick compare --network resnet.py:resnet20 --checkpoint trained.ckpt --inputs 1,3,32,32 --data images.py:sets \\
    --criteria l1 taylor scop --budget '{"target_macs": 0.5}' --rates 0.2 0.4 0.6 --seeds 3 --output comparison
""")
    command.add_argument("--checkpoint", required=True, help="checkpoint of the trained network")
    command.add_argument("--data", required=True, help="package.module:factory or path/to/file.py:factory")
    command.add_argument("--criteria", nargs="+", default=["l1", "taylor", "scop"], help="criteria of 'prune', and "
                         "scop; random is added (default: l1 taylor scop)")
    command.add_argument("--budget", type=json.loads, default={"target_macs": 0.5}, help="JSON object: configuration "
                         "of the pruning after which is fine-tuned (default: {\"target_macs\": 0.5})")
    command.add_argument("--rates", nargs="*", type=float, default=[], help="of the one-shot curve (default: none)")
    command.add_argument("--seeds", type=int, default=3, help="how many (default: 3)")
    command.add_argument("--epochs", type=int, default=1, help="of fine-tuning (default: 1)")
    command.add_argument("--learning-rate", type=float, default=0.01, help="of fine-tuning (default: 0.01)")
    command.add_argument("--scop", type=json.loads, default={}, help="JSON object: configuration of SCOP (default: {})")
    command.add_argument("--scop-steps", type=int, default=200, help="of its knockoff phase (default: 200)")
    command.add_argument("--output", required=True, help="folder for comparison.json, .md and .svg")


def _run(options: argparse.Namespace) -> None:
    from golden_stick.cli.factories import call_factory
    from golden_stick.compare import ComparisonSettings, CriteriaComparison, compare
    settings = ComparisonSettings(
        tuple(options.criteria), options.budget, tuple(options.rates), tuple(range(options.seeds)), options.epochs,
        options.learning_rate, scop=options.scop, scop_steps=options.scop_steps)
    network, inputs = network_and_inputs(options, options.checkpoint)
    data = call_factory(options.data, option="--data")
    os.makedirs(options.output, exist_ok=True)
    path = os.path.join(options.output, "comparison.json")
    done = _earlier(path, settings.to_dict(), data)
    trials = list(done)

    def told(trial: Any) -> None:
        trials.append(trial)
        say(f"{trial.criterion}, seed {trial.seed}: {trial.one_shot:.4f} after pruning, {trial.tuned:.4f} fine-tuned")
        CriteriaComparison(settings.to_dict(), float("nan"), tuple(trials)).save(path)

    found = compare(network, inputs, data, settings, done=done, on_trial=told)
    found.save(path)
    with open(os.path.join(options.output, "comparison.md"), "w", encoding="utf-8") as file:
        file.write(f"{found}\n")
    found.draw(os.path.join(options.output, "comparison.svg"))
    say(str(found))
    say(f"wrote {path}, comparison.md and comparison.svg beside it")


def _earlier(path: str, settings: Any, data: Any) -> tuple:
    """The trials of a run with the same settings that was stopped, if they can be gone on from."""
    from golden_stick.compare import CriteriaComparison
    if data.test is not None or not os.path.exists(path):
        return ()
    earlier = CriteriaComparison.load(path)
    if json.loads(json.dumps(settings)) != earlier.settings:
        return ()
    say(f"going on from {path}: {len(earlier.trials)} trials are done")
    return earlier.trials
