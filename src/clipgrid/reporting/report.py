"""The pages of the report that are about the whole study: the verdicts, the start page (what was
asked, what was found, how to read it, what was trained), the reproducibility checklist."""

import json
from pathlib import Path

import pandas as pd

from clipgrid.judging import claims
from clipgrid.judging.aggregate import read_cells
from clipgrid.judging.evidence import Evidence
from clipgrid.judging.statistics import t_interval
from clipgrid.judging.verdicts import VERDICTS
from clipgrid.judging.verdicts import judge as judged
from clipgrid.reporting import tables, text
from clipgrid.reporting.arms import ARM, RUN, arm_names, by_clip, clips_in, in_order, reported
from clipgrid.reporting.tables import effect_words, plus_minus
from clipgrid.study import config as study
from clipgrid.study.config import Study
from clipgrid.study.grid import canonical
from clipgrid.study.names import OPTIMIZERS, clip_name

FIGURES = (
    *("forest", "heat-map", "time-to-target", "gradient-norms", "clip-fraction", "accuracy"),
    *("schedule", "generalization-gap", "matched-gap", "paired-ema", "paired-augmentation"),
    *("transformed", "clip-kinds", "external"),
)
"""Exhibits that are figures."""


def cells_pages(path: Path) -> None:
    """Write the pages of the report that show all cells and all settings of the study at `path`."""
    results = path.parent
    cells = read_cells(results)
    pages = results / "tables"
    pages.mkdir(exist_ok=True)
    (pages / "cells.html").write_text(tables.cells_page(cells, f"All {len(cells)} cells"))
    files = [results / name for name in ("study.json", "data.json", "trained.json")]
    settings = text.page("files.html", title="Settings and provenance", files=files, note="")
    (pages / "settings.html").write_text(settings)


def judge(path: Path, claims_file: Path) -> None:
    """Write `claims.csv` beside the study at `path`, and below `tables/` the claims as HTML and
    LaTeX, the published facts likewise, the reproducibility checklist, and a LaTeX document of
    all tables."""
    s, results = study.load(path), path.parent
    table = judged(claims.load(claims_file), Evidence(s, results))
    table.to_csv(results / "claims.csv", index=False, float_format="%.6g")
    pages = results / "tables"
    pages.mkdir(exist_ok=True)
    sha = claims.digest(claims_file)
    external = table.section == "external"
    rules = f"Decided by {claims_file.name}, SHA-256 {sha}. {tables.HOW_TO_READ_CLAIMS}"
    title = "The document's claims, judged"
    tables.save_claims(table[~external], pages / "claims", title, rules)
    title = "External validation: published facts, tried here"
    tables.save_claims(table[external], pages / "external", title, rules)
    answers = pd.DataFrame(checklist(s, results, table, sha), columns=["Question", "Answer"])
    title = "Reproducibility checklist"
    (pages / "checklist.html").write_text(
        text.page("checklist.html", title=title, shown=answers, note="")
    )
    names = [*(n for n, e in s.experiments.items() if e.section), "claims", "external"]
    document = text.page("tables.tex", title=text.latex(s.title), names=names)
    (pages / "all.tex").write_text(document)


def checklist(s: Study, results: Path, table: pd.DataFrame, sha: str) -> list[tuple[str, str]]:
    """What a reviewer asks about a study, answered from what was run: (question, answer)."""
    cells = read_cells(results)
    trained = json.loads((results / "trained.json").read_text())
    data = json.loads((results / "data.json").read_text())
    failed = cells[cells.ema.isna()].groupby("status").size()
    counts = cells.groupby(list(ARM), dropna=False).seed.nunique()
    seeds = " to ".join(map(str, sorted({counts.min(), counts.max()})))
    images = data["images"]
    lacking = int(table.reason.str.startswith("This study has no cell").sum())
    rates = cells.groupby("optimizer").learning_rate.unique()
    tuned = "; ".join(
        f"{OPTIMIZERS[o]} {', '.join(map(canonical, sorted(r)))}" for o, r in rates.items()
    )
    return [
        (
            "What is claimed, and how is it decided?",
            f"{len(table)} statements, each by rules fixed in {s.claims} (SHA-256 {sha}).",
        ),
        (
            "What was run?",
            f"{trained['cells']} cells, read off {trained['trajectories']} runs:"
            f" {trained['steps_trained']:,} steps trained for {trained['steps_asked']:,} asked for."
            f" {study.settings(s)}.",
        ),
        (
            "What was not run?",
            f"The cells that {lacking} of the statements need."
            if lacking
            else "Nothing that a statement needs.",
        ),
        (
            "Which data?",
            f"{data['name']} ({data['source']}; {data['licence']}), {images['train']} training,"
            f" {images['validation']} validation and {images['test']} test images, split once by"
            f" seed {data['split_seed']}; SHA-256 {data['checksum']}.",
        ),
        (
            "How were hyper-parameters chosen?",
            f"Learning rates ({tuned}) were all run and are all reported; where a rule says tuned,"
            " the one best on validation images in each arm. Nothing else was chosen by results."
            " The test images are read once, at T; the last step counts, never the best.",
        ),
        (
            "How many seeds?",
            f"{seeds} in an arm. A seed decides weights, batches, augmentation, dropout, the part"
            " of the training images and the exchanged labels; arms share it.",
        ),
        (
            "What are the error bars?",
            "95% t-intervals over seeds, of differences paired by seed; Newcombe's and"
            " Clopper-Pearson's for rates. Holm's correction within each family of claims.",
        ),
        (
            "Was anything left out?",
            f"No. Of {int(failed.sum())} cells of raw weights {int(failed.get('collapsed', 0))} are"
            f" collapsed and {int(failed.get('diverged', 0))} diverged; both are counted, and a"
            " diverged run is judged as a net that guesses.",
        ),
        (
            "How much compute?",
            f"{computing(trained)}; one thread a run, {', '.join(trained['device'])}"
            f" ({', '.join(trained['processor'])}).",
        ),
        (
            "Can it be run again?",
            "Each cell has its command (All cells), which gives the same bits on the same kind of"
            f" machine. torch {', '.join(trained['torch'])}, Python {', '.join(trained['python'])},"
            f" commit {', '.join(trained['commit'])}; all pins in envs/requirements.lock.",
        ),
    ]


