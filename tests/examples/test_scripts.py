"""The example's scripts, from options to files, on few images and epochs."""
import json
import os
import subprocess
import sys

import demo
import eval as evaluate
import export
import finetune
import prune
import pytest
import train

from tests.examples.conftest import ROOT

CONFIGS = ROOT / "examples" / "resnet_cifar10" / "configs"
DIGITS = ["--config", str(CONFIGS / "resnet20_digits.yaml")]


class TestRefusals:
    @pytest.mark.parametrize("script", [prune, finetune, evaluate, export])
    def test_checkpoint_is_asked_for(self, script):
        with pytest.raises(SystemExit, match="--checkpoint must name the"):
            script.main(DIGITS)

    def test_split(self):
        with pytest.raises(SystemExit, match="--split must be validation or test, but got 'train'"):
            evaluate.main(DIGITS + ["--checkpoint", "x.ckpt", "--split", "train"])


def test_step_by_step(tmp_path):
    output = ["--output", str(tmp_path), "--network", "resnet8"]
    short = ["--epochs", "1", "--train-limit", "256"]

    def file(name):
        return ["--checkpoint", str(tmp_path / name)]

    train.main(DIGITS + output + short)
    prune.main(DIGITS + output + short + file("network.ckpt") + ["--calibration-batches", "2", "--mixing", "joint"])
    finetune.main(DIGITS + output + short + file("slim.ckpt"))
    found = evaluate.main(DIGITS + output + file("finetuned.ckpt") + ["--split", "test"])
    export.main(DIGITS + output + file("finetuned.ckpt"))
    assert sorted(os.listdir(tmp_path)) == [
        "eval_finetuned_test.json", "finetune.json", "finetuned.ckpt", "finetuned.mindir", "knockoff.ckpt",
        "network.ckpt", "prune.json", "slim.ckpt", "train.json",
    ]
    assert 0.05 < found <= 1
    record = json.loads((tmp_path / "prune.json").read_text())
    assert record["report"]["macs"]["after"] < 0.5 * record["report"]["macs"]["before"]
    assert record["report"]["largest_difference"] <= 1e-5 * record["report"]["output_scale"]
    assert record["options"]["prune_rate"] == 0.45 and record["options"]["seed"] == 0


def pruned(folder, config, *more):
    """The report of prune.py on a ResNet-8 that was hardly trained."""
    base = ["--config", str(CONFIGS / config), "--network", "resnet8", "--source", "digits", "--output", str(folder),
            "--batch-size", "64", "--train-limit", "128"]
    train.main([*base, "--epochs", "1"])
    prune.main([*base, *more, "--checkpoint", str(folder / "network.ckpt"), "--calibration-batches", "1"])
    return json.loads((folder / "prune.json").read_text())["report"]


def test_the_published_form(tmp_path):
    report = pruned(tmp_path, "resnet56_published.yaml", "--epochs", "1")
    asked = {"mixing": "joint", "residual": "scatter", "prune_rate": 0.45, "sampler": "permutation"}
    assert {key: report["config"][key] for key in asked} == asked
    widths = {layer["path"]: layer["after"] for layer in report["layers"]}
    # Each branch has lost channels of its own, and the stream none.
    assert widths["layer1.0.conv2"] < 16 and widths["conv1"] == 16


@pytest.mark.long
def test_a_sampler_that_is_fitted(tmp_path):
    report = pruned(tmp_path, "resnet20_digits.yaml", "--epochs", "10", "--turn-steps", "1", "--sampler", "gaussian")
    assert report["config"]["sampler"] == "gaussian"


def test_the_schedule_of_the_scales():
    options = type("Options", (), {"schedule": "cosine", "learning_rate": 0.5})
    assert prune.schedule_of(options, 2) == pytest.approx([0.5, 0.25])
    options.schedule = "constant"
    assert prune.schedule_of(options, 2) == 0.5
    options.schedule = "linear"
    with pytest.raises(SystemExit, match="--schedule must be cosine or constant, but got 'linear'"):
        prune.schedule_of(options, 2)


