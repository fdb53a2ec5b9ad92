"""Ways to get a step wrong: plan, slim, mask, verify, calibrate, SCOP, files."""
from tests.mutants_of_rules import Mutant

PLAN, IMPORTANCE, CONFIG = "tests/graph/test_plan.py", "tests/graph/test_importance.py", "tests/test_config.py"
SLIMMER, VERIFY, TRACE, PRUNERS = (f"tests/prune/test_{name}.py" for name in ("slimmer", "verify", "trace", "pruners"))
CELLS, SCOP = "tests/scop/test_cells.py", "tests/scop/test_pruner.py"
CHECKPOINT, EXPORT = "tests/deploy/test_checkpoint.py", "tests/deploy/test_export.py"


def _in(file, tests):
    def mutant(what, old, new="pass"):
        return Mutant(what, file, old, new, tests)
    return mutant


_plan, _importance = _in("prune/plan.py", PLAN), _in("prune/importance.py", IMPORTANCE)
_slim, _cells = _in("prune/slimmer.py", SLIMMER), _in("prune/cells.py", SLIMMER)
_verify, _calibrate = _in("prune/verify.py", VERIFY), _in("prune/calibration.py", VERIFY)
_scop_cells, _selection = _in("scop/cells.py", CELLS), _in("scop/selection.py", SCOP)
_scop = _in("scop/pruner.py", SCOP)
_checkpoint, _export, _files = (_in("deploy/checkpoint.py", CHECKPOINT), _in("deploy/export.py", EXPORT),
                                _in("deploy/files.py", CHECKPOINT))
_RECYCLE = "ms.ms_memory_recycle()"

