"""Ways to get a step wrong: plan, slim, mask, verify, calibrate, SCOP, files."""
from tests.mutants_of_rules import Mutant

PLAN, IMPORTANCE, CONFIG = "tests/graph/test_plan.py", "tests/graph/test_importance.py", "tests/test_config.py"
SLIMMER, VERIFY, TRACE, PRUNERS = (f"tests/prune/test_{name}.py" for name in ("slimmer", "verify", "trace", "pruners"))
WRAPPERS, REFUSED = f"{SLIMMER}::TestWrappers", f"{PRUNERS}::TestRefusals"
REHEARSAL = "tests/prune/test_rehearsal.py"
WHOLE = "tests/prune/test_exactness.py::test_slim_equals_masked"
CELLS, SCOP, AUTOMATIC = (f"tests/scop/test_{name}.py" for name in ("cells", "pruner", "automatic"))
BUDGETS, DRIVEN = "tests/prune/test_budgets.py", "tests/criteria/test_data_driven.py"
SAVING, LOADING = (f"tests/deploy/test_checkpoint.py::Test{step}Refusals" for step in ("Save", "Load"))
EXPORT = "tests/deploy/test_export.py"
RENAMED = "tests/deploy/test_checkpoint.py::test_a_cell_around_a_network_renames_nothing_in_its_file"
FOLDED, REFUSALS = "::test_every_layer_takes_its_normalization_in", "::test_what_cannot_go_stays_and_says_why"


def _in(file, tests):
    def mutant(what, old, new="pass"):
        return Mutant(what, file, old, new, tests)
    return mutant


_config, _plan, _importance = (_in("config.py", CONFIG), _in("prune/plan.py", PLAN),
                               _in("prune/importance.py", IMPORTANCE))
_ranking, _criterion = _in("prune/ranking.py", PLAN), _in("criteria/weights.py", "tests/criteria/test_weights.py")
_resize, _rehearse = (_in("prune/resizers.py", "tests/prune/test_resizers.py"),
                      _in("prune/rehearsal.py", REHEARSAL))
_cells, _verify, _calibrate = (_in("prune/cells.py", WRAPPERS), _in("prune/verify.py", VERIFY),
                               _in("prune/calibration.py", f"{VERIFY}::TestCalibrate"))
_knockoffs, _files, _load, _export = (_in("scop/cells.py", CELLS), _in("deploy/files.py", SAVING),
                                      _in("deploy/checkpoint.py", LOADING), _in("deploy/mindir.py", EXPORT))


_features, _automatic = (_in("scop/features.py", "tests/scop/test_features.py"), _in("scop/automatic.py", AUTOMATIC))
_data, _driven = _in("criteria/collect.py", DRIVEN), _in("criteria/data_driven.py", DRIVEN)


def _in_fold(file):
    def mutant(what, old, new, tests):
        return Mutant(what, f"deploy/fold/{file}.py", old, new, f"tests/deploy/test_fold.py{tests}")
    return mutant


_sites, _moves, _fold, _fold_cells = (_in_fold(name) for name in ("sites", "moves", "network", "cells"))


def _slim_file(what, old, new, tests):
    tests = f"Test{tests}" if tests else "test_what_the_file_says"
    return Mutant(what, "deploy/slim_file.py", old, new, f"tests/deploy/test_checkpoint.py::{tests}")


def _slim(what, old, new, tests):
    return Mutant(what, "prune/slimmer.py", old, new, tests)


def _pruner(what, old, new, tests):
    return Mutant(what, "prune/pruner.py", old, new, tests)


def _scales(what, old, new="pass", tests="tests/scop/test_mixing.py"):
    return Mutant(what, "scop/scales.py", old, new, tests)


def _trace(what, old, new, test):
    return Mutant(what, "prune/trace.py", old, new, f"{TRACE}::{test}")


def _scop(what, old, new, tests, file="scop/pruner.py"):
    return Mutant(what, file, old, new, tests)


