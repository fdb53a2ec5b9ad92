"""Work that was killed goes on, and comes to what it would have come to: bit for bit, on one machine."""
import os
import signal
import subprocess
import sys
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn
from mindspore.experimental import optim

import golden_stick as gs
from golden_stick.base.errors import ArgumentError, ArgumentTypeError, CheckpointError, StateError
from tests import resumed
from tests.marks import quick
from tests.networks import SMALL_INPUT, SmallNet, randomize

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def settings_of_mindspore():
    before = ms.get_context("mode"), ms.dataset.config.get_seed()
    yield
    ms.set_context(mode=before[0])
    ms.dataset.config.set_seed(before[1])


@pytest.fixture(name="here")
def fixture_here(monkeypatch):
    """Does a kind of work in this process, from where a folder stands: what comes out, and how many moments it had."""
    monkeypatch.setattr(os, "replace", resumed.put_in_place)

    def work(kind, folder, last=0):
        ms.set_context(mode=ms.GRAPH_MODE)
        resumed.LEFT[0] = last
        return resumed.KINDS[kind](str(folder), randomize(SmallNet())), -resumed.LEFT[0]

    return work


def killed(kind, folder, moment):
    """The same in a process that is killed at a moment."""
    done = subprocess.run([sys.executable, "-m", "tests.resumed", kind, str(folder), str(moment)], cwd=ROOT,
                          capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == -signal.SIGKILL, done.stdout + done.stderr


def same(made, whole):
    assert made.keys() == whole.keys()
    for name in whole:
        np.testing.assert_array_equal(made[name], whole[name], name)


def check_killed(here, folder, kind, count, seed=0):
    (folder / "whole").mkdir()
    whole, moments = here(kind, folder / "whole")
    for moment in np.random.default_rng((17, seed)).choice(np.arange(1, moments), count, replace=False).tolist():
        again = folder / f"killed_{moment}"
        again.mkdir()
        killed(kind, again, moment)
        same(here(kind, again)[0], whole)


@pytest.mark.long
@pytest.mark.parametrize("kind, count, seed", [
    *(("phase", 5, seed) for seed in range(4)), ("gaussian", 3, 0), ("loop", 5, 0), ("steps", 4, 0),
    ("reconstruction", 4, 0), ("comparison", 3, 0), ("sensitivity", 3, 0)])
def test_work_that_was_killed_at_any_moment_goes_on(here, tmp_path, kind, count, seed):
    check_killed(here, tmp_path, kind, count, seed)


@pytest.mark.parametrize("kind, share", quick(
    [("phase", 0.5), ("reconstruction", 0.5), ("loop", 0.7), ("gaussian", 0.6), ("steps", 0.7), ("comparison", 0.6),
     ("sensitivity", 0.7)], [("phase", 0.5), ("reconstruction", 0.5)]))
def test_work_that_was_interrupted_goes_on(here, tmp_path, monkeypatch, kind, share):
    for name in ("whole", "part"):
        (tmp_path / name).mkdir()
    whole, moments = here(kind, tmp_path / "whole")

    def end():
        raise KeyboardInterrupt

    monkeypatch.setattr(resumed, "end", end)
    with pytest.raises(KeyboardInterrupt):
        here(kind, tmp_path / "part", int(share * moments))
    made, left = here(kind, tmp_path / "part")
    same(made, whole)
    assert left < moments  # what was done is not done again


def trained(optimizer, count, network=None):
    """A network and its optimizer after so many steps more."""
    network = network or randomize(SmallNet())
    optimizer = optimizer(network.trainable_params()) if callable(optimizer) and not isinstance(
        optimizer, nn.Cell) else optimizer

    def forward(x):
        return (network(x) ** 2).mean()

    step = ms.value_and_grad(forward, None, optimizer.parameters)
    for number in count:
        x = Tensor(np.random.default_rng(number).normal(size=SMALL_INPUT).astype(np.float32))
        optimizer(step(x)[1])
    return network, optimizer


@pytest.mark.parametrize("make", [
    lambda parameters: nn.Adam(parameters, nn.CosineDecayLR(1e-3, 1e-2, 8)),
    lambda parameters: nn.Momentum([{"params": parameters[:3], "lr": 0.02}, {"params": parameters[3:]}], 0.01, 0.9),
    lambda parameters: optim.AdamW(parameters, 0.01)], ids=["Adam", "Momentum", "experimental"])
def test_any_optimizer_goes_on(tmp_path, make):
    ms.set_context(mode=ms.PYNATIVE_MODE)
    path = tmp_path / "state.safetensors"
    network, optimizer = trained(make, range(3))
    assert gs.save_state(path, network, optimizer, 3) == str(path)
    whole, _ = trained(optimizer, range(3, 6), network)
    again = randomize(SmallNet(), 1)
    fresh = make(again.trainable_params())
    assert gs.load_state(path, again, fresh) == 3
    trained(fresh, range(3, 6), again)
    same(resumed.values(again), resumed.values(whole))


def phase(config=None, network=None):
    algorithm = gs.SCOP({"mixing": "joint", **(config or {})})
    made = algorithm.apply(network or randomize(SmallNet()), SMALL_INPUT)
    return algorithm, made, nn.Adam(made.trainable_params(), 0.01)


def test_a_state_of_something_else_is_refused(tmp_path):
    path = str(tmp_path / "phase.ckpt")
    _, made, optimizer = phase()
    assert gs.load_state(path, made, optimizer) == 0
    gs.save_state(path, made, optimizer, 2)
    for other in (phase(network=randomize(SmallNet(), 1)), phase({"sampler": "noise"})):
        with pytest.raises(CheckpointError, match="this network (with this configuration|and optimizer), but 'mixing"):
            gs.load_state(path, *other[1:])
    with pytest.raises(CheckpointError, match=r"'head.weight' is \(4, 96\) in it and \(5, 96\) here: build both as be"):
        gs.load_state(path, *phase(network=randomize(SmallNet(5)))[1:])
    with pytest.raises(CheckpointError, match=r"'momentum' is missing in it and \(\) here: build both as before"):
        gs.load_state(path, made, nn.SGD(made.trainable_params()))
    ms.save_checkpoint(made, path)
    with pytest.raises(CheckpointError, match="a file that 'save_state' wrote, but it does not tell how many batches"):
        gs.load_state(path, made, optimizer)


def test_arguments_of_a_state(tmp_path):
    network = nn.Dense(2, 2)
    optimizer = nn.SGD(network.trainable_params())
    with pytest.raises(ArgumentError, match="the file of a state must end in .ckpt or .safetensors, but got 'state.b"):
        gs.save_state("state.bin", network, optimizer, 1)
    with pytest.raises(ArgumentError, match="'step' must be a whole number of at least 0, but got -1"):
        gs.save_state("state.ckpt", network, optimizer, -1)
    with pytest.raises(ArgumentTypeError, match="network and optimizer must be Cells, but 'optimizer' is list"):
        gs.load_state("state.ckpt", network, [])
    with pytest.raises(ArgumentError, match="parameters must have names of their own, but two are called 'weight'"):
        gs.save_state("state.ckpt", network, nn.Dense(2, 2), 1)
    with pytest.raises(ArgumentError, match="'every' must be a whole number of at least 1, but got 0"):
        gs.OneShot().callbacks(checkpoint="state.ckpt", every=0)


def test_a_training_must_begin_where_its_checkpoint_stands(tmp_path):
    path = tmp_path / "phase.ckpt"
    algorithm, made, optimizer = phase()

    def data():
        return ms.dataset.NumpySlicesDataset(resumed.images(), shuffle=False).batch(4)

    model = ms.Model(made, algorithm.loss(nn.CrossEntropyLoss()), optimizer)
    model.train(1, data(), callbacks=algorithm.callbacks(checkpoint=path, every=4), dataset_sink_mode=False)
    assert gs.load_state(path, made, optimizer) == 6  # at the end, too
    same(resumed.values(algorithm.convert(made, ckpt_path=str(path))), resumed.values(algorithm.convert(made)))
    with pytest.raises(StateError, match="was written after 6 batches, and this training begins after 0: call step ="):
        model.train(2, data(), callbacks=algorithm.callbacks(checkpoint=path), dataset_sink_mode=False)
    algorithm, made, optimizer = phase()
    later = data()
    later.set_init_step(6)
    model = ms.Model(made, algorithm.loss(nn.CrossEntropyLoss()), optimizer)
    with pytest.raises(StateError, match="must go on where .* stands, but it holds another '.*real_scale'"):
        model.train(2, later, callbacks=algorithm.callbacks(checkpoint=path), initial_epoch=1, dataset_sink_mode=False)


def test_a_folder_of_something_else_is_refused(tmp_path):
    def train(slim, _):
        for parameter in slim.trainable_params():
            parameter.set_data(parameter + 0.01)

    def steps(network, config):
        return gs.prune_in_steps(network, SMALL_INPUT, config, 2, train, folder=tmp_path / "steps")

    network = randomize(SmallNet())
    slim, _ = steps(network, {"prune_rate": 0.4})
    for other in ((randomize(SmallNet(), 1), {"prune_rate": 0.4}), (network, {"prune_rate": 0.6})):
        with pytest.raises(StateError, match="'folder' must be new or hold the same steps, but '.*step_0.safetensors'"):
            steps(*other)
    data = [resumed.images()[0]]
    algorithm = gs.OneShot({"prune_rate": 0.4})
    slim = algorithm.convert(algorithm.apply(network, SMALL_INPUT))
    gs.reconstruct(slim, network, data, folder=tmp_path / "again")
    with pytest.raises(StateError, match="'folder' must be new or hold the same reconstruction, but '.*' is of othe"):
        gs.reconstruct(slim, network, [data[0][:9]], folder=tmp_path / "again")
    gs.save_slim(slim, tmp_path / "again" / "reconstruction.safetensors")
    with pytest.raises(CheckpointError, match="must be a reconstruction that was begun here, but it is damaged or"):
        gs.reconstruct(slim, network, data, folder=tmp_path / "again")
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="For 'reconstruct', 'folder' must be a folder that can be made and wri"):
        gs.reconstruct(slim, network, data, folder=tmp_path / "file")
