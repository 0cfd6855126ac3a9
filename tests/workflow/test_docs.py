"""The manual: it builds without a warning, no link leads nowhere, nothing is fetched from outside,
it says what the code knows, and what it tells readers to type exists."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import torch
from markdown.extensions.toc import slugify
from torch import nn

from clipgrid.__main__ import parser
from clipgrid.judging.aggregate import command
from clipgrid.study import axes, config, grid, parts

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").glob("*.md"))
TEXTS = [
    *(ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "CHANGELOG", "SECURITY")),
    *PAGES,
]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "NO_MKDOCS_2_WARNING": "1"}


def run(*arguments):
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


# ---- the site -----------------------------------------------------------------------------------


LOADS = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}


class Page(HTMLParser):
    """What a page links to, what it makes a browser load, the places in it, and its text."""

    def __init__(self, text):
        super().__init__()
        self.links, self.loads, self.places, self.text = [], [], set(), ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.places |= {given[key] for key in ("id", "name") if given.get(key)}
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        if tag in LOADS and given.get(LOADS[tag]) and given.get("rel") != "canonical":
            self.loads.append(given[LOADS[tag]])

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    printed = run("-m", "mkdocs", "build", "--strict", "--site-dir", folder)
    assert "WARNING" not in printed
    return folder


@pytest.fixture(scope="module")
def pages(site):
    return {path: Page(path.read_text()) for path in site.rglob("*.html")}


def test_each_page_of_the_manual_is_in_the_site(site):
    assert len(PAGES) > 10
    assert all((site / f"{page.stem}.html").is_file() for page in PAGES)


def test_no_link_of_the_site_leads_nowhere(site, pages):
    seen = 0
    for path, page in pages.items():
        for link in page.links + page.loads:
            target = urlsplit(link)
            if target.scheme or target.netloc or path.name == "404.html":  # served from any folder
                continue
            file = (path.parent / unquote(target.path)).resolve() if target.path else path
            assert file.exists(), f"{path.name}: {link}"
            if target.fragment and file in pages and not target.fragment.startswith("__"):
                assert unquote(target.fragment) in pages[file].places, f"{path.name}: {link}"
            seen += 1
    assert seen > 100


def test_the_site_loads_nothing_from_outside(site, pages):
    loaded = [link for page in pages.values() for link in page.loads]
    styles = [path.read_text() for path in site.rglob("*.css")]
    loaded += [url for text in styles for url in re.findall(r"url\(['\"]?([^'\")]+)", text)]
    loaded += [url for text in styles for url in re.findall(r"@import\s+['\"]([^'\"]+)", text)]
    assert len(loaded) > 100
    assert [url for url in loaded if re.match(r"(https?:)?//", url)] == []
    html = "".join(path.read_text() for path in pages)
    assert 'class="mermaid"' not in html and 'data-md-component="source"' not in html  # fetch


@pytest.mark.parametrize(
    "kind", [k for k in parts.DECORATORS if k != "computation"], ids=lambda kind: kind
)
def test_the_manual_names_each_part_and_its_settings(pages, kind):
    text = " ".join(page.text for page in pages.values())
    ours = [parts.find(kind, name) for name in parts.names(kind)]
    ours = [part for part in ours if part.file.is_relative_to(ROOT / "src")]
    assert ours
    for part in ours:
        for said in (part.name, part.label.format("…"), *part.settings.model_fields):
            assert said in text, f"{kind} {part.name}"


@pytest.mark.parametrize(
    "names",
    [
        axes.NAMES,
        config.File.model_fields,
        config.Data.model_fields,
        config.StudyTraining.model_fields,
    ],
    ids=["axes", "study", "data", "training"],
)
def test_the_manual_explains_each_key_of_a_study(pages, site, names):
    text = pages[site / "study.html"].text
    assert [name for name in names if not re.search(rf"\b{name}\b", text)] == []


def test_the_examples_are_in_the_manual_as_they_are_run(pages, site):
    text = " ".join("".join(page.text for page in pages.values()).split())
    examples = [p for p in (ROOT / "docs/examples").iterdir() if p.suffix in (".py", ".yaml")]
    assert len(examples) > 10
    for path in examples:
        assert " ".join(path.read_text().split()) in text, path.name


# ---- on a code host -----------------------------------------------------------------------------


def places(path):
    headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    return {slugify(heading, "-") for heading in headings}


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.stem)
def test_no_link_leads_nowhere_on_a_code_host(path):
    links = re.findall(r"\]\(([^)\s]+)\)", re.sub(r"```.*?```", "", path.read_text(), flags=re.S))
    for link in links:
        target = urlsplit(link)
        if target.scheme:
            continue
        file = (path.parent / target.path).resolve() if target.path else path
        assert file.exists(), link
        assert not target.fragment or target.fragment in places(file), link


def test_the_readme_is_short_and_leads_to_each_page():
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= 150
    linked = set(re.findall(r"\]\(docs/([\w-]+)\.md\)", text)) | {"index"}
    assert linked == {page.stem for page in PAGES}


def test_no_page_holds_a_path_of_the_machine_that_it_was_written_on():
    machine = re.compile(r"(?<![\w.~-])/(?:root|home|work|tmp|Users)\b")
    files = [*TEXTS, *(p for p in (ROOT / "docs").rglob("*") if p.suffix in (".py", ".yaml"))]
    assert {str(p): found for p in files if (found := machine.findall(p.read_text()))} == {}


# ---- what readers type --------------------------------------------------------------------------


def commands():
    """(page, words) of each command in a block for the shell."""
    for path in TEXTS:
        for block in re.findall(r"```(?:sh|bash)\n(.*?)```", path.read_text(), re.S):
            for line in re.split(r"\n|&&", block.replace("\\\n", " ").replace("FILE", SMOKE)):
                if words := shlex.split(line, comments=True):
                    yield path.stem, words


SMOKE = "studies/smoke.yaml"
COMMANDS = list(commands())


def commands_of(*program):
    found = [(page, words) for page, words in COMMANDS if tuple(words[: len(program)]) == program]
    assert found
    return found


def test_each_command_of_the_manual_is_of_a_kind_that_a_test_tries():
    programs = {words[0].partition("=")[0] for _, words in COMMANDS}
    assert programs == {
        *("make", "snakemake", "python", "pytest"),  # below
        *("cell", "grep"),  # test_smoke.py
        "clipgrid",  # below, and test_probe.py
        *(".", "pre-commit"),
    }
    assert {tuple(words) for _, words in commands_of(".")} == {(".", ".venv/bin/activate")}
    assert {tuple(words) for _, words in commands_of("pre-commit")} == {("pre-commit", "install")}
    assert len(commands_of("python", "-m", "clipgrid")) == len(commands_of("python"))


@pytest.mark.parametrize(
    ("page", "words"), commands_of("python", "-m", "clipgrid"), ids=lambda x: str(x[3:])
)
def test_each_command_of_ours_that_the_manual_names_is_one(page, words):
    parser().parse_args(words[3:])
    assert [word for word in words if word.endswith(".yaml") and not (ROOT / word).exists()] == []


def test_each_probe_that_the_texts_name_is_one():
    for _, words in commands_of("clipgrid"):
        parser().parse_args(words[1:])


@pytest.fixture(scope="module")
def project(new_project, tmp_path_factory):
    """A project with the examples, and the profile of a site that the manual shows."""
    project = new_project(tmp_path_factory.mktemp("typed") / "project")
    shutil.copytree(ROOT / "docs/examples", project / "docs/examples")
    text = (ROOT / "docs/cluster.md").read_text()
    ((name, profile),) = re.findall(r"```yaml\n# ~/.config/(\S*mysite\S*)\n(.*?)```", text, re.S)
    place = project.parent / "profiles" / name
    place.parent.mkdir(parents=True)
    place.write_text(re.sub("(?m)^slurm-partition-config: .*\n", "", profile))  # a file of the site
    return project


TYPED = {tuple(words): page for page, words in commands_of("snakemake")}


@pytest.mark.parametrize("words", TYPED, ids=" ".join)
def test_each_snakemake_command_of_the_manual_can_be_planned(
    words, project, snakemake, monkeypatch
):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(project.parent / "profiles"))
    done = snakemake(project, *words[1:], "--dry-run")
    assert done.returncode == 0, f"{TYPED[words]}: {done.stdout}"
    asked = "regrets" if "--snakefile" in words else "html_report"
    assert asked in done.stdout or "--quiet" in words


def test_what_the_manual_has_pytest_run_is_there():
    paths = [ROOT / words[1] for _, words in commands_of("pytest")]
    assert [path for path in paths if not path.exists()] == []


def test_the_cell_that_the_manual_redoes_is_the_default_studys():
    ((_, typed),) = [(p, w) for p, w in commands_of("python") if "train" in w]
    ((_, named),) = [(p, w) for p, w in COMMANDS if w[0].startswith("cell=")]
    s = config.load(ROOT / "config.yaml")
    (cell,) = [c for c in grid.cells(s) if f'cell="cell": "{c.name}"' == named[0]]
    assert typed == shlex.split(command(cell, s))


@pytest.mark.parametrize(
    ("file", "counts"),
    [
        ("docs/examples/smallest", (12, 4)),
        ("docs/examples/study", (24, 24)),
        ("studies/label-noise/study", (24, 24)),
    ],
)
def test_the_studies_of_the_manual_have_the_cells_and_runs_that_they_say(file, counts):
    plan = run("-m", "clipgrid", "plan", f"{file}.yaml")
    found = [int(re.search(rf"^{what} .* (\d+)$", plan, re.M)[1]) for what in ("cells", "runs")]
    assert tuple(found) == counts


def test_clipping_in_a_loop_of_ones_own_clips(tmp_path):
    printed = run("docs/examples/own_loop.py", tmp_path / "norms.csv")
    assert re.match(
        r"λ = 150 fired at \d+ of 200 steps \(\d+%\), and left at the least 0\.", printed
    )
    rows = (tmp_path / "norms.csv").read_text().splitlines()
    assert len(rows) == 201
    assert rows[0].endswith("clipped,finite,layer:weight,layer:bias")


def python_of(page):
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.S)


class Logger:
    """Stands for TensorBoard's writer, Weights & Biases and MLflow."""

    def __init__(self):
        self.logged = []

    def log(self, *values, **options):
        self.logged.append((*values, *options.values()))

    add_scalar = log_metrics = log


