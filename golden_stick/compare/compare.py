"""`compare`: several criteria on one network and one budget."""
from dataclasses import replace
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple, Union

from mindspore import Tensor, nn

from golden_stick.base.config import in_own_name
from golden_stick.base.devices import refuse_several
from golden_stick.base.errors import ArgumentTypeError
from golden_stick.base.files import network_digest
from golden_stick.base.inputs import as_tensors, describe, leading_inputs, shown
from golden_stick.cells.trace import trace
from golden_stick.cells.wrappers import copy_network
from golden_stick.compare.candidates import Candidate, Settings, candidates_of, check_settings
from golden_stick.compare.result import UNPRUNED, UNTOUCHED, Comparison, Store, Trial, name_of
from golden_stick.compare.training import TrainingBatches, accuracies, check_repeatable, digest_of_batches, train
from golden_stick.graph.plan import count_macs, count_parameters
from golden_stick.prune.report import Report
from golden_stick.recover.reconstruct import solved
from golden_stick.recover.statistics import reestimate

__all__ = ["compare"]


@in_own_name
def compare(network: nn.Cell, inputs: Any, criteria: Union[str, Sequence[str]], budget: Mapping[str, Any],
            train_data: Any, validation_data: Any, test_data: Any = None, *, loss: Optional[Callable] = None,
            optimizer: Optional[Callable] = None, learning_rate: float = 0.01, epochs: int = 1,
            seeds: Union[int, Sequence[int]] = 3, rates: Sequence[float] = (), calibration_batches: int = 8,
            recovery: str = "weights", knockoff_steps: int = 200, knockoff_learning_rate: float = 0.01,
            scop: Optional[Mapping[str, Any]] = None, scales_data: Any = None, folder: Optional[str] = None,
            on_trial: Optional[Callable[[Trial], None]] = None) -> Comparison:
    """
    Prune one network by several criteria to one budget, fine-tune all of them alike, and compare accuracies.

    All criteria get the same budget, the same batches for calibration, and the same batches in the same order for
    fine-tuning, seed by seed: that is checked. Criteria that look at data see the calibration batches, SCOP's scales
    are trained on them in turn unless there is `scales_data`, and the slim networks recover on them. Everything is
    measured on the validation split. The test split is gone through once, at the end, by all networks in their last
    state.

    Beside the criteria stand two controls: ``'random'``, and the unpruned network with the same fine-tuning, which
    shows how much of a gain is fine-tuning alone.

    Args:
        network (nn.Cell): The trained classifier. It is not changed.
        inputs (Union[Tensor, tuple[Tensor], tuple[int]]): What `construct` takes, or the shape of its only argument.
        criteria (Union[str, Sequence[str]]): Names: of criteria of `OneShot` (``'l1'``, ``'taylor'``, ...), ``'scop'``,
            ``'unstructured'``, whose rate is one of single weights, and criteria and algorithms that were added, by a
            call or by an entry point of an installed package.
        budget (dict): Keys of every pruner (:class:`golden_stick.prune.Pruner`), such as ``{"target_macs": 0.5}``;
            one of them says how much goes.
        train_data (Union[Sequence, Callable, Iterable]): Batches of images and labels. A list of batches is gone
            through in an order drawn from seed and epoch. A callable takes the seed and returns batches with a length,
            one pass for each epoch: always the same for one seed. Other iterables, such as a `mindspore.dataset`, are
            taken as they come.
        validation_data (Iterable): Batches of images and labels, that can be gone through several times.
        test_data (Iterable): The same, gone through once. Default: ``None``, no test split.
        loss (Callable): Takes outputs and labels, int32. Default: ``None``, `nn.CrossEntropyLoss()`.
        optimizer (Callable): Takes a network and the number of steps, and returns an optimizer for it. Default:
            ``None``: Momentum 0.9 (Nesterov), the rate falling along half a cosine, weight decay 5e-4.
        learning_rate (float): First rate of the default optimizer. Default: 0.01.
        epochs (int): Of fine-tuning; 0 for none. Default: 1.
        seeds (Union[int, Sequence[int]]): How many, from 0 on, or which. Default: 3.
        rates (Sequence[float]): Prune rates of the one-shot curves, in [0, 1). Default: none.
        calibration_batches (int): How many batches of the first epoch. Default: 8.
        recovery (str): What follows slimming, as of `convert`: ``'weights'``, ``'statistics'`` or ``'none'``. Where an
            algorithm leaves nothing to solve towards, and of the unpruned network, ``'weights'`` are the statistics.
            Default: ``'weights'``.
        knockoff_steps (int): Steps in which SCOP's scales are trained, or what another algorithm applies and wants
            trained (`trains_phase`). Default: 200.
        knockoff_learning_rate (float): Of Adam, which trains them. Default: 0.01.
        scop (dict): Keys of :class:`golden_stick.SCOP` besides, such as ``{"turn_steps": 5}``. Default: ``None``.
        scales_data (Iterable): Batches of images and labels that the weights have not seen, and none of
            `validation_data` or `test_data`: SCOP's scales are trained on them, and its report says ``held_out``. Only
            you know whether it is true. Those of a list come in an order drawn from the seed. Default: ``None``, the
            calibration batches, which may have trained the weights.
        folder (str): Where results are kept while they come: comparison.json, the networks, and at the end
            comparison.md and figures (matplotlib). The same call goes on where the last one was interrupted, and does
            not run again what is complete. Default: ``None``, nothing is written.
        on_trial (Callable): Called with each `Trial` when it is done. Default: ``None``.

    Returns:
        Comparison.

    Raises:
        ArgumentTypeError: If an argument is of another type, or data can be gone through once only.
        ArgumentError: If a criterion or key is unknown, a value out of range, or a loss or output not finite.
        StateError: If training batches differ from one criterion to the next, `folder` holds another comparison, or
            there are several processes.
        CheckpointError: If `folder` cannot be read or written.
        DependencyError: If `folder` is given and matplotlib is not installed.

    Supported Platforms:
        ``CPU``

    Examples:
        >>> import numpy as np
        >>> import golden_stick as gs
        >>> from mindspore import nn
        >>> net = nn.SequentialCell(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        ...                         nn.Dense(8, 2))
        >>> images = np.random.default_rng(0).random((3, 16, 3, 8, 8)).astype(np.float32)
        >>> batches = [(batch, np.arange(16, dtype=np.int32) % 2) for batch in images]
        >>> found = gs.compare(net, (1, 3, 8, 8), ["l1"], {"prune_rate": 0.5}, batches[:2], batches[2:], epochs=0,
        ...                    seeds=1)
        >>> print([trial.criterion for trial in found.trials])
        ['unpruned', 'l1', 'random']
    """
    refuse_several("compare")
    settings = check_settings(
        criteria, budget, rates, seeds, scop, scales_data is not None, loss, optimizer, epochs=epochs,
        calibration_batches=calibration_batches, recovery=recovery, knockoff_steps=knockoff_steps,
        knockoff_learning_rate=knockoff_learning_rate, learning_rate=learning_rate)
    if not isinstance(network, nn.Cell):
        raise ArgumentTypeError(f"For 'compare', 'network' must be a Cell, but got {type(network).__name__}.")
    check_repeatable("validation_data", validation_data)
    if test_data is not None:
        check_repeatable("test_data", test_data)
    batches = TrainingBatches(train_data, settings.calibration_batches, settings.epochs, scales_data)
    tensors = as_tensors("compare", inputs)
    validation, facts = accuracies({UNTOUCHED: network}, "validation_data", validation_data)
    base = {**_size(network, tensors), "digest": network_digest(network), "validation": validation[UNTOUCHED],
            "test": None}
    config = {**settings.to_dict(), "inputs": describe(tensors), "test": test_data is not None}
    if scales_data is not None:
        config["scales_data"] = digest_of_batches(batches.scales(settings.seeds[0], []))
    comparison = Comparison(config, base, {"validation": facts, "test": None}, ())
    store = Store(folder, network, comparison)
    if store.finished is not None:
        return store.finished
    for trial in store.trials:
        batches.expect(trial.seed, calibrated_on=trial.calibrated_on, finetuned_on=trial.finetuned_on)
    pairs = [(name, seed) for seed in settings.seeds for name in (UNPRUNED, *settings.criteria)]
    missing = [pair for pair in pairs if not store.done(*pair)]
    for name, seed in shown(missing, "criteria and seeds", len(missing)):
        trials, slim = _run(network, tensors, name, seed, settings, batches, validation_data)
        store.add(trials, slim)
        if on_trial is not None:
            for trial in trials:
                on_trial(trial)
    return _finish(network, store, replace(comparison, trials=tuple(store.trials)), test_data)


