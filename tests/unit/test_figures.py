"""The figures, from a made-up study whose numbers are known."""

import dataclasses
import itertools
import math
import subprocess
import sys
import xml.etree.ElementTree as ET

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from clipgrid.judging import sums
from clipgrid.reporting import figures
from clipgrid.reporting.arms import pairs
from clipgrid.reporting.figures import drawing
from clipgrid.reporting.figures.learning_curves import learning_curves
from clipgrid.study import config as study
from clipgrid.study import parts

PARTS = {name: parts.find("figure", name) for name in parts.names("figure")}


@pytest.fixture(autouse=True)
def close_figures():
    drawing.style()
    yield
    plt.close("all")


@pytest.fixture
def draw(evidence):
    """A function: the figure of a name, of a study with these cells and histories."""
    return lambda name, *tables: PARTS[name].run(evidence(*tables))


def originals(cells):
    return cells[(cells.augmentation == "none") & cells.ema.isna() & (cells.model == "alexnet")]


@pytest.fixture
def swept(cells):
    """AlexNet at T = 500 over two learning rates and three thresholds."""
    here = originals(cells)
    here = here[here.iterations == 500]
    return pd.concat([here, here.assign(learning_rate=0.1)], ignore_index=True)


# ---- the registry -------------------------------------------------------------------------------


@pytest.fixture
def judged(config):
    """A study with claims."""
    return study.parse(config | {"claims": "claims.yaml"})


def test_figures_are_numbered_within_their_category_by_their_order(judged):
    labels = figures.labels(judged)
    assert labels["forest"] == "2 Effects of the claims"
    assert labels["heat-map"].startswith("01 ")
    numbers = [int(labels[part.name].split()[0]) for part in figures.of(judged)
               if part.about["category"] == figures.AT_WORK]  # fmt: skip
    assert numbers == list(range(1, len(numbers) + 1))
    assert labels[figures.NOTEBOOK].startswith(f"{len(numbers) + 1} ")


