"""Each augmented image against all that it could have become, and how often it became which."""

import pytest
import torch
from scipy import stats

from clipgrid.images import augmentations, moving
from clipgrid.images.augmentations import ResizedCrop, augment, draw
from clipgrid.images.moving import margin
from clipgrid.images.transformations import MAPS, transform
from clipgrid.study import parts
from clipgrid.study.looks import TRANSFORMATIONS
from clipgrid.torchvision_on_cpu import torchvision

F = torchvision.transforms.functional
ALONE = parts.names("augmentation")
SUMS = [*ALONE, *(f"flip+{name}" for name in ALONE if name != "flip"), "crop+flip"]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def chosen(names):
    """The augmentations of a sum; of `none`, none."""
    return tuple(parts.choose("augmentation", n) for n in names.split("+") if n != "none")


def augmented(images, names, generator):
    drawn = draw(chosen(names), len(images), images.shape[-1], generator)
    return augment(images, chosen(names), drawn)


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
    assert torch.equal(augmented(images, "none", generator()), images)


def test_a_flipped_image_is_itself_or_its_mirror():
    images = random_images(64, 8)
    candidates = torch.stack([images, F.hflip(images)])
    which = matches(candidates, augmented(images, "flip", generator()))
    assert torch.equal(which.sum(0), torch.ones(64, dtype=torch.int64))
    assert which.any(1).all()


@pytest.mark.parametrize(("size", "channels"), [(8, 1), (12, 1), (17, 3), (32, 3)])
def test_a_cropped_image_is_a_window_of_the_padded_image(size, channels):
    images = random_images(64, size, channels)
    which = matches(windows(images), augmented(images, "crop", generator()))
    assert torch.equal(which.sum(0), torch.ones(64, dtype=torch.int64))


def test_flip_and_crop_give_a_window_of_the_image_or_its_mirror():
    images = random_images(256, 8)
    candidates = torch.cat([windows(images), windows(F.hflip(images))])
    which = matches(candidates, augmented(images, "flip+crop", generator()))
    assert torch.equal(which.sum(0), torch.ones(256, dtype=torch.int64))
    assert which.any(1).all()


@pytest.mark.parametrize("augmentation", SUMS)
class TestEveryAugmentation:
    def test_gives_the_same_for_the_same_seed_and_else_another(self, augmentation):
        images = random_images(64, 8)
        first = augmented(images, augmentation, generator(1))
        assert torch.equal(first, augmented(images, augmentation, generator(1)))
        assert not torch.equal(first, augmented(images, augmentation, generator(2)))

    def test_does_not_modify_its_argument(self, augmentation):
        images = random_images(16, 8)
        before = images.clone()
        augmented(images, augmentation, generator()).zero_()
        assert torch.equal(images, before)

    def test_keeps_shape_and_dtype(self, augmentation):
        images = random_images(16, 8)
        changed = augmented(images, augmentation, generator())
        assert (changed.shape, changed.dtype) == (images.shape, torch.uint8)


def test_half_of_the_images_are_flipped():
    images = random_images(1, 8).expand(4000, -1, -1, -1)
    flipped = (augmented(images, "flip", generator()) != images).flatten(1).any(1)
    assert stats.binomtest(int(flipped.sum()), 4000, 0.5).pvalue > 0.001


@pytest.mark.parametrize("size", [8, 16])
def test_all_offsets_of_a_crop_are_equally_likely(size):
    images = random_images(1, size, channels=1).expand(4000, -1, -1, -1)
    counts = matches(windows(images), augmented(images, "crop", generator())).sum(1)
    assert counts.sum() == 4000
    assert stats.chisquare(counts.numpy()).pvalue > 0.001


# ---- resized crops, and transformed test images -------------------------------------------------


def test_a_resized_crop_of_one_colour_stays_of_that_colour_to_its_borders():
    """It lies within the image: no black comes in."""
    images = torch.full((64, 1, 12, 12), 200, dtype=torch.uint8)
    assert (augmented(images, "resized-crop", generator()) == 200).all()


