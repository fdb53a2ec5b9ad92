"""Ways to measure wrong."""
from tests.mutants_of_rules import Mutant

CLOCK, RUN, WIDTHS = (f"tests/bench/test_{name}.py" for name in ("clock", "benchmark", "widths"))


def _in(file, tests):
    def mutant(what, old, new="pass"):
        return Mutant(what, f"bench/{file}.py", old, new, tests)
    return mutant


_clock, _threads, _memory = _in("clock", CLOCK), _in("threads", CLOCK), _in("memory", CLOCK)
_run, _contender, _result, _onnx = (_in(name, RUN) for name in ("benchmark", "contenders", "result", "onnx_files"))
_widths, _cache, _latency = (_in(name, WIDTHS) for name in ("widths", "cache", "latency"))

BENCH_MUTANTS = (
    _clock("the first call counts as well", "        run()\n        cpu, wall", "        cpu, wall"),
    _clock("warm-up counts", "if number >= warm_up:", "if True:"),
    _clock("always the same order", "generator.permutation(len(names))", "range(len(names))"),
    _clock("speed-ups from medians of different rounds", "np.median(np.divide(other.seconds, self.seconds))",
           "np.median(other.seconds) / np.median(self.seconds)"),
    _clock("one's own load counts as foreign", "(busy - own) / wall", "busy / wall"),
    _threads("only the thread that asks is bound", "for task in os.listdir(_TASKS):", "for task in (0,):"),
    _threads("the limit stays", "    finally:\n        _bind(before)", "    finally:\n        pass"),
    _memory("what was given back is not seen", '_status("VmHWM")', '_status("VmRSS")'),
    _run("the caller's mode is not put back", "        ms.set_context(mode=mode)\n    versions",
         "        pass\n    versions"),
    _run("files run whatever their shapes", "            if reason:", "            if False:"),
    _run("there may be nothing to measure", "if all(reason for found in reasons for reason in found):", "if False:"),
    _run("the first contender is everybody's baseline", "next(iter(alike), None)", "next(iter(ran), None)"),
    _run("the MACs ratio is upside down", "macs[first] / macs[number] if", "macs[number] / macs[first] if"),
    _run("the batch keeps its size", "np.arange(batch_size) % len(values)", "np.arange(len(values))"),
    _contender("training goes on", "evaluation(network), held)", "nullcontext(), held)"),
    _contender("any size fits", "size in (-1, other)", "True"),
    _result("efficiency is the speed-up", "self.speed_up / self.macs_ratio if", "self.speed_up if"),
    _result("throughput is of one sample", "self.batch_size / self.timing", "1 / self.timing"),
    _onnx("the batch counts", "// inputs[0][0]", ""),
    _widths("the smallest multiple is taken", "return max(multiple for", "return min(multiple for"),
    _widths("widths are rounded down", "-(-width // multiple) * multiple", "width // multiple * multiple or multiple"),
    _widths("measured each time", "None if refresh else _advice", "None if True else _advice"),
    _cache("others' entries are lost", "{**_read(path), key: value}", "{key: value}"),
    _latency("the network stays as it was set", "stack.enter_context(evaluation(network))"),
)
