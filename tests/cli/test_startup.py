"""What starts at once: help, completion, slim files and ONNX files need no MindSpore, nor what else is slow."""
import os
import resource
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from mindspore import nn

import golden_stick as gs
from golden_stick.graph.plan import PruningPlan

COMMANDS = ("prune", "convert", "verify", "certify", "compare", "export", "bench", "inspect", "trace",
            "report")
# Lines are run one after the other, where MindSpore is not installed and the other packages are not needed yet.
WITHOUT = """
import shlex, sys
sys.modules["mindspore"] = None
from golden_stick import cli
for line in sys.argv[1:]:
    try:
        code = cli.main(shlex.split(line))
    except SystemExit as ended:
        code = ended.code
    assert not code, (line, code)
print("imported:", *[name for name in ("onnx", "onnxruntime", "scipy", "matplotlib") if name in sys.modules])
"""


def process(*words, **environment):
    settings = {**os.environ, "PYTHONPATH": str(Path(gs.__file__).parents[1]), **environment}
    result = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False, env=settings)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_every_help_without_mindspore():
    said = process("-c", WITHOUT, "--help", "--version", *(f"{command} --help" for command in COMMANDS))
    assert said.endswith("imported:\n") and said.count("usage: golden-stick") == 1 + len(COMMANDS)


def test_a_slim_file_and_a_checkpoint_are_inspected_without_mindspore(tmp_path):
    network = nn.SequentialCell(nn.Dense(3, 4), nn.ReLU())
    path = gs.save_slim(gs.slim(network, PruningPlan((), (), (), ())), str(tmp_path / "slim"), {"accuracy": 0.5})
    said = process("-c", WITHOUT, *(f"inspect {path} {option}" for option in ("", "--json", "--parameter 0.weight")),
                   f"report {path} --output {path}.html")
    assert "metadata         accuracy: 0.5" in said and '"kind": "slim file"' in said and "0.weight  whole" in said
    assert said.endswith("imported:\n")


def test_onnx_files_are_measured_without_mindspore(tmp_path):
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "weight"], ["y"])], "net",
        [helper.make_tensor_value_info("x", kind, ("N", 3))], [helper.make_tensor_value_info("y", kind, ("N", 5))],
        [onnx.numpy_helper.from_array(np.ones((3, 5), np.float32), "weight")])
    path = tmp_path / "net.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))
    said = process("-c", WITHOUT, f"bench {path} --inputs 1,3 --batch-sizes 1 2 --rounds 1 --output {path}.json")
    assert "ONNX Runtime" in said and "scipy" not in said and "wrote" in said


def test_the_shell_completes_without_mindspore(tmp_path):
    pytest.importorskip("argcomplete")
    for line, wanted in (("golden-stick ver", {"verify "}), ("golden-stick prune --target-m", {"--target-macs "})):
        said = tmp_path / "said"
        process("-c", WITHOUT, "", _ARGCOMPLETE="1", COMP_LINE=line, COMP_POINT=str(len(line)), COMP_TYPE="9",
                _ARGCOMPLETE_STDOUT_FILENAME=str(said), _ARGCOMPLETE_IFS="\n")
        assert set(said.read_text().split("\n")) == wanted


def test_the_graph_is_there_without_mindspore():
    assert process("-c", "import sys; sys.modules['mindspore'] = None\nimport golden_stick as gs, golden_stick.graph\n"
                         "print(gs.find_groups.__name__)") == "find_groups\n"


def test_the_help_takes_less_than_four_tenths_of_a_second_of_work():
    def seconds(line):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        # As installed, where Python keeps what it has compiled.
        process(*shlex.split(line), PYTHONDONTWRITEBYTECODE="")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    # Work that shares its core takes longer: where numpy does, too, the limit is so many times its import's seconds.
    pairs = [(seconds("-m golden_stick.cli --help"), seconds("-c 'import numpy'")) for _ in range(5)]
    help_, numpy_ = (min(column) for column in zip(*pairs))
    assert help_ < max(0.4, 0.4 / 0.12 * numpy_)