def test_demo(tmp_path, capsys):
    result = demo.main(["--epochs", "1", "--knockoff-epochs", "1", "--finetune-epochs", "1", "--train-limit", "256",
                        "--mixing", "joint", "--rounds", "3", "--output", str(tmp_path)])
    text = capsys.readouterr().out
    for row in ("[8/8]", "test accuracy", "parameters", "MACs", "checkpoint, bytes", "MindIR, bytes",
                "latency, batch 1, ms", "latency, batch 32, ms", "largest difference between masked and slim outputs"):
        assert row in text
    card = json.loads((tmp_path / "card.json").read_text())
    assert card["parameters"]["before"] == 269_722
    # All that the demo does not measure; the page says how to.
    assert [text.split(": ")[0] for text in card["not_tested"]] == [
        *(f"accuracy, {stage}{more}" for stage, more in (
            ("original", ", deviation"), ("pruned", ""), ("statistics re-estimated", ", deviation"),
            ("fine-tuned", ", deviation"))),
        "fine tuning, equal for all", *(f"controls, {name}" for name in ("random", "l1", "taylor", "from scratch")),
        "selector, eps, delta", "certificate", "other data than those named here",
        "other measures than accuracy", "other hardware and batch sizes than those named here"]
    assert card["control"]["kind"] == "permutation: a control" and card["discordance"]["images"] == 360
    assert {item["name"] for item in card["latency"]["measurements"]} == {"original", "slim"}
    assert set(card["peak_memory"]) == {"original", "slim"} and card["data"]["train"]["lossless"] is True
    saved = json.loads((tmp_path / "result.json").read_text())
    assert saved["parameters"] == result["parameters"] and saved["parameters"]["before"] == 269_722
    assert saved["largest_difference"] <= 1e-5 * saved["output_scale"] and saved["largest_difference_reloaded"] == 0.0


@pytest.mark.parametrize("mode", ["graph", pytest.param("pynative", marks=pytest.mark.long)])
def test_custom_loop(mode):
    run = subprocess.run([sys.executable, str(ROOT / "examples" / "custom_loop.py"), "--mode", mode, "--epochs", "2"],
                         capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    after = float(run.stdout.rsplit("before, ", 1)[1].split()[0])
    assert after > 0.7


@pytest.mark.parametrize("script, arguments", [
    ("run_standalone_train.sh", []), ("run_distribute_train.sh", ["two", "x.yaml"]), ("run_distribute_train.sh", []),
    ("run_eval.sh", ["x.yaml"]), ("run_convert.sh", ["net.py:build", "x.ckpt"]),
])
def test_shell_scripts_say_how_they_are_used(script, arguments):
    run = subprocess.run(["bash", str(ROOT / "scripts" / script), *arguments], capture_output=True, text=True)
    assert run.returncode == 2 and run.stderr.startswith(f"usage: bash scripts/{script}")


def test_custom_rule():
    run = subprocess.run([sys.executable, str(ROOT / "examples" / "custom_rule.py")], capture_output=True, text=True,
                         check=True)
    lines = run.stdout.splitlines()
    assert lines[0] == "first convolution: 16 -> 16 filters operator 'Lgamma' has no rule (Lgamma after '0')"
    assert lines[1].startswith("first convolution: 16 -> 16 filters meets a tensor that keeps its width")
    assert lines[2] == "first convolution: 16 -> 8 filters"


def test_custom_format():
    run = subprocess.run([sys.executable, str(ROOT / "examples" / "custom_format.py")], capture_output=True, text=True,
                         check=True)
    lines = run.stdout.splitlines()
    assert lines[0].startswith("slim.npz: ['Conv2D', 'BiasAdd', 'ReLU', 'Conv2D'")
    assert lines[1] == "0.weight (8, 3, 3, 3), 0.bias (8,), 3.weight (4, 8, 3, 3)"


def test_custom_layer():
    run = subprocess.run([sys.executable, str(ROOT / "examples" / "custom_layer.py")], capture_output=True, text=True,
                         check=True)
    lines = run.stdout.splitlines()
    assert lines[0] == "kernel (8, 3, 3, 3), features 16; behind it: BatchNorm2d"
    assert lines[1].startswith("For 'SCOP', 'network' must have a layer whose filters can be removed")
    assert lines[2:] == ["kernel (8, 3, 3, 3), features 8; behind it: Identity", "SCOP trains [(16,)]"]
