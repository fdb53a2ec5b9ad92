"""``golden-stick certify``: the same as the library, from files."""
import json
import shlex
import shutil

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor

import golden_stick as gs
from golden_stick import cli
from golden_stick.certify import Certificate, fingerprint
from tests.certify.networks import TwoConvolutions

DATA = '''
import mindspore as ms
import numpy as np
from tests.certify.networks import TwoConvolutions as build


def images(seed=0, count=300):
    """With what the base answers as labels."""
    x, base = np.random.default_rng(seed).standard_normal((count, 1, 8, 8)).astype(np.float32), build()
    ms.load_param_into_net(base, ms.load_checkpoint("base.ckpt"))
    return [(x, base.set_train(False)(ms.Tensor(x)).asnumpy().argmax(1))]


def training():
    return images(seed=1)


def overlapping():
    (held_out, labels), = images()
    return [(held_out[7:9], labels[7:9])]


def nothing():
    return 3
'''
LINE = "certify --network data.py:build --checkpoint base.ckpt --candidate small.ckpt --candidate smaller.ckpt " \
    "--data data.py:images --output certificate.json --max-drop 0.3 "


@pytest.fixture(name="files", scope="module")
def fixture_files(tmp_path_factory):
    """A base and two slim files that were made of it."""
    place = tmp_path_factory.mktemp("files")
    (place / "data.py").write_text(DATA)
    net, generator = TwoConvolutions(), np.random.default_rng(0)
    for parameter in net.get_parameters():
        if "moving" not in parameter.name:
            values = generator.standard_normal(parameter.shape).astype(np.float32)
            # What goes does next to nothing, so that the candidates answer as the base does.
            values[3:] *= 1e-3
            parameter.set_data(Tensor(values))
    # Each class is answered for some images.
    x = np.random.default_rng(0).standard_normal((300, 1, 8, 8)).astype(np.float32)
    net.head.bias.set_data(net.head.bias - net.set_train(False)(Tensor(x)).mean(0))
    ms.ms_memory_recycle()
    ms.save_checkpoint(net, str(place / "base.ckpt"))
    for name, rate in (("small", 0.2), ("smaller", 0.5)):
        algorithm = gs.OneShot({"prune_rate": rate})
        gs.save_slim(algorithm.convert(algorithm.apply(net, (1, 1, 8, 8))), str(place / f"{name}.ckpt"))
    return place


@pytest.fixture(autouse=True)
def folder(files, tmp_path, monkeypatch):
    """A working directory with those files."""
    shutil.copytree(files, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(line):
    return cli.main(shlex.split(line))


def test_the_command_gives_what_the_library_gives(folder, capsys):
    assert run(f"{LINE} --used data.py:training --date today") == 0
    said = capsys.readouterr().out
    found = Certificate.load("certificate.json")
    assert [item.name for item in found.candidates] == ["small.ckpt", "smaller.ckpt"]
    assert found.statement in said and (folder / "certificate.md").read_text() == str(found)
    assert all(row[1] in said for row in found.rows())
    base = TwoConvolutions()
    ms.load_param_into_net(base, ms.load_checkpoint("base.ckpt"))
    space = {}
    exec(DATA, space)  # the text above
    candidates = {name: gs.load_slim(TwoConvolutions(), name) for name in ("small.ckpt", "smaller.ckpt")}
    wanted = gs.certify(base, candidates, space["images"](), 0.3, reuse="declare")
    assert (found.base, found.candidates, found.data) == (wanted.base, wanted.candidates, wanted.data)
    assert json.loads((folder / "golden_stick_ledger.json").read_text())["uses"][0]["date"] == "today"


def test_used_images_are_refused_or_declared(folder, capsys):
    assert run(LINE) == 0
    again = LINE.replace("certificate.json", "again.json")
    assert run(again) == 2
    assert "nothing has used before" in capsys.readouterr().err and not (folder / "again.json").exists()
    assert run(f"{again} --reuse declare --in-given-order") == 0
    assert "DOES NOT HOLD" in (folder / "again.md").read_text()
    assert Certificate.load("again.json").order == "declared by the caller"


def test_a_certificate_is_never_replaced(folder, capsys):
    (folder / "certificate.md").write_text("kept")
    assert run(LINE) == 2
    assert "'--output' must be a new file, but a certificate or page stands at 'certificate.json'" in \
        capsys.readouterr().err
    assert (folder / "certificate.md").read_text() == "kept"


@pytest.mark.parametrize("used", ["data.py:overlapping", "used.json"])
def test_images_of_the_training_data_are_refused(used, folder, capsys):
    space = {}
    exec(DATA, space)  # the text above
    fingerprint(space["overlapping"]()).save("used.json")
    assert run(f"{LINE} --used {used}") == 2
    assert "has 2 images that were used before" in capsys.readouterr().err
    assert not (folder / "certificate.json").exists()


@pytest.mark.parametrize("change, message", [
    (("data.py:images", "data.py:nothing"), "'--data' must be a data set"),
    (("data.py:images", "data.py:absent"), "'--data' must name a factory"),
    (("small.ckpt", "absent.ckpt"), "must be a file"),
    (("0.3", "1.3"), "'--max-drop' must be in [0, 1)"),
])
def test_wrong_options(change, message, folder, capsys):
    before = {item.name for item in folder.iterdir()}
    assert run(LINE.replace(*change)) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert {item.name for item in folder.iterdir()} - {"__pycache__"} == before