def test_the_lines_of_the_manual_for_loops_of_ones_own_do_what_they_say(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (of_readme,) = [text for text in python_of("README.md") if "Clipper" in text]
    whole, to_loggers, *others = [
        text for text in python_of("docs/clipping.md") if "lipper" in text
    ]
    places = [re.search(r"clipping\.(\w+)", text)[1] for text in others]
    assert places == ["lightning", "hugging_face"]  # test_adapters.py has these
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    loggers = {"writer": Logger(), "wandb": Logger(), "mlflow": Logger()}
    for text in (of_readme, whole):
        names = {"model": model, "optimizer": optimizer, "step": 0} | loggers
        exec(text, names | {"loss": model(torch.ones(3, 2)).sum()}, made := {})
        assert "1 step tells nothing yet:" in capsys.readouterr().out
    assert (tmp_path / "norms.csv").exists()
    model(torch.ones(3, 2)).sum().backward()
    exec(to_loggers, names | made)
    norm = loggers["writer"].logged[0][1]
    assert [len(logger.logged) for logger in loggers.values()] == [2, 1, 1]
    assert loggers["wandb"].logged == [({"gradient/norm": norm, "gradient/share clipped": 0}, 0)]
    assert loggers["mlflow"].logged == [({"norm": norm, "share clipped": 0}, 0)]


def test_targets_of_make_that_the_texts_name_exist():
    makefile = (ROOT / "Makefile").read_text()
    named = {
        n for path in TEXTS for n in re.findall(r"(?:^|`)make ([a-z]+)", path.read_text(), re.M)
    }
    assert {"paper", "test", "docs", "schema"} <= named
    assert [name for name in named if not re.search(rf"^{name}:", makefile, re.M)] == []
