"""What a report and a checkpoint say of the sampler."""
import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn

import golden_stick as gs
from golden_stick.base.errors import CheckpointError
from golden_stick.scop import FeatureSampler, GaussianSampler, GeneratorSampler, NoiseSampler
from golden_stick.scop.report import DESCRIPTION, describe_sampler, description_in, encoded_description
from tests import networks

SHAPE = networks.SMALL_INPUT


def images(seed=0):
    return np.random.default_rng(seed).normal(size=(300, *SHAPE[1:])).astype(np.float32)


class Generator(nn.Cell):
    def __init__(self):
        super().__init__()
        self.dense = nn.Dense(4, int(np.prod(SHAPE[1:])))

    def construct(self, z):
        return self.dense(z).reshape((-1, *SHAPE[1:]))


def trained(sampler):
    """A phase whose scales are not where they began."""
    algorithm = gs.SCOP({"sampler": sampler, "mixing": "joint"})
    phase = algorithm.apply(networks.SmallNet(), inputs=SHAPE)
    for number, parameter in enumerate(phase.trainable_params()):
        parameter.set_data(Tensor(np.random.default_rng(number).random(parameter.shape), ms.float32))
    return algorithm, phase


@pytest.mark.parametrize("sampler, wanted, fitted", [
    ("permutation", {"sampler": "permutation", "seed": None}, False),
    (NoiseSampler(3), {"sampler": "noise", "seed": 3}, False),
    (GaussianSampler("equi", 2, 5), {"sampler": "gaussian", "method": "equi", "grid": 2, "seed": 5}, True),
    (FeatureSampler([images()], "sdp", 3, 6),
     {"sampler": "feature", "method": "sdp", "positions": 3, "seed": 6}, True),
    (GeneratorSampler(Generator(), 4, 7), {"sampler": "generator", "seed": 7}, True),
], ids=["permutation", "noise", "gaussian", "feature", "generator"])
def test_the_report_describes_the_sampler(sampler, wanted, fitted):
    if isinstance(sampler, GaussianSampler):
        sampler.fit([images()])
    algorithm, phase = trained(sampler)
    algorithm.convert(phase)
    report = algorithm.report
    assert {key: report.control.get(key) for key in wanted} == wanted
    assert len(report.control.get("fit", "")) == (16 if fitted else 0)
    assert f"sampler: {wanted['sampler']}" in str(report)


def test_the_digest_is_of_what_was_fitted():
    one, same, other = (describe_sampler(sampler, sampler.get_parameters())["fit"] for sampler in (
        GaussianSampler().fit([images(seed)]) for seed in (0, 0, 1)))
    assert one == same != other


def test_the_checkpoint_has_the_last_word(tmp_path):
    """Not the configuration of who converts it."""
    path = str(tmp_path / "phase.ckpt")
    ms.save_checkpoint(trained(NoiseSampler(3))[1], path)
    algorithm, phase = trained("permutation")
    algorithm.convert(phase, path)
    assert (algorithm.report.control["sampler"], algorithm.report.control["seed"]) == ("noise", 3)
    # One that says nothing is none of this phase.
    ms.save_checkpoint([{"name": name, "data": value} for name, value in ms.load_checkpoint(path).items()
                        if name != DESCRIPTION], path)
    with pytest.raises(CheckpointError, match="mixing.sampler"):
        algorithm.convert(phase, path)
    with pytest.raises(CheckpointError, match="a checkpoint of the knockoff phase must hold 'mixing.sampler', which"):
        description_in({})


def test_a_description_has_one_length():
    long = {"name": "\N{SNOWMAN}" * 600, "method": "mvr"}
    assert encoded_description(long).shape == encoded_description({"name": "noise"}).shape
    assert long["name"].startswith(description_in({DESCRIPTION: encoded_description(long)})["name"])
