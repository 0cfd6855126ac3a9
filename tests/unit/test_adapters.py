"""The callbacks for Lightning and for Hugging Face's Trainer, in the real ones."""

import csv
import logging
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from clipgrid.torchvision_on_cpu import torchvision  # noqa: F401  both import it

import lightning  # isort: skip
import transformers  # isort: skip
from clipgrid.clipping import hugging_face  # isort: skip
from clipgrid.clipping import lightning as for_lightning  # isort: skip

STEPS = 6


@pytest.fixture(autouse=True)
def quiet():
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def data():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(8 * STEPS, 6, generator=generator)
    return x, x.sum(1, keepdim=True)


def rows(file):
    with file.open() as lines:
        return [{name: float(x) for name, x in row.items()} for row in csv.DictReader(lines)]


# ---- Lightning ----------------------------------------------------------------------------------


class Module(lightning.LightningModule):
    def __init__(self, seed=0, optimizers=1):
        super().__init__()
        torch.manual_seed(seed)
        self.net, self.optimizers_wanted = nn.Linear(6, 1), optimizers
        self.automatic_optimization = optimizers == 1

    def training_step(self, batch, _):
        return nn.functional.mse_loss(self.net(batch[0]), batch[1])

    def configure_optimizers(self):
        made = [torch.optim.SGD(self.parameters(), lr=0.1) for _ in range(self.optimizers_wanted)]
        return made if len(made) > 1 else made[0]


def fit(folder, callback, module=None, steps=STEPS, resume=None, **settings):
    module = module or Module()
    trainer = lightning.Trainer(
        **{"accelerator": "cpu", "max_steps": steps, "logger": False, "log_every_n_steps": 1},
        **{"enable_progress_bar": False, "enable_model_summary": False, "callbacks": [callback]},
        **{"default_root_dir": folder, "enable_checkpointing": False} | settings,
    )
    trainer.fit(module, DataLoader(TensorDataset(*data()), batch_size=8), ckpt_path=resume)
    return trainer, module


def by_hand(steps=STEPS, limit=0.5):
    """The same by torch's own clipping: norms, weights."""
    module, norms = Module(), []
    optimizer = module.configure_optimizers()
    for x, y in list(DataLoader(TensorDataset(*data()), batch_size=8))[:steps]:
        optimizer.zero_grad()
        module.training_step((x, y), 0).backward()
        norms.append(nn.utils.clip_grad_norm_(module.parameters(), limit).item())
        optimizer.step()
    return norms, module.net.weight


def test_lightnings_callback_clips_logs_and_saves(tmp_path):
    callback = for_lightning.ClipperCallback("0.5", file=tmp_path / "norms.csv", by_layer=True)
    trainer, module = fit(tmp_path, callback)
    norms, weight = by_hand()
    table = rows(tmp_path / "norms.csv")
    assert [row["norm"] for row in table] == pytest.approx(norms, rel=1e-4)
    assert [row["clipped"] for row in table] == [float(norm > 0.5) for norm in norms]
    assert "layer:net.weight" in table[0]
    torch.testing.assert_close(module.net.weight, weight, rtol=1e-4, atol=1e-6)
    assert trainer.callback_metrics["gradient_norm"].item() == pytest.approx(norms[-1], rel=1e-4)
    assert trainer.callback_metrics["clipped_share"] == 1


def test_lightnings_callback_goes_on_from_a_checkpoint(tmp_path):
    first = for_lightning.ClipperCallback("autoclip50")
    trainer, _ = fit(tmp_path, first, steps=3)
    trainer.save_checkpoint(tmp_path / "half.ckpt")
    second = for_lightning.ClipperCallback("autoclip50")
    fit(tmp_path, second, resume=tmp_path / "half.ckpt")
    table = second.clipper.table()
    assert {name: column[:3] for name, column in table.items()} == first.clipper.table()
    medians = [np.percentile(table["norm"][: step + 1], 50) for step in range(STEPS)]
    assert table["limit"] == pytest.approx(medians)