def test_figures_are_listed_without_importing_what_draws_them():
    heavy = "torch", "pandas", "matplotlib", "scipy", "seaborn"
    code = (
        "import sys; from pathlib import Path;"
        " from clipgrid.reporting import figures; from clipgrid.study import config;"
        " assert figures.labels(config.load(Path('config.yaml')));"
        f" print([m for m in {heavy} if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                         env={"PYTHONPATH": "src"})  # fmt: skip
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize("name", PARTS)
def test_every_figure_is_drawn_and_written_with_its_caption(name, evidence, cells, tmp_path):
    pd.DataFrame(columns=["effect", "low", "section", "decided_by", "verdict", "unit"]).to_csv(
        tmp_path / "claims.csv", index=False
    )
    sums.seal(tmp_path, {}, sums.JUDGED)
    figure = drawing.exhibit(PARTS[name], evidence(cells))
    assert isinstance(figure, Figure)
    written = tmp_path / "figures" / name
    assert ET.parse(written.with_suffix(".svg")).getroot().tag.endswith("svg")
    assert written.with_suffix(".pdf").read_bytes().startswith(b"%PDF")
    caption = written.with_suffix(".rst").read_text()
    assert PARTS[name].about["caption"][:20] in caption
    assert "Settings: digits at 8×8 px" in caption


def few(cells):
    return cells.iloc[:1]


def diverged(cells):
    measures = [c for c in cells if c.endswith(("_accuracy", "_loss", "_gap"))]
    return cells.assign(status="diverged", **dict.fromkeys(measures, np.nan))


def product(cells):
    """Every cell at each value of other axes too: with a schedule, each T is a run of its own."""
    tables = [cells]
    for axis, value in {"schedule": "cosine", "objective": "focal", "train_images": "100",
                        "label_noise": 0.4, "learning_rate": 0.1}.items():  # fmt: skip
        other = pd.concat(tables)
        run = other.trajectory + value if axis == "schedule" else other.trajectory + axis
        if axis == "schedule":
            run = run + other.iterations.astype(str)
        tables.append(other.assign(**{axis: value}, trajectory=run))
    return pd.concat(tables, ignore_index=True)


def elsewhere(cells):
    """No cell has what goes without saying on any axis."""
    return cells.assign(
        ema=0.9, augmentation="flip", schedule="cosine", objective="focal",
        train_images="100", label_noise=0.4,
    )  # fmt: skip


@pytest.mark.parametrize("name", [name for name in PARTS if name != "forest"])
@pytest.mark.parametrize("change", [few, diverged, product, elsewhere])
def test_every_figure_is_drawn_of_any_study(name, change, cells, histories, evidence):
    cells = change(cells)
    steps = histories[histories.trajectory == histories.trajectory.iloc[0]]
    runs = cells[["trajectory"]].drop_duplicates()
    histories = runs.merge(steps.drop(columns="trajectory"), how="cross")
    assert PARTS[name].run(evidence(cells, histories)).axes


@pytest.mark.parametrize("name", [name for name in PARTS if name != "forest"])
def test_the_labels_of_parts_stand_in_figures_letter_by_letter(
    name, cells, histories, evidence, monkeypatch
):
    odd = "costs $\\bad{ $5 and " + "more " * 12
    for kind, part in (("model", "alexnet"), ("clip_kind", "norm"), ("augmentation", "flip")):
        label = odd + (" {}" if kind == "clip_kind" else "")
        known = parts.KINDS[kind]
        label = label.replace("bad{", "bad") if kind == "clip_kind" else label  # a place for λ
        monkeypatch.setitem(known, part, dataclasses.replace(known[part], label=label))
    other = cells.assign(learning_rate=0.1)
    other["trajectory"] = other.trajectory + "b"
    later = histories.assign(trajectory=histories.trajectory + "b")
    noisy = cells.assign(label_noise=0.2)
    tables = pd.concat([cells, other, noisy]), pd.concat([histories, later])
    figure = PARTS[name].run(evidence(*tables))
    figure.canvas.draw()


def test_effects_are_of_tested_claims_in_the_colour_of_their_verdicts(evidence, cells, tmp_path):
    row = {"id": "C1", "section": "1", "statement": r"costs $\\foo$", "verdict": "refuted",
           "decided_by": "test", "measure": "test_accuracy", "unit": "points", "effect": 1.0,
           "low": 0.0, "high": 2.0}  # fmt: skip
    others = [{"decided_by": "computation"}, {"section": "external"}, {"low": np.nan}]
    rows = [row, *(row | {"id": "C2"} | other for other in others)]
    pd.DataFrame(rows).to_csv(tmp_path / "claims.csv", index=False)
    sums.seal(tmp_path, {}, sums.JUDGED)
    figure = PARTS["forest"].run(evidence(cells))
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == [r"C1  costs $\\foo$"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["refuted"]
    figure.canvas.draw()  # no formula is read from a statement


def test_panels_stand_in_the_order_of_the_study(cells, draw):
    """Also where the run to the largest T comes late in the table."""
    late = (cells.model == "alexnet") & (cells.iterations == 1000)
    moved = pd.concat([cells[~late], cells[late]], ignore_index=True)
    titles = [axes.get_title() for axes in draw("gradient-norms", moved).axes]
    assert titles == ["AlexNet", "VGG-11"]


# ---- figures of cells ---------------------------------------------------------------------------


def test_a_pair_is_the_same_cell_without_the_axis(cells):
    ema = pairs(cells, "ema")
    assert len(ema) == len(cells) / 2
    assert ema.difference.tolist() == pytest.approx([0.01] * len(ema))
    flip = pairs(cells, "augmentation").query("augmentation == 'flip'")
    assert flip.difference.tolist() == pytest.approx([-0.05] * len(flip))


def test_no_clipping_has_a_colour_of_its_own_and_lambdas_differ(cells):
    palette = drawing.colours(cells)
    assert list(palette) == ["λ = 1", "λ = 10", "no clipping"]
    assert len(set(map(tuple, palette.values()))) == 3
    two = drawing.colours(cells[cells.threshold != 10])
    assert two == {name: palette[name] for name in ("λ = 1", "no clipping")}


def test_a_threshold_has_the_same_colour_in_every_figure(cells):
    few = cells[cells.threshold != 10]
    assert drawing.colours(few)["λ = 1"] == drawing.colours(cells)["λ = 1"]
    more = pd.concat([cells, cells.assign(threshold=0.1), cells.assign(threshold=3.0)])
    palette = drawing.colours(more)
    assert palette["λ = 1"] == drawing.colours(cells)["λ = 1"]
    assert len(set(map(str, palette.values()))) == len(palette)


def lab(colour):
    """A colour in CIELAB, in which equal distances look alike."""
    rgb = np.array(to_rgb(colour))
    linear = np.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    x, y, z = np.cbrt(xyz @ linear / [0.9505, 1, 1.089])  # all above 0.2
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def test_no_two_clips_of_a_study_look_alike(cells):
    """The λ of five decades, no clipping, and a threshold of each other kind."""
    kinds = [name for name in parts.names("clip_kind") if name != "norm"]
    some = [cells.iloc[:1].assign(threshold=t) for t in (0.01, 0.1, 1, 10, 100, math.inf)]
    some += [cells.iloc[:1].assign(clip=kind, threshold=2.0) for kind in kinds]
    palette = drawing.colours(pd.concat(some))
    assert len(palette) == 6 + len(kinds) > 12
    far = [np.linalg.norm(lab(a) - lab(b)) for a, b in itertools.combinations(palette.values(), 2)]
    assert min(far) > 20  # 2 is what an eye can tell, side by side


def test_kinds_of_clipping_are_told_apart_everywhere(cells, evidence, draw, of_kinds, kind_names):
    cells = of_kinds(cells)
    assert list(drawing.colours(cells)) == kind_names
    for figure in (learning_curves(evidence(cells), cells), draw("accuracy", cells)):
        (legend,) = figure.legends
        assert [text.get_text() for text in legend.get_texts()] == kind_names


def test_the_gradient_norms_have_a_line_for_the_thresholds_of_the_global_norm_alone(
    cells, draw, of_kinds
):
    one, *_ = draw("gradient-norms", of_kinds(cells)).axes
    dashed = [line.get_ydata()[0] for line in one.lines if line.get_linestyle() == "--"]
    assert dashed == [10]


@pytest.mark.parametrize(
    ("name", "panels", "seeds_drawn"),
    [
        ("accuracy", 2, 36),
        ("generalization-gap", 2, 36),
        ("paired-ema", 2, 36),
        ("paired-augmentation", 4, 72),
    ],
)
def test_a_figure_of_cells_draws_every_seed_and_has_axes_with_names(
    cells, draw, name, panels, seeds_drawn
):
    figure = draw(name, cells)
    assert len(figure.axes) == panels
    assert figure.axes[0].get_ylabel()
    dots = sum(
        len(line.get_xdata())
        for axes in figure.axes
        for line in axes.lines
        if line.get_marker() == "o"
    )
    assert dots == seeds_drawn


def test_the_clip_fraction_has_a_row_an_arm_and_a_dot_a_seed_of_each_clip(cells, draw):
    axes = draw("clip-fraction", cells).axes[0]
    arms = [label.get_text() for label in axes.get_yticklabels()]
    assert arms == [f"{m}{a}" for m in ("AlexNet", "VGG-11") for a in ("", ", flip", ", crop")]
    dots = [line for line in axes.lines if line.get_marker() == "o"]
    assert [len(line.get_xdata()) for line in dots] == [18, 18]  # of λ = 1 and λ = 10
    assert [set(line.get_xdata()) for line in dots] == [{50.0}, {0.0}]


@pytest.mark.parametrize("name", ["paired-ema", "paired-augmentation", "clip-fraction"])
def test_a_study_without_such_cells_gets_a_figure_that_says_so(cells, draw, name):
    plain = cells[cells.ema.isna() & (cells.augmentation == "none") & (cells.threshold > 1e9)]
    assert "The study" in draw(name, plain).axes[0].texts[0].get_text()


def test_the_heat_map_says_how_many_runs_failed_and_has_a_dash_where_all_diverged(swept, draw):
    bad = (swept.learning_rate == 0.1) & (swept.threshold == math.inf)
    swept.loc[bad, ["status", "test_accuracy"]] = ["diverged", math.nan]
    one = (swept.learning_rate == 0.1) & (swept.threshold == 10) & (swept.seed == 0)
    swept.loc[one, "status"] = "collapsed"
    axes = draw("heat-map", swept).axes[0]
    words = [text.get_text() for text in axes.texts]
    assert words == ["52", "–\n3/3 †", "52", "52\n1/3 †", "62", "62"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["none", "10", "1"]


def test_without_two_learning_rates_the_heat_map_says_so(cells, draw):
    figure = draw("heat-map", originals(cells))
    assert "No net has several learning rates" in figure.nothing


OF_MOST_RUNS = ("heat-map", "accuracy", "gradient-norms", "clip-fraction", "generalization-gap",
                "matched-gap", "schedule", "external")  # fmt: skip


@pytest.mark.parametrize("name", OF_MOST_RUNS)
def test_without_plain_runs_figures_show_those_that_there_are(name, swept, draw):
    assert not hasattr(draw(name, elsewhere(swept)), "nothing")


def test_the_heat_map_names_what_does_not_go_without_saying(swept, draw):
    plain, other = draw("heat-map", swept), draw("heat-map", elsewhere(swept))
    before, after = (figure.get_suptitle() for figure in (plain, other))
    said = "EMA 0.9, flip, cosine learning rate, focal, 100 training images, label noise 0.4"
    assert after == before.replace("500 steps", f"500 steps, {said}") != before


def test_steps_to_a_target_are_those_of_raw_weights(swept, draw, claims):
    assert "no raw weights" in draw("time-to-target", swept.assign(ema=0.9)).nothing


def test_label_noise_is_drawn_at_one_learning_rate_too(cells, draw):
    one = originals(cells)
    both = pd.concat([one, one.assign(label_noise=0.4, trajectory=one.trajectory + "n")])
    *_, noise = draw("external", both).axes
    assert [line.get_label() for line in noise.lines[1::2]] == ["λ = 1", "λ = 10", "no clipping"]
    assert "no labels are wrong" in draw("external", one).nothing


def test_a_schedule_that_depends_on_no_t_is_not_called_one(cells, draw, registry_put_back):
    parts.schedule("halving", label="halving", ends=False)(lambda step, steps: 0.5**step)
    figure = draw("schedule", cells.assign(schedule="halving"))
    assert figure.nothing == "The study has no schedule that depends on T."


def test_a_figure_is_the_same_file_each_time(cells, draw, tmp_path):
    for stem in ("a", "b"):
        drawing.save(draw("accuracy", cells), tmp_path / stem)
    for kind in (".svg", ".pdf"):
        once, again = ((tmp_path / stem).with_suffix(kind).read_bytes() for stem in ("a", "b"))
        assert once == again


# ---- figures of runs ----------------------------------------------------------------------------


def test_figures_of_runs_have_a_line_of_each_threshold(cells, evidence, draw):
    for figure in (learning_curves(evidence(cells), cells), draw("gradient-norms", cells)):
        (legend,) = figure.legends
        names = [text.get_text() for text in legend.get_texts()]
        assert names == ["λ = 1", "λ = 10", "no clipping"]


def test_the_axis_of_accuracies_follows_the_data(cells, evidence):
    axes = learning_curves(evidence(cells), cells).axes
    assert [one.get_ylim() for one in axes if one.get_ylabel().startswith("validation")] == [
        (59, 61)
    ]


def test_a_run_that_was_looked_at_once_is_a_point_that_is_seen(cells, histories, evidence):
    once = cells[cells.iterations == 500].assign(iterations=15)  # a look each 10 steps
    for table, marker in ((once, "o"), (cells, "None")):
        accuracies = learning_curves(evidence(table), table).axes[-1]
        assert {line.get_marker() for line in accuracies.lines} == {marker}


def test_the_gap_is_drawn_over_the_training_loss_which_grows_to_the_right(cells, histories, draw):
    few = cells[cells.ema.isna() & (cells.augmentation == "none")].assign(train_images="100")
    one, *_ = draw("matched-gap", few).axes
    low, high = one.get_xlim()
    assert low < high
    assert one.get_xlabel() == "training loss (nats)"
    (mean, *_) = [line for line in one.lines if line.get_marker() == "o"]
    seen = histories.training_loss[histories.trajectory == histories.trajectory[0]].dropna()
    drawn = mean.get_ydata()
    assert all(np.isclose(drawn, 1.0 - loss).any() for loss in seen)  # the validation loss is 1


def test_a_line_of_the_gap_ends_where_half_of_the_seeds_have_not_been(cells, histories, draw):
    few = cells[cells.ema.isna() & (cells.augmentation == "none")].assign(train_images="100")
    looks = (histories.trajectory == histories.trajectory[0]) & (histories.step % 10 == 0)
    early = histories.trajectory.isin(few.trajectory[few.seed > 0]) & (histories.step > 20)
    histories.loc[early, "training_loss"] = np.nan
    one, *_ = draw("matched-gap", few, histories).axes
    means = [line for line in one.lines if line.get_marker() == "o"]
    _, second, third, _ = histories.loss[looks]
    for line in means:
        least = line.get_xdata()[np.isfinite(line.get_ydata())].min()
        assert third < least < 1.3 * second


def test_figures_of_diverged_runs_are_drawn(cells, histories, evidence, draw):
    histories.loc[histories.step > 20, ["loss", "norm"]] = np.nan
    histories.loc[histories.step == 20, "norm"] = np.inf
    assert learning_curves(evidence(cells, histories), cells).axes
    assert draw("gradient-norms", cells, histories).axes


@pytest.fixture
def claims(config, tmp_path):
    """The file of the study's claims, of which one names an accuracy to reach."""
    path = tmp_path / "claims.yaml"
    config["claims"] = str(path)
    path.write_text(CLAIMS)
    return path


def squares(axes):
    """{(row, column) of a heat map: what is written there}"""
    rows, columns = (
        [label.get_text() for label in labels]
        for labels in (axes.get_yticklabels(), axes.get_xticklabels())
    )
    return {
        (rows[int(text.get_position()[1])], columns[int(text.get_position()[0])]): text.get_text()
        for text in axes.texts
    }


def test_a_square_has_the_median_of_steps_and_says_how_many_runs_get_there(
    swept, histories, draw, claims
):
    looks = histories.validation_accuracy.notna()
    slow = set(swept.trajectory[swept.threshold == 1])
    late = set(swept.trajectory[(swept.threshold == 10) & (swept.seed == 0)])
    histories.loc[looks & ~histories.trajectory.isin(slow), "validation_accuracy"] = 0.9
    histories.loc[looks & histories.trajectory.isin(late), "validation_accuracy"] = 0.1
    axes = draw("time-to-target", swept, histories).axes[0]
    found = {"1": "never", "10": "10\n2/3", "none": "10"}
    assert squares(axes) == {(row, rate): found[row] for row in found for rate in ("0.03", "0.1")}


CLAIMS = """
claims:
  C1: {section: "1", kind: comparative, statement: x, family: x, exhibit: x,
       rules: [{statistic: sign test, target: 70 %, claim: later,
                arm: {clips: [1]}, baseline: {clips: [10]}}]}
"""


def test_the_steps_are_counted_to_the_target_that_a_claim_names(swept, draw, claims):
    claims.write_text(CLAIMS.replace("70 %", "55 %"))
    figure = draw("time-to-target", swept)
    assert figure.get_suptitle() == "steps to 55% of the validation images"
    assert set(squares(figure.axes[0]).values()) == {"10"}  # the first look found 60%
    claims.write_text(CLAIMS.replace("70 %", "61 %"))
    assert set(squares(draw("time-to-target", swept).axes[0]).values()) == {"never"}


def test_without_a_claim_that_names_a_target_the_figure_says_so(swept, draw):
    axes = draw("time-to-target", swept).axes[0]
    assert "no claim that names an accuracy" in axes.texts[0].get_text()


MINE = """
from clipgrid.lazy import plt
from clipgrid.study.parts import figure

@figure("mine", title="Mine", caption="A figure from outside.", category="6 Mine", order=1)
def mine(evidence):
    drawn, axes = plt.subplots()
    axes.plot(evidence.cells.test_accuracy)
    return drawn
"""


def test_a_figure_of_an_extension_is_one_like_ours(cells, evidence, judged, tmp_path, monkeypatch):
    monkeypatch.setitem(parts.KINDS, "figure", dict(parts.KINDS["figure"]))
    (tmp_path / "mine.py").write_text(MINE)
    parts.load_extension("mine.py", tmp_path)
    assert figures.labels(judged)["mine"] == "1 Mine"
    part = figures.of(judged)[-1]
    drawing.exhibit(part, evidence(cells))
    assert "A figure from outside." in (tmp_path / "figures/mine.rst").read_text()
