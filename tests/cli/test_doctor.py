"""`golden-stick doctor`: what is well, and each thing that is not, with what to do."""
import json
from types import SimpleNamespace

import mindspore as ms
import pytest

import golden_stick as gs
from golden_stick import cli
from golden_stick.cli import doctor


def told(capsys, code=0):
    """Name -> finding."""
    assert cli.main(["doctor", "--json"]) == code
    return {item["name"]: item for item in json.loads(capsys.readouterr().out)}


@pytest.fixture()
def quick(monkeypatch):
    """Without its self-test."""
    monkeypatch.setattr(doctor, "CHECKS", doctor.CHECKS[:-1])


def test_all_is_well(capsys):
    assert cli.main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].startswith("ok       self-test    pruned, checked, saved, loaded; exported .mindir, .onnx; ")
    assert [line for line in lines if line.startswith(f"ok       mindspore    {ms.__version__}")]


@pytest.mark.usefixtures("quick")
class TestWhatIsNot:
    def test_packages(self, monkeypatch, capsys):
        monkeypatch.setattr(doctor, "versions", lambda *others: {
            "golden_stick": "1", "python": "3.11", "mindspore": "2.10.0", "numpy": "2.1.0", "scipy": "not installed",
            "onnx": "not installed", "onnxruntime": "1"})
        found = told(capsys, 2)
        assert (found["scipy"]["state"], found["scipy"]["remedy"]) == ("failed", "pip install scipy")
        assert (found["onnx"]["state"], found["onnxruntime"]["state"]) == ("warning", "ok")
        assert (found["numpy 2"]["state"], found["numpy 2"]["remedy"]) == ("failed", "pip install 'numpy<2'")
        assert cli.main(["doctor"]) == 2
        assert "'doctor' must find all in order, but this failed: scipy, numpy 2." in capsys.readouterr().err

    @pytest.mark.parametrize("flags, cap, state", [
        ("avx2 avx512f", "", "warning"), ("avx2 avx512f", "AVX512_CORE", "warning"), ("avx2 avx512f", "AVX2", "ok"),
        ("avx2", "", "ok")])
    def test_processor(self, monkeypatch, capsys, flags, cap, state):
        files = {"/proc/cpuinfo": ("model name : X", f"flags : {flags}"),
                 "/proc/self/environ": (f"HOME=/\0ONEDNN_MAX_CPU_ISA={cap}\0" if cap else "HOME=/\0",)}
        monkeypatch.setattr(doctor, "_lines", lambda path: files.get(path, ()))
        found = told(capsys)
        assert found["processor"]["found"].endswith(" cores, " + ", ".join(flags.split()))
        assert found["oneDNN"]["state"] == state
        assert ("export ONEDNN_MAX_CPU_ISA=AVX2" in found["oneDNN"]["remedy"]) == (state == "warning")
        assert "memory" not in found  # where the system does not say

    def test_room(self, monkeypatch, capsys):
        monkeypatch.setattr(doctor, "_lines", lambda path: ("MemAvailable:  1048576 kB",))
        monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: SimpleNamespace(free=3 * 2 ** 30))
        found = told(capsys)
        assert (found["memory"]["found"], found["memory"]["state"]) == ("1.0 GiB free", "warning")
        assert (found["disk"]["found"], found["disk"]["state"]) == ("3.0 GiB free", "ok")

    def test_devices(self, monkeypatch, capsys):
        monkeypatch.setattr(ms.hal, "is_available", lambda name: name != "GPU")
        found = told(capsys)["devices"]
        assert (found["found"], found["state"]) == ("CPU, Ascend", "warning") and "on Ascend it is" in found["remedy"]

        def broken(name):
            raise RuntimeError("no libmindspore.so\nmore")
        monkeypatch.setattr(ms.hal, "is_available", broken)
        found = told(capsys, 2)["devices"]
        assert found["state"] == "failed" and found["found"].startswith("MindSpore does not start: no libmindspore.so")


def test_a_self_test_that_fails(monkeypatch, capsys):
    def broken(*arguments):
        raise gs.errors.CheckpointError("For 'save_slim', nothing works.")
    monkeypatch.setattr(gs, "save_slim", broken)
    monkeypatch.setattr(doctor, "CHECKS", doctor.CHECKS[-1:])
    found = told(capsys, 2)["self-test"]
    assert (found["found"], found["state"]) == ("CheckpointError: For 'save_slim', nothing works.", "failed")


def test_without_onnx_a_mindir_alone_is_exported(monkeypatch):
    monkeypatch.setattr(doctor, "versions", lambda name: {name: "not installed"})
    assert doctor._formats() == ("MINDIR",)
    assert doctor._lines("/none") == ()
