"""An optimizer that goes on with the slim network: its step is the masked network's, made slim."""
import functools
import warnings
from itertools import product
from types import SimpleNamespace

import mindspore as ms
import numpy as np
import pytest
from mindspore import Parameter, Tensor, mint, nn, ops
from mindspore.experimental import optim

import golden_stick as gs
from golden_stick.base.errors import ArgumentError, ArgumentTypeError
from golden_stick.cells.wrappers import copy_network, masked_network
from golden_stick.prune.plan import make_plan
from tests import networks
from tests.marks import quick
from tests.traced import traced

SHAPE = networks.SMALL_INPUT
X = Tensor(np.random.default_rng(1).normal(size=SHAPE), ms.float32)
Y = Tensor(np.arange(SHAPE[0]) % 4, ms.int32)


@functools.lru_cache(None)
def planned(build=networks.SmallNet):
    """A network and a plan that halves it."""
    network, graph = traced(build)
    groups = gs.find_groups(graph)
    generator = np.random.default_rng(0)
    return network, make_plan(groups, {group.name: generator.random(len(group.channels)) for group in groups}, 0.5)


def small_resnet():
    return networks.CifarResNet(1)


def cut(plan, name, values):
    """What a plan leaves of the values of a parameter."""
    for axis in plan.axes:
        if axis.parameter == name:
            values = values.take(axis.kept, axis.axis)
    return values


def steps(network, optimizer, count):
    """Train in PyNative mode. Returns the losses."""
    network.set_train()
    loss = nn.CrossEntropyLoss()
    forward = ms.value_and_grad(lambda x, y: loss(network(x), y), None, optimizer.parameters)
    losses = []
    for _ in range(count):
        value, gradients = forward(X, Y)
        optimizer(gradients)
        losses.append(float(value))
    return losses


def compiled_steps(network, optimizer, count):
    """The same in graph mode."""
    step = nn.TrainOneStepCell(nn.WithLossCell(network, nn.CrossEntropyLoss()), optimizer).set_train()
    return [float(step(X, Y)) for _ in range(count)]


def groups_of(parameters):
    """Two groups, one with a schedule and a weight decay of its own."""
    weights = [item for item in parameters if item.name.endswith("weight")]
    others = [item for item in parameters if not item.name.endswith("weight")]
    return [{"params": weights, "weight_decay": 0.01, "lr": nn.CosineDecayLR(0.01, 0.1, 8)}, {"params": others},
            {"order_params": parameters}]


class ByName(nn.Optimizer):
    """One of a user's own: its moments are in a dict, its weights of them in a list."""

    def __init__(self, parameters):
        super().__init__(0.1, parameters)
        self.kept = {item.name: Parameter(ops.zeros_like(item), name="x") for item in self.parameters}
        self.last = [Tensor(np.zeros(item.shape), ms.float32) for item in self.parameters]
        self.shapes = {item.name: np.full(item.shape, 0.5, np.float32) for item in self.parameters}

    def construct(self, gradients):
        for at, (parameter, gradient) in enumerate(zip(self.parameters, gradients)):
            moment = self.kept[parameter.name]
            ops.assign(moment, 0.9 * moment + gradient + 0.1 * self.last[at])
            self.last[at] = gradient
            ops.assign(parameter, parameter - 0.1 * moment * Tensor(self.shapes[parameter.name]))


