"""
Any network of mindcv, pruned: a checkpoint in; a slim file, ONNX and a card out.

    python prune_model.py --model mobilenet_v3_small_100 --checkpoint trained.ckpt --output pruned
    python prune_model.py --config mobilenet_v3_small.yaml --output pruned
"""
import os

os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX2")  # before MindSpore starts: 40 times faster on CPUs with AVX-512
os.environ.setdefault("GLOG_v", "3")

import argparse  # noqa: E402
import itertools  # noqa: E402
import json  # noqa: E402
from pathlib import Path  # noqa: E402

import mindcv  # noqa: E402
import mindspore as ms  # noqa: E402
import yaml  # noqa: E402
from mindcv.data import create_dataset, create_loader, create_transforms  # noqa: E402

import golden_stick as gs  # noqa: E402

# What is read of a configuration of mindcv's, and what holds where it says nothing.
DEFAULTS = {"model": None, "num_classes": 1000, "in_channels": 3, "ckpt_path": "", "image_resize": 224, "data_dir": "",
            "dataset": "", "train_split": "train", "batch_size": 64, "interpolation": "bicubic", "prune": {}}
BATCHES = 8


def parse(arguments=None) -> argparse.Namespace:
    """The configuration, with what the command line says in place of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", help="a YAML file as mindcv's are, with a section 'prune'")
    parser.add_argument("--model", help="a name of mindcv.list_models()")
    parser.add_argument("--checkpoint", dest="ckpt_path", help="of the trained network (default: random weights)")
    parser.add_argument("--num-classes", type=int)
    parser.add_argument("--image-size", dest="image_resize", type=int)
    parser.add_argument("--data", dest="data_dir", help="folder of images to solve the layers anew with")
    parser.add_argument("--prune", type=json.loads, help="keys of gs.OneShot as a JSON object (default: its defaults)")
    parser.add_argument("--output", required=True, help="folder for all that is written")
    told = {key: value for key, value in vars(parser.parse_args(arguments)).items() if value is not None}
    config = yaml.safe_load(Path(told["config"]).read_text(encoding="utf-8")) if "config" in told else {}
    options = argparse.Namespace(**{**DEFAULTS, **config, **told})
    if options.model is None or not mindcv.is_model(options.model):
        parser.error(f"--model must be a name of mindcv.list_models(), but got {options.model!r}")
    if options.ckpt_path and not os.path.isfile(options.ckpt_path):
        parser.error(f"--checkpoint must be a file, but got {options.ckpt_path!r}")
    return options


def calibration(options: argparse.Namespace):
    """Some batches of the training images, as mindcv prepares them for evaluation; None without a folder of them."""
    if not options.data_dir:
        return None
    found = create_dataset(options.dataset, root=options.data_dir, split=options.train_split, shuffle=True)
    transforms = create_transforms(options.dataset, image_resize=options.image_resize, is_training=False,
                                   interpolation=options.interpolation)
    loader = create_loader(found, options.batch_size, is_training=False, transform=transforms)
    return itertools.islice(loader.create_tuple_iterator(num_epochs=1), BATCHES)


def main(arguments=None) -> str:
    """Returns the path of the slim file."""
    options = parse(arguments)
    network = mindcv.create_model(options.model, options.num_classes, in_channels=options.in_channels,
                                  checkpoint_path=options.ckpt_path)
    network.set_train(False)
    inputs = (1, options.in_channels, options.image_resize, options.image_resize)
    # Queues between MindSpore's threads spin while they wait: on a CPU, they take it from the work.
    ms.set_context(mode=ms.PYNATIVE_MODE, pynative_synchronize=ms.get_context("device_target") == "CPU")
    algorithm = gs.OneShot(options.prune)
    slim = algorithm.convert(algorithm.apply(network, inputs), calibration_data=calibration(options))
    print(algorithm.report)
    folder = Path(options.output)
    folder.mkdir(parents=True, exist_ok=True)
    source = options.ckpt_path or "random weights"
    path = gs.save_slim(slim, folder / "slim.safetensors", {"model": options.model, "weights": source})
    gs.export(slim, inputs, str(folder / "slim"), file_format="ONNX")
    gs.pruning_card(algorithm.report, network, slim, {"source": f"mindcv {options.model}, {source}"}).save(
        str(folder / "card"))
    print(f"wrote slim.safetensors, slim.onnx, card.json and card.md to {folder}")
    return path


if __name__ == "__main__":
    main()
