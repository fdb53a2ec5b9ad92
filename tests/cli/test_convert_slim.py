"""`golden-stick convert`: the weights of slim networks with their recipe, folding, ONNX options, ranks."""
import json
import re
import sys
from pathlib import Path

import mindspore as ms
import numpy as np
import onnx
import pytest
from mindspore import Tensor

import golden_stick as gs
from golden_stick.base.errors import CheckpointError
from golden_stick.cli.networks import fill
from golden_stick.deploy.slim_file import read_slim
from golden_stick.graph.plan import KeptAxis, PruningPlan
from golden_stick.scop import FeatureSampler
from tests.cli.test_convert import (
    SHAPE,
    build,
    convert,
    fails,
    folder,
    holds,
    items,
    knockoff_phase,
    masked,
    network,
    one_shot,
    run,
    tuned_weights,
)

__all__ = ["folder"]  # a fixture


def slim_by_hand():
    """Nothing is traced."""
    kept, size = (0, 2, 3, 6), 8
    axes = [KeptAxis("0.weight", 0, size, kept), KeptAxis("3.weight", 1, size, kept)]
    axes += [KeptAxis(f"1.{name}", 0, size, kept) for name in ("gamma", "beta", "moving_mean", "moving_variance")]
    return gs.slim(build(), PruningPlan(tuple(axes), (), (), ()))


def by_rank(values, split):
    """Two ranks' files and their strategy; of each parameter in `split`, a rank has half of axis 0."""
    for rank in range(2):
        Path(f"ranks/rank_{rank}").mkdir(parents=True)
        part = {name: np.split(array, 2)[rank] if name in split else array for name, array in values.items()}
        ms.save_checkpoint([{"name": name, "data": Tensor(array.copy())} for name, array in part.items()],
                           f"ranks/rank_{rank}/net.ckpt")
    Path("strategy.json").write_text(json.dumps({"parallel_layout_item": {
        name: {"dev_matrix": [2], "tensor_map": [0] + [-1] * (values[name].ndim - 1), "field": 0,
               "opt_weight_shard_size": 0, "opt_weight_shard_step": 0} for name in split}}))
    return "--checkpoint ranks --strategy strategy.json"


def arrays(cell):
    return {item.name: item.asnumpy() for item in cell.get_parameters()}


def test_weights_of_a_slim_network_with_its_recipe():
    slim = slim_by_hand()
    gs.save_slim(slim, "slim", {"accuracy": 0.5})
    values = tuned_weights(slim, "tuned.ckpt")
    ms.save_checkpoint([{"name": name, "data": Tensor(array)} for name, array in values.items()], "tuned.safetensors",
                       format="safetensors")
    assert convert("--checkpoint tuned.safetensors --recipe slim.safetensors --output out --mindir out") == 0
    file = read_slim("out.safetensors")
    assert file.steps == read_slim("slim.safetensors").steps
    # They speak of other weights.
    assert dict(file.metadata) == {}
    for name, array in values.items():
        np.testing.assert_array_equal(file.values[name], array)
    assert gs.load_slim(network(), "out.safetensors")[0].out_channels == 4 and Path("out.mindir").exists()


def test_weights_of_a_slim_network_by_rank():
    slim = slim_by_hand()
    gs.save_slim(slim, "slim")
    values = tuned_weights(slim, "tuned.ckpt")
    line = by_rank(values, ("0.weight", "3.weight"))
    assert convert(f"{line} --recipe slim.safetensors --output out.ckpt") == 0
    np.testing.assert_array_equal(read_slim("out.ckpt").values["0.weight"], values["0.weight"])
    np.testing.assert_array_equal(read_slim("out.ckpt").values["3.weight"], values["3.weight"])


def test_weights_that_are_not_of_the_recipe(capsys):
    slim = slim_by_hand()
    gs.save_slim(slim, "slim")
    whole = items(slim.get_parameters())
    for name, held, message in (
            ("original", items(build().get_parameters()), "but: For 'golden-stick', '0.weight' in 'original.ckpt' must "
             "have shape (4, 3, 3, 3), but got (8, 3, 3, 3)."),
            ("part", whole[:-1], "but: For 'golden-stick', '--checkpoint' must hold the network's parameter '8.bias', "
             "but 'part.ckpt' does not"),
            ("more", whole + [{"name": "9.bias", "data": Tensor(np.ones(4, np.float32))}], "but 'more.ckpt' also holds "
             "'9.bias'")):
        ms.save_checkpoint(held, f"{name}.ckpt")
        fails(f"--checkpoint {name}.ckpt --recipe slim.safetensors --output out",
              "'--checkpoint' must hold the weights of the slim network of 'slim.safetensors', ", capsys)
        fails(f"--checkpoint {name}.ckpt --recipe slim.safetensors --output out", message, capsys)
    ms.save_checkpoint(whole, "tuned.ckpt")
    fails("--checkpoint tuned.ckpt --recipe slim.safetensors --output slim", "'--output' must be a file of its own, "
          "but got 'slim.safetensors', which another option names", capsys)


