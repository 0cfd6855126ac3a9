"""The networks: torchvision's at 224 px, sound at every other size; and torchvision's others."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from torch import nn

import clipgrid
from clipgrid import InputError, models
from clipgrid.models import build, counting
from clipgrid.models.blocks.pooling import AveragePool
from clipgrid.models.layers import out_size
from clipgrid.study import parts
from clipgrid.torchvision_on_cpu import torchvision

NAMES = parts.names("model")


@pytest.fixture(autouse=True)
def known_models(monkeypatch):
    """Models that a test declares are forgotten after it."""
    monkeypatch.setitem(parts.KINDS, "model", dict(parts.KINDS["model"]))


def count(model, *kinds):
    return sum(isinstance(module, kinds) for module in model.modules())


def on_meta(build, *args, **settings):
    """A model without storage: names and shapes only."""
    with torch.device("meta"):
        return build(*args, **settings)


def small(name):
    return on_meta(build, name, 1, 8, 10, 0.125)


def test_the_models_of_the_article_and_their_kin_are_there():
    vggs = {f"vgg{depth}{norm}" for depth in (11, 13, 16, 19) for norm in ("", "_bn")}
    resnets = {f"resnet{depth}" for depth in (10, 18, 34, 50, 101, 152)}
    assert set(NAMES) == {"alexnet"} | vggs | resnets


def torchvisions(name):
    """The same net as torchvision builds it; of 10 layers, by its own class."""
    if name == "resnet10":
        resnet = torchvision.models.resnet
        return resnet.ResNet(resnet.BasicBlock, [1, 1, 1, 1])
    return getattr(torchvision.models, name)()


@pytest.mark.parametrize("name", NAMES)
def test_parameters_and_buffers_are_torchvisions_at_224_px(name):
    ours = on_meta(build, name, 3, 224, 1000).state_dict()
    theirs = on_meta(torchvisions, name).state_dict()
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}


@pytest.mark.parametrize("name", NAMES)
def test_parameter_counts_are_torchvisions(name):
    sizes = [p.numel() for p in on_meta(build, name, 3, 224, 1000).parameters()]
    theirs = on_meta(torchvisions, name)
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


@pytest.mark.parametrize("name", ["lenet", "", "AlexNet", "vgg12", "fasterrcnn_resnet50_fpn"])
def test_an_unknown_name_is_refused(name):
    with pytest.raises(ValueError, match="unknown model"):
        build(name, 3, 32, 10)


def test_a_name_that_is_near_one_of_torchvisions_is_told_it():
    with pytest.raises(InputError, match=r"did you mean mobilenet_v2\? Known: alexnet, "):
        parts.find("model", "mobilnet_v2")


# ---- as parts -----------------------------------------------------------------------------------


def test_models_have_labels_and_families():
    found = {name: parts.find("model", name) for name in NAMES}
    labels = {name: part.label for name, part in found.items()}
    assert labels["alexnet"] == "AlexNet"
    assert (labels["vgg11"], labels["vgg16_bn"]) == ("VGG-11", "VGG-16 (BN)")
    assert labels["resnet152"] == "ResNet-152"
    assert len(set(labels.values())) == len(NAMES)
    families = {part.about["family"] for part in found.values()}
    assert families == {"alexnet", "vgg", "vgg_bn", "resnet"}


INITIAL_WEIGHTS = {
    ("alexnet", 1, 12, 0.125): "11023faab1512899523e9673161db322e866cb06b5dc3aa7778bc00c56a438bd",
    ("alexnet", 3, 64, 0.0625): "82070cc9915b03a8f2af24d3ff47e5b64476a8981fddade9f49931fdc3cc6682",
    ("vgg11", 1, 12, 0.125): "043ee7e12728d464561729c877e22ea3c53c603e89ff31bc4dd16207eded78d0",
    ("vgg16_bn", 3, 32, 0.0625): "e894dad771352017bbfb78f8b7bcb809fdd7b82485af4daf8261165205804e93",
    ("resnet18", 1, 12, 0.125): "bd638dd4cb77f224542a0c6b7207e753029f6230ecd91093bb0f288048e4871e",
    ("resnet50", 3, 64, 0.125): "1f0d435417cd9f3f4991f4c61e9c914ee4fb7c98b58138b8ed153a450f2f311b",
}
"""SHA-256 of the state dict of (model, channels, size, width) with seed 0: stored states rely on
it. Drawn in float64 and rounded to float16, as float32 draws differ between processors."""


@pytest.mark.parametrize("settings", INITIAL_WEIGHTS, ids=str)
def test_a_seed_draws_the_weights_that_it_always_drew(settings):
    name, channels, size, width = settings
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    try:
        state = build(name, channels, size, 10, width).state_dict()
    finally:
        torch.set_default_dtype(torch.float32)
    digest = hashlib.sha256()
    for key, tensor in state.items():
        digest.update(f"{key} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.half().contiguous().numpy().tobytes())
    assert digest.hexdigest() == INITIAL_WEIGHTS[settings]


@pytest.mark.parametrize("width", [0, -1, 17, float("inf"), "wide", True])
def test_a_width_out_of_bounds_is_refused(width):
    with pytest.raises(ValidationError, match="width"):
        parts.choose("model", "alexnet", {"width": width})


@pytest.mark.parametrize("name", NAMES)
def test_a_width_that_leaves_no_channel_is_a_fault(name):
    fault = parts.find("model", name).about["fault"]
    assert fault(width=1.0) is None
    assert fault(12, width=0.125) is None
    assert "leaves a layer no channel" in fault(width=1 / 128)
    assert "8 px at least, not 7" in fault(7, width=1.0)


def test_a_resnet_has_channels_in_multiples_of_8():
    """At 4 and 6 channels a kernel of torch's corrupts memory."""
    fault = parts.find("model", "resnet18").about["fault"]
    assert "multiple of 0.125" in fault(width=0.0625)
    assert "multiple of 0.125" in fault(width=0.1)
    assert parts.find("model", "vgg11").about["fault"](width=0.0625) is None


