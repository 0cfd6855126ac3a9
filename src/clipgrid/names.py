"""How models, optimizers, clips and augmentations are spelled in tables and figures."""

import pandas as pd

from clipgrid.grid import CLIPS, Clip, canonical

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


def clips_in(table: pd.DataFrame) -> list[Clip]:
    """The clips among the rows of a table, by kind and threshold; those that only observe last."""
    pairs = table[["clip", "threshold"]].drop_duplicates().itertuples(index=False)
    kinds = list(CLIPS)
    return sorted(
        (Clip(*pair) for pair in pairs),
        key=lambda c: (c.observes, kinds.index(c.kind), c.threshold),
    )


def clip_names(table: pd.DataFrame) -> pd.Series:
    """The name of each row's clip, as a category: ordered as `clips_in` has them."""
    clips = clips_in(table)
    names = pd.MultiIndex.from_frame(table[["clip", "threshold"]]).map(
        {(c.kind, c.threshold): clip_name(c) for c in clips}
    )
    return pd.Series(
        pd.Categorical(names, [clip_name(c) for c in clips], ordered=True), index=table.index
    )