def test_lightnings_callback_clips_once_for_accumulated_batches(tmp_path):
    callback = for_lightning.ClipperCallback("0.5")
    fit(tmp_path, callback, steps=3, accumulate_grad_batches=2)
    assert callback.clipper.steps == 3


def test_lightnings_callback_refuses_a_trainer_that_clips_or_two_optimizers(tmp_path):
    with pytest.raises(ValueError, match=r"gradient_clip_val=1\.0: leave it out"):
        fit(tmp_path, for_lightning.ClipperCallback(), gradient_clip_val=1.0)
    with pytest.raises(ValueError, match="one optimizer"):
        fit(tmp_path, for_lightning.ClipperCallback(), module=Module(optimizers=2))


# ---- Hugging Face -------------------------------------------------------------------------------


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Linear(6, 1)

    def forward(self, x, labels):
        y = self.net(x)
        return {"loss": nn.functional.mse_loss(y, labels), "logits": y}


def train(folder, callback, resume=None, **settings):
    x, y = data()
    arguments = transformers.TrainingArguments(
        output_dir=str(folder),
        **{"per_device_train_batch_size": 8, "num_train_epochs": 1, "learning_rate": 0.1}
        | {"lr_scheduler_type": "constant", "optim": "sgd", "report_to": [], "use_cpu": True}
        | {"max_grad_norm": 0.0, "disable_tqdm": True, "save_strategy": "no", "seed": 0}
        | settings,
    )
    model = Model()
    trainer = transformers.Trainer(
        model=model,
        args=arguments,
        train_dataset=[{"x": a, "labels": b} for a, b in zip(x, y, strict=True)],
        callbacks=[callback],
    )
    trainer.train(resume_from_checkpoint=resume)
    return model


def test_hugging_faces_callback_clips_and_saves(tmp_path):
    callback = hugging_face.ClipperCallback("0.5", file=tmp_path / "norms.csv")
    clipped = train(tmp_path, callback)
    table = rows(tmp_path / "norms.csv")
    assert len(table) == STEPS
    assert {row["clipped"] for row in table} == {1}
    by_theirs = train(tmp_path, transformers.TrainerCallback(), max_grad_norm=0.5)
    torch.testing.assert_close(clipped.net.weight, by_theirs.net.weight, rtol=1e-4, atol=1e-6)
    alone = hugging_face.ClipperCallback("inf")
    unclipped = train(tmp_path, alone)
    assert not torch.allclose(clipped.net.weight, unclipped.net.weight, rtol=1e-2)
    assert alone.clipper.steps == STEPS
    assert not any(alone.clipper.table()["clipped"])


def test_hugging_faces_callback_goes_on_from_a_checkpoint(tmp_path):
    straight, first, second = (hugging_face.ClipperCallback("autoclip50") for _ in range(3))
    saves = {"save_strategy": "steps", "save_steps": 3}
    train(tmp_path / "straight", straight)
    train(tmp_path / "halved", first, max_steps=3, **saves)
    folder = tmp_path / "halved" / "checkpoint-3"
    assert (folder / hugging_face.SAVED).exists()
    train(tmp_path / "halved", second, resume=str(folder), **saves)
    assert second.clipper.table() == straight.clipper.table()


def test_hugging_faces_callback_clips_once_for_accumulated_batches(tmp_path):
    callback = hugging_face.ClipperCallback("0.5")
    train(tmp_path, callback, gradient_accumulation_steps=2)
    assert callback.clipper.steps == STEPS // 2


def test_hugging_faces_callback_refuses_a_trainer_that_clips(tmp_path):
    with pytest.raises(ValueError, match=r"max_grad_norm=1\.0, which is its default: set it to 0"):
        train(tmp_path, hugging_face.ClipperCallback(), max_grad_norm=1.0)
