"""A network of mindcv from a checkpoint to files, and on through a training script as mindcv's is."""
import sys

import mindspore as ms
import numpy as np
import pytest

mindcv = pytest.importorskip("mindcv", reason="mindcv is absent: pip install --no-deps mindcv==0.3.0")

import golden_stick as gs  # noqa: E402
from golden_stick.cli import main as golden_stick  # noqa: E402
from tests.examples.conftest import EXAMPLES  # noqa: E402

sys.path.insert(0, str(EXAMPLES / "mindcv_models"))

import finetune_slim  # noqa: E402
import prune_model  # noqa: E402

MODEL, SIZE = "mobilenet_v3_small_075", 32
# What mindcv's train.py does with its pieces, on images of noise.
SCRIPT = """
import sys

import mindspore as ms
import numpy as np
from mindcv.loss import create_loss
from mindcv.models import create_model
from mindcv.optim import create_optimizer
from mindcv.scheduler import create_scheduler

_, model, target = sys.argv
network = create_model(model_name=model, num_classes=10, pretrained=False, checkpoint_path="not_there.ckpt")
loss = create_loss(name="CE", label_smoothing=0.1)
rates = create_scheduler(2, scheduler="cosine_decay", lr=0.01, warmup_epochs=0, decay_epochs=1, num_epochs=1)
optimizer = create_optimizer(network.trainable_params(), opt="momentum", lr=rates, weight_decay=4e-5)
images = np.random.default_rng(0).normal(size=(8, 3, 32, 32)).astype(np.float32)
data = ms.dataset.NumpySlicesDataset((images, np.arange(8, dtype=np.int32))).batch(4)
ms.Model(network, loss, optimizer).train(1, data, dataset_sink_mode=False)
ms.save_checkpoint(network, target)
"""


def build():
    return mindcv.create_model(MODEL, num_classes=10)


@pytest.mark.long  # mindcv builds, traces and exports for half a minute
def test_from_a_checkpoint_to_files_and_through_a_training_script(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    ms.save_checkpoint(build(), "trained.ckpt")
    (tmp_path / "net.yaml").write_text(f"model: {MODEL}\nnum_classes: 10\nimage_resize: {SIZE}\n"
                                       "ckpt_path: trained.ckpt\nopt: momentum\nprune:\n  prune_rate: 0.25\n")
    path = prune_model.main(["--config", "net.yaml", "--output", "pruned"])
    assert sorted(item.name for item in (tmp_path / "pruned").iterdir()) == [
        "card.json", "card.md", "slim.onnx", "slim.safetensors"]
    assert "mindcv mobilenet_v3_small_075, trained.ckpt" in (tmp_path / "pruned" / "card.json").read_text()
    slim = gs.load_slim(build(), path)
    sizes = [sum(item.size for item in network.get_parameters()) for network in (slim, build())]
    assert sizes[0] < 0.8 * sizes[1]

    (tmp_path / "train.py").write_text(SCRIPT)
    before = mindcv.models.create_model
    finetune_slim.main([path, "train.py", MODEL, "tuned.ckpt"])
    assert mindcv.models.create_model is before is mindcv.create_model
    tuned = ms.load_checkpoint("tuned.ckpt")
    held = {item.name: item.asnumpy() for item in slim.trainable_params()}
    assert all(tuned[name].shape == value.shape for name, value in held.items())
    assert any((tuned[name].asnumpy() != value).any() for name, value in held.items())

    text = f"import mindcv\n\n\ndef build():\n    return mindcv.create_model('{MODEL}', 10)\n"
    (tmp_path / "net.py").write_text(text)
    line = f"convert --network net.py:build --inputs 1,3,{SIZE},{SIZE} --recipe {path} --checkpoint tuned.ckpt"
    assert golden_stick([*line.split(), "--output", "again.safetensors"]) == 0
    again = gs.load_slim(build(), "again.safetensors")
    assert all(np.array_equal(item.asnumpy(), tuned[item.name].asnumpy()) for item in again.get_parameters())


@pytest.mark.parametrize("line, message", [("--model no_such_net", "--model must be a name of mindcv.list_models()"),
                                           (f"--model {MODEL} --checkpoint no.ckpt", "--checkpoint must be a file")])
def test_what_is_missing_is_named(line, message, capsys):
    with pytest.raises(SystemExit):
        prune_model.main([*line.split(), "--output", "nowhere"])
    assert message in capsys.readouterr().err
