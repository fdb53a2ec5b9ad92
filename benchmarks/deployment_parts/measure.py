"""One row of the deployment benchmark: one network at one batch size, in a process of its own."""
import json
import os
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import mindspore as ms
from sides.client import MindSporeGs, Torch

import golden_stick as gs
from deployment_parts.networks import build, widths_of
from deployment_parts.tables import WARM
from golden_stick.base.inputs import as_arrays
from golden_stick.bench.benchmark import contenders_of
from golden_stick.bench.clock import ForeignLoad, interleave, limited_threads, machine_facts, peak_growth, turn_of
from golden_stick.bench.contenders import onnx_runtime
from golden_stick.graph.plan import count_macs

# To tell 2 % from noise takes more rounds than a speed-up does, so slim network and twin meet again, alone: for this
# part of the seconds each time, and so many times the least rounds.
PAIR_PART, PAIR_ROUNDS = 1 / 3, 3
FORMATS = {"MindIR": ("MINDIR", ".mindir"), "ONNX Runtime": ("ONNX", ".onnx")}


def make(name, size, config):
    """The original, the slim network and its native twin."""
    original = build(name, size)
    algorithm = gs.OneShot({"criterion": "l1", **config})
    slim = algorithm.convert(algorithm.apply(original, (1, 3, size, size)))
    widths = widths_of(slim)
    twin = build(name, size, widths)
    shapes = [[tuple(parameter.shape) for parameter in one.get_parameters()] for one in (slim, twin)]
    if shapes[0] != shapes[1]:
        raise RuntimeError("the twin must have the parameters of the slim network, but has others")
    return {"original": original, "slim": slim, "twin": twin}, widths


def export_all(networks, shape, folder, onnx):
    """(runtime, which) -> path. All are folded, so that none has an advantage."""
    paths = {}
    for which, network in networks.items():
        folded = gs.fold(network, shape)
        for runtime, (file_format, ending) in FORMATS.items():
            if runtime == "MindIR" or onnx:
                paths[runtime, which] = gs.export(folded, shape, os.path.join(folder, which + ending),
                                                  file_format=file_format)
    return paths


def sizes(networks, paths, folder, size):
    """Bytes of the files: exported ones, checkpoints, and the slim file."""
    found = {f"{runtime}, {which}": os.path.getsize(path) for (runtime, which), path in paths.items()}
    for which in ("original", "slim"):
        path = os.path.join(folder, f"{which}_plain.ckpt")
        ms.save_checkpoint(networks[which], path)
        found[f"checkpoint, {which}"] = os.path.getsize(path)
    found["slim file"] = os.path.getsize(gs.save_slim(networks["slim"], os.path.join(folder, "slim.safetensors")))
    return found


def prepare(paths, arrays, threads, stack):
    """Turns of all files, and the memory that each took."""
    turns, memory = {}, {}
    for (runtime, which), path in paths.items():
        contender, = contenders_of("deployment", which, path, ("graph",))
        reason = contender.misfit(arrays)
        if reason:
            raise RuntimeError(f"{runtime}, {which}: {reason}")

        ready, memory[f"{runtime}, {which}"] = peak_growth(
            lambda contender=contender: stack.enter_context(contender.ready(arrays, threads)))
        turns[f"{runtime}, {which}"] = turn_of(ready.run, ready.prepare, WARM)
    return turns, memory


def runtime_version(onnx):
    return {"onnxruntime": onnx_runtime().__version__} if onnx else {}


def rounds_in(turns, settings):
    """How many rounds fit into the seconds that there are, from one round that does not count."""
    start = time.perf_counter()
    interleave(turns, 1, 1)
    least, most = settings["rounds"]
    return int(min(most, max(least, settings["seconds"] / ((time.perf_counter() - start) / 2))))


def pairs_of(turns, settings):
    """Runtime -> seconds of the slim network and of its twin, in rounds of these two alone."""
    found, (least, most) = {}, settings["rounds"]
    for runtime in FORMATS:
        two = {which: turns[f"{runtime}, {which}"] for which in ("slim", "twin") if f"{runtime}, {which}" in turns}
        if two:
            count = rounds_in(two, {"seconds": PAIR_PART * settings["seconds"], "rounds": (PAIR_ROUNDS * least, most)})
            found[runtime] = {which: list(timing.seconds) for which, timing in interleave(two, count, 1).items()}
    return found


def measure(settings, torch_python, gs_python, rate, round_to, folder):
    # Down to a multiple: up, a layer of 64 filters would lose 25 % of them instead of 45 %.
    config = {"prune_rate": rate, "round_to": round_to, "round": "down"}
    networks, widths = make(settings["network"], settings["size"], config)
    shape = (settings["batch"], 3, settings["size"], settings["size"])
    macs = {which: count_macs(gs.trace(network, shape)) for which, network in networks.items()}
    # Exported first and loaded afterwards: an export drops every compiled graph.
    paths = export_all(networks, shape, folder, settings["onnx"])
    bytes_of, arrays = sizes(networks, paths, folder, settings["size"]), as_arrays("deployment", shape)
    networks.clear()
    machine = machine_facts({"mindspore": ms.__version__, **runtime_version(settings["onnx"])})
    row = {"settings": settings, "macs": macs, "widths": widths, "machine": machine}
    with ExitStack() as stack:
        # Before any process or session is started: they inherit it.
        stack.enter_context(limited_threads("deployment", settings["threads"]))
        turns, row["memory"] = prepare(paths, arrays, settings["threads"], stack)
        sides = {}
        if torch_python:
            torch = sides["torch"] = Torch(torch_python, WARM)
            stack.callback(torch.close)
            row["torch"] = torch.ask("build", name=settings["network"], size=settings["size"],
                                     batch=settings["batch"], widths=widths, threads=settings["threads"])
            turns.update({f"PyTorch, {which}": torch.turn(which) for which in row["torch"]["turns"]})
            bytes_of.update({f"PyTorch checkpoint, {which}": value for which, value in row["torch"]["bytes"].items()})
        if gs_python:
            client = MindSporeGs(gs_python, WARM)
            stack.callback(client.close)
            theirs, row["gs"] = client.turns("evaluation", ("original", "masked"), settings, rate)
            turns.update(theirs)
            if theirs:
                sides["gs"] = client
        count = rounds_in(turns, settings)
        before = {side: client.used() for side, client in sides.items()}
        with ForeignLoad() as load:
            found, pairs = interleave(turns, count, 1), pairs_of(turns, settings)
        row.update({f"{side}_cpu": client.used() - before[side] for side, client in sides.items()})
    row.update(bytes=bytes_of, rounds=count, pairs=pairs, foreign_load=load.processors, wall=load.wall,
               seconds={name: list(timing.seconds) for name, timing in found.items()},
               cpu_seconds={name: list(timing.cpu_seconds) for name, timing in found.items()})
    return row


def main():
    order = json.loads(Path(sys.argv[1]).read_text())
    row = measure(**order)
    temporary = Path(f"{sys.argv[2]}.part")
    temporary.write_text(json.dumps(row))
    temporary.replace(sys.argv[2])


if __name__ == "__main__":
    main()
