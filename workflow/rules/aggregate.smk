# result files and histories of all cells → tidy tables, and what was trained → verdicts


rule aggregate:
    input:
        study=f"{RESULTS}/study.json",
        data=f"{RESULTS}/data.json",
        cells=[f"{RESULTS}/cells/{cell.name}.json" for cell in CELLS],
        histories=[f"{RESULTS}/cells/{run.name}/history.csv" for run in RUNS],
        runs=[f"{RESULTS}/cells/{run.name}/run.json" for run in RUNS],
    output:
        cells=f"{RESULTS}/cells.csv",
        histories=f"{RESULTS}/histories.parquet",
        trained=f"{RESULTS}/trained.json",
        page=report(
            f"{RESULTS}/tables/cells.html",
            caption="../../report/cells.rst",
            category="5 Provenance",
            labels={"exhibit": "1 All cells, and their commands"},
        ),
        settings=report(
            f"{RESULTS}/tables/settings.html",
            caption="../../report/settings.rst",
            category="5 Provenance",
            labels={"exhibit": "2 The study, the data, the training"},
        ),
    log:
        f"{RESULTS}/logs/aggregate.log",
    conda:
        "../../envs/clipgrid.yaml"
    resources:
        **ANALYSIS,
    params:
        settings=SETTINGS,
    shell:
        "python -m clipgrid aggregate --study {input.study:q} 2> {log:q}"


rule judge:
    input:
        study=f"{RESULTS}/study.json",
        data=f"{RESULTS}/data.pt",
        cells=f"{RESULTS}/cells.csv",
        histories=f"{RESULTS}/histories.parquet",
        trained=f"{RESULTS}/trained.json",
        claims=STUDY.claims,
    output:
        claims=f"{RESULTS}/claims.csv",
        page=report(
            f"{RESULTS}/tables/claims.html",
            caption="../../report/claims.rst",
            category="1 Verdicts",
            labels={"exhibit": "1 All claims, and why"},
        ),
        external=report(
            f"{RESULTS}/tables/external.html",
            caption="../../report/claims.rst",
            category="4 External validation",
            labels={"exhibit": "1 Published facts, tried here"},
        ),
        checklist=report(
            f"{RESULTS}/tables/checklist.html",
            caption="../../report/checklist.rst",
            category="5 Provenance",
            labels={"exhibit": "3 Reproducibility checklist"},
        ),
        tex=expand(f"{RESULTS}/tables/{{name}}.tex", name=["claims", "external", "all"]),
    log:
        f"{RESULTS}/logs/judge.log",
    benchmark:
        f"{RESULTS}/benchmarks/judge.tsv"
    conda:
        "../../envs/clipgrid.yaml"
    resources:
        **ANALYSIS,
    params:
        settings=SETTINGS,
    shell:
        "python -m clipgrid judge --study {input.study:q} --claims {input.claims:q} 2> {log:q}"
