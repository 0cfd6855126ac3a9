# trajectory → a result file for each of its cells, one history
#
# A rule for each set of readouts, because a rule's outputs have fixed names. Each job trains one
# trajectory to its last T; the states at each T go to store/, which no rule declares, so that
# Snakemake never deletes them and a larger T is trained from there.

for number, (readouts, trajectories) in enumerate(BY_READOUTS.items(), start=1):

    rule:
        name:
            f"train_{number}_{'_'.join(r for r in readouts if 'ema' not in r)}"
        input:
            f"{RESULTS}/data.pt",
        output:
            cells=[f"{RESULTS}/cells/{{trajectory}}/{readout}.json" for readout in readouts],
            history=f"{RESULTS}/cells/{{trajectory}}/history.csv",
            run=f"{RESULTS}/cells/{{trajectory}}/run.json",
        log:
            f"{RESULTS}/logs/train/{{trajectory}}.log",
        benchmark:
            f"{RESULTS}/benchmarks/train/{{trajectory}}.tsv"
        wildcard_constraints:
            trajectory=grid.name_pattern(trajectories),
        conda:
            "../../envs/clipgrid.yaml"
        threads: 1
        resources:
            gpu=int(STUDY.training.device == "cuda"),
        params:
            flags=lambda wildcards: BY_NAME[wildcards.trajectory].flags,
            trainer=grid.TRAINER_VERSION,
            # What the outputs are given to isn't tracked: neither a T that is taken away nor
            # another interval makes a job run anew.
            readouts=lambda wildcards, output: [Path(cell).stem for cell in output.cells],
            out=subpath(output.history, parent=True),
            checkpoint_every=lambda wildcards, output: STUDY.training.checkpoint_every,
        shell:
            "python -m clipgrid train {params.flags} --readouts {params.readouts}"
            " --data {input:q} --out {params.out:q} --store store"
            " --checkpoint-every {params.checkpoint_every} 2> {log:q}"
