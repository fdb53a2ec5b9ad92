"""
mindcv's own training script, with a slim network in the place of the model that it names.

    python finetune_slim.py pruned/slim.safetensors path/to/mindcv/train.py --config of_the_model.yaml ...

What follows the script is its own. Its `create_model` builds the network, and `gs.load_slim` makes it the slim one;
a checkpoint that the configuration names is not loaded: the slim file has the weights.
"""
import os

os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX2")  # before MindSpore starts: 40 times faster on CPUs with AVX-512

import argparse  # noqa: E402
import functools  # noqa: E402
import runpy  # noqa: E402
import sys  # noqa: E402

import mindcv  # noqa: E402
from mindcv import models  # noqa: E402

import golden_stick as gs  # noqa: E402


def slim_from(path: str, create):
    """`create_model`, whose networks are the slim ones of a file."""
    @functools.wraps(create)
    def create_slim(*args, **keys):
        network = create(*args, **{**keys, "pretrained": False, "checkpoint_path": ""})
        return gs.load_slim(network, path)
    return create_slim


def main(arguments=None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("slim", help="a slim file")
    parser.add_argument("script", help="mindcv's train.py, or one that imports create_model as it does")
    parser.add_argument("rest", nargs=argparse.REMAINDER, help="arguments of the script")
    options = parser.parse_args(arguments)
    before, argv, path = models.create_model, sys.argv, list(sys.path)
    try:
        mindcv.create_model = models.create_model = slim_from(options.slim, before)
        sys.argv = [options.script, *options.rest]
        sys.path.insert(0, os.path.dirname(os.path.abspath(options.script)))
        runpy.run_path(options.script, run_name="__main__")
    finally:
        mindcv.create_model = models.create_model = before
        sys.argv, sys.path[:] = argv, path


if __name__ == "__main__":
    main()
