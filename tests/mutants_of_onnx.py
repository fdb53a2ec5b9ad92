"""Ways to get an ONNX file wrong."""
from tests.mutants_of_rules import Mutant

TESTS = "tests/deploy/test_onnx.py"
RESHAPES = f"{TESTS}::test_reshapes_in_a_row_are_one_or_none"
POOLING = f"{TESTS}::test_a_padded_pooling_is_one_operator"


def _in(file, tests):
    def mutant(what, old, new="pass"):
        return Mutant(what, f"deploy/onnx/{file}.py", old, new, tests)
    return mutant


_writer, _parts, _pooling = _in("writer", RESHAPES), _in("parts", RESHAPES), _in("spatial", POOLING)

ONNX_MUTANTS = (
    _writer("a reshape back is written", "sizes_of(shape) == sizes_of(old_shape)", "False"),
    _writer("a reshape of a reshape is two", "self._reshaped.get(name, (name, old_shape))", "name, old_shape"),
    _writer("a reshape is forgotten", "sizes_of(shape) == sizes_of(old_shape)", "True"),
    _parts("what nobody reads is written", "if wanted.intersection(node[2]):", "if True:"),
    _in("parts", f"{TESTS}::test_before_and_after_pruning")(
        "what is read is left out", "wanted.update(node[1])", "wanted.update(node[1][:1])"),
    _pooling("a pooling of images stays one of volumes", "!= (1, 1, 1, 0)", "!= (1, 1, 1, 1)"),
    _pooling("the padding is that of the depth", "kernel[1:], stride[1:], begin[1:]",
             "kernel[1:], stride[1:], begin[:2]"),
)
