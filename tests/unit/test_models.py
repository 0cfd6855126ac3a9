"""The networks: torchvision's at 224 px, sound at every other size."""

from typing import get_args

import pytest
import torch
from torch import nn

from clipgrid.models import FAMILIES, build, out_size
from clipgrid.study import config as study
from clipgrid.torchvision_on_cpu import torchvision

NAMES = [name for depths in FAMILIES.values() for name in depths]


def count(model, *kinds):
    return sum(isinstance(module, kinds) for module in model.modules())


def on_meta(build, *args, **settings):
    """A model without storage: names and shapes only."""
    with torch.device("meta"):
        return build(*args, **settings)


def small(name):
    return on_meta(build, name, 1, 8, 10, 0.125)


def test_the_study_knows_exactly_the_models_that_can_be_built():
    assert sorted(get_args(study.ModelName)) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_parameters_and_buffers_are_torchvisions_at_224_px(name):
    ours = on_meta(build, name, 3, 224, 1000).state_dict()
    theirs = on_meta(getattr(torchvision.models, name)).state_dict()
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}


@pytest.mark.parametrize("name", NAMES)
def test_parameter_counts_are_torchvisions(name):
    sizes = [p.numel() for p in on_meta(build, name, 3, 224, 1000).parameters()]
    theirs = on_meta(getattr(torchvision.models, name))
    assert sum(sizes) == sum(p.numel() for p in theirs.parameters())


def test_alexnet_has_torchvisions_parameters_at_227_px_too():
    ours = on_meta(build, "alexnet", 3, 227, 1000).state_dict()
    theirs = on_meta(torchvision.models.alexnet).state_dict()
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}


@pytest.mark.parametrize("name", ["alexnet", "resnet18"])
def test_the_output_is_torchvisions_with_the_same_weights(name):
    theirs = getattr(torchvision.models, name)(num_classes=10).eval()
    ours = on_meta(build, name, 3, 224, 10).eval()
    ours.load_state_dict(theirs.state_dict(), assign=True)
    image = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(ours(image), theirs(image))


@pytest.mark.parametrize(
    ("name", "size"),
    [(name, 8) for name in NAMES]
    + [(name, size) for name in ("alexnet", "vgg11", "resnet18") for size in (12, 28, 32, 64)],
)
def test_every_model_runs_forward_and_backward(name, size):
    torch.manual_seed(0)
    channels = 3 if size >= 32 else 1
    model = build(name, channels, size, 10, 0.125)
    logits = model(torch.randn(2, channels, size, size))
    logits.square().sum().backward()
    assert logits.shape == (2, 10)
    assert logits.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_the_weights_come_from_torchs_global_generator():
    def weights(seed):
        torch.manual_seed(seed)
        return torch.cat([p.flatten() for p in build("alexnet", 1, 8, 10, 0.125).parameters()])

    assert torch.equal(weights(0), weights(0))
    assert not torch.equal(weights(0), weights(1))


def test_alexnet_is_five_convolutions_three_linear_layers_and_dropout_without_norm():
    model = small("alexnet")
    assert count(model, nn.Conv2d) == 5
    assert count(model, nn.Linear) == 3
    assert count(model, nn.Dropout) == 2
    assert count(model, nn.BatchNorm2d, nn.LocalResponseNorm, nn.GroupNorm, nn.LayerNorm) == 0


def test_alexnets_first_map_is_55_px_wide_by_the_documents_arithmetic():
    assert out_size(227, kernel=11, stride=4) == (227 - 11) // 4 + 1 == 55
    first = on_meta(build, "alexnet", 3, 227, 1000).features[0]
    assert (first.kernel_size, first.stride) == ((11, 11), (4, 4))


@pytest.mark.parametrize("depth", [11, 13, 16, 19])
def test_vgg_has_as_many_weight_layers_as_its_name_says(depth):
    plain, normalised = small(f"vgg{depth}"), small(f"vgg{depth}_bn")
    assert (count(plain, nn.Conv2d), count(plain, nn.BatchNorm2d)) == (depth - 3, 0)
    assert (count(normalised, nn.Conv2d), count(normalised, nn.BatchNorm2d)) == (depth - 3,) * 2


def test_resnet18_has_a_batch_norm_for_each_of_its_20_convolutions():
    model = small("resnet18")
    assert (count(model, nn.Conv2d), count(model, nn.BatchNorm2d)) == (20, 20)


def test_width_scales_the_channels_of_every_layer():
    full, half = (on_meta(build, "resnet18", 1, 8, 10, width) for width in (1.0, 0.5))
    for a, b in zip(full.modules(), half.modules(), strict=True):
        if isinstance(a, nn.Conv2d):
            assert b.out_channels == a.out_channels / 2


@pytest.mark.parametrize("name", ["lenet", "", "AlexNet", "vgg12"])
def test_an_unknown_name_is_refused(name):
    with pytest.raises(ValueError, match="unknown model"):
        build(name, 3, 32, 10)
