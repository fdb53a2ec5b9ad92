"""Export a checkpoint to MindIR.   python export.py --config CONFIG --checkpoint FILE [--export-batch 1]"""
import os

os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX2")  # before MindSpore starts: 40 times faster on CPUs with AVX-512
os.environ.setdefault("GLOG_v", "3")

from options import parse_options  # noqa: E402
from training import load_network, prepare  # noqa: E402

import golden_stick as gs  # noqa: E402


def main(arguments=None) -> str:
    """Export a .ckpt, .npz or slim file; the loaded MindIR is compared with the network. Returns its path."""
    options = parse_options("export", arguments, __doc__)
    if not options.checkpoint:
        raise SystemExit("export.py: error: --checkpoint must name the file to export")
    splits = prepare(options)
    network = load_network(options.network, splits.classes, options.checkpoint)
    name = os.path.splitext(os.path.basename(options.checkpoint))[0]
    path = gs.export(network, (options.export_batch, 3, 32, 32), os.path.join(options.output, name))
    print(f"{options.checkpoint} -> {path}, {os.path.getsize(path):,} bytes, checked")
    return path


if __name__ == "__main__":
    main()
