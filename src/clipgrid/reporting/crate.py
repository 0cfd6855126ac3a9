"""What an archive says of itself, as RO-Crate: a Workflow Run Crate 0.5
(https://w3id.org/ro/wfrun/workflow/0.5), with the verdicts as ClaimReviews of schema.org."""

import datetime
import mimetypes
from pathlib import Path
from typing import Any

import pandas as pd
from rocrate.model.contextentity import ContextEntity
from rocrate.model.entity import Entity
from rocrate.rocrate import ROCrate

import clipgrid
from clipgrid.judging import sums
from clipgrid.judging.claims import Article
from clipgrid.judging.evidence import Evidence
from clipgrid.reporting.abstract import abstract
from clipgrid.reporting.overview import computing

WORKFLOW, REPORT = "workflow/Snakefile", "results/report.html"
PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": "Process Run Crate",
    "https://w3id.org/ro/wfrun/workflow/0.5": "Workflow Run Crate",
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": "Workflow RO-Crate",
}
TERMS = {"sha256": "https://w3id.org/ro/terms/workflow-run#sha256"}
"""What the context of RO-Crate 1.1 lacks, which is the version that these profiles are of."""
BIOSCHEMAS = {"@id": "https://bioschemas.org/profiles/ComputationalWorkflow/1.0-RELEASE"}
TEXT, OTHERS = "text/plain", {".parquet": "application/vnd.apache.parquet"}
"""Kinds of files that Python has no name for: text, such as Snakefile, LICENSE, and others."""
GIVEN, MADE = ("study", "images", "claims"), ("cells", "histories", "verdicts", "report")
SAID = {
    "study": ("results/study.json", "The study, with every default filled in"),
    "images": ("results/data.json", "The images: source, licence, checksums. They are not here"),
    "cells": ("results/cells.csv", "A row for each cell: its place in the grid, what was measured"),
    "histories": ("results/histories.parquet", "A row for each step of each run"),
    "verdicts": ("results/claims.csv", "A row for each claim: its verdict, and why"),
    "report": (REPORT, "The report, for a browser"),
    "trained": ("results/trained.json", "What was trained, on what, by which code; checksums"),
    "lock": ("envs/requirements.lock", "The packages of the environment, at their versions"),
}
"""Of some files: the name in the archive, and what it is."""
CLAIMS = "The statements that are judged, and the rules that decide them"


def crate_of(
    evidence: Evidence,
    judged: dict[str, Any],
    files: dict[str, Path],
    claims: str | None,
    citation: dict[str, Any],
) -> ROCrate:
    """A crate of `files`, by their names in the archive, of which one has the `claims`. `judged` is
    what `report.judged` gives; `citation`, a CITATION.cff, says whose work it is."""
    known = SAID | ({"claims": (claims, CLAIMS)} if claims else {})
    crate = ROCrate(version="1.1")
    crate.metadata.extra_terms.update(TERMS)
    trained = sums.summary(evidence.results)
    said = dict(known.values())
    for name, file in files.items():
        about: dict[str, Any] = {
            "name": said.get(name, Path(name).name),
            "sha256": sums.sha256(file),
            "encodingFormat": OTHERS.get(file.suffix) or mimetypes.guess_type(name)[0] or TEXT,
        }
        if name == WORKFLOW:
            about |= {"name": "clipgrid", "version": version(trained), "conformsTo": BIOSCHEMAS}
            crate.add_workflow(file, name, properties=about, main=True, lang="snakemake")
        else:
            crate.add_file(file, name, properties=about)
    root = crate.root_dataset
    root["name"] = evidence.study.title
    if readme := crate.get("README.md"):
        readme["about"] = root
    told = abstract(evidence, judged["claims"], judged["looks"])
    root["description"] = " ".join(told.values()).strip()
    for profile, name in PROFILES.items():
        about = {"name": name, "version": profile.rpartition("/")[2]}
        root.append_to("conformsTo", add(crate, profile, "CreativeWork", **about))
    people = authors(crate, citation)
    places = {what: place for what, (place, _) in known.items() if place in files}
    root["mentions"] = [
        run(crate, evidence, places, trained, people),
        *reviews(crate, judged["claims"], judged["article"], people),
    ]
    return crate


def version(trained: dict[str, Any]) -> str:
    """Of the code that trained."""
    return f"{clipgrid.__version__} ({', '.join(trained['commit'])})"