STEP_MUTANTS = (
    _config("True is a number", "isinstance(value, bool) or not isinstance(value, Real)",
            "not isinstance(value, Real)"),
    _config("the end of an open interval is inside", "<= value < self.high or", "<= value <= self.high or"),
    _ranking("one more is removed", "_NOISE = 1e-9", "_NOISE = 1"),
    _ranking("rounding by the noise of floats", "_NOISE = 1e-9", "_NOISE = 0"),
    _ranking("the most important go", "len(scores)), scores))", "len(scores)), -np.asarray(scores)))"),
    _ranking("of equal ones the first go", "(-np.arange(len(scores))", "(np.arange(len(scores))"),
    _ranking("a layer may lose its last filter", "protected.add(", "set().add("),
    _plan("masks are kept where nothing goes", "if len(site.kept) < site.size)", ")"),
    _importance("layers are not brought to one unit", "scores = scores / (_UNITS[normalizer](scores) or 1.0)"),
    _criterion("l1 without magnitudes", "return np.abs(layer.weight).sum(axis=1)", "return layer.weight.sum(axis=1)"),
    _importance("a sum instead of a mean", "total / np.maximum(count, 1)", "total"),
    _resize("depthwise convolutions are resized as plain ones",
            "return _resize_depthwise if cell.group == cell.in_channels > 1 else _resize_convolution",
            "return _resize_convolution"),
    _resize("plain convolutions keep their primitive", '_renew_primitive(cell, {"out_channel": cell.out_channels})'),
    _resize("transposed depthwise ones are resized as plain ones",
            "return _resize_transposed_depthwise if cell.group == cell.in_channels > 1 else _resize_transposed",
            "return _resize_transposed"),
    _resize("tables keep their width", "cell.embedding_size = cell.embedding_table.shape[1]"),
    _rehearse("shapes are not compared", "return _computed(graph, smaller)\n    if not blamed:",
              "return set()\n    if not blamed:"),
    _rehearse("shapes that differ are passed over", "if smaller.nodes[result.node].shapes[result.index] != expected",
              "if False and expected"),
    _rehearse("nobody is suspected", "        if found:\n            # Queries",
              "        if False:\n            # Queries"),
    _rehearse("splits are read one way only", "while other.stuck:", "while False:"),
    _rehearse("outputs are not compared", "        verify(masked, smaller, tensors)", "        pass"),
    _ranking("widths are not rounded", "(width % round_to == 0) & ", ""),
    _in("prune/cells.py", f"{REHEARSAL}::test_heads_lose_width_or_go_whole_or_stay")(
        "the masked network has no zeros", "_zero(masked, plan)"),
    _slim("the user's network is changed", "smaller = copy_network(network)", "smaller = network",
          f"{SLIMMER}::test_the_network_is_not_changed"),
    _slim("earlier plans are forgotten", "recipe_of(source) + (step.renamed", "(step.renamed",
          f"{SLIMMER}::test_slim_of_slim"),
    _in("prune/names.py", RENAMED)("parameters are saved under the names of now",
                                   'self.by_path.get(f"{place}{path}", parameter.name)', "parameter.name"),
    _verify("what a caller allows is not what counts", "if tolerance is None else tolerance", ""),
    _slim("plans speak of the names of now", "step.renamed(names) if isinstance(step, PruningPlan) else step", "step",
          RENAMED),
    _slim("what a folding adds keeps the prefix", "parameter.name[len(prefix):]", "parameter.name", RENAMED),
    _slim("sizes are not checked", "if axis.axis >= len(shape) or shape[axis.axis] != axis.size:", "if False:",
          f"{SLIMMER}::TestRefusals"),
    _slim("residual branches are not scattered", "for site in plan.scatters})", "for site in ()})",
          f"{WHOLE}[resnet20-scatter-0.45]"),
    _cells("masks hide nothing", "keep[list(site.kept)] = 1.0", "keep[:] = 1.0"),
    _cells("inputs are not masked", "return self.cell(x * self.mask.astype(x.dtype))", "return self.cell(x)"),
    _cells("outputs are not masked", "return x * self.mask.astype(x.dtype)", "return x"),
    _cells("scattered in the wrong order", "= np.arange(len(site.kept))", "= np.arange(len(site.kept))[::-1]"),
    _cells("a sequence runs its old Cells", "parent.cell_list = list(children.values())")._replace(
        tests=f"{WHOLE}[vgg16_bn-group-0.45]"),
    _verify("everything is tolerated", "if not result.relative_difference <= result.tolerance:", "if False:"),
    _verify("NaN is tolerated", "if not result.relative_difference <= result.tolerance:",
            "if result.relative_difference > result.tolerance:"),
    _verify("shapes are not compared", "if [array.shape for array in wanted] != [array.shape for array in got]:",
            "if False:"),
    _calibrate("the variance of the means is left out", "spread.mean(0) + mean.var(0)", "spread.mean(0)"),
    _calibrate("the last batch alone counts", "(mean.mean(0), spread", "(mean[-1], spread"),
    _calibrate("graphs of an evaluation serve", "afterwards.\n    ms.ms_memory_recycle()", "afterwards.\n    pass"),
    _calibrate("graphs of the re-estimation serve", "network.set_train(False)\n        ms.ms_memory_recycle()",
               "network.set_train(False)"),
    _in("evaluation.py", EXPORT)("float16 is measured as float32", "if coarse else", "if False else"),
    _in("evaluation.py", EXPORT)("an output of None is an error", "if output is None:", "if False:"),
    _in("evaluation.py", f"{VERIFY}::test_training_flags_come_back")(
        "training flags do not come back", "cell.add_flags(training=training)"),
    _trace("the network is traced as it trains", "with _quiet_compilation(), evaluation(network):",
           "with _quiet_compilation():", "test_a_network_in_training_is_traced_as_it_evaluates"),
    _trace("subclasses of layers are strangers", "return ancestor.__name__", "break",
           "test_subclass_of_a_convolution_is_a_convolution"),
    _pruner("no rehearsal", "settle(name, network, graph, tensors, trial_of(self._settled_config()), **policies)",
            "__import__('golden_stick').find_groups(graph, **policies)",
            f"{REFUSED}::test_number_in_the_code_is_found_at_apply"),
    _pruner("the checkpoint is not looked at", "self._loaded(network, ckpt_path)", "{}",
            f"{PRUNERS}::TestContract::test_checkpoint_of_the_applied_network"),
    _pruner("convert does not verify", "check(masked_network(plain, plan), smaller, self._inputs)",
            "Verification(0.0, 1.0, 1e-5)", f"{REFUSED}::test_failure_of_any_step_leaves_all_as_it_was"),
    _in("comp_algo.py", f"{PRUNERS}::TestMindIR")(
        "no MindIR at the end of training", "self._algorithm.finish_training()"),
    _scales("scales are not put back", "(self.real_scale, ops.clip_by_value(self.real_scale, 0.0, 1.0))",
            "(self.real_scale, self.real_scale * 1.0)", f"{CELLS}::TestKnockoffConv"),
    _scales("scales out of turn move", "moving = mine * (self.rows", "moving = 1.0 * (self.rows"),
    _scales("all draws move at once", "(self.rows == self.draw)", "(self.rows == self.rows)"),
    _scales("blocks out of turn mix", "return 1.0 + mixing", "return self.held_scale + 0.0 * mixing"),
    _scales("the last step is forgotten", "held[moving] = np.clip(self.real_scale.asnumpy()[moving], 0.0, 1.0)"),
    _features("the noise is left out", "(self.normal(standard.shape), self.root)", "(0 * standard, self.root)"),
    _features("sites are not averaged", "np.mean(columns, axis=0)", "columns[0]"),
    _automatic("no selection is taken for one", "if not any(kept.any() for kept", "if not any(True for kept"),
    _automatic("layers keep their unit", "return rows / np.where", "return rows / np.ones_like"),
    _automatic("a channel goes if one filter does", "np.logical_or.at(kept", "np.logical_and.at(kept"),
    _automatic("what has no score goes", "return kept | ~scored", "return kept & scored"),
    _in("scop/conditions.py", AUTOMATIC)("blocks count as layers", "max(sizes) == 1", "max(sizes) <= 2"),
    _in("graph/segments.py", "tests/graph/test_segments.py")(
        "what is read late does not count", "needed_until = max(needed_until, last.get(node.number, -1))"),
    _data("a sample's gradient is a batch's", "rows.setdefault(weight, []).append(samples * gradient",
          "rows.setdefault(weight, []).append(gradient"),
    _data("squares of means", "step, tuple(item[index:index + 1] for item in batch))", "step, batch)"),
    _data("activations of the last place", "seen.setdefault(channel, []).append(value)", "seen[channel] = [2 * value]"),
    _driven("taylor without squares", "np.square(layer.gate_gradients.astype(np.float64))", "layer.gate_gradients"),
    _driven("hessian without weights", "np.square(layer.weight.astype(np.float64)) * layer", "1.0 * layer"),
    _in("prune/asked.py", BUDGETS)("what is missed counts as met", "if lost[pool] < count)", "if lost[pool] < 0)"),
    _in("prune/asked.py", BUDGETS)("a cap holds nothing", ">= cap_of(first, caps[first.name]):", "< 0:"),
    _in("prune/asked.py", BUDGETS)("widths hold nothing", "least, config[\"round\"]) <= lost:", "least, \"up\") < 0:"),
    _in("prune/beginning.py", "tests/prune/test_iterative.py")(
        "what is gone is forgotten", "rounded_down(wanted[pool]) - gone[pool])", "rounded_down(wanted[pool]))"),
    _in("prune/beginning.py", "tests/prune/test_iterative.py")(
        "caps are of what is left", "cap_of(group, caps[group.name]) - self.gone.get(group.name, 0))",
        "cap_of(group, caps[group.name]))"),
    _in("prune/budget.py", BUDGETS)("the first plan that meets is taken", "high, best = middle, found",
                                    "return found"),
    _in("prune/budget.py", BUDGETS)("that no more can go is not said", "budgeted.exhausted)", "False)"),
    _in("prune/budget.py", BUDGETS)("a latency is taken from the last plan", "return best\n", "return found\n"),
    _in("prune/ranking.py", "tests/prune/test_ranking.py")("pools are ranked by place", "(place, number, score)",
                                                           "(score, number, place)"),
    _knockoffs("gradients flow into the knockoffs", "knockoff = ops.stop_gradient(knockoff)"),
    _knockoffs("the wrong half is mixed", "(self.mix(real, knockoff, self.scale()), knockoff)",
                "(real, self.mix(real, knockoff, self.scale()))"),
    _knockoffs("scale and its complement change places", "knockoff + _over_pixels(scale, real) * (real - knockoff)",
                "real + _over_pixels(scale, real) * (knockoff - real)"),
    _knockoffs("the gradient of a scale is that of its complement", "dout * (real - knockoff)",
                "dout * (knockoff - real)"),
    _knockoffs("the gradient is not scaled", "return _over_pixels(scale, real) * dout,", "return dout,"),
    _knockoffs("both halves are handed out", "return output[:output.shape[0] // 2]", "return output"),
    _knockoffs("every sample is its own control", "knockoff = self.sampler(item)", "knockoff = item"),
    _knockoffs("normalizations learn in the knockoff phase",
                'inner = {**flags, "training": False} if "training" in flags else flags', "inner = flags"),
    _scop("the sign of the importance", "(2.0 * real_scale.astype(np.float64) - 1.0)",
          "(1.0 - 2.0 * real_scale.astype(np.float64))", f"{SCOP}::test_importance_by_hand", "scop/selection.py"),
    _scop("gamma without its magnitude", "np.abs(gamma.astype(np.float64))", "gamma.astype(np.float64)",
          f"{SCOP}::test_importance_by_hand", "scop/selection.py"),
    _scop("ties rank apart", "(ends - (counts + 1) / 2)", "ends", f"{SCOP}::test_rank_correlation_by_hand",
          "scop/selection.py"),
    _scop("after_step does nothing", "ops.assign(parameter, Tensor(settled))", "pass", f"{SCOP}::test_model_train"),
    _scop("weights stay frozen", "parameter.requires_grad = self._trained[parameter.name]", "pass",
          f"{PRUNERS}::TestContract::test_fine_tuned_layers_keep_their_requires_grad"),
    _scop("weights train along", "parameter.requires_grad = False", "pass", f"{SCOP}::test_only_the_scales_train"),
    _scop("scales outside [0, 1] are accepted", "if not ((scale >= 0) & (scale <= 1)).all():", "if False:",
          f"{SCOP}::test_scales_outside_the_interval"),
    _scop("untrained scales are accepted", "if all((scale == SCALE_INIT).all() for scale in scales.values()):",
          "if False:", f"{SCOP}::test_scales_never_trained"),
    _files("half a file may stand", "temporary = os.path.join(scratch, os.path.basename(path))", "temporary = path"),
    _files("a full disk ends in a traceback", "with placed_file(owner, path) as temporary, _writing(owner, path):",
           "with placed_file(owner, path) as temporary:"),
    _files("read-only files are replaced", "if os.path.exists(path) and not os.access(path, os.W_OK):", "if False:"),
    _load("another architecture is passed over", "if file.original is not None:", "if False:"),
    _load("shapes are not compared", "if name in there and there[name] != shape", "if False"),
    _load("superfluous parameters are passed over", "in got if name not in here", "in got if False"),
    _load("a slim network is slimmed again", "if recipe_of(network):", "if False:"),
    _slim_file("files of newer versions are read", "if version not in range(1, VERSION + 1):", "if False:",
               "LoadRefusals"),
    _slim_file("damage is not noticed", "if file.digests and", "if False and", "LoadRefusals"),
    _slim_file("a second pruning forgets the first", "tuple(before[index] for index in axis.kept)", "axis.kept", ""),
    _sites("what something else reads is folded", "if len(self._readers[value]) > 1:", "if False:", REFUSALS),
    _sites("weights that are read twice are folded", "if self._uses[value.name] > 1:", "if False:", REFUSALS),
    _sites("tied weights are folded", "if len(value.owners) != 1:", "if not value.owners:", REFUSALS),
    _sites("zero padding is overlooked", 'any(node.attributes.get("pad_list", (1,)))', "False", REFUSALS),
    _moves("channels that become several are folded", "found[channels[found[channels] != positions]] = -1", "pass",
           REFUSALS),
    _moves("places that are cut away stay", "channels.reshape(node.shapes[0]) if index is None else channels[index]",
           "np.resize(channels, node.shapes[0])", FOLDED),
    _moves("axes that a slice inserts are overlooked", "or ellipsis or inserted:", "or ellipsis:", REFUSALS),
    _sites("channels that are cut away are folded", "if channels.min() < 0:", "if channels.max() < 0:", REFUSALS),
    _sites("layers side by side are numbered alike", "np.arange(first, first + shape[axis])", "np.arange(shape[axis])",
           FOLDED),
    _sites("a bias of other layers is overlooked", "if any(name != layer.bias for name in biases):", "if False:",
           REFUSALS),
    _sites("one branch that is read elsewhere is overlooked", "if len(self._readers[value]) > 1:",
           "if len(self._readers[value]) > 1 and not layers:", REFUSALS),
    _sites("only the first place is tried", "next((item for item in objections if not item[0]), objections[0])",
           "objections[0]", "::test_where_the_layer_before_cannot_take_it_the_layers_after_do"),
    _sites("statistics of the batch are folded", "if number(node.inputs[5]):", "if False:", REFUSALS),
    _moves("shuffled channels are not followed", "return np.transpose(channels, number(node.inputs[1]))",
           "return channels.reshape(node.shapes[0])", FOLDED),
    _sites("one behind another is not tried again", "if len(left) in (0, len(waiting)):", "if True:",
           "::test_one_behind_another_goes_into_the_layer_after_both"),
    _fold("the mean is left out", "return scale, beta - mean * scale", "return scale, beta", FOLDED),
    _fold("what a layer after it adds is left out", "constant = parts * shift",
          "constant = 0 * parts * shift", FOLDED),
    _fold("channels are not put into their order", "layer, scale[channels], shift[channels])",
          "layer, np.resize(scale, len(channels)), np.resize(shift, len(channels)))", FOLDED),
    _fold("groups of a transposed convolution change places", "scale.reshape(layer.group, 1, -1,",
          "scale[::-1].reshape(layer.group, 1, -1,", FOLDED),
    _fold("a difference is no error", "if not result.relative_difference <= result.tolerance:", "if False:",
          "::test_a_difference_is_an_error_and_nothing_is_changed"),
    _fold("NaN is an equality", "if not result.relative_difference <= result.tolerance:",
          "if result.relative_difference > result.tolerance:", "::test_not_a_number_is_no_equality"),
    _fold_cells("a Cell's own code is overlooked", 'and type(cell).construct.__module__.startswith("mindspore.")', "",
                REFUSALS),
    _fold_cells("a bias that exists twice", "if layer.bias is None and bias_name(layer.weight) in names:", "if False:",
                REFUSALS),
    _fold_cells("the bias is not added", "cell.has_bias = True", "pass", FOLDED),
    _fold_cells("the caller's network is changed", "copied = copy_network(network)", "copied = network",
                "::test_the_callers_network_keeps_its_cells_values_and_flags"),
    _export("the file is not checked", "_check(network, resized(tensors, size), path)"),
    _export("the MindIR is written where it shall stand", "file_name=_PLAIN_NAME", "file_name=path"),
    _export("NaN is tolerated", "if not difference <= allowed_difference", "if difference > allowed_difference"),
)
