# result files and histories of all cells → tidy tables, and what was trained


rule aggregate:
    input:
        study=f"{RESULTS}/study.json",
        data=f"{RESULTS}/data.json",
        cells=[f"{RESULTS}/cells/{cell.name}.json" for cell in CELLS],
        histories=[f"{RESULTS}/cells/{name}/history.csv" for name in BY_NAME],
        runs=[f"{RESULTS}/cells/{name}/run.json" for name in BY_NAME],
    output:
        cells=f"{RESULTS}/cells.csv",
        histories=f"{RESULTS}/histories.parquet",
        trained=f"{RESULTS}/trained.json",
        page=report(
            f"{RESULTS}/tables/cells.html",
            caption="../../report/cells.rst",
            category="Provenance",
            labels={"exhibit": "1 All cells, and their commands"},
        ),
        settings=report(
            f"{RESULTS}/tables/settings.html",
            caption="../../report/settings.rst",
            category="Provenance",
            labels={"exhibit": "2 The study, the data, the training"},
        ),
    log:
        f"{RESULTS}/logs/aggregate.log",
    conda:
        "../../envs/clipgrid.yaml"
    params:
        settings=SETTINGS,
    shell:
        "python -m clipgrid aggregate --study {input.study:q} 2> {log:q}"