@pytest.mark.parametrize("size", [46, 63, 184, 224])
def test_the_narrowest_resnets_have_no_large_maps(size):
    """At 8 channels and maps of 46 px a kernel of torch's corrupts memory."""
    fault = parts.find("model", "resnet34").about["fault"]
    assert f"at least 0.25 for a ResNet-34 and images of {size} px" in fault(size, width=0.125)
    assert fault(size, width=0.25) is None
    assert parts.find("model", "resnet50").about["fault"](size, width=0.125) is None


@pytest.mark.parametrize("size", [45, 64, 128, 183])
def test_the_narrowest_resnets_have_maps_up_to_45_px(size):
    assert parts.find("model", "resnet18").about["fault"](size, width=0.125) is None


def test_declaring_our_parts_imports_neither_torch_nor_torchvision():
    code = """
import importlib, pkgutil, sys
for room in ("clipgrid.models", "clipgrid.images"):
    for module in pkgutil.iter_modules(importlib.import_module(room).__path__, room + "."):
        importlib.import_module(module.name)
print(*sorted({"torch", "torchvision", "sklearn"} & set(sys.modules)))
"""
    source = str(Path(clipgrid.__file__).parents[1])
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env={"PYTHONPATH": source}, stdout=subprocess.PIPE, check=True)
    assert done.stdout.split() == []


# ---- average pooling ----------------------------------------------------------------------------


@pytest.mark.parametrize("side", [1, 2, 3, 6, 7])
def test_average_pooling_is_torchs_with_its_gradient(side):
    for size in range(side, 40):
        ours, theirs = (torch.randn(2, 3, size, size, requires_grad=True) for _ in range(2))
        theirs.data.copy_(ours.data)
        pooled, expected = AveragePool(size, side)(ours), nn.AdaptiveAvgPool2d(side)(theirs)
        torch.testing.assert_close(pooled, expected)
        weights = torch.randn_like(pooled)
        (pooled * weights).sum().backward()
        (expected * weights).sum().backward()
        torch.testing.assert_close(ours.grad, theirs.grad)


def test_average_pooling_of_bfloat16_is_as_close_as_torchs():
    images = torch.rand(2, 3, 8, 8).bfloat16()
    exact = nn.AdaptiveAvgPool2d(7)(images.double())
    with torch.autocast("cpu", torch.bfloat16):
        pooled = AveragePool(8, 7)(images)
    assert (pooled - exact).abs().max() < 2**-8


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [12, 224, 255, 512])
def test_no_model_has_a_pooling_layer_without_a_deterministic_gradient_on_cuda(name, size):
    """CUDA has none for torch's adaptive pooling to more than one pixel."""
    pools = [m for m in on_meta(build, name, 3, size, 10).modules() if "Adaptive" in str(type(m))]
    assert all(pool.output_size == 1 for pool in pools)


