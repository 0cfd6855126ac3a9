"""The kinds of clipping of the library, as a study names them."""

from clipgrid.clipping.kinds import KINDS
from clipgrid.study.parts import clip_kind

for kind in KINDS.values():
    clip_kind(kind.name, label=kind.label, observes=kind.observes, most=kind.most)(kind.run)
