# pack of runs → a result file for each of their cells, a history for each run
#
# A job trains a pack in one process. The names of its runs begin alike, with {pack}; there is a rule
# for each set of endings and readouts, because a rule's outputs have fixed names. The states at each
# T go to store/, which no rule declares, so that Snakemake never deletes them and a larger T is
# trained from there.

for number, (ends, beginnings) in enumerate(BY_ENDS.items(), start=1):
    first = ends[0][0]

    rule:
        name:
            f"train_{number}"
        input:
            f"{RESULTS}/data.pt",
        output:
            cells=[
                f"{RESULTS}/cells/{{pack}}{end}/{readout}.json"
                for end, *readouts in ends
                for readout in readouts
            ],
            histories=[f"{RESULTS}/cells/{{pack}}{end}/history.csv" for end, *_ in ends],
            runs=[f"{RESULTS}/cells/{{pack}}{end}/run.json" for end, *_ in ends],
        log:
            f"{RESULTS}/logs/train/{{pack}}{first}.log",
        benchmark:
            f"{RESULTS}/benchmarks/train/{{pack}}{first}.tsv"
        wildcard_constraints:
            pack=grid.names_pattern(beginnings),
        conda:
            "../../envs/clipgrid.yaml"
        threads: STUDY.training.gpus_per_run
        resources:
            gpu=STUDY.training.gpus_per_run * (STUDY.training.device == "cuda"),
            mem_mb=lambda wildcards, attempt, first=first: attempt
            * pack_memory_mb(PACKS[wildcards.pack + first]),
            runtime=lambda wildcards, attempt, first=first: attempt
            * pack_minutes(PACKS[wildcards.pack + first]),
        params:
            # Which the names don't tell, and all runs of a pack share.
            settings=lambda wildcards, first=first: PACKS[wildcards.pack + first][0].unnamed_flags,
            trainer=grid.TRAINER_VERSION,
            # What the outputs are given to isn't tracked: a run that joins or leaves a pack, a T that
            # is taken away or another interval makes nothing anew.
            runs=lambda wildcards, output, first=first: [
                f"{t.name}:{','.join(readout.name for readout in RUNS[t])}"
                for t in PACKS[wildcards.pack + first]
            ],
            out=lambda wildcards, output: f"{RESULTS}/cells",
            checkpoint_every=lambda wildcards, output: STUDY.training.checkpoint_every,
            python=lambda wildcards, output: PYTHON,
        shell:
            "{params.python} -m clipgrid train-pack {params.settings} --runs {params.runs}"
            " --data {input:q} --out {params.out:q} --store store"
            " --checkpoint-every {params.checkpoint_every} 2> {log:q}"
