# tables → notebooks, executed → exhibits → the report


# Figures across the study: a file each in clipgrid.reporting.figures, or in an extension.
FIGURES = figures.of(STUDY)
FIGURE_LABELS = figures.labels(STUDY)


rule experiment:
    input:
        study=f"{RESULTS}/study.json",
        cells=f"{RESULTS}/cells.csv",
        histories=f"{RESULTS}/histories.parquet",
        notebook=ROOT / "notebooks/experiment.ipynb",
    output:
        table=report(
            f"{RESULTS}/tables/{{experiment}}.html",
            caption="../../report/table.rst",
            category=section,
            labels=table_label,
        ),
        tables=multiext(f"{RESULTS}/tables/{{experiment}}", ".csv", ".tex"),
        figure=report(
            f"{RESULTS}/figures/{{experiment}}-curves.svg",
            caption="../../report/curves.rst",
            category=section,
            labels={"exhibit": "2 Learning curves"},
        ),
        pdf=f"{RESULTS}/figures/{{experiment}}-curves.pdf",
        notebook=f"{RESULTS}/notebooks/{{experiment}}.ipynb",
        page=report(
            f"{RESULTS}/notebooks/{{experiment}}.html",
            caption="../../report/notebook.rst",
            category=section,
            labels={"exhibit": "3 Executed notebook"},
        ),
    log:
        notebook=f"{RESULTS}/logs/notebooks/{{experiment}}.ipynb",
        text=f"{RESULTS}/logs/notebooks/{{experiment}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/notebooks/{{experiment}}.tsv"
    wildcard_constraints:
        experiment="|".join(PAGES) or "none",
    conda:
        "../../envs/clipgrid.yaml"
    resources:
        **ANALYSIS,
    params:
        results=subpath(input.cells, parent=True),
        settings=SETTINGS,
    shell:
        run_notebook("-r experiment {wildcards.experiment}")


rule across_study:
    input:
        cells=f"{RESULTS}/cells.csv",
        study=f"{RESULTS}/study.json",
        histories=f"{RESULTS}/histories.parquet",
        verdicts=VERDICTS,
        claims=STUDY.claims or [],
        extensions=sorted(
            {os.path.relpath(part.file) for part in FIGURES if not part.file.is_relative_to(SRC)}
        ),
        notebook=ROOT / "notebooks/study.ipynb",
    output:
        figures=[
            report(
                f"{RESULTS}/figures/{part.name}.svg",
                caption=str(Path(RESULTS, "figures", f"{part.name}.rst").resolve()),
                category=text.label(part.about["category"]),
                labels={"exhibit": text.label(FIGURE_LABELS[part.name])},
            )
            for part in FIGURES
        ],
        others=[
            f"{RESULTS}/figures/{part.name}{kind}" for part in FIGURES for kind in (".pdf", ".rst")
        ],
        notebook=f"{RESULTS}/notebooks/study.ipynb",
        page=report(
            f"{RESULTS}/notebooks/study.html",
            caption="../../report/notebook.rst",
            category=figures.AT_WORK,
            labels={"exhibit": FIGURE_LABELS[figures.NOTEBOOK]},
        ),
    log:
        notebook=f"{RESULTS}/logs/notebooks/study.ipynb",
        text=f"{RESULTS}/logs/notebooks/study.log",
    benchmark:
        f"{RESULTS}/benchmarks/notebooks/study.tsv"
    conda:
        "../../envs/clipgrid.yaml"
    resources:
        **ANALYSIS,
    params:
        results=subpath(input.cells, parent=True),
        settings=SETTINGS,
    shell:
        run_notebook()


rule pages:
    input:
        study=f"{RESULTS}/study.json",
        data=f"{RESULTS}/data.json",
        cells=f"{RESULTS}/cells.csv",
        trained=f"{RESULTS}/trained.json",
        verdicts=VERDICTS,
        claims=STUDY.claims or [],
    output:
        start=f"{RESULTS}/workflow.rst",
        checklist=report(
            f"{RESULTS}/tables/checklist.html",
            caption="../../report/checklist.rst",
            category=figures.PROVENANCE,
            labels={"exhibit": "3 Reproducibility checklist"},
        ),
        tex=f"{RESULTS}/tables.tex",
    log:
        f"{RESULTS}/logs/pages.log",
    localrule: True
    conda:
        "../../envs/clipgrid.yaml"
    params:
        settings=SETTINGS,
    shell:
        "python -m clipgrid pages --study {input.study:q} 2> {log:q}"


TEMPLATES = sorted(Path(os.path.relpath(SRC), "clipgrid/reporting/templates").iterdir())
EXHIBITS = [
    f"{RESULTS}/tables/cells.html",
    f"{RESULTS}/tables/settings.html",
    f"{RESULTS}/tables/checklist.html",
    *([f"{RESULTS}/tables/claims.html"] if CLAIMS else []),
    f"{RESULTS}/notebooks/study.html",
    *expand(f"{RESULTS}/notebooks/{{experiment}}.html", experiment=PAGES),
    *(f"{RESULTS}/figures/{part.name}.svg" for part in FIGURES),
    *expand(f"{RESULTS}/figures/{{experiment}}-curves.svg", experiment=PAGES),
]


rule html_report:
    input:
        exhibits=EXHIBITS,
        study=f"{RESULTS}/study.json",
        templates=[*TEMPLATES, *([STUDY.start_page] if STUDY.start_page else [])],
    output:
        f"{RESULTS}/report.html",
    log:
        f"{RESULTS}/logs/report.log",
    benchmark:
        f"{RESULTS}/benchmarks/report.tsv"
    localrule: True
    conda:
        "../../envs/clipgrid.yaml"
    shell:
        "python -m clipgrid report --study {input.study:q} 2> {log:q}"


rule explorer:
    input:
        study=f"{RESULTS}/study.json",
        cells=f"{RESULTS}/cells.csv",
        histories=f"{RESULTS}/histories.parquet",
        trained=f"{RESULTS}/trained.json",
        verdicts=VERDICTS,
        claims=STUDY.claims or [],
        templates=TEMPLATES,
    output:
        f"{RESULTS}/explorer.html",
    log:
        f"{RESULTS}/logs/explorer.log",
    benchmark:
        f"{RESULTS}/benchmarks/explorer.tsv"
    conda:
        "../../envs/clipgrid.yaml"
    resources:
        **ANALYSIS,
    params:
        settings=SETTINGS,
    shell:
        "python -m clipgrid explorer --study {input.study:q} 2> {log:q}"


report: str(Path(RESULTS, "workflow.rst").resolve())


# A rule, so that the plain `snakemake --cores all` leaves Snakemake's own report behind, makes it anew
# when an exhibit has changed, and a dry run of an unfinished study works (--report-after-run: it
# doesn't).
rule snakemake_report:
    input:
        exhibits=[f"{RESULTS}/workflow.rst", *EXHIBITS],
        study=f"{RESULTS}/study.json",
        style=ROOT / "report/style.css",
    output:
        f"{RESULTS}/workflow.html",
    log:
        f"{RESULTS}/logs/workflow.log",
    benchmark:
        f"{RESULTS}/benchmarks/workflow.tsv"
    localrule: True
    conda:
        "../../envs/clipgrid.yaml"
    params:
        snakefile=ROOT / "Snakefile",
    shell:
        "snakemake --snakefile {params.snakefile:q} --configfile {input.study:q} --nolock"
        " --report {output:q} --report-stylesheet {input.style:q} {input.exhibits:q} 2> {log:q}"