OPTIMIZERS = {
    "Momentum": lambda given: nn.Momentum(given, 0.1, 0.9, weight_decay=0.01, use_nesterov=True),
    "Momentum of an iterator": lambda given: nn.Momentum((item for item in given), 0.1, 0.9),
    "Momentum, table": lambda given: nn.Momentum(given, [0.1, 0.05, 0.02, 0.3, 0.2], 0.9),
    "Momentum, groups": lambda given: nn.Momentum(groups_of(given), 0.1, 0.9),
    "SGD": lambda given: nn.SGD(given, 0.1, 0.9, weight_decay=0.01),
    "Adam": lambda given: nn.Adam(given, 0.01, weight_decay=0.01),
    "Adam, amsgrad": lambda given: nn.Adam(given, nn.ExponentialDecayLR(0.01, 0.9, 2), use_amsgrad=True),
    "AdamWeightDecay": lambda given: nn.AdamWeightDecay(given, 0.01, weight_decay=0.1),
    "LazyAdam": lambda given: nn.LazyAdam(given, 0.01),
    "RMSProp": lambda given: nn.RMSProp(given, 0.01, momentum=0.9, centered=True),
    "Adagrad": lambda given: nn.Adagrad(given, learning_rate=0.05),
    "Adadelta": lambda given: nn.Adadelta(given),
    "AdaMax": lambda given: nn.AdaMax(given, 0.01),
    "FTRL": lambda given: nn.FTRL(given, learning_rate=0.05),
    "experimental Adam": lambda given: optim.Adam(given, lr=0.01, weight_decay=0.1),
    "experimental AdamW": lambda given: optim.AdamW([{"params": given[:3], "lr": 0.02}, {"params": given[3:]}],
                                                    lr=0.01),
    "experimental SGD": lambda given: optim.SGD(given, lr=0.1, momentum=0.9),
    "experimental NAdam": lambda given: optim.NAdam(given, lr=0.01),
    "of one's own": ByName,
}


# What these have learned is looked at, but no step is made: some have no kernel for the CPU.
MORE = {
    "ASGD": lambda given: nn.ASGD(given, 0.05),
    "Rprop": lambda given: nn.Rprop(given, 0.01),
    "mint Adam": lambda given: mint.optim.Adam(given, lr=0.01),
    "mint SGD": lambda given: mint.optim.SGD(given, lr=0.1, momentum=0.9),
    "Lamb": lambda given: nn.Lamb(given, 0.01, weight_decay=0.01),
    "LARS": lambda given: nn.LARS(nn.Momentum(given, 0.1, 0.9)),
    "mint AdamW": lambda given: mint.optim.AdamW(given, lr=0.01, amsgrad=True),
}


def both(make, train, build=networks.SmallNet):
    """A masked network trained for some steps, and its slim one with its optimizer; then both, and one step more."""
    network, plan = planned(build)
    masked = masked_network(network, plan)
    optimizer = make(masked.trainable_params())
    train(masked, optimizer, 3)
    wide = copy_network(network)
    trained = {item.name: item.asnumpy() for item in masked.get_parameters()}
    for parameter in wide.get_parameters():
        parameter.set_data(Tensor(trained[parameter.name]))
    slim = gs.slim(wide, plan)
    mine = gs.slim_optimizer(optimizer, masked, slim)
    before = {item.name: item.asnumpy().copy() for item in slim.get_parameters()}
    losses = train(slim, mine, 2), train(masked, optimizer, 2)
    np.testing.assert_allclose(*losses, rtol=1e-5)
    for parameter in slim.trainable_params():
        wanted = cut(plan, parameter.name, {item.name: item for item in masked.get_parameters()}[
            parameter.name].asnumpy())
        np.testing.assert_allclose(parameter.asnumpy(), wanted, rtol=1e-4, atol=2e-6, err_msg=parameter.name)
    assert not all(np.array_equal(before[item.name], item.asnumpy()) for item in slim.trainable_params())
    return optimizer, mine, slim


@pytest.mark.parametrize("name", quick(OPTIMIZERS, [
    "Momentum, table", "Momentum, groups", "Adam, amsgrad", "experimental AdamW", "of one's own"]))
def test_its_steps_are_those_of_the_masked_network_made_slim(name):
    optimizer, mine, slim = both(OPTIMIZERS[name], steps)
    assert type(mine) is type(optimizer)
    assert [id(item) for item in mine.parameters] == [id(slim.parameters_dict()[item.name])
                                                      for item in optimizer.parameters]


@pytest.mark.parametrize("name", quick(["Momentum, groups", "Adam, amsgrad", "experimental AdamW"],
                                       ["Momentum, groups"]))
