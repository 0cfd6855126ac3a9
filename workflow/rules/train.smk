# pack of runs → the rows of their cells, the histories of its runs
#
# A job trains a pack in one process. The states and readouts go to store/, which no rule declares, so
# that Snakemake never deletes them: what a pack has in common with one that was trained before, with
# more seeds or another T, is taken from there.


rule train:
    input:
        f"{RESULTS}/data.pt",
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
        "{params.python} -m clipgrid train-pack --pack {params.pack:q} --data {input:q}"
        " --cells {output.cells:q} --histories {output.histories:q} --store store"
        " --checkpoint-every {params.checkpoint_every} --extensions {params.extensions:q} 2> {log:q}"