def test_a_resized_crop_shows_a_quarter_to_all_of_the_image():
    """Of a ramp from left to right, the range of greys is that of the side, a half to all."""
    ramp = torch.arange(0, 240, 20, dtype=torch.uint8).expand(512, 1, 12, 12)
    crops = augmented(ramp, "resized-crop", generator()).float()
    slopes = (crops[..., -2] - crops[..., 1]).mean((1, 2)) / (9 * 20)
    assert 0.49 < slopes.min() < 0.55
    assert 0.95 < slopes.max() < 1.01
    corners = crops[..., 1].mean((1, 2))
    assert corners.min() < 40
    assert corners.max() > 100


def test_an_inception_crop_of_one_colour_stays_of_that_colour_to_its_borders():
    images = torch.full((64, 1, 12, 12), 200, dtype=torch.uint8)
    assert (augmented(images, "inception-crop", generator()) == 200).all()


def ours(name, n):
    """Of `n` windows: top, left, height, width, as shares of what they can be."""
    return draw(chosen(name), n, 224, generator())[0]


def theirs(n, size, **settings):
    torch.manual_seed(0)
    image = torch.empty(1, 1, 1).expand(1, size, size)
    crop = torchvision.transforms.RandomResizedCrop(size, **settings)
    drawn = torch.tensor([crop.get_params(image, crop.scale, crop.ratio) for _ in range(n)])
    top, left, height, width = drawn.double().T
    # A window that fills the image has one place; it is as good as any.
    room = torch.rand(2, n, dtype=torch.float64)
    y = torch.where(height < size, top / (size - height).clamp(min=1), room[0])
    x = torch.where(width < size, left / (size - width).clamp(min=1), room[1])
    return torch.stack([height / size, width / size, y, x], 1)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("inception-crop", {}),
        ("resized-crop", {"scale": (0.25, 1.0), "ratio": (1.0, 1.0)}),
    ],
)
def test_resized_crops_are_torchvisions_in_distribution(name, settings):
    """Height, width, their ratio, area and place, by Kolmogorov and Smirnov; torchvision's on
    images so large that its rounding to pixels doesn't show."""
    mine, other = ours(name, 4000).double(), theirs(4000, 100_000, **settings)
    for some in (mine, other):
        assert (some[:, :2] <= 1).all()
    of = {
        "height": lambda w: w[:, 0],
        "width": lambda w: w[:, 1],
        "ratio": lambda w: (w[:, 1] / w[:, 0]).round(decimals=3),
        "area": lambda w: w[:, 0] * w[:, 1],
        "y": lambda w: w[:, 2],
        "x": lambda w: w[:, 3],
    }
    for what, measure in of.items():
        assert stats.ks_2samp(measure(mine), measure(other)).pvalue > 0.001, what


def test_a_resized_window_is_what_torchvision_makes_of_it():
    images = random_images(1, 64, 3)
    top, left, height, width = 10, 6, 32, 24
    window = torch.tensor([[height / 64, width / 64, top / (64 - height), left / (64 - width)]])
    expected = F.resized_crop(
        images.float(),
        top,
        left,
        height,
        width,
        [64, 64],
        F.InterpolationMode.BILINEAR,
        antialias=False,
    )
    inside = slice(2, -2)  # at its border the window sees the image go on
    difference = ResizedCrop().apply(images, window).float() - expected
    assert difference[..., inside, inside].abs().max() <= 1


@pytest.mark.parametrize("size", [32, 227])
def test_flips_and_crops_are_torchvisions_in_distribution(size):
    """By the column and the row that come to the middle, of images that count both."""
    n, padding = 1500, margin(size)
    ramp = torch.arange(1, size + 1).float() / 2
    image = torch.stack([ramp.expand(size, -1), ramp[:, None].expand(-1, size)])
    image = torch.cat([image, torch.ones(1, size, size)]).byte()
    torch.manual_seed(0)
    transform = torchvision.transforms.Compose(
        [
            torchvision.transforms.RandomHorizontalFlip(),
            torchvision.transforms.RandomCrop(size, padding=padding),
        ]
    )
    middle = size // 2
    others = torch.stack([transform(image)[:2, middle, middle] for _ in range(n)])
    mine = augmented(image.expand(n, -1, -1, -1), "flip+crop", generator())[:, :2, middle, middle]
    for channel in (0, 1):
        pair = mine[:, channel].float(), others[:, channel].float()
        assert stats.ks_2samp(*pair).pvalue > 0.001