STEP_MUTANTS = (
    _in("config.py", CONFIG)("True is a number", "isinstance(value, bool) or not isinstance(value, Real)",
                             "not isinstance(value, Real)"),
    _in("config.py", CONFIG)("the end of an open interval is inside", "<= value < self.high or",
                             "<= value <= self.high or"),
    _plan("one more is removed", "+ 1e-9)", "+ 1)"),
    _plan("rounding by the noise of floats", "+ 1e-9)", ")"),
    _plan("the most important go", "len(scores)), scores))", "len(scores)), -np.asarray(scores)))"),
    _plan("of equal ones the first go", "(-np.arange(len(scores))", "(np.arange(len(scores))"),
    _plan("a layer may lose its last filter", "protected.add(", "set().add("),
    _plan("masks are kept where nothing goes", "if len(site.kept) < site.size)", ")"),
    _importance("layers are not brought to one unit", "scores = scores / (np.abs(scores).mean() or 1.0)"),
    _importance("l1 without magnitudes", "return np.abs(weight).sum(axis=1)", "return weight.sum(axis=1)"),
    _importance("a sum instead of a mean", "return total / np.maximum(count, 1)", "return total"),
    _slim("depthwise convolutions are resized as plain ones",
          "return _resize_depthwise if cell.group == cell.in_channels and cell.group > 1 else _resize_convolution",
          "return _resize_convolution"),
    _slim("compiled graphs stay", f"{_RECYCLE}\n    return smaller", "return smaller"),
    _slim("the user's network is changed", "smaller = copy.deepcopy(network)", "smaller = network"),
    _slim("earlier plans are forgotten", "recipe_of(network) + (plan,)", "(plan,)"),
    _slim("sizes are not checked", "if axis.axis >= len(shape) or shape[axis.axis] != axis.size:", "if False:"),
    _slim("residual branches are not scattered", "for site in plan.scatters})", "for site in ()})"),
    _cells("masked without masks", "MaskedInput(cell, inputs[path]) if path in inputs else cell", "cell")._replace(
        tests="tests/prune/test_pruners.py"),
    _cells("branches are not masked", "return MaskedOutput(cell, outputs[path]) if path in outputs else cell",
           "return cell"),
    _cells("scattered in the wrong order", "= np.arange(len(site.kept))", "= np.arange(len(site.kept))[::-1]"),
    _cells("a sequence runs its old Cells", "parent.cell_list = list(children.values())"),
    _verify("everything is tolerated", "if not result.relative_difference <= tolerance:", "if False:"),
    _verify("NaN is tolerated", "if not result.relative_difference <= tolerance:",
            "if result.relative_difference > tolerance:"),
    _verify("shapes are not compared", "if [array.shape for array in wanted] != [array.shape for array in got]:",
            "if False:"),
    _calibrate("the variance of the means is left out", "spread.mean(0) + mean.var(0)", "spread.mean(0)"),
    _calibrate("the last batch alone counts", "(mean.mean(0), spread", "(mean[-1], spread"),
    _in("evaluation.py", VERIFY)("training flags do not come back", "cell.add_flags(training=training)"),
    _in("prune/trace.py", TRACE)("a second trace is served from the cache", "golden_stick{next(_fresh)}", "golden_stick"),
    _in("prune/trace.py", TRACE)("subclasses of layers are strangers", "return ancestor.__name__", "break"),
    _in("prune/pruner.py", PRUNERS)("no rehearsal", "self._rehearse(network, graph, grouping, tensors)"),
    _in("prune/pruner.py", PRUNERS)("the checkpoint is not looked at",
                                    "self._load(network, ckpt_path) if ckpt_path else {}", "{}"),
    _in("prune/pruner.py", PRUNERS)("convert does not verify",
                                    "verify(masked_network(plain, plan), smaller, self._inputs)",
                                    "Verification(0.0, 1.0, 1e-5)"),
    _in("comp_algo.py", PRUNERS)("no MindIR at the end of training", "self._algorithm.finish_training()"),
    _scop_cells("scales are not put back", "ops.clip_by_value(self.real_scale, 0.0, 1.0)", "self.real_scale * 1.0"),
    _scop_cells("gradients flow into the knockoffs", "ops.stop_gradient(self.cell(ops.stop_gradient(x[count:])))",
                "self.cell(x[count:])"),
    _scop_cells("the wrong half is mixed", "(knockoff + scale * (real - knockoff), knockoff)",
                "(real, knockoff + scale * (real - knockoff))"),
    _scop_cells("scale and its complement change places", "knockoff + scale * (real - knockoff)",
                "real + scale * (knockoff - real)"),
    _scop_cells("both halves are handed out", "return output[:count]", "return output"),
    _scop_cells("every sample is its own control", "(item, item[1:], item[:1])", "(item, item)"),
    _scop_cells("normalizations learn in the knockoff phase",
                'inner = {**flags, "training": False} if "training" in flags else flags', "inner = flags"),
    _selection("the sign of the importance", "(2.0 * real_scale.astype(np.float64) - 1.0)",
               "(1.0 - 2.0 * real_scale.astype(np.float64))"),
    _selection("gamma without its magnitude", "np.abs(gamma.astype(np.float64))", "gamma.astype(np.float64)"),
    _selection("ties rank apart", "(ends - (counts + 1) / 2)", "ends"),
    _scop("after_step does nothing", "ops.assign(parameter, Tensor(inside))"),
    _scop("weights stay frozen", "parameter.requires_grad = self._trained[parameter.name]"),
    _scop("weights train along", "parameter.requires_grad = False"),
    _scop("scales outside [0, 1] are accepted", "if not ((scale >= 0) & (scale <= 1)).all():", "if False:"),
    _scop("untrained scales are accepted", "if all((scale == SCALE_INIT).all() for scale in scales.values()):",
          "if False:"),
    _files("half a file may stand", "temporary = os.path.join(scratch, os.path.basename(path))", "temporary = path"),
    _files("read-only files are replaced", "if os.path.exists(path) and not os.access(path, os.W_OK):", "if False:"),
    _checkpoint("strange parameters are passed over", "if name not in parameters:", "if False:"),
    _checkpoint("missing parameters are passed over", "if name not in values:", "if name not in values and False:"),
    _checkpoint("shapes are not compared", "if tuple(values[name].shape) != tuple(parameter.shape):", "if False:"),
    _checkpoint("a slim network is slimmed again", "if recipe_of(network):", "if False:"),
    _checkpoint("files of newer versions are read", 'if record["version"] != _VERSION:', "if False:"),
    _export("the file is not checked", "_check(slim, tensors, temporary)"),
    _export("NaN is tolerated", "if not difference <= _TOLERANCE", "if difference > _TOLERANCE"),
    _export("an earlier export is served from the cache", f"{_RECYCLE}\n    with", "with"),
)