def _size(network: nn.Cell, tensors: Tuple[Tensor, ...], report: Any = None) -> Dict[str, Any]:
    """MACs and parameters: those of the report of a pruner, which has counted them."""
    if isinstance(report, Report):
        return {"macs": report.macs_after, "parameters": report.parameters_after}
    graph = trace(network, tensors)
    return {"macs": count_macs(graph), "parameters": count_parameters(graph)}


def _run(network: nn.Cell, tensors: Tuple[Tensor, ...], name: str, seed: int, settings: Settings,
         batches: TrainingBatches, validation_data: Any) -> Tuple[List[Trial], nn.Cell]:
    """Everything about one criterion and seed but the test split, and the network at the budget."""
    calibration = batches.calibration(seed)
    candidates = ([Candidate(None, copy_network(network))] if name == UNPRUNED else candidates_of(
        network, tensors, name, seed, settings, calibration, batches.scales(seed, calibration)))
    trials = []
    for rate, slim, report, finish, original in candidates:
        def accuracy(cell: nn.Cell) -> float:
            return accuracies({name: cell}, "validation_data", validation_data)[0][name]

        pruned = accuracy(slim)
        slim = _recovered(slim, original, settings.recovery, list(leading_inputs("compare", calibration, len(tensors))))
        trial = Trial(name, seed, rate, **_size(slim, tensors, report), pruned=pruned, recovered=accuracy(slim),
                      **_reported(report, rate))
        if rate is None and settings.epochs:
            optimizer = settings.optimizer(slim, batches.steps(seed))
            steps = shown(batches.finetuning(seed), "steps of fine-tuning", batches.steps(seed))
            train(slim, steps, settings.loss, optimizer)
            trial = replace(trial, finetuned=accuracy(slim))
        slim = finish(slim) if rate is None else slim
        trials.append(replace(trial, **batches.digests(seed)))
    return trials, slim


