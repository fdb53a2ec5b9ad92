"""The other end of `torch_side.py`: a process of the Python that has PyTorch and Torch-Pruning."""
import json
import os
import subprocess
from pathlib import Path


class Torch:
    """Sends orders to `torch_side.py`, and waits for what it says. Between orders that process sleeps."""

    def __init__(self, python):
        # Only the libraries of that environment, and not those that this process was pointed to.
        environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}
        # The limit is one for MindSpore's oneDNN; PyTorch's needs none.
        environment.pop("ONEDNN_MAX_CPU_ISA", None)
        self._process = subprocess.Popen(  # pylint: disable=consider-using-with
            [python, str(Path(__file__).with_name("torch_side.py"))], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True, env=environment)

    def ask(self, do, **arguments):
        """The reply to an order; RuntimeError if it could not be carried out."""
        try:
            self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            self._process.stdin.flush()
            reply = self._process.stdout.readline()
        except BrokenPipeError:
            reply = ""
        if not reply:
            raise RuntimeError("the process with PyTorch has ended: is torch-pruning installed there?")
        found = json.loads(reply)
        if "error" in found:
            raise RuntimeError(f"PyTorch's side: {found['error']}")
        return found

    def turn(self, which):
        """A turn for golden_stick.bench.clock.interleave, timed over there."""
        def take():
            found = self.ask("turn", which=which)
            return found["wall"], found["cpu"]
        return take

    def close(self):
        self._process.stdin.close()
        self._process.wait()
