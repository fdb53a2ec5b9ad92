"""Batches: what augmentation may do to an image, and that order and augmentation follow from the seed alone."""
import numpy as np
import pytest
from batches import augment, evaluation_batches, normalize, training_data
from data import Split, Splits


def made(count=40, mirror=True):
    """Images whose pixels all hold the image's number, and whose label is that number."""
    numbers = np.arange(count)
    images = np.broadcast_to(numbers[:, None, None, None], (count, 32, 32, 3)).astype(np.uint8)
    split = Split(images, numbers.astype(np.int32))
    return Splits(split, split.take(slice(3)), split.take(slice(5)), (0.5, 0.4, 0.3), (0.2, 0.3, 0.4), count, mirror)


def epochs_of(data, count):
    iterator = data.create_tuple_iterator(num_epochs=count, output_numpy=True)
    return [[(images, labels) for images, labels in iterator] for _ in range(count)]


def test_normalized_images_have_channels_first_and_every_channel_its_own_scale():
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    result = normalize(images, made())
    assert result.shape == (2, 3, 32, 32) and result.dtype == np.float32
    wanted = (images[1, 4, 9] / 255 - np.array((0.5, 0.4, 0.3))) / np.array((0.2, 0.3, 0.4))
    np.testing.assert_allclose(result[1, :, 4, 9], wanted, rtol=1e-5)


@pytest.mark.parametrize("mirror", [False, True])
def test_an_augmented_image_is_a_shifted_or_mirrored_part_of_itself(mirror):
    images = np.random.default_rng(0).integers(1, 256, (64, 32, 32, 3), dtype=np.uint8)
    result = augment(images, np.random.default_rng(1), mirror)
    assert result.shape == images.shape and result.dtype == np.uint8
    padded = np.pad(images, ((0, 0), (4, 4), (4, 4), (0, 0)))
    flipped = 0
    for image, whole in zip(result, padded):
        crops = [whole[top:top + 32, left:left + 32] for top in range(9) for left in range(9)]
        plain = any(np.array_equal(image, crop) for crop in crops)
        turned = any(np.array_equal(image, crop[:, ::-1]) for crop in crops)
        assert plain or turned
        flipped += turned and not plain
    assert (10 < flipped < 54) if mirror else flipped == 0


def test_augmentation_leaves_the_images_as_they_were():
    images = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    before = images.copy()
    augment(images, np.random.default_rng(1), True)
    np.testing.assert_array_equal(images, before)


def test_an_epoch_shows_images_once_in_another_order_than_the_last_and_without_a_partial_batch():
    data = training_data(made(), batch_size=16, seed=3)
    assert data.get_dataset_size() == 2
    first, second = epochs_of(data, 2)
    for epoch in (first, second):
        labels = np.concatenate([labels for _, labels in epoch])
        assert len(epoch) == 2 and len(set(labels.tolist())) == 32
    assert not np.array_equal(first[0][1], second[0][1])
    assert first[0][0].shape == (16, 3, 32, 32) and first[0][0].dtype == np.float32


def test_the_same_seed_gives_the_same_batches_and_another_seed_others():
    one, again, other = (epochs_of(training_data(made(), 16, seed), 1)[0] for seed in (3, 3, 4))
    for (images, labels), (same_images, same_labels) in zip(one, again):
        np.testing.assert_array_equal(images, same_images)
        np.testing.assert_array_equal(labels, same_labels)
    assert not np.array_equal(one[0][1], other[0][1])


def test_a_limit_trains_on_so_many_images_only():
    epochs = epochs_of(training_data(made(), 4, 0, limit=8), 3)
    assert {label for epoch in epochs for _, labels in epoch for label in labels.tolist()} == set(range(8))


def test_devices_share_an_epoch_without_overlap():
    shares = [epochs_of(training_data(made(), 8, 0, shard=(rank, 2)), 1)[0] for rank in (0, 1)]
    labels = [set(np.concatenate([labels for _, labels in share]).tolist()) for share in shares]
    assert [len(share) for share in shares] == [2, 2]
    assert len(labels[0]) == len(labels[1]) == 16 and not labels[0] & labels[1]


@pytest.mark.parametrize("batch_size, shard, most", [(41, (0, 1), 40), (21, (1, 2), 20)])
def test_a_batch_larger_than_the_data_is_refused(batch_size, shard, most):
    with pytest.raises(ValueError, match=rf"'batch_size' must be at most {most}, .* but got {batch_size}"):
        training_data(made(), batch_size, 0, shard=shard)


def test_evaluation_sees_every_image_once_and_in_order():
    splits = made()
    found = list(evaluation_batches(splits.train, splits, batch_size=16))
    assert [len(labels) for _, labels in found] == [16, 16, 8]
    np.testing.assert_array_equal(np.concatenate([labels for _, labels in found]), splits.train.labels)
    np.testing.assert_array_equal(found[2][0], normalize(splits.train.images[32:], splits))
