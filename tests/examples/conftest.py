"""The example's files are scripts beside each other, found through their folder."""
import os
import sys
from pathlib import Path

import mindspore as ms
import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
sys.path.insert(0, str(EXAMPLES / "resnet_cifar10"))


@pytest.fixture(autouse=True)
def pynative_afterwards():
    """The scripts set the mode they run in."""
    yield
    ms.set_context(mode=ms.PYNATIVE_MODE)


@pytest.fixture
def shared_data():
    """Real images and weights, which are no part of the project."""
    folder = Path(os.environ.get("GOLDEN_STICK_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "weights" / "resnet20-cifar10.npz").is_file():
        pytest.skip(f"no CIFAR-10 weights in {folder}; set GOLDEN_STICK_DATA to a folder that has them")
    return folder
