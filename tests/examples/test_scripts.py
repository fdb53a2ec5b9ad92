"""The example's scripts, from options to files, on few images and epochs."""
import json
import os
import re
import runpy
import shutil
import subprocess

import demo
import eval as evaluate
import export
import finetune
import prune
import pytest
import train

from golden_stick.cells import slim
from golden_stick.deploy.formats import FORMATS
from golden_stick.graph.layers import LAYERS
from golden_stick.graph.rules import RULES
from tests.examples.conftest import EXAMPLES, ROOT

CONFIGS = ROOT / "examples" / "resnet_cifar10" / "configs"
DIGITS = ["--config", str(CONFIGS / "resnet20_digits.yaml")]
# Nothing is compiled; the demo runs in graph mode.
PLAIN = ["--network", "resnet8", "--mode", "pynative"]
SHORT = [*PLAIN, "--epochs", "1", "--train-limit", "128"]


class TestRefusals:
    @pytest.mark.parametrize("script", [prune, finetune, evaluate, export])
    def test_checkpoint_is_asked_for(self, script):
        with pytest.raises(SystemExit, match="--checkpoint must name the"):
            script.main(DIGITS)

    def test_warmup(self):
        with pytest.raises(SystemExit, match=r"--warmup must be in \[0, 1\), but got 1.5"):
            finetune.main(DIGITS + ["--checkpoint", "x.ckpt", "--warmup", "1.5"])

    def test_split(self):
        with pytest.raises(SystemExit, match="--split must be validation or test, but got 'train'"):
            evaluate.main(DIGITS + ["--checkpoint", "x.ckpt", "--split", "train"])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """What train.py leaves of a ResNet-8 that it hardly trains."""
    folder = tmp_path_factory.mktemp("trained")
    train.main([*DIGITS, *SHORT, "--output", str(folder)])
    return folder


def pruned(trained, folder, config, *more):
    """The record of prune.py on that network."""
    prune.main(["--config", str(CONFIGS / config), *SHORT, "--source", "digits", "--batch-size", "64", *more,
                "--checkpoint", str(trained / "network.ckpt"), "--calibration-batches", "1", "--output", str(folder)])
    return json.loads((folder / "prune.json").read_text())


def test_step_by_step_in_the_published_form(trained, tmp_path):
    def file(name):
        return ["--output", str(tmp_path), "--checkpoint", str(tmp_path / name)]

    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    record = pruned(trained, tmp_path, "resnet56_published.yaml", "--resume")
    finetune.main(DIGITS + SHORT + file("slim.ckpt") + ["--teacher", str(tmp_path / "network.ckpt")])
    found = evaluate.main(DIGITS + PLAIN + file("finetuned.ckpt") + ["--split", "test"])
    export.main(DIGITS + PLAIN + file("finetuned.ckpt"))
    assert sorted(os.listdir(tmp_path)) == [
        "eval_finetuned_test.json", "finetune.json", "finetuned.ckpt", "finetuned.mindir", "knockoff.ckpt",
        "knockoff_state.ckpt", "network.ckpt", "prune.json", "slim.ckpt", "train.json",
    ]
    assert 0.05 < found <= 1
    report = record["report"]
    assert report["macs"]["after"] < 0.5 * report["macs"]["before"]
    assert report["largest_difference"] <= 1e-5 * report["output_scale"]
    assert record["options"]["prune_rate"] == 0.45 and record["options"]["seed"] == 0
    asked = {"mixing": "joint", "residual": "scatter", "prune_rate": 0.45, "sampler": "permutation", "score": "gamma"}
    assert {key: report["config"][key] for key in asked} == asked
    widths = {layer["path"]: layer["after"] for layer in report["layers"]}
    # Each branch has lost channels of its own, and the stream none.
    assert widths["layer1.0.conv2"] < 16 and widths["conv1"] == 16


@pytest.mark.long
def test_a_sampler_that_is_fitted(trained, tmp_path):
    record = pruned(trained, tmp_path, "resnet20_digits.yaml", "--epochs", "10", "--turn-steps", "1", "--sampler",
                    "gaussian")
    assert record["report"]["config"]["sampler"] == "gaussian"


