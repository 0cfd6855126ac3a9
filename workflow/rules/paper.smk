# tables → notebooks, executed → exhibits → the report

# Run into the log, so that a notebook that fails leaves its traceback there.
RUN_NOTEBOOK = (
    "( papermill {input.notebook:q} {log.notebook:q} -k python3 --no-progress-bar"
    " -r results {params.results:q} {params.parameters}"
    " && cp {log.notebook:q} {output.notebook:q}"
    ' && jupyter nbconvert --to html --output-dir "$(dirname {output.page:q})" {output.notebook:q}'
    " --HTMLExporter.mathjax_url= --HTMLExporter.require_js_url= --HTMLExporter.jquery_url="
    " ) 2> {log.text:q}"
)

# Figures across the study, by their files' names: (category, exhibit).
AT_WORK = "3 Clipping at work"
STUDY_FIGURES = {
    "forest": ("1 Verdicts", "2 Effects of the claims"),
    "heat-map": (AT_WORK, "01 Accuracy over λ and learning rate"),
    "time-to-target": (AT_WORK, "02 Steps to a target"),
    "gradient-norms": (AT_WORK, "03 Gradient norms"),
    "clip-fraction": (AT_WORK, "04 How often clipping fires"),
    "accuracy": (AT_WORK, "05 Accuracy over λ and T"),
    "schedule": (AT_WORK, "06 A schedule that depends on T"),
    "generalization-gap": (AT_WORK, "07 Generalisation gap"),
    "matched-gap": (AT_WORK, "08 The gap at matched training loss"),
    "paired-ema": (AT_WORK, "09 Moving average, paired"),
    "paired-augmentation": (AT_WORK, "10 Augmentation, paired"),
    "transformed": (AT_WORK, "11 Transformed test images"),
    "clip-kinds": (AT_WORK, "12 Kinds of clipping"),
    "external": ("4 External validation", "2 Published facts, seen here"),
}


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
            labels={"exhibit": "1 Stated and measured"},
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
        experiment="|".join(DOCUMENTED) or "none",
    conda:
        "../../envs/clipgrid.yaml"
    resources:
        **ANALYSIS,
    params:
        parameters=lambda wildcards: f"-r experiment {wildcards.experiment}",
        results=subpath(input.cells, parent=True),
        settings=SETTINGS,
    shell:
        RUN_NOTEBOOK


rule across_study:
    input:
        cells=f"{RESULTS}/cells.csv",
        study=f"{RESULTS}/study.json",
        histories=f"{RESULTS}/histories.parquet",
        claims=f"{RESULTS}/claims.csv",
        notebook=ROOT / "notebooks/study.ipynb",
    output:
        figures=[
            report(
                f"{RESULTS}/figures/{name}.svg",
                caption=f"../../report/{name}.rst",
                category=category,
                labels={"exhibit": exhibit},
            )
            for name, (category, exhibit) in STUDY_FIGURES.items()
        ],
        pdfs=[f"{RESULTS}/figures/{name}.pdf" for name in STUDY_FIGURES],
        notebook=f"{RESULTS}/notebooks/study.ipynb",
        page=report(
            f"{RESULTS}/notebooks/study.html",
            caption="../../report/notebook.rst",
            category=AT_WORK,
            labels={"exhibit": "13 Executed notebook"},
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
        parameters="",
        results=subpath(input.cells, parent=True),
        settings=SETTINGS,
    shell:
        RUN_NOTEBOOK


rule start_page:
    input:
        study=f"{RESULTS}/study.json",
        data=f"{RESULTS}/data.json",
        cells=f"{RESULTS}/cells.csv",
        trained=f"{RESULTS}/trained.json",
        verdicts=f"{RESULTS}/claims.csv",
        claims=STUDY.claims,
        template=ROOT / "src/clipgrid/reporting/templates/start-page.html",
    output:
        f"{RESULTS}/workflow.rst",
    log:
        f"{RESULTS}/logs/start_page.log",
    localrule: True
    conda:
        "../../envs/clipgrid.yaml"
    shell:
        "python -m clipgrid start-page --study {input.study:q}"
        " --claims {input.claims:q} > {output:q} 2> {log:q}"


report: str(Path(RESULTS, "workflow.rst").resolve())


# A rule, so that the plain `snakemake --cores all` leaves a report behind, makes it anew when an
# exhibit has changed, and a dry run of an unfinished study works (--report-after-run: it doesn't).
rule html_report:
    input:
        exhibits=[
            f"{RESULTS}/workflow.rst",
            f"{RESULTS}/tables/cells.html",
            f"{RESULTS}/tables/settings.html",
            f"{RESULTS}/tables/claims.html",
            f"{RESULTS}/notebooks/study.html",
            *expand(f"{RESULTS}/notebooks/{{experiment}}.html", experiment=DOCUMENTED),
        ],
        study=f"{RESULTS}/study.json",
        style=ROOT / "report/style.css",
    output:
        f"{RESULTS}/report.html",
    log:
        f"{RESULTS}/logs/report.log",
    benchmark:
        f"{RESULTS}/benchmarks/report.tsv"
    localrule: True
    conda:
        "../../envs/clipgrid.yaml"
    params:
        snakefile=ROOT / "Snakefile",
    shell:
        "snakemake --snakefile {params.snakefile:q} --configfile {input.study:q} --nolock"
        " --report {output:q} --report-stylesheet {input.style:q} {input.exhibits:q} 2> {log:q}"
