"""What augmentation and the split do to the images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clipgrid.judging.computations import probes
from clipgrid.judging.computations.answers import Answer, decided
from clipgrid.lazy import Lazy, torch
from clipgrid.study.cells import Augmentation
from clipgrid.study.parts import computation

if TYPE_CHECKING:
    from clipgrid.images import augmentations
    from clipgrid.judging.evidence import Evidence
else:
    augmentations = Lazy("clipgrid.images.augmentations")


@computation("augmentation_enlarges_the_store")
def augmentation_enlarges_the_store(evidence: Evidence) -> Answer:
    """How many images are kept, and how many different ones are trained on?"""
    data = probes.dataset(evidence)
    images = data.take(data.train[:100])
    generator = torch.Generator().manual_seed(0)
    both, size = Augmentation.read("flip+crop").choices, data.about["size"]
    draws = [augmentations.draw(both, len(images), size, generator) for _ in range(10)]
    seen = torch.cat([augmentations.augment(images, both, drawn) for drawn in draws]).flatten(1)
    distinct, plain = len(seen.unique(dim=0)), len(images.flatten(1).unique(dim=0))
    return decided(
        distinct > plain,
        f"Nothing is added to the store of images, but in effect it grows: 10 epochs of flips and"
        f" crops make {distinct} different inputs of {plain} images.",
        distinct / plain,
        "different inputs an image in 10 epochs",
    )


@computation("validates_on_originals")
def validates_on_originals(evidence: Evidence) -> Answer:
    """Are the three sets apart, and is validation blind to augmentation?"""
    data = probes.dataset(evidence)
    sets = [set(s.tolist()) for s in (data.train, data.validation, data.test)]
    apart = sum(map(len, sets)) == len(set.union(*sets))
    looks = {
        a: probes.look(probes.run(evidence, 0, augmentation=a), data.validation[:64])
        for a in ("none", "flip+crop")
    }
    same = looks["none"] == looks["flip+crop"]
    return decided(
        apart and same,
        f"Here the training, validation and test images have {'none' if apart else 'some'} in"
        f" common, and validation sees {'originals' if same else 'others'} whatever the"
        " augmentation. The protocol is sound, but the article lacks the third set: what is chosen"
        " by validation images should be reported on test images.",
    )
