"""Clipper as a callback of Lightning: `Trainer(callbacks=[ClipperCallback("1")])`."""

import os
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch.optim import Optimizer

from clipgrid.clipping.clipper import Clipper


class ClipperCallback(Callback):
    """Clips the module's gradients before each step of its optimizer, after they are unscaled, and
    logs `gradient_norm` and `clipped_share`. What it saw is in `clipper`, in the Trainer's
    checkpoints, and at the end of the fit in `file`, a .csv or .parquet. `options` are Clipper's.

    ValueError where the Trainer clips too (`gradient_clip_val`), or has several optimizers."""

    def __init__(
        self,
        clip: float | str = "inf",
        *,
        log: bool = True,
        file: str | os.PathLike[str] | None = None,
        **options: Any,
    ) -> None:
        self.clip, self.log, self.file, self.options = clip, log, file, options
        self.clipper: Clipper | None = None
        self.loaded: dict[str, Any] = {}

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.gradient_clip_val:
            raise ValueError(
                f"the Trainer has gradient_clip_val={trainer.gradient_clip_val}: leave it out, as"
                " ClipperCallback clips"
            )
        if len(trainer.optimizers) != 1:
            raise ValueError(
                "ClipperCallback needs a module with one optimizer; use a Clipper each"
            )
        self.clipper = Clipper(pl_module, self.clip, **self.options)
        if self.loaded:
            self.clipper.load_state_dict(self.loaded)

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        assert self.clipper is not None
        seen = self.clipper()
        if self.log:
            pl_module.log("gradient_norm", seen.norm.float())
            pl_module.log("clipped_share", seen.share.float())

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.clipper and self.file and trainer.is_global_zero:
            self.clipper.save(self.file)

    def state_dict(self) -> dict[str, Any]:
        return self.clipper.state_dict() if self.clipper else self.loaded

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.loaded = state_dict
