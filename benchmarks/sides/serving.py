"""The far end of `client.py`: one JSON object a line in, one a line out. The standard library only."""
import json
import os
import sys
import time


def serve(side):
    """Call the method of `side` that each order names, until there are no more orders."""
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    # Whatever a library prints must not stand among the replies.
    os.dup2(2, 1)
    for line in sys.stdin:
        order = json.loads(line)
        do = order.pop("do")
        try:
            # How much of the processors this process has had is asked of none of its sides.
            reply = {"cpu": time.process_time()} if do == "used" else getattr(side, do)(**order)
        except Exception as error:  # pylint: disable=broad-except
            reply = {"error": f"{type(error).__name__}: {error}"}
        replies.write(json.dumps(reply) + "\n")


def timed_turn(run, warm):
    """Calls that do not count, for so many seconds and once at least, and one that does: its wall and CPU seconds."""
    start = time.perf_counter()
    run()
    while time.perf_counter() - start < warm:
        run()
    cpu, wall = time.process_time(), time.perf_counter()
    run()
    return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