def test_compiled(name):
    both(OPTIMIZERS[name], compiled_steps)


@pytest.mark.parametrize("name, build", quick(product(
    ["Momentum, groups", "Adam"], [small_resnet, networks.MobileNetV2Like, networks.SENet]),
    [("Adam", small_resnet)]))
def test_other_networks_on_the_same_gradients(build, name):
    """The slim network's are what is kept of the others: then each number of it is one of theirs, to the last bit."""
    network, plan = planned(build)
    network, generator = copy_network(network), np.random.default_rng(2)
    optimizer = OPTIMIZERS[name](network.trainable_params())

    def step(*optimizers):
        gradients = {item.name: generator.normal(size=item.shape).astype(np.float32) for item in optimizer.parameters}
        optimizer(tuple(Tensor(gradients[item.name]) for item in optimizer.parameters))
        for other in optimizers:
            other(tuple(Tensor(cut(plan, item.name, gradients[item.name])) for item in other.parameters))

    step()
    slim = gs.slim(network, plan)
    mine = gs.slim_optimizer(optimizer, network, slim)
    for _ in range(2):
        step(mine)
    for parameter in slim.trainable_params():
        wanted = cut(plan, parameter.name, network.parameters_dict()[parameter.name].asnumpy())
        np.testing.assert_allclose(parameter.asnumpy(), wanted, rtol=1e-6, atol=1e-7, err_msg=parameter.name)


@pytest.mark.parametrize("name", [*OPTIMIZERS, *MORE])
def test_what_was_learned_is_cut_to_what_is_kept(name):
    """Every number of it is another: those of the kept positions stay, in their order, and no other does."""
    network, plan = planned()
    optimizer = {**OPTIMIZERS, **MORE}[name](network.trainable_params())
    generator = np.random.default_rng(3)
    old = [item for item in optimizer.get_parameters() if item.name not in network.parameters_dict()]
    for item in old:
        item.set_data(Tensor(generator.random(item.shape), item.dtype))
    mine = gs.slim_optimizer(optimizer, network, gs.slim(network, plan))
    new = [item for item in mine.get_parameters() if item.name not in network.parameters_dict()]
    assert [item.name for item in new] == [item.name for item in old] and old
    for one, other in zip(old, new):
        name = next((item.name for item in network.get_parameters() if one.name.endswith(item.name)), "")
        wanted = cut(plan, name, one.asnumpy()) if one.size > 1 else one.asnumpy()
        np.testing.assert_array_equal(other.asnumpy(), wanted, err_msg=one.name)
        assert one is not other


def test_what_is_trained_besides_goes_on():
    network, plan = planned()
    beside = Parameter(ops.ones(7), name="temperature")
    slim = gs.slim(network, plan)
    mine = gs.slim_optimizer(nn.Momentum([beside, *network.trainable_params()], 0.1, 0.9), network, slim)
    assert mine.parameters[0] is beside and mine.moments[0].shape == (7,)
    assert mine.parameters[1] is slim.trainable_params()[0]


def test_names_that_a_cell_around_the_network_has_changed():
    network, plan = planned()
    network = copy_network(network)
    optimizer, slim = nn.Adam(network.trainable_params()), gs.slim(network, plan)
    nn.SequentialCell(network)
    mine = gs.slim_optimizer(optimizer, network, slim)
    assert [item.shape for item in mine.moment1] == [item.shape for item in slim.trainable_params()]


class Sums(nn.Optimizer):
    """It keeps something that no rule can cut."""

    def __init__(self, parameters, state):
        super().__init__(0.1, parameters)
        self.state = state(self.parameters)