def test_transformations_are_those_of_their_names():
    images = random_images(4, 12)
    expected = {"mirrored": images.flip(-1), "rotated": images.rot90(-1, (2, 3))}
    shift = margin(12)
    expected["shifted"] = F.pad(images, [shift, shift, 0, 0])[..., :12, :12]
    for name, images_expected in expected.items():
        assert torch.equal(transform(images, name), images_expected), name


@pytest.mark.parametrize("name", TRANSFORMATIONS)
def test_a_transformation_keeps_shape_and_type_and_changes_something(name):
    images = random_images(4, 16)
    moved = transform(images, name)
    assert (moved.shape, moved.dtype) == (images.shape, images.dtype)
    assert not torch.equal(moved, images)


@pytest.mark.parametrize(("name", "angle"), [("tilted", -15), ("rotated", -90)])
def test_turned_images_are_torchvisions(name, angle):
    images = random_images(4, 32)
    turned = F.rotate(images.float(), angle, F.InterpolationMode.BILINEAR)
    assert (transform(images, name).float() - turned).abs().max() <= 1


def test_an_enlarged_image_is_its_middle_three_quarters():
    images = random_images(4, 16)
    middle = F.center_crop(images, [12, 12]).float()
    enlarged = F.resize(middle, [16, 16], F.InterpolationMode.BILINEAR, antialias=False)
    inside = slice(1, -1)  # at the border the image goes on, its middle does not
    difference = transform(images, "enlarged").float() - enlarged
    assert difference[..., inside, inside].abs().max() <= 1


def test_the_study_knows_the_transformations():
    assert tuple(MAPS) == TRANSFORMATIONS


# ---- as parts, and on their way to a device -----------------------------------------------------


def test_augmentations_have_labels():
    labels = [choice.label for choice in chosen("flip+crop+resized-crop+inception-crop")]
    assert labels == ["flip", "crop", "resized crop", "Inception crop"]


def test_an_augmentation_draws_a_row_for_each_image():
    """So that several processes can share a batch: each takes its own rows."""
    images = random_images(6, 12)
    for name in SUMS:
        drawn = draw(chosen(name), 6, 12, generator())
        assert {len(rows) for rows in drawn} == {6}
        together = augment(images, chosen(name), drawn)
        half = augment(images[3:], chosen(name), [rows[3:] for rows in drawn])
        assert torch.equal(together[3:], half), name


@pytest.fixture
def pinned(monkeypatch):
    """Whether each tensor that is pinned lies in memory without gaps and overlaps, as if the images
    were on a GPU: pinning keeps strides, and fails where elements share a place."""
    tensors = []
    to_device = moving.to_device

    def pin(tensor):
        tensors.append(tensor.is_contiguous())
        return tensor

    for module in (moving, augmentations):
        monkeypatch.setattr(module, "to_device", lambda t, _: to_device(t, torch.device("cuda")))
    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    monkeypatch.setattr(torch.Tensor, "to", lambda tensor, *_, **__: tensor)
    return tensors


def test_what_is_pinned_is_contiguous(pinned):
    images = random_images(4, 12)
    for name in TRANSFORMATIONS:
        transform(images, name)
    for name in ALONE:
        drawn = draw(chosen(name), 8, 12, generator())
        augment(images, chosen(name), [rows[::2] for rows in drawn])
    moving.to_device(torch.zeros(1).expand(4), torch.device("cuda"))
    assert len(pinned) == len(TRANSFORMATIONS) + len(ALONE) + 1
    assert all(pinned)