def _recovered(slim: nn.Cell, original: Optional[nn.Cell], recovery: str, batches: List[Tuple[Tensor, ...]]) -> nn.Cell:
    """A network after its recovery: solved anew where there is an original to solve it towards."""
    if recovery == "weights" and original is not None:
        return solved("compare", "train_data", slim, original, batches)
    if recovery != "none":
        reestimate("compare", "train_data", slim, batches)
    return slim


def _reported(report: Any, rate: Optional[float]) -> Dict[str, Any]:
    """What a trial keeps of the report of its pruning; of one that another algorithm wrote, its text alone."""
    if not isinstance(report, Report):
        return {"notes": (str(report),)} if report else {}
    return {"met": all(target.met for target in report.targets) if report.targets else None, "notes": report.notes,
            "widths": {layer.path: layer.after for layer in report.layers} if rate is None else {}}


def _finish(network: nn.Cell, store: Store, comparison: Comparison, test_data: Any) -> Comparison:
    """The test split, once, by all networks in their last state; never before everything else stands."""
    if test_data is not None:
        right, facts = accuracies({**store.networks(), UNTOUCHED: network}, "test_data", test_data)
        trials = tuple(replace(trial, test=right[name_of(trial)]) if trial.prune_rate is None else trial
                       for trial in comparison.trials)
        comparison = Comparison(comparison.config, {**comparison.base, "test": right[UNTOUCHED]},
                                {**comparison.data, "test": facts}, trials)
    store.finish(comparison)
    return comparison
