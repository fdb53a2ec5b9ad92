"""Seconds of ONNX files in PyTorch, on a CUDA GPU or, to try it, on the CPU. Needs torch, onnx2torch, onnxruntime."""
import copy
import datetime
import subprocess
import time
from contextlib import suppress
from importlib.metadata import version

import numpy as np
import onnxruntime
import torch
from onnx2torch import convert

from golden_stick.bench.clock import interleave, machine_facts
from gpu_parts.stubs import read

# Precision -> (type, whether TF32 may stand for float32, how far outputs may lie from ONNX Runtime's in float32: norm
# of the difference over norm).
PRECISIONS = {"float16": (torch.float16, False, 3e-2), "TF32": (torch.float32, True, 1e-2),
              "float32": (torch.float32, False, 1e-3)}
# A turn runs one network for so many seconds, after one run that does not count, so that it is not a launch that is
# timed. So many seconds of replays are under way while clocks are read.
TURN, BUSY = 0.01, 0.2
ROUNDS = (10, 60)
# A graph's replay may add up in another order than the calls before it.
REPLAY = 1e-2
DIGITS = 5


def module_of(path, size):
    """The file's network in PyTorch, in float32 on the CPU, and what ONNX Runtime makes of an image."""
    model = read(path)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    image = np.random.default_rng(1).standard_normal((1, 3, size, size), np.float32)
    wanted, = session.run(None, {session.get_inputs()[0].name: image})
    return convert(model).eval(), torch.from_numpy(image), torch.from_numpy(wanted)


def placed(module, device, dtype, channels_last):
    """A copy on the device. Shapes stay on the CPU: to read them from a GPU would wait for it, which no graph can."""
    def move(tensor):
        if not tensor.is_floating_point():
            return tensor
        layout = torch.channels_last if channels_last and tensor.dim() == 4 else torch.preserve_format
        return tensor.to(device=device, dtype=dtype, memory_format=layout)

    return copy.deepcopy(module)._apply(move)


def captured(module, batch):
    """A function that runs the module on the batch and returns its outputs: on a GPU, a CUDA graph's replay."""
    if batch.device.type != "cuda":
        return lambda: module(batch)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        # cuDNN tries its algorithms here.
        for _ in range(3):
            wanted = module(batch)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        outputs = module(batch)

    def replay():
        graph.replay()
        return outputs

    outputs.fill_(float("nan"))
    if not distance(replay(), wanted) <= REPLAY:
        raise RuntimeError("a graph's replay must give the outputs of its network, but gives others")
    return replay


def distance(got, wanted):
    """Norm of the difference over the norm; NaN where either holds one."""
    got, wanted = got.detach().double().cpu(), wanted.detach().double().cpu()
    return float((got - wanted).norm() / wanted.norm())


def clock(device):
    """Seconds of so many calls of a function."""
    def on_cpu(run, count):
        start = time.perf_counter()
        for _ in range(count):
            run()
        return time.perf_counter() - start

    def on_gpu(run, count):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(count):
            run()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1e3

    return on_gpu if device == "cuda" else on_cpu


def turn_of(run, seconds_of):
    """A turn for `interleave`, and the seconds that it takes."""
    run()
    seconds = seconds_of(run, 2) / 2
    count = max(1, round(TURN / seconds))

    def turn():
        run()
        return seconds_of(run, count) / count, 0.0

    return turn, seconds * (count + 1)


def state(run, seconds):
    """Clock in MHz, power in watts and temperature of the GPU while it runs; empty where they cannot be read."""
    for _ in range(int(BUSY / seconds) + 1):
        run()
    found = {}
    for name, query in (("clock", torch.cuda.clock_rate), ("power", lambda: torch.cuda.power_draw() / 1e3),
                        ("temperature", torch.cuda.temperature)):
        with suppress(Exception):  # each driver and version says differently that it does not tell
            found[name] = query()
    torch.cuda.synchronize()
    return found


