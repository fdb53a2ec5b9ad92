"""The example's data: three sources, splits."""
import io
import zipfile

import numpy as np
import pytest
from data import load_splits
from PIL import Image


def png(value, size=32):
    file = io.BytesIO()
    Image.fromarray(np.full((size, size, 3), value, np.uint8)).save(file, "PNG")
    return file.getvalue()


def image_files(per_class=10):
    files = {}
    for number, kind in enumerate(("cat", "dog")):
        for split, count in (("train", per_class), ("test", 2)):
            for index in range(count):
                files[f"{split}/{kind}/{index}.png"] = png(100 * number + index)
    return files


def write(folder, files):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return str(folder)


class TestSources:
    def test_folder_and_archive_hold_the_same(self, tmp_path):
        folder = write(tmp_path / "images", image_files())
        with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
            for name, content in image_files().items():
                archive.writestr(name, content)
        one, other = load_splits("images", folder), load_splits("images", str(tmp_path / "images.zip"))
        for split in ("train", "validation", "test"):
            np.testing.assert_array_equal(getattr(one, split).images, getattr(other, split).images)
            labels = getattr(one, split).labels
            np.testing.assert_array_equal(labels, getattr(one, split).images[:, 0, 0, 0] // 100)
        assert one.classes == 2 and one.mirror

    def test_binary(self, tmp_path):
        generator = np.random.default_rng(0)
        for number, name in enumerate([f"data_batch_{index}.bin" for index in range(1, 6)] + ["test_batch.bin"]):
            records = generator.integers(0, 256, (4, 3073)).astype(np.uint8)
            records[:, 0] = number % 10
            records.tofile(tmp_path / name)
        splits = load_splits("cifar10-binary", str(tmp_path))
        last = np.fromfile(tmp_path / "test_batch.bin", np.uint8).reshape(4, 3073)
        # Red comes first, rows by rows; then green, then blue.
        assert splits.test.images[2, 3, 5].tolist() == [last[2, 1 + plane * 1024 + 3 * 32 + 5] for plane in range(3)]
        assert splits.test.labels.tolist() == [5, 5, 5, 5] and len(splits.train) == 18

    def test_digits(self):
        splits = load_splits("digits")
        assert len(splits.train) + len(splits.validation) + len(splits.test) == 1797
        assert splits.train.images.shape[1:] == (32, 32, 3) and not splits.mirror and splits.classes == 10
        np.testing.assert_array_equal(splits.test.images[:, ::4, ::4], splits.test.images[:, 3::4, 3::4])


class TestSplits:
    def test_disjoint_complete_and_seeded(self, tmp_path):
        path = write(tmp_path, image_files(50))
        one, same, other = (load_splits("images", path, 0.3, seed) for seed in (1, 1, 2))
        key = {tuple(row) for row in one.train.images[:, 0, 0]}, {tuple(row) for row in one.validation.images[:, 0, 0]}
        assert not key[0] & key[1] and len(key[0] | key[1]) == 100 and len(one.validation) == 30
        np.testing.assert_array_equal(one.validation.images, same.validation.images)
        assert not np.array_equal(one.validation.images, other.validation.images)


class TestRefusals:
    @pytest.mark.parametrize("arguments, message", [
        (("mnist",), "'source' must be one of .*'digits'.*, but got 'mnist'"),
        (("digits", None, 0.0), r"'validation_size' must be in \(0, 1\), but got 0.0"),
        (("digits", None, 1.0), r"'validation_size' must be in \(0, 1\), but got 1.0"),
        (("images", None), "'path' must be an existing file or folder, but got None"),
        (("images", "none.zip"), "'path' must be an existing file or folder, but got 'none.zip'"),
    ])
    def test_arguments(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            load_splits(*arguments)

    @pytest.mark.parametrize("files, message", [
        ({"train/cat/0.png": png(1)}, "'path' must hold test/<class>/<name>.jpg, but '.*' has none"),
        ({"test/cat/0.png": png(1)}, "'path' must hold train/<class>/<name>.jpg, but '.*' has none"),
        ({"train/cat/0.png": png(1), "test/dog/0.png": png(1)}, "every class must have training images, but 'dog'"),
        ({"train/cat/0.png": png(1, 16), "test/cat/0.png": png(1)}, "must be of 32x32 pixels, but got 16x16"),
        ({"train/cat/0.png": b"no image", "test/cat/0.png": png(1)}, "'train/cat/0.png' must be an image"),
    ])
    def test_files(self, tmp_path, files, message):
        with pytest.raises(ValueError, match=message):
            load_splits("images", write(tmp_path, files))

    def test_no_archive(self, tmp_path):
        (tmp_path / "images.zip").write_text("no archive")
        with pytest.raises(ValueError, match="'path' must be a folder or a .zip archive"):
            load_splits("images", str(tmp_path / "images.zip"))

    def test_binary_files(self, tmp_path):
        with pytest.raises(ValueError, match="'path' must be a folder with data_batch_1.bin"):
            load_splits("cifar10-binary", str(tmp_path))
        (tmp_path / "data_batch_1.bin").write_bytes(bytes([10]) + bytes(3072))
        with pytest.raises(ValueError, match="labels in data_batch_1.bin must be 0 to 9, but got 10"):
            load_splits("cifar10-binary", str(tmp_path))
        (tmp_path / "data_batch_1.bin").write_bytes(b"short")
        with pytest.raises(ValueError, match="data_batch_1.bin must hold records of 3073 bytes, but got 5"):
            load_splits("cifar10-binary", str(tmp_path))
