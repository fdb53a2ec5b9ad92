"""``golden-stick doctor``: whether this machine can prune and deploy, and what to do where it cannot."""
import argparse
import os
import shutil
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Callable, Iterator, Tuple

from golden_stick import __version__
from golden_stick.base.errors import StateError, first_line
from golden_stick.base.files import versions
from golden_stick.cli.options import CLI, add_command, give, say

__all__ = ["Finding", "add_doctor"]

_GIGABYTE = 2 ** 30
# Less free memory or disk than this is worth a word.
_LITTLE = 2.0


@dataclass(frozen=True)
class Finding:
    """What was found, whether that is "ok", "warning" or "failed", and, unless it is well, what to do."""

    name: str
    found: str
    state: str = "ok"
    remedy: str = ""


def add_doctor(commands: Any) -> None:
    """Add the command `doctor`."""
    add_command(commands, "doctor", _doctor, "say whether this machine can prune and deploy", """
Check versions, processor, devices, memory and disk, then prune a small network and export it, in some 20 seconds. Each
line that is not well says what to do. The exit code is 2 if one failed.
""", "golden-stick doctor")


def _doctor(options: argparse.Namespace) -> None:
    findings = []
    for check in CHECKS:
        for finding in check():
            findings.append(finding)
            remedy = f"\n{'':9}{finding.remedy}" if finding.remedy else ""
            say(f"{finding.state:8} {finding.name:12} {finding.found}{remedy}")
    give([asdict(finding) for finding in findings])
    failed = [finding.name for finding in findings if finding.state == "failed"]
    if failed:
        raise StateError(f"For '{CLI}', 'doctor' must find all in order, but this failed: {', '.join(failed)}.")


def _packages() -> Iterator[Finding]:
    found = {**versions("scipy", "onnx", "onnxruntime"), "golden_stick": __version__}  # which need not be installed
    needed, optional = ("golden_stick", "python", "mindspore", "numpy", "scipy"), ("onnx", "onnxruntime")
    for name in needed:
        missing = found[name] == "not installed"
        yield Finding(name, found[name], "failed" if missing else "ok", f"pip install {name}" if missing else "")
    for name in optional:
        missing = found[name] == "not installed"
        yield Finding(name, found[name], "warning" if missing else "ok",
                      "for ONNX files: pip install 'golden-stick[onnx]'" if missing else "")
    if found["numpy"].split(".")[0] not in ("1", "not installed"):
        yield Finding("numpy 2", "MindSpore's compiled code breaks on it: 'x += y' raises a SystemError", "failed",
                      "pip install 'numpy<2'")


def _processor() -> Iterator[Finding]:
    """On Linux, its features; and the cap that MindSpore needs on those with AVX-512, as the user's shell has it."""
    lines = _lines("/proc/cpuinfo")
    flags = next((set(line.split()) for line in lines if line.startswith(("flags", "Features"))), set())
    features = [name for name in ("avx2", "avx512f", "avx512_vnni", "asimd", "sve") if name in flags]
    yield Finding("processor", f"{os.cpu_count()} cores, {', '.join(features) or 'features unknown'}")
    # The command line caps it for its own commands; a script of the user's starts with what the shell has.
    cap = next((item.partition("=")[2] for item in "".join(_lines("/proc/self/environ")).split("\0")
                if item.startswith("ONEDNN_MAX_CPU_ISA=")), "")
    slow = "avx512f" in flags and (not cap or cap.startswith("AVX512"))
    yield Finding("oneDNN", f"ONEDNN_MAX_CPU_ISA={cap}" if cap else "ONEDNN_MAX_CPU_ISA is not set",
                  "warning" if slow else "ok", "with AVX-512 MindSpore 2.10's convolutions are some 40 times slower: "
                  "export ONEDNN_MAX_CPU_ISA=AVX2" if slow else "")


def _room() -> Iterator[Finding]:
    free = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in _lines("/proc/meminfo")}
    room = {"disk": (shutil.disk_usage(os.getcwd()).free, "files are written whole or not at all: make room")}
    if "MemAvailable" in free:
        room["memory"] = free["MemAvailable"], "convert holds a few copies of a network: close other programs"
    for name, (size, remedy) in room.items():
        little = size < _LITTLE * _GIGABYTE
        yield Finding(name, f"{size / _GIGABYTE:.1f} GiB free", "warning" if little else "ok", remedy if little else "")


def _devices() -> Iterator[Finding]:
    # Asking for a device that is not there is logged as a page of warnings.
    os.environ.setdefault("GLOG_v", "4")
    try:
        import mindspore as ms
        there = [name for name in ("CPU", "GPU", "Ascend") if ms.hal.is_available(name)]
    except Exception as error:  # pylint: disable=broad-except
        yield Finding("devices", f"MindSpore does not start: {first_line(error)}", "failed",
                      "python -c 'import mindspore; mindspore.run_check()' says more")
        return
    other = [name for name in there if name != "CPU"]
    yield Finding("devices", ", ".join(there), "warning" if other else "ok",
                  f"golden_stick was tested on CPUs; on {other[0]} it is the same code, not run" if other else "")


def _self_test() -> Iterator[Finding]:
    """Prune a small network, save, load and export it; all of these compare what they made with what it was made of."""
    begun = time.perf_counter()
    try:
        from mindspore import nn

        import golden_stick as gs
        shape = (1, 3, 16, 16)

        def build() -> nn.Cell:
            return nn.SequentialCell(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 3),
                                     nn.BatchNorm2d(16), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                                     nn.Dense(16, 4))
        algorithm = gs.OneShot({"prune_rate": 0.5})
        slim = algorithm.convert(algorithm.apply(build(), inputs=shape))
        with tempfile.TemporaryDirectory() as folder:
            stem = str(Path(folder, "slim"))
            gs.verify(slim, gs.load_slim(build(), gs.save_slim(slim, f"{stem}.safetensors")), shape)
            made = [gs.export(slim, shape, stem, file_format=kind) for kind in _formats()]
            found = f"pruned, checked, saved, loaded; exported {', '.join(Path(path).suffix for path in made)}"
    except Exception as error:  # pylint: disable=broad-except
        yield Finding("self-test", f"{type(error).__name__}: {first_line(error)}", "failed",
                      "mend what failed above, and report this line if nothing did")
        return
    yield Finding("self-test", f"{found}; {time.perf_counter() - begun:.0f} s")


def _formats() -> Tuple[str, ...]:
    return ("MINDIR",) if versions("onnx")["onnx"] == "not installed" else ("MINDIR", "ONNX")


def _lines(path: str) -> Tuple[str, ...]:
    """Of a file that Linux has; none elsewhere."""
    try:
        return tuple(Path(path).read_text(encoding="utf-8", errors="replace").splitlines())
    except OSError:
        return ()


CHECKS: Tuple[Callable[[], Iterator[Finding]], ...] = (_packages, _processor, _room, _devices, _self_test)
