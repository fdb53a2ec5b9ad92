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
    "no kernel for the CPU": "EluExt GeluExt InplaceReLU LeakyReLUExt",
    "becomes other operators when it is compiled": "LeakyReLU ReLUExt SiLUExt Identity RealDiv DivMod Muls Divs",
    "keeps every number": "Cast",
    "does nothing in inference": "DropoutExt",
    "takes three operands; asked in tests/cells/test_mint_functions.py": "Addcmul",
}


class Applied(nn.Cell):
    """Operators that all take the same."""

    def __init__(self, functions):
        super().__init__()
        self.functions = tuple(functions)

    def construct(self, *data):
        made = ()
        for function in self.functions:
            made = made + (function(*data),)
        return made


def keeping(rule, zeros):
    return {name for name, found in RULES.items() if found.flow is rule and found.zero(zeros)}


def nonzero(functions, *data):
    """
    The names of the operators that do not give zeros, of the shape of the data, in one of both modes; after a look that
    these really are the operators of those names.
    """
    network, before, wrong = Applied(functions.values()), ms.get_context("mode"), set()
    network.set_train(False)
    assert sorted(node.operator for node in gs.trace(network, data).nodes) == sorted(functions)
    try:
        for mode in (ms.GRAPH_MODE, ms.PYNATIVE_MODE):
            ms.set_context(mode=mode)
            for name, made in zip(functions, network(*data)):
                array = (made[0] if isinstance(made, tuple) else made).asnumpy()
                wrong |= {name} if array.shape != data[0].shape or array.any() else set()
    finally:
        ms.set_context(mode=before)
    return wrong


def test_zeros_stay_zeros():
    assert set(ONE) <= keeping(first_input, [True])
    assert nonzero(ONE, Tensor(np.zeros((2, 3), np.float32))) == set()


@pytest.mark.parametrize("first, second", [(True, True), (True, False), (False, True)])
@pytest.mark.parametrize("kind", [bool, np.float32])
def test_zeros_stay_zeros_with_a_second_operand(kind, first, second):
    others = {True: np.zeros((2, 3), kind), False: np.array([[1, 2, 3], [4, 5, -6]]).astype(kind)}
    # A quotient of zeros is not asked for: where the divisor is hidden as well, nothing is.
    asked = {name: function for name, function in TWO.items()
             if ("Logical" in name) == (kind is bool) and RULES[name].zero([first, second])
             and not (second and name in ("Div", "FloorDiv", "Mod", "FloorMod"))}
    if asked:
        assert nonzero(asked, Tensor(others[first]), Tensor(others[second])) == set()


def test_every_operator_that_is_said_to_keep_zero_is_asked_or_excused():
    excused = {name for names in NOT_RUN.values() for name in names.split()}
    assert keeping(first_input, [True]) <= set(ONE) | excused
    assert keeping(elementwise, [True, True]) <= set(TWO) | excused
    assert not excused & (set(ONE) | set(TWO))