REFUSED = {
    "factored": (nn.AdaFactor, r"'exp_avg_sq_row.* of 'AdaFactor' has shape .* make a new 'AdaFactor' of slim.trainab"),
    "of no parameter": (lambda given: Sums(given, lambda own: Parameter(ops.ones((3, 5)), name="sums")),
                        r"'sums' of 'Sums' has shape \(3, 5\) and belongs to no parameter by name, key or pl"),
    "a tuple": (lambda given: Sums(given, lambda own: {item.name: (ops.ones(item.shape),) for item in own}),
                "must be in Parameters, lists or dicts, but got a tuple of Tensors of shape"),
    "not to be copied": (lambda given: Sums(given, lambda own: (item for item in own)),
                         "must be one that copy.deepcopy can copy, but a 'Sums' cannot be: cannot pickle 'generator'"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_carried_over_is_refused(what):
    network, plan = planned()
    make, message = REFUSED[what]
    with pytest.raises(ArgumentError, match=f"For 'slim_optimizer', .*{message}"):
        gs.slim_optimizer(make(network.trainable_params()), network, gs.slim(network, plan))


def test_what_does_not_belong_together_is_refused():
    network, plan = planned()
    slim, optimizer = gs.slim(network, plan), nn.Momentum(network.trainable_params(), 0.1, 0.9)
    for arguments, message in ((("no", network, slim), "network and slim must be Cells, but 'optimizer' is str"),
                               ((network, network, slim), "must be an optimizer, with its parameters in 'parameters'"),
                               ((optimizer, network, "no"), "network and slim must be Cells, but 'slim' is str")):
        with pytest.raises(ArgumentTypeError, match=message):
            gs.slim_optimizer(*arguments)
    folded, changed = gs.fold(slim, SHAPE), gs.slim(network, plan)
    changed.head = nn.Dense(changed.head.in_channels, 3)
    for other, message in ((network, None), (copy_network(network), "'slim' must be a network that was made slim from"),
                           (folded, "must be pruned from 'network' and not folded"),
                           (changed, "what is left of 'head.weight', which 'optimizer' trains, but it has shape")):
        if message is None:
            assert gs.slim_optimizer(optimizer, network, other).parameters[0] is network.trainable_params()[0]
            continue
        with pytest.raises(ArgumentError, match=message):
            gs.slim_optimizer(optimizer, network, other)
    del changed.head
    with pytest.raises(ArgumentError, match="'head.weight', which 'optimizer' trains, but it lacks it: call"):
        gs.slim_optimizer(optimizer, network, changed)
    with pytest.raises(ArgumentError, match="must train 'network', but none of its 1 parameters is one of that"):
        gs.slim_optimizer(nn.Momentum([Parameter(ops.ones(1), name="x")], 0.1, 0.9), network, slim)


@pytest.mark.parametrize("make, masked", [(OPTIMIZERS["Momentum"], False), (MORE["mint Adam"], True)])
def test_convert_tells_of_an_optimizer_that_would_train_nothing(make, masked):
    network = copy_network(planned()[0])
    algorithm = gs.OneShot()
    applied = algorithm.apply(network, SHAPE)
    optimizer = make((applied if masked else network).trainable_params())
    with pytest.warns(UserWarning, match=f"For 'OneShot', the slim network must be trained by an optimizer of its own: "
                                         f"the '{type(optimizer).__name__}' that was made before .*gs.slim_optimizer"):
        algorithm.convert(applied)
    held, optimizer = [SimpleNamespace(anything=optimizer)], None
    with warnings.catch_warnings():
        # It is alive, as that of a training that has ended is in MindSpore's keeping.
        warnings.simplefilter("error")
        algorithm.convert(applied)
    optimizer = held[0]
    with pytest.warns(UserWarning, match="an optimizer of its own"):
        algorithm.convert(applied)


def test_the_optimizer_of_a_knockoff_phase_is_none_of_these():
    algorithm = gs.SCOP({"mixing": "joint"})
    phase = algorithm.apply(planned()[0], SHAPE)
    optimizer = nn.Adam(phase.trainable_params(), 0.1)
    steps(phase, optimizer, 1)
    algorithm.after_step()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        algorithm.convert(phase)
    assert not [item for item in caught if "an optimizer of its own" in str(item.message)]
