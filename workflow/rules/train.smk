# parts that aren't ours → what was tried; pack of runs → the rows of their cells, their histories
#
# A job trains a pack in one process. The states and readouts go to store/, which no rule declares, so
# that Snakemake never deletes them: what a pack has in common with one that was trained before, with
# more seeds or another T, is taken from there.


# A job for each part, so that a changed one is tried again and leaves the runs of others alone.
rule check_part:
    input:
        f"{RESULTS}/data.pt",
    output:
        f"{RESULTS}/parts/{{part}}.json",
    log:
        f"{RESULTS}/logs/parts/{{part}}.log",
    wildcard_constraints:
        part="[^/]+",
    priority: 1
    conda:
        "../../envs/clipgrid.yaml"
    resources:
        mem_mb=lambda wildcards: 2 * pack_memory_mb(TRIALS[wildcards.part]),
        runtime=30,
        gpu=0,
    params:
        trials=lambda wildcards: TRIALS[wildcards.part].text,
        code=lambda wildcards: TRIALS[wildcards.part].code,
        extensions=lambda wildcards, output: STUDY.extensions,
    shell:
        "python -m clipgrid check-parts --trials {params.trials:q} --data {input:q} --out {output:q}"
        " --extensions {params.extensions:q} 2> {log:q}"


rule train:
    input:
        data=f"{RESULTS}/data.pt",
        parts=lambda wildcards: [
            f"{RESULTS}/parts/{name}.json" for name in trials.foreign(PACKS[wildcards.pack].runs)
        ],
    output:
        cells=f"{RESULTS}/packs/{{pack}}.jsonl",
        histories=f"{RESULTS}/packs/{{pack}}.csv",
    log:
        f"{RESULTS}/logs/train/{{pack}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/train/{{pack}}.tsv"
    wildcard_constraints:
        pack="[^/]+",
    conda:
        "../../envs/clipgrid.yaml"
    threads: cost.cpus(STUDY.training, STUDY.data)
    resources:
        gpu=STUDY.training.gpus_per_run * (STUDY.training.device == "cuda"),
        mem_mb=lambda wildcards, attempt: attempt * pack_memory_mb(PACKS[wildcards.pack]),
        runtime=lambda wildcards, attempt: attempt * pack_minutes(PACKS[wildcards.pack]),
    params:
        pack=lambda wildcards: PACKS[wildcards.pack].text,
        code=lambda wildcards: PACKS[wildcards.pack].code,
        # What the outputs are given to isn't tracked: another interval makes nothing anew.
        what=lambda wildcards, output: PACKS[wildcards.pack].description,
        extensions=lambda wildcards, output: STUDY.extensions,
        checkpoint_every=lambda wildcards, output: STUDY.training.checkpoint_every,
        python=lambda wildcards, output: PYTHON,
    message:
        "Train {params.what}"
    shell:
        "{params.python} -m clipgrid train-pack --pack {params.pack:q} --data {input.data:q}"
        " --cells {output.cells:q} --histories {output.histories:q} --store store"
        " --checkpoint-every {params.checkpoint_every} --extensions {params.extensions:q} 2> {log:q}"
