"""
Several processes: what they tell each other, and that they come to what one process comes to with all data.

Where MindSpore has no part in it, threads stand for processes.
"""
import os
import re
import socket
import subprocess
import threading
from pathlib import Path
from types import SimpleNamespace

import mindspore as ms
import numpy as np
import pytest

import golden_stick as gs
from golden_stick.base import devices
from golden_stick.base.errors import StateError
from golden_stick.base.files import whole_file
from golden_stick.criteria.least_squares import Moments
from golden_stick.knockoffs.second_order import RunningMoments
from tests import workers
from tests.networks import SmallNet

ROOT = Path(__file__).parent.parent


@pytest.fixture(name="in_threads")
def fixture_in_threads(monkeypatch):
    """A function that runs another in as many threads, of the rank, and gives what each gave or raised."""
    mine, told, meeting = threading.local(), {}, []

    def all_gather(array):
        told[mine.rank] = array
        meeting[0].wait(10)
        made = np.stack([told[rank] for rank in sorted(told)])
        meeting[0].wait(10)
        return made

    def run(count, work):
        def one(rank):
            mine.rank = rank
            try:
                found[rank] = work(rank)
            except StateError as error:
                found[rank] = error

        found, meeting[:] = [None] * count, [threading.Barrier(count)]
        told.clear()
        joined.get_group_size = lambda: count
        threads = [threading.Thread(target=one, args=(rank,)) for rank in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        return found

    joined = SimpleNamespace(GlobalComm=SimpleNamespace(INITED=True), get_rank=lambda: mine.rank)
    monkeypatch.setattr(devices, "_communication", lambda: joined)
    monkeypatch.setattr(devices, "_all_gather", all_gather)
    return run


ARRAYS = [np.arange(7, dtype=np.float64), np.zeros((0, 3), np.float32), np.array(5), np.ones((2, 3), bool)]


def test_arrays_of_any_shape_and_type_reach_all(in_threads, monkeypatch):
    monkeypatch.setattr(devices, "_WORDS", 3)
    for found in in_threads(4, lambda rank: devices.gathered(ARRAYS[rank])):
        for array, wanted in zip(found, ARRAYS):
            assert array.dtype == wanted.dtype
            np.testing.assert_array_equal(array, wanted)


def test_sums_are_of_float64_and_the_same_everywhere(in_threads):
    parts = np.random.default_rng(0).normal(size=(3, 50)) * 10.0 ** np.arange(-8, 8).repeat(4)[:50]
    for found in in_threads(3, lambda rank: devices.summed(parts[rank])):
        np.testing.assert_array_equal(found, parts[0] + parts[1] + parts[2])


def test_the_first_one_decides(in_threads):
    assert in_threads(3, lambda rank: devices.from_first({"of": rank, "ratio": 0.1 * rank})) == [
        {"of": 0, "ratio": 0.0}] * 3


def test_what_differs_is_named_with_the_ranks(in_threads):
    def work(rank):
        parts = {"same": np.zeros(3), "weight": np.full(3, float(rank == 2)),
                 "type": np.zeros(3, (int, float)[rank % 2])}
        devices.refuse_differing("SCOP", "'network'", parts.items(), "load one checkpoint")

    errors = set(map(str, in_threads(3, work)))
    assert errors == {"For 'SCOP', 'network' must be the same in all processes, but ranks 1, 2 differ from rank 0 in "
                      "type, weight: load one checkpoint."}
    assert in_threads(2, lambda rank: devices.refuse_differing("SCOP", "'x'", [("a", np.ones(2))], "")) == [None, None]


def test_data_in_some_processes_only_are_refused(in_threads):
    assert in_threads(2, lambda rank: devices.total_of("a", "data", 3 + rank)) == [7, 7]
    assert in_threads(2, lambda rank: devices.total_of("a", "data", 0)) == [0, 0]
    assert set(map(str, in_threads(3, lambda rank: devices.total_of("a", "data", rank % 2)))) == {
        "For 'a', 'data' must hold data in every process, but got none at ranks 0, 2 of 3: share it out evenly."}


def test_what_has_to_be_alone_is_refused(in_threads):
    assert set(map(str, in_threads(2, lambda rank: devices.refuse_several("compare")))) == {
        "For 'compare', there must be one process, but got 2: run it without msrun."}


def test_one_process_is_as_if_there_were_no_others():
    array = np.ones(3)
    assert (devices.ranks(), devices.rank(), devices.total_of("a", "b", 0)) == (1, 0, 0)
    assert devices.gathered(array)[0] is array and devices.summed(array) is array
    assert devices.from_first(array) is array
    devices.refuse_several("compare")
    devices.refuse_differing("a", "b", (1 / 0 for _ in range(1)), "")


def test_one_of_several_puts_a_file_in_its_place(in_threads, tmp_path):
    def work(rank):
        with whole_file("a", str(tmp_path / "file.txt")) as temporary:
            Path(temporary).write_text(f"of rank {rank}")

    in_threads(3, work)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"file.txt": "of rank 0"}


