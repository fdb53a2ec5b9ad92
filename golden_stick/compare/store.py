"""A folder that a comparison is kept in while it runs: trials as JSON, fine-tuned networks as files."""
import json
import os
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional

import mindspore as ms
from mindspore import nn

from golden_stick.base.errors import CheckpointError, StateError, first_line
from golden_stick.base.files import make_folder, whole_file, write_json
from golden_stick.cells.wrappers import copy_network
from golden_stick.compare.result import Comparison, Trial, draw, need_matplotlib
from golden_stick.deploy.slim_network import load_slim, save_slim

__all__ = ["Store", "name_of"]


_RECORD, _PAGE, _NETWORKS, _FIGURES = "comparison.json", "comparison.md", "networks", ("svg", "png")


class Store:
    """
    Where trials and networks are kept: in a folder, or without one in memory. `begun` is the comparison without trials;
    a folder of one that asks for something else is refused.
    """

    def __init__(self, folder: Optional[str], network: nn.Cell, begun: Comparison):
        self._folder, self._network = folder or "", network
        self._identity = json.loads(json.dumps({"config": begun.config, "base": begun.base, "data": begun.data}))
        self._networks: Dict[str, nn.Cell] = {}
        self.trials: List[Trial] = []
        self.finished: Optional[Comparison] = None
        if folder:
            # Now, not at the end of hours.
            need_matplotlib("compare")
            make_folder("compare", folder)
            make_folder("compare", os.path.join(folder, _NETWORKS))
            self._resume(os.path.join(folder, _RECORD))

    def done(self, criterion: str, seed: int) -> bool:
        """Whether the trials of a criterion and seed are there, the last of them, at the budget, included."""
        return any((trial.criterion, trial.seed, trial.prune_rate) == (criterion, seed, None) for trial in self.trials)

    def add(self, trials: List[Trial], network: nn.Cell) -> None:
        """Keep the trials of one criterion and seed, and the network at the budget."""
        self.trials.extend(trials)
        name = name_of(trials[-1])
        if not self._folder:
            self._networks[name] = network
            return
        path = os.path.join(self._folder, _NETWORKS, name)
        if _shapes(network) == _shapes(self._network):
            with whole_file("compare", f"{path}.ckpt") as temporary:
                ms.save_checkpoint(network, temporary)
        else:
            save_slim(network, f"{path}.safetensors")
        self._write({**self._identity, "complete": False, "trials": [trial.to_dict() for trial in self.trials]})

    def networks(self) -> Dict[str, nn.Cell]:
        """The networks at the budget, by criterion and seed."""
        if not self._folder:
            return self._networks
        return {name_of(trial): self._load(trial) for trial in self.trials if trial.prune_rate is None}

    def finish(self, comparison: Comparison) -> None:
        """Write the whole result: JSON, page and figures."""
        if not self._folder:
            return
        with whole_file("compare", os.path.join(self._folder, _PAGE)) as temporary:
            Path(temporary).write_text(comparison.to_markdown(), encoding="utf-8")
        for kind in _FIGURES:
            draw(comparison, os.path.join(self._folder, f"comparison.{kind}"))
        self._write({**comparison.to_dict(), "complete": True})

    def _resume(self, path: str) -> None:
        if not os.path.exists(path):
            return
        try:
            record = json.loads(Path(path).read_text(encoding="utf-8"))
            complete, identity = record["complete"], {key: record[key] for key in self._identity}
            self.trials = [Trial.from_dict(trial) for trial in record["trials"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"For 'compare', '{path}' must be a comparison that was begun here, but it is "
                                  f"damaged or another file: {first_line(error)}") from error
        different = [key for key, value in self._identity.items() if not _agree(identity[key], value)]
        if different:
            raise StateError(f"For 'compare', 'folder' must be new or hold the same comparison, but '{path}' has "
                             f"another '{different[0]}': take another folder.")
        if complete:
            self.finished = Comparison.from_dict(record)

    def _write(self, record: Mapping[str, Any]) -> None:
        write_json("compare", os.path.join(self._folder, _RECORD), record, indent=1)

    def _load(self, trial: Trial) -> nn.Cell:
        path, network = os.path.join(self._folder, _NETWORKS, name_of(trial)), copy_network(self._network)
        if os.path.isfile(f"{path}.safetensors"):
            return load_slim(network, f"{path}.safetensors")
        if not os.path.isfile(f"{path}.ckpt"):
            raise CheckpointError(f"For 'compare', the network '{path}' of a trial that was made must be there, but it "
                                  f"is missing: take another folder.")
        ms.load_param_into_net(network, ms.load_checkpoint(f"{path}.ckpt"))
        return network


def name_of(trial: Trial) -> str:
    """The name that the network of a trial at the budget is kept under."""
    return f"{trial.criterion}-seed{trial.seed}"


def _shapes(network: nn.Cell) -> Dict[str, Any]:
    return {parameter.name: tuple(parameter.shape) for parameter in network.get_parameters()}


def _agree(kept: Any, wanted: Any) -> bool:
    """Equal, but for what is only known at the end, which is None before it."""
    if isinstance(kept, dict) and isinstance(wanted, dict):
        return set(kept) == set(wanted) and all(_agree(kept[key], wanted[key]) for key in wanted)
    return wanted is None or kept == wanted
