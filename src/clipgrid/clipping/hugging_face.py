"""Clipper as a callback of Hugging Face's Trainer: `callbacks=[ClipperCallback("1")]`."""

import os
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from clipgrid.clipping.clipper import Clipper

SAVED = "clipper.pt"  # in the folder of a checkpoint


class ClipperCallback(TrainerCallback):
    """Clips the model's gradients before each optimizer step. What it saw is in `clipper`, in the
    Trainer's checkpoints, and at the end of the training in `file`, a .csv or .parquet. `options`
    are Clipper's. ValueError where the Trainer clips too: set `max_grad_norm=0`."""

    def __init__(
        self,
        clip: float | str = "inf",
        *,
        file: str | os.PathLike[str] | None = None,
        **options: Any,
    ) -> None:
        self.clip, self.file, self.options = clip, file, options
        self.clipper: Clipper | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        if args.max_grad_norm:
            raise ValueError(
                f"TrainingArguments has max_grad_norm={args.max_grad_norm}, which is its default:"
                " set it to 0, as ClipperCallback clips"
            )
        scaler = getattr(given["optimizer"], "scaler", None)
        self.clipper = Clipper(given["model"], self.clip, scaler=scaler, **self.options)
        saved = checkpoint(args, state)
        if state.global_step and saved.exists():
            self.clipper.load_state_dict(torch.load(saved, weights_only=True))

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        assert self.clipper is not None
        self.clipper()

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        if self.clipper and state.is_world_process_zero:
            torch.save(self.clipper.state_dict(), checkpoint(args, state))

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        if self.clipper and self.file and state.is_world_process_zero:
            self.clipper.save(self.file)


def checkpoint(args: TrainingArguments, state: TrainerState) -> Path:
    return Path(args.output_dir) / f"checkpoint-{state.global_step}" / SAVED