@pytest.mark.parametrize("far", [0.0, 1e3])
def test_sums_of_least_squares_join_about_one_origin(in_threads, far):
    generator = np.random.default_rng(1)
    reads, gives = (generator.normal(far, 1.0, (30, 2, size)) for size in (4, 3))
    shares = [slice(0, 12), slice(12, 30)]

    def of(part):
        moments = Moments(reads[part][:5].mean(0), gives[part][:5].mean(0))
        moments.add(reads[part], gives[part])
        return moments

    def work(rank):
        moments = of(shares[rank])
        moments.add_others()
        return moments

    whole, matrix, bias = of(slice(None)), generator.normal(size=(2, 4, 3)), generator.normal(size=(2, 3))
    for found in in_threads(2, work):
        assert found.count == 30
        np.testing.assert_allclose(found.mean(), reads.mean(0), rtol=1e-12)
        np.testing.assert_allclose(found.covariance(), whole.covariance(), rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(found.solve(matrix, 1e-3, None), whole.solve(matrix, 1e-3, None), rtol=1e-8)
        np.testing.assert_allclose(found.error(matrix, bias), whole.error(matrix, bias), rtol=1e-8)
        np.testing.assert_allclose(found.spread(), whole.spread(), rtol=1e-9)


def test_means_and_covariances_join(in_threads):
    rows = np.random.default_rng(2).normal(5.0, 1.0, (40, 3))

    def work(rank):
        running = RunningMoments()
        if rank < 2:  # the third has nothing
            running.update(rows[:15] if rank == 0 else rows[15:])
        running.add_others()
        return running.moments()

    for found in in_threads(3, work):
        assert found.count == 40
        np.testing.assert_allclose(found.mean, rows.mean(0), rtol=1e-12)
        np.testing.assert_allclose(found.covariance, np.cov(rows.T), rtol=1e-12)


def together(folder, *arguments):
    """Two processes of tests/workers.py: how msrun ended, and what was printed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return subprocess.run(
        ["msrun", "--worker_num=2", "--local_worker_num=2", f"--master_port={port}", "--join=True",
         "--cluster_time_out=120", f"--log_dir={folder / 'log'}", str(ROOT / "tests" / "workers.py"), str(folder),
         *map(str, arguments)],
        cwd=ROOT, capture_output=True, text=True, timeout=500, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)})


@pytest.fixture(name="graph_mode")
def fixture_graph_mode():
    before = ms.get_context("mode")
    ms.set_context(mode=ms.GRAPH_MODE)
    yield
    ms.set_context(mode=before)


def loaded(folder, result):
    """What both processes came to."""
    logs = "".join(path.read_text() for path in sorted((folder / "log").glob("worker_*.log")))
    assert result.returncode == 0, result.stdout + result.stderr + logs
    return tuple(dict(np.load(folder / f"rank_{rank}.npz")) for rank in (0, 1))


def check_alike(first, second, alone):
    assert {*first} == {*second} == {*alone}
    for name in first:  # shapes of slim weights are the plan
        np.testing.assert_array_equal(first[name], second[name], name)
        assert first[name].shape == alone[name].shape, name
        limit = 1e-5 * max(1.0, np.abs(alone[name]).max(initial=0.0))
        np.testing.assert_allclose(first[name], alone[name], rtol=0, atol=limit, err_msg=name)


# Two processes start, compile and train: 20 seconds if nothing else runs.
@pytest.mark.long
def test_two_processes_come_to_what_one_does(tmp_path, graph_mode):
    first, second = loaded(tmp_path, together(tmp_path, "phase"))
    (tmp_path / "alone").mkdir()
    check_alike(first, second, workers.phase(tmp_path / "alone", 0, 1))
    # Written once, by the first.
    file = gs.load_slim(SmallNet(), tmp_path / "slim.safetensors")
    for parameter in file.get_parameters():
        np.testing.assert_array_equal(parameter.asnumpy(), first[f"slim.{parameter.name}"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alone", "log", "phase.ckpt", "rank_0.npz",
                                                                "rank_1.npz", "slim.safetensors"]


TOLD = [
    r"For 'OneShot', 'network' must be the same in all processes, but rank 1 differs from rank 0 in .*: load the same",
    r"For 'SCOP', 'net_opt' must be the same .* rank 1 differs from rank 0 in .*real_scale.*: have gradients averaged",
    r"For 'OneShot', what is pruned must be the same .* in axis 0 of .*: give all the same configuration and seeds",
    r"For 'OneShot', 'data' must hold data in every process, but got none at rank 1 of 2: share it out evenly",
    r"For 'compare', there must be one process, but got 2", r"For 'sensitivity', there must be one process, but got 2",
]


@pytest.mark.long
def test_what_is_summed_up_drawn_and_refused_in_two_processes(tmp_path, graph_mode):
    first, second = loaded(tmp_path, together(tmp_path, "rest"))
    alone = {**workers.loop(0, 1), **workers.statistics(0, 1), **workers.draws()}
    # In each process another stream from one seed; the first draws what a single process does.
    noise = [found.pop("noise") for found in (first, second, alone)]
    np.testing.assert_array_equal(noise[0], noise[2])
    assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.02
    for pattern, *texts in zip(TOLD, *(found.pop("told").tolist() for found in (first, second)), strict=True):
        assert all(re.match(pattern, text) for text in texts), texts
    assert [found.pop("first") for found in (first, second)] == ["of rank 0"] * 2
    # Of other positions, since each process draws its own.
    of_law = [name for name in alone if name.startswith("law.")]
    assert of_law
    for name in of_law:
        np.testing.assert_array_equal(first[name], second.pop(name))
        assert not np.array_equal(first.pop(name), alone.pop(name))
    check_alike(first, second, alone)


@pytest.mark.long
def test_the_others_end_with_a_process_that_dies_and_all_go_on(tmp_path, graph_mode):
    died = together(tmp_path, "phase", 13)
    assert died.returncode != 0
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "log") == ["phase.ckpt"]
    first, second = loaded(tmp_path, together(tmp_path, "phase"))
    assert first.pop("begun at") == second.pop("begun at") == 10
    (tmp_path / "alone").mkdir()
    alone = workers.phase(tmp_path / "alone", 0, 1)
    del alone["begun at"]
    check_alike(first, second, alone)