def test_the_schedule_of_the_scales():
    options = type("Options", (), {"schedule": "cosine", "learning_rate": 0.5})
    assert prune.schedule_of(options, 2) == pytest.approx([0.5, 0.25])
    options.schedule = "constant"
    assert prune.schedule_of(options, 2) == 0.5
    options.schedule = "linear"
    with pytest.raises(SystemExit, match="--schedule must be cosine or constant, but got 'linear'"):
        prune.schedule_of(options, 2)


@pytest.mark.parametrize("network, parameters", [
    ("resnet8", 75_290), pytest.param("resnet20", 269_722, marks=pytest.mark.long)])
def test_demo(network, parameters, tmp_path, capsys):
    result = demo.main(["--network", network, "--epochs", "1", "--knockoff-epochs", "1", "--finetune-epochs", "1",
                        "--train-limit", "128", "--mixing", "joint", "--rounds", "1", "--output", str(tmp_path)])
    text = capsys.readouterr().out
    for row in ("[8/8]", "test accuracy", "parameters", "MACs", "checkpoint, bytes", "MindIR, bytes",
                "latency, batch 1, ms", "latency, batch 32, ms", "largest difference between masked and slim outputs"):
        assert row in text
    card = json.loads((tmp_path / "card.json").read_text())
    assert card["parameters"]["before"] == parameters
    # All that the demo does not measure; the page says how to.
    assert [text.split(": ")[0] for text in card["not_tested"]] == [
        *(f"accuracy, {stage}{more}" for stage, more in (
            ("original", ", deviation"), ("pruned", ""), ("recovered", ", deviation"),
            ("fine-tuned", ", deviation"))),
        "fine tuning, equal for all", *(f"controls, {name}" for name in ("random", "l1", "taylor", "from scratch")),
        "selector, eps, delta", "certificate", "other data than those named here",
        "other measures than accuracy", "other hardware and batch sizes than those named here"]
    assert card["control"]["kind"] == "permutation: a control" and card["discordance"]["images"] == 360
    assert {item["name"] for item in card["latency"]["measurements"]} == {"original", "slim"}
    assert set(card["peak_memory"]) == {"original", "slim"} and card["data"]["train"]["lossless"] is True
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert all(f">{title}</h2>" in page for title in ("Widths", "Scores", "Scales", "Reconstruction", "Latency"))
    saved = json.loads((tmp_path / "result.json").read_text())
    assert saved["parameters"] == result["parameters"] and saved["parameters"]["before"] == parameters
    assert saved["largest_difference"] <= 1e-5 * saved["output_scale"] and saved["largest_difference_reloaded"] == 0.0


def test_the_table_of_several_demos_is_what_they_range_over(tmp_path, capsys):
    def result(seed, pruned, after, ms):
        sides = {"before": 200, "after": after}
        return {**dict.fromkeys(demo.ASKED, 1), "seed": seed, "machine": "one", "seconds": 60.0, "output_scale": 2.0,
                "accuracy": {"before": 0.9, "pruned": pruned, "finetuned": 0.8}, "largest_difference": 1e-6 * seed,
                "foreign_load": 0.0, "latency_ms": {"1": {"before": 4.0, "after": ms}}, **dict.fromkeys((
                    "parameters", "macs", "checkpoint_bytes", "mindir_bytes"), sides)}

    for seed, record in enumerate((result(1, 0.5, 100, 2.0), result(2, 0.6, 80, 1.0), result(3, 0.55, 90, 1.5))):
        (tmp_path / f"{seed}.json").write_text(json.dumps(record))
    paths = [str(tmp_path / f"{seed}.json") for seed in range(3)]
    assert demo.main(["--results", *paths]) is None
    rows = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert rows[:4] == ["before after ratio", "test accuracy 0.900 0.800", "before fine-tuning 0.500 to 0.600",
                        "parameters 200 80 to 100 2.00 to 2.50"]
    assert "latency, batch 1, ms 4.00 1.00 to 2.00 2.00 to 4.00" in rows and rows[-1] == "one; seed 3; 60 s"
    assert "largest difference between masked and slim outputs: 3.00e-06 (largest output 2.00)" in rows
    (tmp_path / "1.json").write_text(json.dumps({**result(2, 0.6, 80, 1.0), "foreign_load": 0.5}))
    demo.main(["--results", *paths])
    text = capsys.readouterr().out
    assert "latency, batch" not in text and "other processes kept 0.5 processors busy; it is left out" in text
    assert "latency, batch 1, ms" in demo.table([result(2, 0.6, 80, 1.0)])
    (tmp_path / "2.json").write_text(json.dumps({**result(3, 0.5, 90, 1.5), "mixing": "joint"}))
    with pytest.raises(SystemExit, match="must be of runs that did the same, but 'mixing' is 'joint' in .*2.json and"):
        demo.main(["--results", *paths])


