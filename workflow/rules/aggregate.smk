# result files and histories of all cells → tidy tables, and what was trained → verdicts


rule aggregate:
    input:
        study=f"{RESULTS}/study.json",
        data=f"{RESULTS}/data.json",
        packs=[str(file) for name in PACKS for file in packs.files(Path(RESULTS), name)],
    output:
        cells=f"{RESULTS}/cells.csv",
        histories=f"{RESULTS}/histories.parquet",
        trained=f"{RESULTS}/trained.json",
        page=report(
            f"{RESULTS}/tables/cells.html",
            caption="../../report/cells.rst",
            category=figures.PROVENANCE,
            labels={"exhibit": "1 All cells, and their commands"},
        ),
        settings=report(
            f"{RESULTS}/tables/settings.html",
            caption="../../report/settings.rst",
            category=figures.PROVENANCE,
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


# Of a study that names a file of claims.
VERDICTS = [f"{RESULTS}/claims.csv"] if CLAIMS else []
# Of a file of claims that names an earlier judgement.
BEFORE = CLAIMS.frozen.before if CLAIMS and CLAIMS.frozen else None


if CLAIMS:

    rule judge:
        input:
            study=f"{RESULTS}/study.json",
            data=f"{RESULTS}/data.pt",
            cells=f"{RESULTS}/cells.csv",
            histories=f"{RESULTS}/histories.parquet",
            trained=f"{RESULTS}/trained.json",
            claims=STUDY.claims,
            before=BEFORE or [],
        output:
            claims=f"{RESULTS}/claims.csv",
            findings=f"{RESULTS}/findings.csv",
            sums=f"{RESULTS}/judged.json",
            page=report(
                f"{RESULTS}/tables/claims.html",
                caption="../../report/claims.rst",
                category=figures.VERDICTS,
                labels={"exhibit": "1 All claims, and why"},
            ),
            external=report(
                f"{RESULTS}/tables/external.html",
                caption="../../report/claims.rst",
                category=figures.EXTERNAL,
                labels={"exhibit": "1 Published facts, tried here"},
            ),
            judgements=(
                report(
                    f"{RESULTS}/tables/judgements.html",
                    caption="../../report/judgements.rst",
                    category=figures.PROVENANCE,
                    labels={"exhibit": "4 What changed since the first judgement"},
                )
                if BEFORE
                else []
            ),
            tex=expand(f"{RESULTS}/tables/{{name}}.tex", name=["claims", "external"]),
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
            code=claims.source(CLAIMS),
        shell:
            "python -m clipgrid judge --study {input.study:q} --claims {input.claims:q} 2> {log:q}"
