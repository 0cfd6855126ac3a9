"""Each augmented image against all that it could have become, and how often it became which."""

import pytest
import torch
from scipy import stats

from clipgrid.augment import augment
from clipgrid.torchvision_on_cpu import torchvision

F = torchvision.transforms.functional


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def random_images(n, size, channels=3):
    return torch.randint(
        1, 256, (n, channels, size, size), generator=generator(), dtype=torch.uint8
    )


def windows(images):
    """All windows of `images` padded by an eighth, [(2p+1)², *images.shape], by torchvision."""
    size = images.shape[-1]
    padding = max(1, size // 8)
    padded = F.pad(images, [padding] * 4)
    offsets = range(2 * padding + 1)
    return torch.stack(
        [F.crop(padded, top, left, size, size) for top in offsets for left in offsets]
    )


def matches(candidates, images):
    """Which of the candidates [K, N, ...] each of the images [N, ...] equals: bool [K, N]."""
    return (candidates == images).flatten(2).all(2)


def test_none_leaves_the_images_as_they_are():
    images = random_images(4, 8)
    assert torch.equal(augment(images, "none", generator()), images)


def test_a_flipped_image_is_itself_or_its_mirror():
    images = random_images(64, 8)
    candidates = torch.stack([images, F.hflip(images)])
    which = matches(candidates, augment(images, "flip", generator()))
    assert torch.equal(which.sum(0), torch.ones(64, dtype=torch.int64))
    assert which.any(1).all()


@pytest.mark.parametrize(("size", "channels"), [(8, 1), (12, 1), (17, 3), (32, 3)])
def test_a_cropped_image_is_a_window_of_the_padded_image(size, channels):
    images = random_images(64, size, channels)
    which = matches(windows(images), augment(images, "crop", generator()))
    assert torch.equal(which.sum(0), torch.ones(64, dtype=torch.int64))


def test_flip_and_crop_give_a_window_of_the_image_or_its_mirror():
    images = random_images(256, 8)
    candidates = torch.cat([windows(images), windows(F.hflip(images))])
    which = matches(candidates, augment(images, "flip+crop", generator()))
    assert torch.equal(which.sum(0), torch.ones(256, dtype=torch.int64))
    assert which.any(1).all()


@pytest.mark.parametrize("augmentation", ["flip", "crop", "flip+crop"])
class TestEveryAugmentation:
    def test_gives_the_same_for_the_same_seed_and_else_another(self, augmentation):
        images = random_images(64, 8)
        first = augment(images, augmentation, generator(1))
        assert torch.equal(first, augment(images, augmentation, generator(1)))
        assert not torch.equal(first, augment(images, augmentation, generator(2)))

    def test_does_not_modify_its_argument(self, augmentation):
        images = random_images(16, 8)
        before = images.clone()
        augment(images, augmentation, generator()).zero_()
        assert torch.equal(images, before)

    def test_keeps_shape_and_dtype(self, augmentation):
        images = random_images(16, 8)
        augmented = augment(images, augmentation, generator())
        assert (augmented.shape, augmented.dtype) == (images.shape, torch.uint8)


def test_half_of_the_images_are_flipped():
    images = random_images(1, 8).expand(4000, -1, -1, -1)
    flipped = (augment(images, "flip", generator()) != images).flatten(1).any(1)
    assert stats.binomtest(int(flipped.sum()), 4000, 0.5).pvalue > 0.001


@pytest.mark.parametrize("size", [8, 16])
def test_all_offsets_of_a_crop_are_equally_likely(size):
    images = random_images(1, size, channels=1).expand(4000, -1, -1, -1)
    counts = matches(windows(images), augment(images, "crop", generator())).sum(1)
    assert counts.sum() == 4000
    assert stats.chisquare(counts.numpy()).pvalue > 0.001