@torch.no_grad()
def time_row(modules, network, precision, size_of_batch, device, seconds):
    """What one network takes in one precision at one batch size: all variants in turn."""
    dtype, tf32, limit = PRECISIONS[precision]
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.backends.cudnn.benchmark = True
    layout = torch.channels_last if network["channels_last"] else torch.contiguous_format
    size = network["size"]
    batch = torch.randn(size_of_batch, 3, size, size).to(device=device, dtype=dtype, memory_format=layout)
    seconds_of, turns, runs, taken, differences = clock(device), {}, {}, {}, {}
    for which, (module, image, wanted) in modules.items():
        made = placed(module, device, dtype, network["channels_last"])
        differences[which] = distance(made(image.to(device=device, dtype=dtype, memory_format=layout)), wanted)
        if not differences[which] <= limit:
            raise RuntimeError(f"{which} must give the outputs of ONNX Runtime within {limit} of their norm, but "
                               f"differs by {differences[which]:.2g}")
        runs[which] = captured(made, batch)
        turns[which], taken[which] = turn_of(runs[which], seconds_of)
    rounds = int(min(ROUNDS[1], max(ROUNDS[0], seconds / sum(taken.values()))))
    timings = interleave(turns, rounds, 1)
    row = {"differences": differences, "rounds": rounds,
           "seconds": {which: [float(f"{one:.{DIGITS}g}") for one in timing.seconds]
                       for which, timing in timings.items()}}
    if device == "cuda":
        row["state"] = state(runs["original"], timings["original"].median)
        row["memory"] = torch.cuda.max_memory_allocated()
    return row


def time_all(index, folder, options, save):
    """Every row that the budget allows, saved after each."""
    began = time.perf_counter()
    record = {"machine": machine(options.device), "date": str(datetime.date.today()), **index, "rows": []}
    names = [name for name in options.networks if name in index["networks"]]
    for number, name in enumerate(names):
        network = index["networks"][name]
        # What earlier networks left of their shares is for those that follow.
        now = time.perf_counter()
        end = now + (began + options.budget - now) / (len(names) - number)
        modules = {which: module_of(folder / variant["file"], network["size"])
                   for which, variant in network["variants"].items()}
        for precision in options.precisions:
            for batch in options.batches:
                row = {"network": name, "precision": precision, "batch": batch}
                if time.perf_counter() > end:
                    row["error"] = "the time was up"
                else:
                    try:
                        row.update(time_row(modules, network, precision, batch, options.device, options.seconds))
                    except Exception as error:  # one row is lost, and not those that follow
                        row["error"] = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
                record["rows"].append(row)
                record["took"] = time.perf_counter() - began
                save(record)
                print(said(row, record["took"]), flush=True)
                if options.device == "cuda":
                    torch.cuda.empty_cache()
                    torch.cuda.reset_peak_memory_stats()
    return record


def said(row, took):
    head = f"{took:5.0f} s  {row['network']}, {row['precision']}, batch {row['batch']}: "
    if "error" in row:
        return head + row["error"]
    return head + ", ".join(f"{which} {1e3 * np.median(seconds):.3f} ms" for which, seconds in row["seconds"].items())


def machine(device):
    """What it runs on: names, driver, versions."""
    found = machine_facts({name: version(name) for name in ("torch", "onnx2torch", "onnx", "onnxruntime", "numpy")})
    if device == "cuda":
        properties = torch.cuda.get_device_properties(0)
        driver = subprocess.run(["nvidia-smi", "--query-gpu=driver_version,clocks.max.sm,clocks.mem,power.limit",
                                 "--format=csv,noheader"], stdout=subprocess.PIPE, text=True, check=False).stdout
        found = {"GPU": properties.name, "memory": f"{properties.total_memory / 2**30:.0f} GiB",
                 "multiprocessors": properties.multi_processor_count,
                 "driver, highest clock, memory clock, power limit": driver.strip(),
                 "CUDA": torch.version.cuda, "cuDNN": torch.backends.cudnn.version(), **found}
    return found
