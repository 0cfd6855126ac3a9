"""How models, optimizers, clips and augmentations are spelled in tables and figures."""

from clipgrid.grid import Clip, canonical

OPTIMIZERS = {"momentum": "momentum", "rmsprop": "RMSProp"}
AUGMENTATIONS = {
    "none": "original images",
    "flip": "flip",
    "crop": "crop",
    "flip+crop": "flip and crop",
}
_KINDS = {
    "norm": "λ = {}",
    "l1norm": "L1 norm, λ = {}",
    "maxnorm": "max norm, λ = {}",
    "value": "by value, λ = {}",
    "layer": "by layer, λ = {}",
    "agc": "AGC, λ = {}",
    "autoclip": "AutoClip, p = {}",
    "zclip": "ZClip, z = {}",
}
_FAMILIES = {"alexnet": "AlexNet", "vgg": "VGG-", "resnet": "ResNet-"}


def model_name(model: str) -> str:
    """`vgg11_bn` → `VGG-11 (BN)`."""
    family = next(family for family in _FAMILIES if model.startswith(family))
    return _FAMILIES[family] + model.removeprefix(family).replace("_bn", " (BN)")


def clip_name(clip: Clip) -> str:
    if clip.observes:
        return "no clipping" if clip.kind == "norm" else f"no clipping ({clip.kind})"
    return _KINDS[clip.kind].format(canonical(clip.threshold))