def test_alexnet_at_256_px_is_torchvisions():
    theirs = torchvision.models.alexnet(num_classes=10).eval()
    ours = build("alexnet", 3, 256, 10).eval()
    ours.load_state_dict(theirs.state_dict())
    image = torch.randn(1, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(ours(image), theirs(image))


# ---- torchvision's ------------------------------------------------------------------------------

THEIRS = {  # a sample, and the side of small images that each takes
    **dict.fromkeys(["mobilenet_v3_small", "efficientnet_b0", "shufflenet_v2_x0_5"], 12),
    **dict.fromkeys(["squeezenet1_0", "densenet121", "regnet_y_400mf", "googlenet"], 32),
    **dict.fromkeys(["swin_t", "vit_b_16"], 32),
    "inception_v3": 75,
}


@pytest.mark.parametrize(
    ("name", "channels"), [*((name, 1) for name in THEIRS), ("mobilenet_v3_small", 3)]
)
def test_a_model_of_torchvision_takes_a_step(name, channels):
    torch.manual_seed(0)
    choice, size = parts.choose("model", name), THEIRS[name]
    assert (str(choice), choice.label, choice.part.about["family"]) == (name, name, name)
    network = choice(channels, size, 5)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    before = [p.detach().clone() for p in network.parameters()]
    logits = network(torch.randn(4, channels, size, size))
    assert logits.shape == (4, 5)
    nn.functional.cross_entropy(logits, torch.arange(4)).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    optimizer.step()
    pairs = zip(before, network.parameters(), strict=True)
    assert any(not torch.equal(old, new) for old, new in pairs)


@pytest.mark.parametrize(
    ("name", "size", "reason"),
    [
        ("vit_b_16", 12, "indivisible by patch size"),
        ("maxvit_t", 112, "not divisible by partition size 7"),
        ("inception_v3", 32, "Kernel size can't be greater"),
        ("densenet121", 8, "Output size is too small"),
    ],
)
def test_images_that_a_model_of_torchvision_does_not_take_are_one_error(name, size, reason):
    choice = parts.choose("model", name)
    fault = choice.part.about["fault"]
    assert f"takes no images of {size} px: " in fault(size)
    assert reason in fault(size)
    assert fault(224) is None
    with pytest.raises(InputError, match=rf"^model {name}: torchvision's takes no images") as error:
        choice(3, size, 10)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "regnet_y_400mf"])
def test_trying_a_size_draws_no_number(name):
    choice = parts.choose("model", name)
    choice.part.about["fault"].func.cache_clear()

    def weights():
        torch.manual_seed(0)
        return torch.cat([p.flatten() for p in choice(1, 12, 10).parameters()])

    assert torch.equal(weights(), weights())  # the size is tried in the first alone


def test_another_number_of_channels_keeps_the_scale_of_what_the_first_layer_gives():
    torch.manual_seed(0)
    choice = parts.choose("model", "mobilenet_v3_small")
    images = torch.randn(64, 4, 32, 32)
    given = {c: choice(c, 32, 10).features[0][0](images[:, :c]) for c in (1, 3, 4)}
    assert {c: x.std().item() for c, x in given.items()} == pytest.approx(
        dict.fromkeys(given, given[3].std().item()), rel=0.2
    )


def test_our_models_come_before_torchvisions():
    for name in NAMES:
        assert parts.find("model", name).file.parent == Path(models.__file__).parent
        assert "width" in parts.find("model", name).settings.model_fields


def test_torchvisions_models_have_no_settings():
    with pytest.raises(ValidationError, match="width"):
        parts.choose("model", "squeezenet1_0", {"width": 0.5})


# ---- what makes the logits; what a network costs ------------------------------------------------


@pytest.mark.parametrize("name", [*NAMES, "mobilenet_v2", "swin_t", "squeezenet1_0"])
def test_the_classifier_is_the_layer_that_makes_the_logits(name):
    network = on_meta(parts.choose("model", name), 3, 64, 17)
    last = models.classifier(network)
    assert (getattr(last, "out_features", None) or last.out_channels) == 17


def test_a_network_without_linear_layers_has_no_classifier():
    assert models.classifier(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())) is None


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "regnet_y_400mf", "shufflenet_v2_x0_5"])
def test_the_counts_are_those_that_torchvision_publishes(name):
    """At 224 px: 10⁹ multiply-adds and parameters, of which 990 of 1000 classes' are missing."""
    (weights, *_) = torchvision.models.get_model_weights(name)
    counted = counting.count(parts.choose("model", name), 224)
    assert counted["multiply_adds"] / 1e9 == pytest.approx(weights.meta["_ops"], rel=0.05)
    assert counted["parameters"] < weights.meta["num_params"] < counted["parameters"] + 1.1e6


def test_a_network_that_looks_at_values_is_counted_too():
    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.other = nn.Linear(3 * 8 * 8, 10), nn.Linear(3 * 8 * 8, 10)

        def forward(self, images):
            return (self.one if images.sum() > 0 else self.other)(images.flatten(1))

    @parts.model("branches", label="two branches")
    def branches(channels, size, classes):
        return Branches()

    torch.manual_seed(0)
    first = torch.rand(1)
    torch.manual_seed(0)
    counted = counting.count(parts.choose("model", "branches"), 8)
    assert torch.equal(torch.rand(1), first)
    assert (counted["layers"], counted["multiply_adds"]) == (1, 3 * 8 * 8 * 10)
    with pytest.raises(InputError, match="model branches: no image of 12 px passes: "):
        counting.count(parts.choose("model", "branches"), 12)
