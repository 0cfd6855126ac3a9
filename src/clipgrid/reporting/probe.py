"""`clipgrid probe`: from a model and images to an answer in minutes. What does clipping do to it,
and which λ? The answer comes of a small study, which Snakemake runs: some seeds at each learning
rate, first without clipping, then with the λ that their norms suggest."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

import clipgrid
from clipgrid import InputError
from clipgrid.judging import pilots
from clipgrid.judging.evidence import Evidence
from clipgrid.judging.pilots import Pilots
from clipgrid.study import cells, config, cost, grid, parts
from clipgrid.study.config import Study
from clipgrid.study.fields import on_a_line

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PLACEHOLDER = 1.0  # a λ, where only the cost is asked for
FIRST = 50  # steps in which the layers are looked at


def probe(what: str, out: Path | None, cores: int, dry_run: bool, **asked: Any) -> None:
    """Answer for a model (`resnet18`, `alexnet:width=0.125`, `my_vit.py:ViT`), for a study that has
    been run, or for the table that a Clipper saved; print the answer and write a figure."""
    if what.endswith((".csv", ".parquet")):
        tell({Path(what).stem: of_table(Path(what))}, Path(what).with_suffix(""))
    elif what.endswith((".yaml", ".yml")):
        study = config.load(Path(what))
        found = of_results(study)
        if not found:
            raise InputError(f"{what}: it has no run without clipping; add inf to its clips")
        tell(found, Path(study.results, "probe"))
    else:
        usual = Path("results", re.sub(r"\W", "-", f"probe-{short(what).replace('.py:', '-')}"))
        content = study_of(what, str(out or usual), **asked)
        said = promise(content, cores)  # which finds what is wrong in it
        content = with_a_place(content, move=not out)
        results = Path(content["results"])
        file = file_of(results)
        print(said, f"The results go to {results}.", flush=True)
        if dry_run:
            return
        found = run(content, file, cores)
        (one,) = found.values()
        if one.threshold > 0:
            found = run({**content, "clips": [one.threshold, "inf"]}, file, cores)
        tell(found, results / "probe")
        print(largest_layers(config.load(file), one.rate))
        print(f"All of it is the study {file}: add to its lists, and run it for the whole report.")


# ---- the study ---------------------------------------------------------------------------------


def study_of(
    what: str, results: str, images: str, optimizer: str, learning_rates: list[float], size: int,
    steps: int, seeds: int, batch_size: int,
) -> dict[str, Any]:  # fmt: skip
    """What the file of the study holds. InputError for images that aren't there."""
    extension = []
    name, *settings = what.split(":")
    if settings and "=" not in settings[0]:  # a file and a class in it
        extension, name = [f"{name}:{settings[0]}"], settings.pop(0).lower()
    return {
        "title": f"Which threshold for {short(what)}?",
        "results": results,
        "extensions": extension,
        "data": {**images_of(images, extension), "size": size, "split": "seed"},
        "models": {name: dict(setting.partition("=")[::2] for setting in settings)},
        "optimizers": {optimizer: {"learning_rates": learning_rates}},
        "clips": ["inf"],
        "iterations": [steps],
        "seeds": list(range(seeds)),
        "training": {"batch_size": batch_size, "evaluate_every": max(1, steps // 10)},
    }


def short(what: str) -> str:
    """What is probed without the folder of its file: `net.py:MyNet`."""
    return Path(what).name


def images_of(images: str, extension: list[str]) -> dict[str, str]:
    """A data set by name, or else a folder. InputError where there is neither."""
    parts.load(extension)  # which may have a data set
    try:
        parts.find("dataset", images)
    except InputError as error:
        if not Path(images).is_dir():
            near = str(error).partition("; ")[2]
            raise InputError(
                f"--images: there is no folder {on_a_line(images)}, and no data set of that name;"
                f" {near}"
            ) from None
        return {"name": "imagefolder", "folder": images}
    return {"name": images}


def file_of(results: Path) -> Path:
    """The file of the study with these results."""
    return results.with_name(f"{results.name}.yaml")


def with_a_place(content: dict[str, Any], move: bool) -> dict[str, Any]:
    """The study, in a folder that no other has: one that asks something else, or that its owner has
    added to. InputError where it has, and this one may not `move`."""
    unlike = differing(content)
    if unlike and move:
        mark = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:6]
        content = {**content, "results": f"{content['results']}-{mark}"}
        unlike = differing(content)
    if unlike:
        file = file_of(Path(content["results"]))
        raise InputError(
            f"{file} is the study of another probe, or was changed since: it differs in"
            f" {', '.join(unlike)}. Name another folder by --out, or remove that file; `clipgrid"
            f" probe {file}` tells what its runs say"
        )
    return content


def differing(content: dict[str, Any]) -> list[str]:
    """The keys in which the study that has this one's place is another; none where there is none.
    The λ is a probe's own."""
    file = file_of(Path(content["results"]))
    if not file.exists():
        return []
    try:
        there = dict(json.loads(file.read_text(encoding="utf-8")))
        *limits, last = there["clips"]
    except (ValueError, KeyError, TypeError):
        return ["its form"]
    if len(limits) < 2 and last == "inf":
        there["clips"] = content["clips"]
    return [on_a_line(key) for key in {**content, **there} if there.get(key) != content.get(key)]


def promise(content: dict[str, Any], cores: int) -> str:
    """What it takes, before it starts."""
    study = config.parse({**content, "clips": [PLACEHOLDER, "inf"]}, "probe")
    runs = cells.runs_of(grid.cells(study))
    seconds = sum(cost.seconds(t, readouts, study.data) for t, readouts in runs.items())
    steps = content["iterations"][0]
    return (
        f"{len(runs)} runs of {steps:,} steps, half of them clipped: about"
        f" {max(1, round(seconds / cores / 60))} min on {cores} cores, by the estimate of `plan`."
    )


def run(content: dict[str, Any], file: Path, cores: int) -> dict[str, Pilots]:
    """Run the study by Snakemake; what is trained is kept, and not trained again."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    study = config.load(file)
    command = [sys.executable, "-m", "snakemake", "--snakefile", clipgrid.snakefile()]
    command += ["--cores", str(cores), "--quiet", "rules", "host", "--configfile", str(file)]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    asked = f"{study.results}/cells.csv"
    if subprocess.run([*command, "--", asked], env={**os.environ, "PATH": path}).returncode:
        raise InputError("the runs failed; their reason stands above")
    return of_results(study)


def of_results(study: Study) -> dict[str, Pilots]:
    """The pilots of a study that has been run. InputError for one that hasn't."""
    results = Path(study.results)
    if not (results / "cells.csv").exists():
        raise InputError(f"{results}/cells.csv is missing: run the study first, by snakemake")
    evidence = Evidence(study, results)
    return pilots.of_study(evidence.cells, evidence.histories)


def of_table(path: Path) -> Pilots:
    """The pilots of a table that a Clipper saved. InputError for one that isn't."""
    try:
        table = pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
        norms = table[["step", "norm"]].astype(float).assign(learning_rate=0.0)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path} is no table of a Clipper ({error})") from None
    return Pilots(pd.DataFrame(), norms)


