"""How models, optimizers, thresholds and augmentations are spelled in tables and figures."""

import math

from clipgrid.grid import canonical

OPTIMIZERS = {"momentum": "momentum", "rmsprop": "RMSProp"}
AUGMENTATIONS = {
    "none": "original images",
    "flip": "flip",
    "crop": "crop",
    "flip+crop": "flip and crop",
}
_FAMILIES = {"alexnet": "AlexNet", "vgg": "VGG-", "resnet": "ResNet-"}


def model_name(model: str) -> str:
    """`vgg11_bn` → `VGG-11 (BN)`."""
    family = next(family for family in _FAMILIES if model.startswith(family))
    return _FAMILIES[family] + model.removeprefix(family).replace("_bn", " (BN)")


def threshold_name(threshold: float) -> str:
    return "no clipping" if math.isinf(threshold) else f"λ = {canonical(threshold)}"
