# config → the study as JSON, every default filled in; the data set → one file


rule study:
    output:
        f"{RESULTS}/study.json",
    log:
        f"{RESULTS}/logs/study.log",
    localrule: True
    conda:
        "../../envs/clipgrid.yaml"
    params:
        # By a function: in a text alone, {word} would be a wildcard.
        study=lambda wildcards: study.to_json(STUDY),
    shell:
        "printf %s {params.study:q} > {output:q} 2> {log:q}"


rule prepare_data:
    output:
        data=f"{RESULTS}/data.pt",
        about=f"{RESULTS}/data.json",
    log:
        f"{RESULTS}/logs/prepare_data.log",
    conda:
        "../../envs/clipgrid.yaml"
    threads: 8 if STUDY.data.about["files"] else 1
    resources:
        mem_mb=cost.PREPARATION_MB,
        runtime=lambda wildcards, attempt: attempt * cost.preparation_minutes(STUDY.data),
        gpu=0,
    params:
        name=STUDY.data.name,
        size=STUDY.data.size,
        split_seed=STUDY.data.split_seed,
        folder=lambda wildcards: STUDY.data.folder,
        code=parts.find("dataset", STUDY.data.name).source,
        extensions=lambda wildcards, output: STUDY.extensions,
    shell:
        "python -m clipgrid prepare --name {params.name} --size {params.size}"
        " --split-seed {params.split_seed} --folder {params.folder:q}"
        " --out {output.data:q} --store store --threads {threads} --extensions {params.extensions:q}"
        " 2> {log:q}"
