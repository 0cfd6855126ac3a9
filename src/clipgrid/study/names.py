"""How models, optimizers, clips and augmentations are spelled in tables and figures."""

from clipgrid.study.grid import Clip, canonical, family

OPTIMIZERS = {"momentum": "momentum", "rmsprop": "RMSProp"}
AUGMENTATIONS = {
    "none": "original images",
    "flip": "flip",
    "crop": "crop",
    "flip+crop": "flip and crop",
    "resized-crop": "resized crop",
    "inception-crop": "Inception crop",
    "flip+inception-crop": "flip and Inception crop",
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
_FAMILIES = {"alexnet": "AlexNet", "vgg": "VGG", "resnet": "ResNet"}


def model_name(model: str) -> str:
    """`vgg11_bn` → `VGG-11 (BN)`, and of families `vgg_bn` → `VGG (BN)`."""
    name = model.removesuffix("_bn")
    depth = name.removeprefix(family(name))
    return _FAMILIES[family(name)] + (f"-{depth}" if depth else "") + " (BN)" * (name != model)


def clip_name(clip: Clip) -> str:
    if clip.observes:
        return "no clipping" if clip.kind == "norm" else f"no clipping ({clip.kind})"
    return _KINDS[clip.kind].format(canonical(clip.threshold))


def value_name(axis: str, value: str) -> str:
    """A value on an axis of the grid, as the config spells it, for sentences and labels."""
    match axis:
        case "models":
            return model_name(value)
        case "optimizers":
            return OPTIMIZERS.get(value, value)
        case "learning_rates":
            return f"η = {value}"
        case "clips":
            return (
                "no clipping" if value == "inf" else value if value[0].isalpha() else f"λ = {value}"
            )
        case "iterations":
            return f"T = {value}"
        case "ema":
            return "raw weights" if value == "none" else f"EMA {value}"
        case "augmentations":
            return AUGMENTATIONS.get(value, value)
        case "schedules":
            return f"{value} learning rate"
        case "train_images":
            return f"{value} training images"
        case "label_noise":
            return f"label noise {value}"
    return f"{axis} {value}"
