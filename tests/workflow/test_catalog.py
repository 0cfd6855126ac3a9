"""What the Snakemake workflow catalog asks of a workflow that it lists under standardized usage
(https://snakemake.github.io/snakemake-workflow-catalog). It also lints and formats, as make test
does."""

import json
import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]


def test_the_catalog_finds_the_workflow():
    readme = (ROOT / "README.md").read_text().lower()
    assert "snakemake" in readme
    assert "workflow" in readme
    assert (ROOT / "workflow/Snakefile").is_file()
    assert list((ROOT / "workflow/rules").glob("*.smk"))


def test_it_is_told_how_the_workflow_is_used():
    said = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text())
    usage = said.pop("usage")
    assert not said
    assert usage.pop("mandatory-flags") == []
    assert usage.pop("report") is True
    assert usage.pop("software-stack-deployment") == {"conda": True}
    assert not usage
    environments = re.findall(r'conda:\n\s+"(.+)"', (ROOT / "workflow/rules/train.smk").read_text())
    assert environments
    for environment in environments:
        assert (ROOT / "workflow/rules" / environment).resolve().is_file()


def test_the_configuration_is_told_whole_and_on_its_own():
    text = (ROOT / "config/README.md").read_text()
    assert "](" not in text  # the catalog shows this file alone
    told = set(re.findall(r"^\| `(\w+)` \|", text, re.M))
    schema = json.loads((ROOT / "workflow/schemas/study.schema.json").read_text())
    assert told == set(schema["properties"])
