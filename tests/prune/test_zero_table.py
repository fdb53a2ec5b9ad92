"""What the table says of zero, asked of MindSpore: an operator that is said to keep it gives exact zeros for zeros."""
import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, mint, nn, ops

import golden_stick as gs
from golden_stick.graph.rules import RULES
from golden_stick.graph.rules.arithmetic import elementwise, first_input

NAMED_ALIKE = ("ReLU ReLU6 GeLU Tanh Mish Elu SeLU Sqrt Abs Neg Square Erf Softsign HSwish FastGeLU Sin Tan Atan Asin "
               "Sinh Asinh Sign Floor Ceil Round Trunc Expm1 Log1p HShrink SoftShrink IsNan IsInf CeLU").split()
ONE = {**{name: getattr(ops, name)() for name in NAMED_ALIKE}, "SiLU": ops.silu, "Dropout": ops.Dropout(0.7)}
TWO = {"Mul": ops.mul, "LogicalAnd": ops.logical_and, "Sub": ops.sub, "SubExt": mint.sub, "Maximum": ops.maximum,
       "Minimum": ops.minimum, "LogicalOr": ops.logical_or, "NotEqual": ops.not_equal, "Div": ops.div,
       "FloorDiv": ops.floor_divide, "Mod": ops.Mod(), "FloorMod": ops.floor_mod}
# Said to keep zero and not run here, and why.
NOT_RUN = {
    "no kernel for the CPU": "EluExt GeluExt InplaceReLU",
    "becomes other operators when it is compiled": "LeakyReLU ReLUExt SiLUExt Identity RealDiv DivMod Muls Divs",
    "keeps every number": "Cast",
    "does nothing in inference": "DropoutExt",
}


class Applied(nn.Cell):
    """One operator."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def construct(self, *data):
        return self.function(*data)


def keeping(rule, zeros):
    return {name for name, found in RULES.items() if found.flow is rule and found.zero(zeros)}


def outputs(name, function, *data):
    """What MindSpore gives, in both modes, after a look that this really is the operator of that name."""
    network, before = Applied(function), ms.get_context("mode")
    network.set_train(False)
    assert [node.operator for node in gs.trace(network, data).nodes] == [name]
    try:
        for mode in (ms.GRAPH_MODE, ms.PYNATIVE_MODE):
            ms.set_context(mode=mode)
            made = network(*data)
            yield (made[0] if isinstance(made, tuple) else made).asnumpy()
    finally:
        ms.set_context(mode=before)


@pytest.mark.parametrize("name", ONE)
def test_zeros_stay_zeros(name):
    zeros = Tensor(np.zeros((2, 3), np.float32))
    assert name in keeping(first_input, [True])
    for made in outputs(name, ONE[name], zeros):
        assert made.shape == (2, 3) and not made.any()


@pytest.mark.parametrize("name", TWO)
def test_zeros_stay_zeros_with_a_second_operand(name):
    kind = bool if "Logical" in name else np.float32
    zeros = np.zeros((2, 3), kind)
    others = {True: zeros, False: np.array([[1, 2, 3], [4, 5, -6]]).astype(kind)}
    for first, second in ((True, True), (True, False), (False, True)):
        # A quotient of zeros is not asked for: where the divisor is hidden as well, nothing is.
        if not RULES[name].zero([first, second]) or (second and name in ("Div", "FloorDiv", "Mod", "FloorMod")):
            continue
        for made in outputs(name, TWO[name], Tensor(others[first]), Tensor(others[second])):
            assert made.shape == (2, 3) and not made.any()


def test_every_operator_that_is_said_to_keep_zero_is_asked_or_excused():
    excused = {name for names in NOT_RUN.values() for name in names.split()}
    assert keeping(first_input, [True]) <= set(ONE) | excused
    assert keeping(elementwise, [True, True]) <= set(TWO) | excused
    assert not excused & (set(ONE) | set(TWO))
