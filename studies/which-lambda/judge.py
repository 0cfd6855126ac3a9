"""What the tasks say of the rules: `python studies/which-lambda/judge.py RESULTS` reads the cells
of all tasks below the folder RESULTS and writes there regrets.csv, a row for each task and rule;
summary.csv, a row for each rule and group of tasks; and a figure. With --freeze it writes
frozen.yaml instead, beside this file, by the tasks that are open."""

from __future__ import annotations

import argparse
import datetime
from pathlib import Path

import candidates
import pandas as pd
import yaml
from candidates import MARGIN, RULES, Run, Runs
from matplotlib import pyplot as plt
from tasks import FROZEN, HELD_OUT, digests, frozen, studies

from clipgrid.judging.evidence import Evidence, failed
from clipgrid.reporting.figures.drawing import save, style
from clipgrid.study import axes, config

LABELS = {"none": "no clipping", "1": "λ = 1", "oracle, unclipped": "oracle without clipping"}
MOST = 10  # points: what is more is drawn there


def runs_of(results: Path) -> dict[int, Runs]:
    """All runs of a task, by seed."""
    evidence = Evidence(config.load(results / "study.json"), results)
    cells, steps = evidence.cells, evidence.histories  # of one T, without averages
    norms = {
        str(name): values[values < float("inf")].to_numpy()
        for name, values in steps.groupby("trajectory", observed=True).norm
    }
    rates = {rate: place for place, rate in enumerate(sorted(cells.learning_rate.unique()))}
    found: dict[int, dict[tuple[int, str], Run]] = {}
    for row in cells.itertuples():
        run = Run(
            rate=rates[row.learning_rate],
            clip=axes.BY_NAME["clips"].word_in(row),
            validation=evidence.accuracy(row, "validation"),
            test=evidence.accuracy(row, "test"),
            failed=bool(failed(row)),
            share=row.clip_fraction,
            norms=norms[row.trajectory],
        )
        found.setdefault(row.seed, {})[run.rate, run.clip] = run
    return found  # type: ignore[return-value]


def regrets_of(results: Path, names: list[str]) -> pd.DataFrame:
    tables = [candidates.scores(runs_of(results / name)).assign(task=name) for name in names]
    return pd.concat(tables, ignore_index=True)[
        ["task", "rule", "regret", "score", "failed", "trainings", "chosen"]
    ]


def freeze(results: Path, names: list[str]) -> None:
    """Name the rule that the open tasks choose, before the others are trained."""
    table = candidates.summary(regrets_of(results, names))
    name = candidates.winner(table)
    content = {
        "date": datetime.date.today().isoformat(),
        "winner": name,
        "says": RULES[name][0],
        "beats tuning η if": (
            f"over all tasks it gains {MARGIN} points or more over no clipping, with a 95%"
            " interval above 0 and p < 0.05 by sign flips; gains as much over λ = 1; and gains on"
            " the tasks held out"
        ),
        "mean regret on the open tasks": {
            rule: round(float(r), 3) for rule, r in table.regret.items()
        },
        "sha256": digests(),
    }
    FROZEN.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100))


def judge(results: Path, names: list[str]) -> None:
    regrets = regrets_of(results, names).round(3)
    summaries = summaries_of(regrets)
    regrets.to_csv(results / "regrets.csv", index=False)
    pd.concat(summaries, names=["tasks"]).round(4).to_csv(results / "summary.csv")
    print(table(summaries))
    if len(summaries) == 3:
        name = frozen()["winner"]
        sure = candidates.beats(name, summaries["all"], summaries["held out"])
        print(f"{name} {'beats' if sure else 'does not beat'} tuning η.")
    save(draw(regrets, summaries["all"]), results / "regrets")


def summaries_of(regrets: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Of all tasks, of those that are open, and of those that were held out."""
    held_out = regrets.task.isin(HELD_OUT)
    groups = {"all": regrets, "open": regrets[~held_out], "held out": regrets[held_out]}
    return {name: candidates.summary(some) for name, some in groups.items() if len(some)}


def table(summaries: dict[str, pd.DataFrame]) -> str:
    """The summary, as the manual has it: in Markdown, the best rule first."""
    lines = [
        "| rule | mean regret | worst | tasks within a point | failed | gain over no clipping |"
        " p | median gain | gain on tasks held out |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    every = summaries["all"]
    held_out = summaries["held out"].gain if "held out" in summaries else None
    for name, row in every.sort_values("regret").iterrows():
        within = f"{row['within a point'] * row.tasks:.0f} of {row.tasks:.0f}"
        cells = [LABELS.get(name, name), f"{row.regret:.2f}", f"{row.worst:.1f}", within]
        gains = ["-"] * 4
        if name != "none":
            gains = [f"{row.gain:+.2f} ({row.low:+.2f} to {row.high:+.2f})"]
            gains += [f"{row['sign flips']:.2f}", f"{row['median gain']:+.2f}"]
            gains += [f"{held_out[name]:+.2f}" if held_out is not None else "-"]
        lines.append(f"| {' | '.join([*cells, f'{row.failed:.1f}%', *gains])} |")
    return "\n".join(lines)


def draw(regrets: pd.DataFrame, every: pd.DataFrame) -> plt.Figure:
    """What each rule gains over no clipping: a row a rule, a dot a task, the mean with its
    interval."""
    style()
    regret = regrets.pivot(index="task", columns="rule", values="regret")
    rules = every.gain.drop("none").sort_values(ascending=False)
    figure, axes = plt.subplots(figsize=(7, 0.3 * len(rules) + 1))
    held_out = regret.index.isin(HELD_OUT)
    for place, name in enumerate(rules.index):
        gains, mine = regret["none"] - regret[name], every.loc[name]
        for these, marker, label in ((~held_out, "o", "open task"), (held_out, "D", "held out")):
            axes.plot(
                gains[these].clip(-MOST, MOST), [place] * sum(these), marker, ms=4, mfc="none",
                color="C0", label=label if not place and sum(these) else None,
            )  # fmt: skip
        axes.plot([mine.low, mine.high], [place] * 2, color="0.2", lw=1.5)
        axes.plot(mine.gain, place, "|", color="0.2", ms=11, mew=2)
    axes.axvline(0, color="0.5", lw=0.8)
    axes.set_yticks(range(len(rules)), [LABELS.get(name, name) for name in rules.index])
    axes.invert_yaxis()
    axes.set(xlabel="gain over no clipping (points of test accuracy)")
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path)
    parser.add_argument("--freeze", action="store_true")
    given = parser.parse_args()
    if given.freeze:
        freeze(given.results, [name for name in studies() if name not in HELD_OUT])
    else:
        judge(given.results, list(studies()))


if __name__ == "__main__":
    main()
