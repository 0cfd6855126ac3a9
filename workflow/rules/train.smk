# pack of runs → a result file for each of their cells, a history for each run
#
# A pack is the runs whose names begin alike, {pack}, and is trained by one job in one process. There
# is a rule for each set of endings and readouts, because a rule's outputs have fixed names. The
# states at each T go to store/, which no rule declares, so that Snakemake never deletes them and a
# larger T is trained from there.

for number, (ends, names) in enumerate(BY_ENDS.items(), start=1):

    rule:
        name:
            f"train_{number}"
        input:
            f"{RESULTS}/data.pt",
        output:
            cells=[
                f"{RESULTS}/cells/{{pack}}{end}/{readout}.json"
                for end, readouts in ends
                for readout in readouts
            ],
            histories=[f"{RESULTS}/cells/{{pack}}{end}/history.csv" for end, _ in ends],
            runs=[f"{RESULTS}/cells/{{pack}}{end}/run.json" for end, _ in ends],
        log:
            f"{RESULTS}/logs/train/{{pack}}.log",
        benchmark:
            f"{RESULTS}/benchmarks/train/{{pack}}.tsv"
        wildcard_constraints:
            pack=grid.names_pattern(names),
        conda:
            "../../envs/clipgrid.yaml"
        threads: 1
        resources:
            gpu=int(STUDY.training.device == "cuda"),
            mem_mb=lambda wildcards, attempt: attempt * pack_memory_mb(wildcards.pack),
            runtime=lambda wildcards, attempt: attempt * pack_minutes(wildcards.pack),
        params:
            # Which the names don't tell, and all runs of a pack share.
            settings=lambda wildcards: PACKS[wildcards.pack][0].unnamed_flags,
            trainer=grid.TRAINER_VERSION,
            # What the outputs are given to isn't tracked: a run that joins or leaves a pack, a T that
            # is taken away or another interval makes nothing anew.
            runs=lambda wildcards, output: [
                f"{t.name}:{','.join(readout.name for readout in RUNS[t])}"
                for t in PACKS[wildcards.pack]
            ],
            out=lambda wildcards, output: f"{RESULTS}/cells",
            checkpoint_every=lambda wildcards, output: STUDY.training.checkpoint_every,
        shell:
            "python -m clipgrid train-pack {params.settings} --runs {params.runs}"
            " --data {input:q} --out {params.out:q} --store store"
            " --checkpoint-every {params.checkpoint_every} 2> {log:q}"
