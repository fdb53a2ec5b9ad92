"""Accuracy of a checkpoint.   python eval.py --config CONFIG --checkpoint FILE [--split test]"""
import os

os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX2")  # before MindSpore starts: 40 times faster on CPUs with AVX-512
os.environ.setdefault("GLOG_v", "3")

from options import parse_options  # noqa: E402
from training import accuracy, load_network, prepare, write_result  # noqa: E402


def main(arguments=None) -> float:
    """Evaluate a .ckpt, .npz or slim file on one split; returns the accuracy."""
    options = parse_options("eval", arguments, __doc__)
    if not options.checkpoint:
        raise SystemExit("eval.py: error: --checkpoint must name the file to evaluate")
    if options.split not in ("validation", "test"):
        raise SystemExit(f"eval.py: error: --split must be validation or test, but got {options.split!r}")
    splits = prepare(options)
    network = load_network(options.network, splits.classes, options.checkpoint)
    split = getattr(splits, options.split)
    found = accuracy(network, split, splits)
    name = os.path.splitext(os.path.basename(options.checkpoint))[0]
    write_result(options, f"eval_{name}_{options.split}", {"accuracy": found, "images": len(split)})
    print(f"{options.checkpoint}: {options.split} accuracy {found:.4f} on {len(split)} images")
    return found


if __name__ == "__main__":
    main()
