"""Timing in turns, the processors that may be used, and memory: against numbers that are known beforehand."""
import os
import sys
import threading
import time
from collections import Counter

import numpy as np
import pytest

from golden_stick.base.errors import ArgumentError
from golden_stick.bench.clock import (
    ForeignLoad,
    Timing,
    interleave,
    limited_threads,
    peak_growth,
    turn_of,
)

LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc, which only Linux has")


def test_a_timing_gives_median_and_quartiles():
    timing = Timing((4.0, 1.0, 2.0, 3.0, 100.0), (8.0, 2.0, 4.0, 6.0, 0.0))
    assert (timing.median, timing.quartiles, timing.cpu_median) == (3.0, (2.0, 4.0), 4.0)


def test_speed_ups_compare_what_was_measured_in_the_same_round():
    # Twice as long in most rounds, on a machine that is disturbed now and then; the medians are 6 and 2.
    slow, fast = Timing((2.0, 80.0, 6.0, 4.0, 8.0), (0.0,) * 5), Timing((1.0, 1.0, 3.0, 2.0, 8.0), (0.0,) * 5)
    assert fast.times_faster_than(slow) == 2.0
    assert slow.times_faster_than(fast) == 0.5


def test_every_contender_runs_once_a_round_and_warm_up_does_not_count():
    order, seen = [], []

    def turn(name):
        def take():
            order.append(name)
            return float(len(order)), 0.5
        return take

    found = interleave({name: turn(name) for name in "abc"}, 4, 2, lambda *done: seen.append(done))
    rounds = [order[start:start + 3] for start in range(0, len(order), 3)]
    assert len(rounds) == 6
    assert all(sorted(names) == ["a", "b", "c"] for names in rounds)
    assert len({tuple(names) for names in rounds}) > 1
    assert list(found) == ["a", "b", "c"]
    for name, timing in found.items():
        assert list(timing.seconds) == [index + 1 for index, one in enumerate(order) if one == name][2:]
        assert timing.cpu_seconds == (0.5,) * 4
    assert seen == [(number, 6) for number in range(1, 7)]


def test_a_turn_prepares_runs_once_for_nothing_and_once_for_the_clock():
    calls = Counter()

    def run():
        calls["run"] += 1
        time.sleep(0.2 if calls["run"] == 1 else 0.02)

    wall, cpu = turn_of(run, lambda: calls.update(["prepare"]))()
    assert calls == {"run": 2, "prepare": 1}
    assert 0.02 <= wall < 0.2
    assert 0.0 <= cpu < 0.02


def test_a_turn_is_warm_after_so_many_seconds(monkeypatch):
    clock, calls = [0.0], Counter()

    def run():
        calls["run"] += 1
        clock[0] += 0.25

    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    wall, _ = turn_of(run, warm=1.0)()
    assert (calls["run"], wall) == (4 + 1, 0.25)


def test_cpu_time_is_that_of_the_work():
    def work():
        end = time.process_time() + 0.05
        while time.process_time() < end:
            pass

    wall, cpu = turn_of(work)()
    assert cpu == pytest.approx(0.05, abs=0.02)
    assert wall >= 0.9 * cpu


def test_the_load_of_others_leaves_out_ones_own():
    # (wall, busy processors, own) seconds before and after.
    load, told = ForeignLoad(), [(100.0, 50.0, 20.0), (110.0, 65.0, 25.0)]
    load._now = lambda: told.pop(0)
    with load:
        pass
    assert (load.processors, load.wall) == (1.0, 10.0)


@LINUX
def test_what_the_system_tells_grows_with_what_is_done():
    before = ForeignLoad._now()
    end = time.process_time() + 0.3
    while time.process_time() < end:
        pass
    after = ForeignLoad._now()
    assert after[0] - before[0] >= 0.29
    assert after[1] - before[1] >= 0.2
    assert 0.25 <= after[2] - before[2] < 2


@LINUX
def test_peak_memory_is_seen_although_it_is_given_back():
    def run():
        np.ones(2**24, np.float32).sum()
        return "done"

    result, growth = peak_growth(run)
    assert result == "done"
    assert 0.9 * 2**26 < growth < 1.5 * 2**26


def test_where_the_system_does_not_tell_memory_is_none(monkeypatch):
    monkeypatch.setattr("builtins.open", lambda *arguments, **options: (_ for _ in ()).throw(OSError()))
    assert peak_growth(lambda: 3) == (3, None)
    with ForeignLoad() as load:
        pass
    assert load.processors is None


@LINUX
def test_a_limit_of_threads_binds_all_threads_and_ends_with_the_block():
    ready, stop, seen = threading.Event(), threading.Event(), []

    def worker():
        ready.set()
        stop.wait()
        seen.append(len(os.sched_getaffinity(0)))

    before = os.sched_getaffinity(0)
    thread = threading.Thread(target=worker)
    thread.start()
    ready.wait()
    with limited_threads("benchmark", 1):
        assert len(os.sched_getaffinity(0)) == 1
        stop.set()
        thread.join()
    assert seen == [1]
    assert os.sched_getaffinity(0) == before
    with limited_threads("benchmark", None):
        assert os.sched_getaffinity(0) == before


@LINUX
def test_more_threads_than_processors_are_refused():
    with pytest.raises(ArgumentError, match=r"For 'benchmark', 'threads' must be in \[1, \d+\], the processors that"):
        with limited_threads("benchmark", len(os.sched_getaffinity(0)) + 1):
            pass


def test_a_system_that_cannot_limit_threads_says_so(monkeypatch):
    monkeypatch.delattr(os, "sched_setaffinity", raising=False)
    with pytest.raises(ArgumentError, match="must be left out on this system, which cannot limit the threads"):
        with limited_threads("benchmark", 1):
            pass
