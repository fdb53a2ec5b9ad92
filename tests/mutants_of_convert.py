"""Ways to get a conversion wrong: ranks, kinds, what a checkpoint holds, foldings undone."""
from tests.mutants_of_rules import Mutant

_MASKED = "test_masked_otherwise_than_the_options_say"
_OPTIONS = "test_options_that_do_not_fit"


def _in(file, tests):
    def mutant(what, old, new="pass", test=""):
        return Mutant(what, file, old, new, f"{tests}::{test}" if test else tests)
    return mutant


_sources, _shards = (_in(f"deploy/{name}.py", "tests/deploy/test_sources.py") for name in ("sources", "shards"))
_matching = _in("cli/matching.py", "tests/cli/test_matching.py")
_kept = _in("cli/kept.py", "tests/cli/test_inspect.py")
_file = _in("deploy/slim_file.py", "tests/deploy/test_checkpoint.py")
_by_recipe = _in("cli/convert.py", "tests/cli/test_convert_slim.py")
_masked, _convert = (_in(f"cli/{name}.py", "tests/cli/test_convert.py") for name in ("masked", "convert"))
_described = _in("scop/described.py", "tests/scop/test_described.py")
_undo = _in("deploy/fold/undo.py", "tests/deploy/test_fold.py::test_every_folding_can_be_undone")

CONVERT_MUTANTS = (
    _sources("ranks that differ are one", "if not _same(first, other) and", "if False and"),
    _sources("parts of a parameter are told as different", " and array.shape == first.shape:", ":"),
    _sources("a number that is none makes a difference", "one.tobytes() == other.tobytes()",
             "bool((one == other).all())"),
    _sources("files of two kinds are one", "if names & others:", "if False:"),
    _sources("the strategy is read as a checkpoint", "if os.path.realpath(file) != aside]", "]"),
    _shards("a rank that is missing is not missed", "if missing:", "if False:"),
    _shards("two files of a rank", "if int(ranks[-1]) in found:", "if False:"),
    _shards("ranks change places", "shards[rank])", "shards[len(files) - 1 - rank])"),
    _matching("parameters besides are overlooked", "if foreign:", "if False:"),
    _matching("what optimizers keep is foreign", "or any(name.endswith(", "or any(False and name.endswith("),
    _matching("another shape is overlooked", "if values[name].shape != shape:", "if False:"),
    _masked("filters that go may learn", "if still > _ROUNDINGS * unit:", "if False:", _MASKED),
    _masked("filters that stay need not learn", "if moved[kept].min() <= still:", "if False:", _MASKED),
    _masked("the decay of weights is learning", "np.abs(new - factor * old)", "np.abs(new - old)",
            "test_the_five_examples_and_the_readmes_commands_run_in_an_empty_folder"),
    _convert("options of another kind are overlooked", "if kinds and kind not in kinds:", "if False:", _OPTIONS),
    _convert("the kind that is stated is overlooked", "if options.kind not in (None, found):", "if False:", _OPTIONS),
    _convert("--slim replaces files", 'if "--slim" in options.given and (', 'if False and (', _OPTIONS),
    _convert("metadata are lost", "dict(read_slim(source.files[0]).metadata))", "{})",
             "test_a_slim_file_keeps_its_metadata_and_changes_its_format"),
    _convert("scales of another network are overlooked", 'check_exact(applied, source.values, "--checkpoint", '
             'source.files[0])', "pass", "test_the_schedule_of_a_knockoff_phase_is_read_from_its_file"),
    _convert("a measurement may choose anew what was masked", 'if given and kind == "masked")', "if False)", _OPTIONS),
    _convert("any sampler is a permutation", 'StoredSampler(known["name"])', '"permutation"',
             "test_the_report_says_of_the_sampler_what_the_file_tells"),
    _convert("what the file tells of its sampler is lost", "DESCRIPTION: encoded(known)}",
             'DESCRIPTION: encoded({"name": "permutation"})}',
             "test_the_report_says_of_the_sampler_what_the_file_tells"),
    _described("a digest is of nothing", "digest.update(np.ascontiguousarray(parameter.asnumpy()).tobytes())"),
    _described("any sampler with parameters is Gaussian", "== _FITTED:", ">= {\"sampler.dense.weight\"}:"),
    _in("scop/pruner.py", "tests/scop/test_described.py")(
        "a sampler that the file does not tell is the configuration's", "if loaded and DESCRIPTION not in loaded:",
        "if False:", "test_the_checkpoint_has_the_last_word"),
    _by_recipe("the weights are the recipe's own", "            _fill(source, slim)", "            pass",
               "test_weights_of_a_slim_network_by_rank"),
    _by_recipe("nothing is folded", "return _folded if options.fold else", "return",
               "test_fold_of_an_original"),
    _by_recipe("knockoffs of features are controls", "StoredFeatures() if features else ", "",
               "test_a_phase_with_knockoffs_of_features"),
    _in("cli/slimming.py", "tests/cli/test_convert_slim.py")(
        "packages for ONNX are missed at the end", "        need_packages()", "        pass",
        "test_packages_for_onnx_are_missed_before_any_work"),
    _in("cli/matching.py", "tests/cli/test_convert_slim.py")(
        "weights of a slim network are not told", "if len(shapes) < ", "if True or len(shapes) < ",
        "test_what_looks_like_weights_of_a_slim_network"),
    _kept("of a range, the end is lost", "runs[-1][1] = position", "pass"),
    _kept("lengths are the last pruning's", "lengths.setdefault((axis.parameter, axis.axis), axis.size)",
          "lengths[axis.parameter, axis.axis] = axis.size"),
    _file("each axis has a list of its own", 'lists.setdefault(tuple(item["kept"]), len(lists))',
          'lists.setdefault((*item["kept"], len(lists)), len(lists))', "test_each_list_stands_in_the_file_once"),
    _file("version 2 is read as version 3", 'record["kept_lists"] if version > 2 else None', 'record["kept_lists"]',
          "test_version_2_is_read_and_written_anew"),
    _undo("the order of channels is lost", "values[layer.weight], scale[channels]",
          "values[layer.weight], np.resize(scale, len(channels))"),
    _undo("what another normalization accounts for is refused", "if others & {layer.path for layer, _ in layers}:",
          "if False:"),
    _in("deploy/fold/undo.py", "tests/deploy/test_fold.py")(
        "biases that nothing explains", "if np.abs(left).max() > _ROUNDINGS * np.abs(wanted).max():", "if False:",
        "test_what_training_made_of_a_bias_that_channels_shared_is_not_undone"),
    _undo("what the normalization adds stays in the bias", "values[_bias(layer)] - summed @ shift",
          "values[_bias(layer)]"),
    _undo("the mean is left out", "shift + mean * scale", "shift"),
    _undo("groups are one", "for number, read in enumerate(channels):", "for number, read in enumerate(channels[:1]):"),
)