# ---- the answer --------------------------------------------------------------------------------


def largest_layers(study: Study, rate: float) -> str:
    """Which tensors have most of the gradient, in the first steps of an unclipped run."""
    import torch

    from clipgrid.images.data import Dataset
    from clipgrid.training import loop
    from clipgrid.training.run import Run

    free = (t for t in cells.runs_of(grid.cells(study)) if t.clip.observes)
    run = Run(
        next(t for t in free if t.learning_rate == rate),
        Dataset.load(Path(study.results, "data.pt")),
        set(),
    )
    squares = []
    for _ in range(min(FIRST, study.values("iterations")[-1])):
        loop.update(run)
        squares.append(torch.stack([g.double().square().sum() for g in run.weights.gradients]))
    shares = torch.stack([one / one.sum() for one in squares]).mean(0)
    names = [name for name, p in run.model.named_parameters() if p.requires_grad]
    most = sorted(zip(shares.tolist(), names, strict=True), reverse=True)[:3]
    said = ", ".join(f"{name} ({100 * share:.0f}%)" for share, name in most)
    return f"In the first {len(squares)} steps most of the gradient, squared, lies in {said}."


def tell(found: dict[str, Pilots], stem: Path) -> None:
    """Print the answer for each net, and write the figure."""
    width = shutil.get_terminal_size().columns
    for name, one in found.items():
        print(f"\n{name}\n{'-' * min(width, len(name))}")
        print(one.table().to_string(), one.spread(), one.advice(), sep="\n\n")
    from clipgrid.reporting.figures.drawing import save

    save(draw(found), stem)
    print(f"\nThe figure: {stem}.svg")


def draw(found: dict[str, Pilots]) -> Figure:
    """A row for each net: what share of the steps λ clips, and how the norms drift."""
    from matplotlib import pyplot as plt

    from clipgrid.reporting.figures.drawing import WIDTH, style

    style()
    figure, axes = plt.subplots(len(found), 2, figsize=(WIDTH, 2.6 * len(found)), squeeze=False)
    for (name, one), (left, right) in zip(found.items(), axes, strict=True):
        shares, drift = one.shares(), one.drift()
        for rate in shares:
            label = f"η = {rate:g}" if rate else "all steps"
            left.plot(shares.index, shares[rate], marker="o", ms=3, label=label)
            right.plot(100 / len(drift) * drift.index, drift[rate], marker="o", ms=3)
        line = {"color": "0.35", "ls": (0, (4, 2)), "lw": 1}
        left.axvline(one.threshold, label=f"λ = {one.threshold:g}", **line)
        right.axhline(one.threshold, **line)
        left.set(xscale="log", xlabel="λ", ylabel="steps that λ would clip (%)", title=name)
        right.set(yscale="log", xlabel="training (%)", ylabel="median gradient norm")
        left.legend()
    return figure