def add(crate: ROCrate, id: str, kind: str, **said: Any) -> Entity:
    """Something that the crate speaks of, and that is no file."""
    return crate.add(ContextEntity(crate, id, properties={"@type": kind, **said}))


Authors = Any  # an Entity; where they are several, a list


def authors(crate: ROCrate, citation: dict[str, Any]) -> Authors:
    """Whose work it is, and by which licence, as a CITATION.cff says."""
    licence = citation["license"]
    crate.license = add(crate, f"https://spdx.org/licenses/{licence}", "CreativeWork", name=licence)
    people = []
    for number, author in enumerate(citation["authors"]):
        name = author.get("name") or f"{author['given-names']} {author['family-names']}"
        id = author.get("orcid") or author.get("website") or f"#author-{number}"
        kind = "Organization" if "name" in author else "Person"
        people.append(add(crate, id, kind, name=name))
    found = people if len(people) > 1 else people[0]
    crate.root_dataset["author"] = crate.mainEntity["author"] = found
    crate.root_dataset["keywords"] = ", ".join(citation["keywords"])
    return found


def run(
    crate: ROCrate, evidence: Evidence, places: dict[str, str], trained: dict, people: Authors
) -> Entity:
    """The run of the workflow: what it was given, what it made, where, when, by what."""
    began, ended = (
        datetime.datetime.fromtimestamp((evidence.results / name).stat().st_mtime, datetime.UTC)
        for name in ("study.json", "report.html")
    )
    on = f"{', '.join(trained['processor'])} ({', '.join(trained['device'])})"
    took = f"{trained['cells']} cells of {trained['trajectories']} runs: {computing(trained)}"
    action = add(
        crate,
        "#run",
        "CreateAction",
        name="The run of the study",
        description=f"{took}, on {on}.",
        instrument=crate.mainEntity,
        startTime=began.isoformat(timespec="seconds"),
        endTime=ended.isoformat(timespec="seconds"),
        actionStatus="http://schema.org/CompletedActionStatus",
        agent=people,
        object=[],
        result=[],
    )
    for name in (*GIVEN, *MADE):
        if name in places:
            parameter(crate, name, file := crate.get(places[name]))
            action.append_to("object" if name in GIVEN else "result", file)
    for name, url in (("python", "https://www.python.org"), ("torch", "https://pytorch.org")):
        for one in trained[name]:
            about = {"name": name, "softwareVersion": one, "url": url}
            software = add(crate, f"#{name}-{one}", "SoftwareApplication", **about)
            crate.mainEntity.append_to("softwareRequirements", software)
    crate.mainEntity.append_to("softwareRequirements", crate.get(places["lock"]))
    for number, one in enumerate(trained["processor"]):
        about = {"name": "processor", "value": one}
        action.append_to("object", add(crate, f"#processor-{number}", "PropertyValue", **about))
    return action


def parameter(crate: ROCrate, name: str, file: Entity) -> None:
    """Of the workflow: what is given to it, or what it makes; this file is an example."""
    one = add(
        crate,
        f"#parameter-{name}",
        "FormalParameter",
        name=name,
        additionalType="File",
        workExample=file,
        conformsTo={"@id": "https://bioschemas.org/profiles/FormalParameter/1.0-RELEASE"},
    )
    crate.mainEntity.append_to("input" if name in GIVEN else "output", one)
    file["exampleOfWork"] = one


def reviews(
    crate: ROCrate, claims: pd.DataFrame, article: Article | None, people: Authors
) -> list[Entity]:
    """A ClaimReview for each claim that was tested on trained nets: what was claimed, by whom, and
    the verdict, in a word and with its reason."""
    found = []
    by = {"author": add(crate, "#article-author", "Person", name=article.author)} if article else {}
    for row in claims[claims.decided_by == "test"].itertuples():
        whose = {"citation": row.source} if row.source else by
        claim = add(crate, f"#claim-{row.id}", "Claim", name=row.statement, **whose)
        rating = add(
            crate,
            f"#verdict-{row.id}",
            "Rating",
            alternateName=row.verdict,
            ratingExplanation=row.reason or row.verdict,
        )
        review = add(
            crate,
            f"#{row.id}",
            "ClaimReview",
            name=f"{row.id}: {row.verdict}",
            url=f"{REPORT}#{row.id}",
            claimReviewed=row.statement,
            itemReviewed=claim,
            reviewRating=rating,
            author=people,
            datePublished=crate.root_dataset["datePublished"],
        )
        found.append(review)
    return found
