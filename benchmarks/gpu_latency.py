"""
What pruning gains on a GPU: our ONNX files in PyTorch. Three commands, since the GPU may be another machine's.

    python benchmarks/gpu_latency.py export                 ONNX files without weights, some MiB; needs MindSpore
    python benchmarks/gpu_latency.py time                   seconds of each, six minutes; needs torch, onnx2torch, onnx,
                                                            onnxruntime and, but with --device cpu, a CUDA GPU
    python benchmarks/gpu_latency.py page                   from docs/gpu.json to docs/gpu.md

Each network is pruned to 45 % of its MACs, to widths of any number and to multiples of 16 and of 64; the native twin
was built by hand at the widths of the second. Weights are drawn where the files are timed: of a latency, they do not
matter. What the page says of the method stands in benchmarks/gpu_parts/page.py.
"""
import json
from pathlib import Path

from common import ROOT, command_line, write_json, write_page
from deployment_parts.tables import IMAGE, VITS

FOLDER = ROOT / "outputs" / "gpu"
SIZES = {"resnet50": IMAGE["resnet50"], "mobilenet_v2": IMAGE["mobilenet_v2"], "vit_b": VITS["vit_b"][0]}
LEFT = 0.45
# Variant -> options of gs.OneShot, besides the MACs that are left. Whole heads stay as wide as kernels are made for.
VARIANTS = {"slim": {"round_to": 1}, "slim16": {"round_to": 16}, "slim64": {"round_to": 64}}
WHOLE_HEADS = {"slim heads": {"round_to": 64, "heads": "whole"}}
TWIN_OF = "slim16"
PRECISIONS, BATCHES = ("float16", "TF32", "float32"), (1, 32, 256)


def variants_of(name, size):
    """Variant -> network: the original, slim ones, and the twin of one of them."""
    from deployment_parts.measure import make
    found = {}
    for variant, config in {**VARIANTS, **(WHOLE_HEADS if name in VITS else {})}.items():
        made, _ = make(name, size, {"target_macs": LEFT, **config})
        found.setdefault("original", made["original"])
        found[variant] = made["slim"]
        if variant == TWIN_OF:
            found["twin"] = made["twin"]
        print(f"{name}: {variant}", flush=True)
    return found


def export(name, size, folder):
    """The files of one network, without weights, and what is to be known of them."""
    import onnx
    from deployment_parts.networks import widths_of
    from gpu_parts.stubs import stub

    import golden_stick as gs
    from golden_stick.graph.plan import count_macs
    shape, variants = (1, 3, size, size), {}
    for variant, network in variants_of(name, size).items():
        path = folder / f"{name}_{variant.replace(' ', '_')}.onnx"
        gs.export(gs.fold(network, shape), shape, path, file_format="ONNX")
        path.write_bytes(stub(onnx.load(path)).SerializeToString())
        variants[variant] = {"file": path.name, "macs": count_macs(gs.trace(network, shape)),
                             "parameters": sum(parameter.size for parameter in network.get_parameters()),
                             "widths": list(widths_of(network).values())}
    return {"size": size, "channels_last": name not in VITS, "variants": variants}


def export_all(options):
    import mindspore as ms

    import golden_stick as gs
    options.folder.mkdir(parents=True, exist_ok=True)
    index = options.folder / "index.json"
    record = json.loads(index.read_text()) if index.is_file() else {"networks": {}}
    record["made by"] = {"golden_stick": gs.__version__, "MindSpore": ms.__version__}
    for name in options.networks:
        record["networks"][name] = export(name, SIZES[name], options.folder)
        write_json(index, record)
    print(f"wrote {options.folder}, {sum(path.stat().st_size for path in options.folder.iterdir()) / 2**20:.1f} MiB")


def time_files(options):
    from gpu_parts.timing import time_all
    index = json.loads((options.folder / "index.json").read_text())
    time_all(index, options.folder, options, lambda record: write_json(options.output, record))


def write(options):
    from gpu_parts.page import page
    source = options.page.with_suffix(".json")
    write_page(options.page, page(json.loads(source.read_text()) if source.is_file() else None))


def main(arguments=None):
    parser = command_line(__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, run, about in (("export", export_all, "ONNX files without weights"), ("time", time_files, "seconds"),
                             ("page", write, "docs/gpu.md")):
        command = commands.add_parser(name, help=about)
        command.set_defaults(run=run)
        if name == "page":
            command.add_argument("--page", type=Path, default=ROOT / "docs/gpu.md", help="its JSON stands beside it")
            continue
        command.add_argument("--networks", nargs="+", choices=tuple(SIZES), default=list(SIZES))
        command.add_argument("--folder", type=Path, default=FOLDER, help="of the files (default: outputs/gpu)")
        if name == "time":
            command.add_argument("--output", type=Path, default=ROOT / "outputs" / "gpu.json")
            command.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
            command.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
            command.add_argument("--batches", nargs="+", type=int, default=list(BATCHES))
            command.add_argument("--seconds", type=float, default=4.0, help="to measure each row (default: 4)")
            command.add_argument("--budget", type=float, default=330.0, help="seconds in all (default: 330)")
    options = parser.parse_args(arguments)
    options.run(options)


if __name__ == "__main__":
    main()
