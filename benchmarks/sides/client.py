"""Processes of other environments: PyTorch with Torch-Pruning, and MindSpore with mindspore-gs."""
import json
import os
import subprocess
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parents[1]
GS = "mindspore-gs"


class Client:
    """
    Sends orders to a script in a process of its own, and waits for what it says. Between orders that process sleeps.

    Args:
        python (str): The Python of its environment.
        script (Union[str, Path]): What it runs; its last line is `serve` of `serving.py`.
        name (str): For messages.
        needs (str): What must be installed there.
        warm (float): Its turns begin with calls that do not count, for so many seconds and one at least.
    """

    def __init__(self, python, script, name, needs, warm=0.0):
        # Only the libraries of that environment, and not those that this process was pointed to.
        environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}
        self._name, self._needs, self._warm = name, needs, warm
        self._process = subprocess.Popen(  # pylint: disable=consider-using-with
            [python, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**self.variables(environment), "PYTHONPATH": str(BENCHMARKS)})

    @staticmethod
    def variables(environment):
        """The variables that the process shall have, of those of this one."""
        return environment

    def ask(self, do, **arguments):
        """The reply to an order; RuntimeError if it could not be carried out."""
        try:
            self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            self._process.stdin.flush()
            reply = self._process.stdout.readline()
        except BrokenPipeError:
            reply = ""
        if not reply:
            raise RuntimeError(f"the process with {self._name} has ended: is {self._needs} installed there?")
        found = json.loads(reply)
        if "error" in found:
            raise RuntimeError(f"{self._name}'s side: {found['error']}")
        return found

    def turn(self, which):
        """A turn for golden_stick.bench.clock.interleave, timed over there."""
        def take():
            found = self.ask("turn", which=which, warm=self._warm)
            return found["wall"], found["cpu"]
        return take

    def used(self):
        """CPU seconds of all its threads so far. It runs on afterwards, so the system counts them as foreign."""
        return self.ask("used")["cpu"]

    def close(self):
        try:
            self._process.stdin.close()
        except BrokenPipeError:
            pass
        self._process.stdout.close()
        self._process.wait()


class Torch(Client):
    """The process of the Python that has PyTorch and Torch-Pruning."""

    def __init__(self, python, warm=0.0):
        super().__init__(python, BENCHMARKS / "deployment_parts" / "torch_side.py", "PyTorch", "torch-pruning", warm)

    @staticmethod
    def variables(environment):
        # The limit is one for MindSpore's oneDNN; PyTorch's needs none.
        return {key: value for key, value in environment.items() if key != "ONEDNN_MAX_CPU_ISA"}


class MindSporeGs(Client):
    """The process of the Python that has mindspore-gs."""

    def __init__(self, python, warm=0.0):
        super().__init__(python, BENCHMARKS / "sides" / "gs_side.py", GS, GS, warm)

    def turns(self, do, which, settings, rate):
        """Turns of what it builds, and what it says of itself; no turns where it does not run."""
        try:
            found = self.ask(do, name=settings["network"], size=settings["size"], batch=settings["batch"], rate=rate)
        except RuntimeError as error:
            return {}, {"error": str(error)}
        return {f"{GS}, {one}": self.turn(one) for one in which if found["wrapped"]}, found