def test_what_looks_like_weights_of_a_slim_network():
    whole = arrays(network())
    fill(network(), whole, "net.ckpt", remedy=": do this")
    for changed, said in (({"0.weight": np.ones((9, 3, 3, 3)), "8.bias": np.ones(3)}, "but got (9, 3, 3, 3)."),
                          ({"8.bias": np.ones((3, 1))}, "but got (3, 1)."), ({"8.bias": None}, "does not; it holds"),
                          ({"8.bias": np.ones(3)}, "'8.bias' in 'net.ckpt' must have shape (4,), but got (3,): do t")):
        values = {name: array for name, array in {**whole, **changed}.items() if array is not None}
        with pytest.raises(CheckpointError, match=re.escape(said)):
            fill(network(), values, "net.ckpt", remedy=": do this")


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_packages_for_onnx_are_missed_before_any_work(package, monkeypatch, capsys):
    ms.save_checkpoint(build(), "trained.ckpt")
    monkeypatch.setitem(sys.modules, package, None)
    before = sorted(Path.cwd().rglob("*"))
    for command in ("convert --checkpoint trained.ckpt --onnx out", "prune --output slim --onnx out",
                    "export --checkpoint trained.ckpt --output out.onnx"):
        assert run(f"{command} --network resnet.py:resnet20 --inputs 1,3,32,32") == 2
        said = capsys.readouterr()
        assert f".onnx files must have the package '{package}', which is not installed" in said.err
        assert said.out == ""
    assert sorted(Path.cwd().rglob("*")) == before


def opset_of(path):
    return next(one.version for one in onnx.load(path).opset_import if one.domain == "")


def test_opset_of_a_slim_network(capsys):
    gs.save_slim(slim_by_hand(), "slim")
    assert convert("--checkpoint slim.safetensors --onnx slim.onnx --opset 15") == 0
    assert opset_of("slim.onnx") == 15
    fails("--checkpoint slim.safetensors --output out --opset 15", "'--opset' must stand with '--onnx', but that is "
          "not given", capsys)


def test_fold_of_an_original(capsys):
    ms.save_checkpoint(build(), "trained.ckpt")
    assert convert("--checkpoint trained.ckpt --prune-rate 0.45 --fold --output out --onnx out --opset 14") == 0
    assert opset_of("out.onnx") == 14
    assert "2 of 2 batch normalizations folded" in capsys.readouterr().out
    holds("out.safetensors", gs.fold(one_shot({"prune_rate": 0.45}), SHAPE))
    assert [type(step).__name__ for step in read_slim("out.safetensors").steps] == ["PruningPlan", "Folding"]


def test_a_knockoff_phase_by_rank_and_folded():
    algorithm, phase = knockoff_phase({"prune_rate": 0.45})
    line = by_rank(arrays(phase), ("3.weight", "3.real_scale", "3.frozen_scale", "8.weight"))
    slim = algorithm.convert(phase)
    assert convert(f"{line} --prune-rate 0.45 --fold --output folded") == 0
    holds("folded.safetensors", gs.fold(slim, SHAPE))


def test_a_masked_network_by_rank_and_folded():
    algorithm, applied = masked(momentum=0.9)
    line = by_rank(arrays(applied), ("0.weight", "1.gamma", "8.weight"))
    assert convert(f"{line} --output out --fold") == 0
    holds("out.safetensors", gs.fold(algorithm.convert(applied), SHAPE))


def test_a_phase_with_knockoffs_of_features(capsys):
    """Their law stands in the checkpoint: no data are needed."""
    images = np.random.default_rng(0).normal(size=(16, *SHAPE[1:])).astype(np.float32)
    algorithm, phase = knockoff_phase({"prune_rate": 0.45, "sampler": FeatureSampler([images]), "draws": 2})
    ms.save_checkpoint(phase, "features.ckpt")
    assert convert("--checkpoint features.ckpt --prune-rate 0.45 --output out --report report.json") == 0
    slim = algorithm.convert(phase)
    holds("out.safetensors", slim)
    assert read_slim("out.safetensors").steps == slim.slim_recipe.steps
    assert json.loads(Path("report.json").read_text())["config"]["sampler"] == "feature"
    values = items(phase.get_parameters())
    ms.save_checkpoint([one for one in values if one["name"] != "3.knockoff_root"], "part.ckpt")
    fails("--checkpoint part.ckpt --output other", "the network's parameter '3.knockoff_root', but 'part.ckpt' does "
          "not", capsys)