def start_page(path: Path, claims_file: Path) -> str:
    """The page, as Snakemake takes it, for the study at `path` and the tables beside it."""
    s = study.load(path)
    results = path.parent
    cells = reported(read_cells(results), s)
    trained = json.loads((results / "trained.json").read_text())
    verdicts = pd.read_csv(results / "claims.csv")
    external = verdicts.section == "external"
    page = text.page(
        "start-page.html",
        study=s,
        sections=[e.section for e in s.experiments.values() if e.section],
        settings=study.settings(s),
        data=json.loads((results / "data.json").read_text()),
        trained=trained,
        clips=[clip_name(c) for c in clips_in(cells)],
        arms=arms(cells),
        outcomes=outcomes(cells),
        seeds=len(s.seeds),
        computing=computing(trained),
        number=int((~external).sum()),
        claims=verdict_rows(verdicts[~external], s),
        facts=verdict_rows(verdicts[external], s),
        counts=counts(verdicts[~external]),
        claims_file=claims_file.name,
        claims_sha256=claims.digest(claims_file),
    )
    return text.as_caption(page)


def counts(verdicts: pd.DataFrame) -> str:
    """`12 are supported, 9 refuted, ...`"""
    found = verdicts.verdict.value_counts()
    parts = [f"{found[v]} {v}" for v in VERDICTS if v in found]
    return ", ".join(parts)


def verdict_rows(verdicts: pd.DataFrame, s: Study) -> list[dict]:
    """The claims as the start page has them: each with its effect in words, and the address of a
    link that shows its exhibit."""
    return [
        {
            "id": row.id,
            "statement": row.statement,
            "verdict": row.verdict,
            "effect": effect_words(row),
            "exhibit": row.exhibit,
            "address": address(row.exhibit, s),
        }
        for row in verdicts.itertuples()
    ]


def address(exhibit: str, s: Study) -> str:
    """The address of a link that shows an exhibit of the report; nothing if the report lacks it."""
    if exhibit in FIGURES:
        return text.show_exhibit(f"{s.results}/figures/{exhibit}.svg", "img")
    if exhibit == "claims" or (exhibit in s.experiments and s.experiments[exhibit].section):
        return text.show_exhibit(f"{s.results}/tables/{exhibit}.html", "html")
    return ""


def arms(cells: pd.DataFrame) -> list[dict]:
    """Accuracy (%) by clip for each arm and T, of raw weights and original images, and the paired
    difference of the global norm's smallest λ to no clipping."""
    clips = clips_in(cells)
    by_norm = [clip_name(c) for c in clips if c.kind == "norm" and not c.observes]
    cells = in_order(cells[cells.ema.isna() & (cells.augmentation == "none")])
    if cells.empty:
        return []
    cells["arm"] = arm_names(cells, RUN)
    rows = []
    for (name, iterations), group in cells.groupby(["arm", "iterations"], sort=False):
        by_seed = {
            clip: 100 * mine.set_index("seed").test_accuracy for clip, mine in by_clip(group)
        }
        smallest = next((clip for clip in by_norm if clip in by_seed), None)
        difference = (
            plus_minus(t_interval(by_seed[smallest] - by_seed["no clipping"]), 1, sign="+")
            if smallest and "no clipping" in by_seed
            else "–"
        )
        accuracies = (by_seed.get(clip_name(clip)) for clip in clips)
        rows.append(
            {
                "name": name,
                "iterations": iterations,
                "accuracies": [
                    "–" if a is None else unbroken(plus_minus(t_interval(a), 1)) for a in accuracies
                ],
                "difference": unbroken(difference),
            }
        )
    return rows


def unbroken(text: str) -> str:
    return text.replace(" ", "\N{NO-BREAK SPACE}")


def outcomes(cells: pd.DataFrame) -> list[dict]:
    """By clip: share of steps clipped, and the runs that had collapsed or diverged at their end."""
    raw = cells[cells.ema.isna()].sort_values("iterations")
    last = raw.groupby("trajectory").last()
    rows = []
    for clip in clips_in(last):
        runs = last[(last["clip"] == clip.kind) & (last.threshold == clip.threshold)]
        percent = 100 * runs.clip_fraction
        rows.append(
            {
                "clip": clip_name(clip),
                "fires": not clip.observes,
                "percent": f"{100 * runs.steps_clipped.sum() / runs.steps.sum():.1f}",
                "least": f"{percent.min():.1f}",
                "most": f"{percent.max():.1f}",
                "never": int((runs.steps_clipped == 0).sum()),
                "collapsed": int((runs.status == "collapsed").sum()),
                "diverged": int((runs.status == "diverged").sum()),
                "runs": len(runs),
            }
        )
    return rows


def computing(trained: dict) -> str:
    """What all runs took, in words; evaluation is that on the way and that at each T."""
    evaluation = trained["evaluation_seconds"] + trained["readout_seconds"]
    return (
        f"{duration(trained['training_seconds'])} of training and {duration(evaluation)} of"
        " evaluation, over all runs"
    )


def duration(seconds: float) -> str:
    """`95 s`, `12 min`, `3.4 h`."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