def test_the_readmes_have_the_demos_numbers(capsys):
    demo.main(["--results", *map(str, sorted((EXAMPLES / "resnet_cifar10" / "results").glob("*.json")))])
    printed = capsys.readouterr().out
    assert f"```text\n{printed}```" in (EXAMPLES / "resnet_cifar10" / "README.md").read_text(encoding="utf-8")
    rows = [re.split(r"  +", line.strip()) for line in printed.splitlines()]
    (_, before, tuned), (_, solved) = rows[1:3]
    for name in ("README.md", "README_CN.md"):
        assert f" | {before} | {solved} | {tuned} |" in (ROOT / name).read_text(encoding="utf-8")


@pytest.fixture
def printed(capsys, monkeypatch):
    """Runs a script as `python` does, in this process, and gives the lines that it prints."""
    tables = [(table, dict(table)) for table in (RULES, LAYERS, FORMATS._items, slim._RESIZERS)]

    def run(name, *arguments):
        path = str(EXAMPLES / name)
        monkeypatch.setattr("sys.argv", [path, *arguments])
        runpy.run_path(path, run_name="__main__")
        return capsys.readouterr().out.splitlines()

    yield run
    for table, rows in tables:
        table.clear()
        table.update(rows)


@pytest.mark.parametrize("mode", [pytest.param("graph", marks=pytest.mark.long), "pynative"])
def test_custom_loop(mode, printed):
    lines = printed("custom_loop.py", "--mode", mode, "--epochs", "1")
    assert float(lines[-1].rsplit("before, ", 1)[1].split()[0]) > 0.7


@pytest.mark.parametrize("script, arguments", [
    ("run_standalone_train.sh", []), ("run_distribute_train.sh", ["two", "x.yaml"]), ("run_distribute_train.sh", []),
    ("run_eval.sh", ["x.yaml"]), ("run_convert.sh", ["net.py:build", "x.ckpt"]),
])
def test_shell_scripts_say_how_they_are_used(script, arguments):
    run = subprocess.run(["bash", str(ROOT / "scripts" / script), *arguments], capture_output=True, text=True)
    assert run.returncode == 2 and run.stderr.startswith(f"usage: bash scripts/{script}")


def test_custom_rule(printed):
    lines = printed("custom_rule.py")
    assert lines[0] == "first convolution: 16 -> 16 filters operator 'Lgamma' has no rule (Lgamma after '0')"
    assert lines[1].startswith("first convolution: 16 -> 16 filters meets a tensor that keeps its width")
    assert lines[2] == "first convolution: 16 -> 8 filters"


def test_custom_format(printed):
    lines = printed("custom_format.py")
    assert lines[0].startswith("slim.npz: ['Conv2D', 'BiasAdd', 'ReLU', 'Conv2D'")
    assert lines[1] == "0.weight (8, 3, 3, 3), 0.bias (8,), 3.weight (4, 8, 3, 3)"


def test_custom_layer(printed):
    lines = printed("custom_layer.py")
    assert lines[0] == "kernel (8, 3, 3, 3), features 16; behind it: BatchNorm2d"
    assert lines[1].startswith("For 'SCOP', 'network' must have a layer whose filters can be removed")
    assert lines[2:] == ["kernel (8, 3, 3, 3), features 8; behind it: Identity", "SCOP trains [(16,)]"]
