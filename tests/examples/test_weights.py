"""Weights under PyTorch's names: all of them find their place, or an error names the one that does not."""
import zipfile

import mindspore as ms
import numpy as np
import pytest
from data import load_splits
from resnet import resnet20, resnet56
from training import accuracy, load_network
from weights import load_npz

TORCH_NAMES = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}


@pytest.fixture
def arrays():
    """What PyTorch would save of a ResNet-20: other values for each name."""
    generator, result = np.random.default_rng(0), {}
    for parameter in resnet20().get_parameters():
        prefix, last = parameter.name.rsplit(".", 1)
        result[f"{prefix}.{TORCH_NAMES.get(last, last)}"] = generator.normal(size=parameter.shape).astype(np.float32)
    return result


def saved(tmp_path, arrays):
    path = tmp_path / "weights.npz"
    np.savez(path, **arrays)
    return str(path)


def test_every_array_lands_in_the_parameter_of_its_name(tmp_path, arrays):
    network = resnet20()
    load_npz(network, saved(tmp_path, {**arrays, "bn1.num_batches_tracked": np.array(7)}))
    for parameter in network.get_parameters():
        prefix, last = parameter.name.rsplit(".", 1)
        np.testing.assert_array_equal(parameter.asnumpy(), arrays[f"{prefix}.{TORCH_NAMES.get(last, last)}"])


def test_a_missing_array_is_named(tmp_path, arrays):
    del arrays["layer2.1.bn1.running_var"]
    with pytest.raises(ValueError, match=r"must hold 'layer2\.1\.bn1\.running_var', but .* lacks"):
        load_npz(resnet20(), saved(tmp_path, arrays))


def test_many_missing_arrays_are_counted(tmp_path, arrays):
    path = saved(tmp_path, {name: array for name, array in arrays.items() if not name.startswith("layer3")})
    with pytest.raises(ValueError, match=r"lacks 'layer3\.0\.bn1\.bias'.* and 25 more"):
        load_npz(resnet20(), path)


def test_a_superfluous_array_is_named(tmp_path, arrays):
    with pytest.raises(ValueError, match=r"every array must belong to the network, but .* also holds 'fc\.weight'"):
        load_npz(resnet20(), saved(tmp_path, {**arrays, "fc.weight": np.zeros(1)}))


def test_an_array_of_another_shape_is_named_and_nothing_is_loaded(tmp_path, arrays):
    network = resnet20()
    before = {parameter.name: parameter.asnumpy().copy() for parameter in network.get_parameters()}
    arrays["linear.weight"] = np.zeros((100, 64), np.float32)
    with pytest.raises(ValueError, match=r"'linear\.weight' must have shape \(10, 64\), but got \(100, 64\)"):
        load_npz(network, saved(tmp_path, arrays))
    for parameter in network.get_parameters():
        np.testing.assert_array_equal(parameter.asnumpy(), before[parameter.name])


@pytest.mark.parametrize("content", [None, b"not an archive"])
def test_a_file_that_is_no_archive_is_refused(tmp_path, content):
    path = tmp_path / "weights.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=r"'path' must be a \.npz archive of arrays, but got '.*weights\.npz'"):
        load_npz(resnet20(), str(path))


@pytest.mark.parametrize("factory", [resnet20, resnet56])
def test_published_weights_fit(shared_data, factory):
    network = factory()
    before = network.linear.weight.asnumpy().copy()
    load_npz(network, str(shared_data / "weights" / f"{factory.__name__}-cifar10.npz"))
    assert np.abs(network.linear.weight.asnumpy() - before).max() > 0


def test_the_published_resnet20_recognizes_jpeg_images_that_it_never_saw(shared_data, tmp_path):
    with zipfile.ZipFile(shared_data / "cifar10-jpeg.zip") as archive:
        names = [name for name in archive.namelist() if name.endswith(tuple(f"{n:04d}.jpg" for n in range(40)))]
        archive.extractall(tmp_path, [name for name in names if name.startswith("test/") or name.endswith("0000.jpg")])
    ms.set_context(mode=ms.GRAPH_MODE)
    splits = load_splits("images", str(tmp_path))
    assert len(splits.test) == 400 and splits.classes == 10
    network = load_network("resnet20", 10, str(shared_data / "weights" / "resnet20-cifar10.npz"))
    assert accuracy(network, splits.test, splits) > 0.7
