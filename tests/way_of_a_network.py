"""
Files and functions of golden_stick that one small network goes through: python tests/way_of_a_network.py [--list]

What a reader has to open who wants to know what `apply` and `convert` do. Modules are imported before anything is
counted: what runs at import, once, is not on the way.
"""
import argparse
import importlib
import inspect
import os
import pkgutil
import sys
import threading
from collections import defaultdict
from contextlib import contextmanager
from pathlib import Path
from typing import Callable, Dict, Iterator, Set

# Before MindSpore starts: without it, 3x3 convolutions are about 40 times slower on CPUs with AVX-512.
os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX2")
os.environ.setdefault("GLOG_v", "3")
ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
from mindspore import Tensor, nn  # noqa: E402

import golden_stick  # noqa: E402
from golden_stick import SCOP, OneShot  # noqa: E402
from tests import networks  # noqa: E402

PACKAGE = Path(golden_stick.__file__).parent
SHAPE = networks.SMALL_INPUT
Way = Dict[str, Set[str]]


@contextmanager
def entered() -> Iterator[Way]:
    """File -> qualified names of its functions that are called in the meantime; comprehensions are their function's."""
    way, seen = defaultdict(set), set()

    def profile(frame, event, _):
        code = frame.f_code
        if event != "call" or code in seen:
            return
        seen.add(code)
        # Bodies of modules and of classes are no functions.
        if code.co_flags & inspect.CO_NEWLOCALS and code.co_flags & inspect.CO_OPTIMIZED:
            path = Path(code.co_filename)
            if PACKAGE in path.parents:
                name = getattr(code, "co_qualname", code.co_name).split(".<")[0]
                way[str(path.relative_to(PACKAGE))].add(name)

    threading.setprofile(profile)
    sys.setprofile(profile)
    try:
        yield way
    finally:
        sys.setprofile(None)
        threading.setprofile(None)


def one_shot() -> None:
    """Prunes a network at once: apply, convert."""
    algorithm = OneShot({"prune_rate": 0.5})
    algorithm.convert(algorithm.apply(networks.randomize(networks.SmallNet()), inputs=SHAPE))


def scop() -> None:
    """Prunes a network by SCOP: apply, a few steps that train the scales, convert."""
    algorithm = SCOP({"prune_rate": 0.5, "turn_steps": 1})
    phase = algorithm.apply(networks.randomize(networks.SmallNet()), inputs=SHAPE)
    step = nn.TrainOneStepCell(nn.WithLossCell(phase, nn.CrossEntropyLoss()),
                               nn.Adam(phase.trainable_params(), 0.1)).set_train()
    generator = np.random.default_rng(0)
    for _ in range(6):
        step(Tensor(generator.normal(size=(6, *SHAPE[1:])).astype(np.float32)),
             Tensor(generator.integers(0, 4, 6).astype(np.int32)))
        algorithm.after_step()
    algorithm.convert(phase)


# Algorithm -> (what runs, the number of files that it may lead through).
WAYS = {"OneShot": (one_shot, 20), "SCOP": (scop, 28)}


def way_of(run: Callable[[], None]) -> Way:
    """What `run` enters when all modules have been imported."""
    for module in pkgutil.walk_packages([str(PACKAGE)], "golden_stick."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    with entered() as way:
        run()
    return dict(way)


def main() -> int:
    """Prints the table; the exit code is 1 where a way is longer than its limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="the files, with their functions entered")
    listed, too_long = parser.parse_args().list, 0
    print(f"{'':10}{'functions':>10}{'files':>7}{'at most':>9}")
    for name, (run, limit) in WAYS.items():
        way = way_of(run)
        too_long += len(way) > limit
        print(f"{name:10}{sum(map(len, way.values())):>10}{len(way):>7}{limit:>9}")
        for path, functions in sorted(way.items()) if listed else ():
            print(f"  {path:28} {len(functions):3}  {', '.join(sorted(functions))}")
    return int(too_long > 0)


if __name__ == "__main__":
    sys.exit(main())
