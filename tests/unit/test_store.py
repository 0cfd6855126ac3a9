"""The store and packs: nothing is trained or measured twice, and nothing is trusted that is torn,
altered, of another run or of another machine."""

import io
import json
import signal
import struct
import zipfile
from pathlib import Path

import pytest
import torch
from trials import BY_OPTIMIZER, DIVERGING, KINDS, MOMENTUM, firing

from clipgrid import InputError
from clipgrid.files import aside
from clipgrid.study.cells import Readout, replace
from clipgrid.training import loop, machine, pack
from clipgrid.training.pause import Pause
from clipgrid.training.readouts import measure
from clipgrid.training.run import Run
from clipgrid.training.states import Store, checksum

pytestmark = pytest.mark.usefixtures("torchs_switches_put_back")


@pytest.fixture
def crash_at(monkeypatch):
    """A function: let the process die right before that step, as far as a test can let it die."""

    def arm(step):
        def dying(run):
            if run.step == step:
                raise RuntimeError("the power went off")
            return update(run)

        update = loop.update
        monkeypatch.setattr(loop, "update", dying)
        return pytest.raises(InputError, match="the power went off")

    return arm


@pytest.fixture
def elsewhere(monkeypatch):
    """What follows happens on a machine of another kind."""

    def move(processor="riscv64 RVV"):
        stamp = {"processor": processor, "torch": "9.9"}
        monkeypatch.setattr(machine, "stamp", lambda device: stamp)

    return move


@pytest.fixture
def nothing_is_trained(monkeypatch):
    """From then on, no model is built."""

    def forbid():
        monkeypatch.setattr(Run, "__init__", lambda *_: pytest.fail("a model was built"))

    return forbid


# ---- checkpoints --------------------------------------------------------------------------------


def checkpoints(trained, trajectory):
    return [name for name in trained.kept(trajectory) if name.startswith("checkpoint-")]


@pytest.mark.parametrize(
    ("base", "kind"),
    [
        *((MOMENTUM, kind) for kind in KINDS),
        *((base, "adagc") for base in BY_OPTIMIZER.values() if base is not MOMENTUM),
    ],
    ids=lambda value: value if isinstance(value, str) else value.optimizer.name,
)
def test_a_run_goes_on_from_its_last_checkpoint_bit_for_bit(
    trained, digits, monkeypatch, crash_at, base, kind
):
    clip, first = firing(kind, digits)
    last = max(7, first + 2)
    trajectory = replace(base, clip=clip)
    names = ("T3", f"T{last}", f"T{last}_ema0.9")
    straight = trained(trajectory, *names, at="straight")
    with crash_at(last - 2):
        trained(trajectory, *names, every=1e-9)
    monkeypatch.undo()
    assert checkpoints(trained, trajectory) == [f"checkpoint-{last - 2:08d}.pt"]
    continued = trained(trajectory, *names)
    assert continued.results == straight.results
    assert continued.session_steps == [(0, 3), (3, last - 2), (last - 2, last)]
    assert checkpoints(trained, trajectory) == []


def test_how_often_a_run_is_saved_changes_nothing(trained):
    seldom = trained(MOMENTUM, "T5", "T5_ema0.9", at="seldom")
    often = trained(MOMENTUM, "T5", "T5_ema0.9", at="often", every=1e-9)
    assert often.results == seldom.results
    assert often.session_steps == seldom.session_steps == [(0, 5)]


def test_a_checkpoint_from_before_a_t_that_is_asked_for_later_does_not_hide_that_t(
    trained, monkeypatch, crash_at
):
    with crash_at(5):
        trained(MOMENTUM, "T7", every=1e-9)
    monkeypatch.undo()
    assert trained.kept(MOMENTUM) == {"checkpoint-00000005.pt"}
    trained(MOMENTUM, "T5")
    assert trained.kept(MOMENTUM) == {"00000005.pt", "history-00000005.pt", "T5.json"}


def test_a_shorter_run_leaves_the_checkpoint_of_a_longer_one(trained, crash_at, monkeypatch):
    with crash_at(5):
        trained(MOMENTUM, "T7", every=1e-9)
    monkeypatch.undo()
    trained(MOMENTUM, "T4", every=1e-9)
    assert "checkpoint-00000005.pt" in trained.kept(MOMENTUM)
    assert trained(MOMENTUM, "T7").session_steps[-1] == (5, 7)


def test_a_copy_among_the_checkpoints_is_left_alone(trained):
    folder = trained.store(MOMENTUM)
    folder.mkdir(parents=True)
    name = "checkpoint-00000001 (copy).pt"
    (folder / name).write_bytes(b"somebody's")
    assert trained(MOMENTUM, "T3").results == trained(MOMENTUM, "T3", at="clean").results
    assert name in trained.kept(MOMENTUM)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("short")])
def test_a_state_that_can_not_be_written_is_a_warning(trained, monkeypatch, capsys, error):
    clean = trained(MOMENTUM, "T4", at="clean")

    def full(state, file):
        file.write(b"half a state")
        raise error

    with monkeypatch.context() as context:
        context.setattr(torch, "save", full)
        run = trained(MOMENTUM, "T4", every=1e-9)
    assert run.results == clean.results
    said = capsys.readouterr().err
    assert "checkpoint-00000001.pt can't be written; is the disk full?" in said
    assert "/00000004.pt can't be written" in said
    assert trained.kept(MOMENTUM) == {"T4.json"}


def test_signals_are_caught_while_a_run_is_under_way_and_not_after(trained):
    before = [signal.getsignal(number) for number in Pause.SIGNALS]
    trained(MOMENTUM, "T1")
    assert [signal.getsignal(number) for number in Pause.SIGNALS] == before


def test_what_a_killed_process_left_half_written_is_swept_away(trained):
    folder = trained.store(MOMENTUM)
    folder.mkdir(parents=True)
    for name in ("00000002.99.tmp", "checkpoint-00000001.99.tmp", "checkpoint-00000001.pt"):
        (folder / name).write_bytes(b"half a state")
    assert trained(MOMENTUM, "T3").results == trained(MOMENTUM, "T3", at="clean").results
    assert trained.kept(MOMENTUM) == {"00000003.pt", "history-00000003.pt", "T3.json"}


def test_what_another_process_is_writing_is_not_swept_away(trained):
    folder = trained.store(MOMENTUM)
    folder.mkdir(parents=True)
    with aside(folder / "00000009.pt") as file:
        file.write(b"a state")
        trained(MOMENTUM, "T3")
    assert (folder / "00000009.pt").read_bytes() == b"a state"


def test_two_processes_that_train_one_run_give_its_bits_and_fall_over_nothing(
    trained, monkeypatch, capsys
):
    """The other one is always a step ahead: it saves, and it removes what it needs no more."""
    straight = trained(MOMENTUM, "T3", "T5", "T5_ema0.9", at="straight")
    update = loop.update

    def other_first(run):
        with monkeypatch.context() as context:
            context.setattr(loop, "update", update)
            trained(MOMENTUM, *("T3", "T5", "T5_ema0.9")[: 1 + run.step])
        return update(run)

    monkeypatch.setattr(loop, "update", other_first)
    assert trained(MOMENTUM, "T3", "T5", "T5_ema0.9", every=1e-9).results == straight.results
    assert "warning" not in capsys.readouterr().err


def test_a_state_that_vanishes_before_it_is_read_is_none(trained, monkeypatch, capsys):
    trained(MOMENTUM, "T3")
    monkeypatch.setattr(Store, "steps", lambda self, prefix: {self.folder / "00000002.pt": 2})
    assert trained(MOMENTUM, "T4").session_steps == [(0, 4)]
    assert "warning" not in capsys.readouterr().err


def test_a_store_that_can_not_be_written_to_is_one_error(digits, tmp_path):
    (tmp_path / "store").touch()
    files = tmp_path / "rows.jsonl", tmp_path / "histories.csv"
    with pytest.raises(InputError, match=r"^\S+/store can't be written to: File exists"):
        pack.train({MOMENTUM: [Readout(3)]}, digits, *files, tmp_path / "store")


# ---- the end of a schedule ----------------------------------------------------------------------

ENDING = replace(MOMENTUM, schedule="cosine", schedule_steps=5)


def test_where_a_schedule_ends_no_state_stays_behind_and_nothing_is_trained_again(
    trained, nothing_is_trained
):
    first = trained(ENDING, "T3", "T5", "T5_ema0.9")
    states = {name for name in trained.kept(ENDING) if name[0].isdigit()}
    assert states == {"00000003.pt"}
    nothing_is_trained()
    assert trained(ENDING, "T3", "T5", "T5_ema0.9") == first


def test_a_readout_that_is_lost_where_a_schedule_ends_is_made_anew(trained):
    first = trained(ENDING, "T3", "T5")
    (trained.store(ENDING) / "T5.json").unlink()
    again = trained(ENDING, "T3", "T5")
    assert again.results == first.results
    assert again.session_steps == [(0, 3), (3, 5)]


def test_the_last_state_stays_until_all_is_measured_and_kept(trained, monkeypatch):
    straight = trained(ENDING, "T5", "T5_ema0.9", at="straight")
    with monkeypatch.context() as context, pytest.raises(InputError, match="division by zero"):
        context.setattr(pack, "measure", lambda run, decay: 1 / 0 if decay else measure(run, decay))
        trained(ENDING, "T5", "T5_ema0.9")
    assert "00000005.pt" in trained.kept(ENDING)
    monkeypatch.setattr(loop, "update", lambda _: pytest.fail("a step was trained"))
    assert trained(ENDING, "T5", "T5_ema0.9").results == straight.results
    assert "00000005.pt" not in trained.kept(ENDING)


def test_the_last_state_stays_where_a_readout_can_not_be_written(trained, monkeypatch):
    monkeypatch.setattr(Store, "save_readout", lambda *_: False)
    trained(ENDING, "T5")
    assert "00000005.pt" in trained.kept(ENDING)


# ---- what is kept is not made again -------------------------------------------------------------


def test_a_run_of_which_all_is_kept_is_neither_trained_nor_built(trained, nothing_is_trained):
    first = trained(MOMENTUM, "T3", "T5", "T5_ema0.9")
    nothing_is_trained()
    assert trained(MOMENTUM, "T3", "T5", "T5_ema0.9") == first
    fewer = trained(MOMENTUM, "T3")
    assert fewer.cells == {"T3": first.cells["T3"]}
    assert [row["step"] for row in fewer.rows] == ["1", "2", "3"]


def test_only_what_is_missing_is_measured(trained, monkeypatch):
    trained(MOMENTUM, "T3", "T3_ema0.9")
    measured = []

    def measure(run, decay):
        measured.append((run.step, decay))
        return original(run, decay)

    original = pack.measure
    monkeypatch.setattr(pack, "measure", measure)
    longer = trained(MOMENTUM, "T3", "T3_ema0.9", "T5", "T5_ema0.9")
    assert measured == [(5, None), (5, 0.9)]
    assert longer.session_steps == [(0, 3), (3, 5)]
    at_once = trained(MOMENTUM, "T3", "T3_ema0.9", "T5", "T5_ema0.9", at="at once")
    assert longer.results == at_once.results


def test_a_pack_that_grows_trains_only_what_is_new(trained, monkeypatch):
    other = replace(MOMENTUM, seed=1)
    before = trained.pack({MOMENTUM: ["T3"]})
    built = []
    original = Run.__init__

    def build(self, trajectory, *rest):
        built.append(trajectory)
        original(self, trajectory, *rest)

    monkeypatch.setattr(Run, "__init__", build)
    after = trained.pack({MOMENTUM: ["T3"], other: ["T3"]})
    assert built == [other]
    assert after[MOMENTUM.name] == before[MOMENTUM.name]


def test_a_diverged_run_of_which_all_is_kept_is_not_built(trained, nothing_is_trained):
    first = trained(DIVERGING, "T4", "T8")
    nothing_is_trained()
    assert trained(DIVERGING, "T4", "T8") == first


# ---- what is kept and no use --------------------------------------------------------------------


def flip_a_bit(content):
    """Of a tensor's bytes: torch's archives have padding, where it would change nothing."""
    at = len(content) // 2
    if zipfile.is_zipfile(io.BytesIO(content)):
        files = zipfile.ZipFile(io.BytesIO(content)).infolist()
        header = max(f.header_offset for f in files if "/data/" in f.filename and f.file_size)
        at = header + 30 + sum(struct.unpack_from("<HH", content, header + 26))  # name, padding
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


DAMAGES = {
    "empty": lambda content: b"",
    "half": lambda content: content[: len(content) // 2],
    "nearly whole": lambda content: content[: int(0.99 * len(content))],
    "a bit flipped": flip_a_bit,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_state_that_is_torn_or_damaged_is_passed_over(trained, capsys, damage):
    clean = trained(MOMENTUM, "T3", "T5")
    trained.forget_measures(MOMENTUM)
    path = trained.store(MOMENTUM) / "00000005.pt"
    path.write_bytes(damage(path.read_bytes()))
    again = trained(MOMENTUM, "T3", "T5")
    (said,) = [s for s in capsys.readouterr().err.splitlines() if "warning" in s]
    assert f"passing over {path}, not a state of this run: it" in said
    assert "weights_only" not in said
    assert again.results == clean.results
    assert again.session_steps == [(0, 3), (3, 5)]
    assert again.sessions[0] == clean.sessions[0]  # only the steps after the whole state
    trained.forget_measures(MOMENTUM)
    assert trained(MOMENTUM, "T3", "T5").sessions == again.sessions  # the state was replaced


def test_a_state_whose_content_was_altered_is_passed_over(trained, capsys):
    clean = trained(MOMENTUM, "T3", "T5")
    trained.forget_measures(MOMENTUM)
    path = trained.store(MOMENTUM) / "00000005.pt"
    state = torch.load(path, weights_only=True)
    next(iter(state["content"]["model"].values())).view(-1)[0] += 1e-6
    torch.save(state, path)
    assert trained(MOMENTUM, "T3", "T5").results == clean.results
    assert f"passing over {path}, not a state of this run: its content was altered" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("name", ["T5.json", "history-00000005.pt"])
def test_a_readout_or_record_that_is_damaged_is_made_anew_without_training(
    trained, capsys, monkeypatch, name, damage
):
    first = trained(MOMENTUM, "T3", "T5")
    path = trained.store(MOMENTUM) / name
    path.write_bytes(damage(path.read_bytes()))
    monkeypatch.setattr(loop, "update", lambda _: pytest.fail("a step was trained"))
    again = trained(MOMENTUM, "T3", "T5")
    assert f"passing over {path}, not a " in capsys.readouterr().err
    assert again.results == first.results
    assert again.sessions == first.sessions
    assert trained(MOMENTUM, "T3", "T5") == again
    assert "passing over" not in capsys.readouterr().err


def test_a_readout_whose_number_was_altered_is_measured_anew(trained, capsys):
    first = trained(MOMENTUM, "T3")
    path = trained.store(MOMENTUM) / "T3.json"
    kept = json.loads(path.read_text())
    kept["content"]["measures"]["test_accuracy"] = 0.99
    path.write_text(json.dumps(kept))
    assert trained(MOMENTUM, "T3").results == first.results
    assert f"passing over {path}, not a readout of this run: its content was altered" in (
        capsys.readouterr().err
    )


def test_what_is_kept_of_another_trajectory_is_not_used(trained, capsys):
    other = replace(MOMENTUM, seed=1)
    clean = trained(MOMENTUM, "T3", at="clean")
    trained(other, "T3")
    trained.store(other).rename(trained.store(MOMENTUM))
    assert trained(MOMENTUM, "T3").results == clean.results
    said = capsys.readouterr().err
    for name, what in (("00000003.pt", "state"), ("T3.json", "readout")):
        path = trained.store(MOMENTUM) / name
        reason = f"not a {what} of this run: it is of another trajectory"
        assert f"passing over {path}, {reason}" in said


def test_a_state_holds_only_what_weights_only_can_load(trained):
    trained(MOMENTUM, "T3", "T3_ema0.9")
    for path in trained.store(MOMENTUM).glob("*.pt"):
        assert torch.load(path, weights_only=True)["content"]["step"] == 3


@pytest.mark.parametrize("name", ["00000003.pt", "notes.pt", "T3.json", "history-00000003.pt"])
def test_a_foreign_file_among_the_states_is_not_used(trained, name):
    clean = trained(MOMENTUM, "T3", at="clean")
    folder = trained.store(MOMENTUM)
    folder.mkdir(parents=True)
    torch.save({"weights": torch.zeros(3)}, folder / name)
    assert trained(MOMENTUM, "T3").results == clean.results


def test_a_checksum_tells_contents_apart():
    contents = [
        *(None, 1, 1.0, True, "1", [1], {1: 1}, [1, 2], [[1], 2], [1, [2]], {"a": 1, "b": 2}),
        *(torch.zeros(2), torch.zeros(1, 2), torch.zeros(2, dtype=torch.float64)),
        *([torch.zeros(2), torch.ones(1)], [torch.zeros(1), torch.ones(2)]),
    ]
    assert len({checksum(content) for content in contents}) == len(contents)
    like = torch.arange(24.0).view(1, 2, 3, 4)
    assert checksum(like) == checksum(like.to(memory_format=torch.channels_last))
    assert checksum((1, 2)) == checksum([1, 2])  # JSON makes lists of tuples


# ---- another machine ----------------------------------------------------------------------------


def test_a_state_of_another_kind_of_machine_is_not_continued(trained, capsys, elsewhere):
    here = ", ".join(machine.stamp("cpu").values())
    trained(MOMENTUM, "T3", "T3_ema0.9")
    elsewhere()
    run = trained(MOMENTUM, "T5", "T5_ema0.9")
    path = trained.store(MOMENTUM) / "00000003.pt"
    reason = f"it was made by {here}, and bits differ on riscv64 RVV, 9.9"
    assert f"passing over {path}, not a state of this machine: {reason}" in capsys.readouterr().err
    assert run.session_steps == [(0, 5)]
    assert run.results[1] == trained(MOMENTUM, "T5", at="clean").results[1]


@pytest.mark.parametrize(
    ("of_torch", "theirs", "ours"),
    [
        ("torch.cuda.get_device_name", "NVIDIA A100-SXM4-40GB", "NVIDIA H100 80GB HBM3"),
        ("torch.utils.collect_env.get_nvidia_driver_version", "550.54", "560.35"),
        ("torch.backends.cudnn.version", "90100", "90500"),
    ],
)
def test_a_state_of_another_gpu_driver_or_cudnn_is_passed_over_with_the_reason(
    tmp_path, monkeypatch, capsys, of_torch, theirs, ours
):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    store = Store(tmp_path, {"seed": 0}, "cuda")
    for made_by in (theirs, ours):
        monkeypatch.setattr(of_torch, lambda *_, said=made_by: said)
        machine.stamp.cache_clear()
        if made_by == theirs:
            store.save_state({"step": 3, "averages": {}})
            assert store.newest_state(1, 3, set()) == {"step": 3, "averages": {}}
    assert store.newest_state(1, 3, set()) is None
    machine.stamp.cache_clear()
    said = capsys.readouterr().err
    assert f"passing over {tmp_path / '00000003.pt'}, not a state of this machine: " in said
    made_by, _, here = said.partition("and bits differ on ")
    assert theirs in made_by
    assert ours in here


def test_readouts_of_another_kind_of_machine_are_taken_where_all_are_there(
    trained, elsewhere, nothing_is_trained
):
    first = trained(MOMENTUM, "T3", "T5")
    elsewhere()
    nothing_is_trained()
    assert trained(MOMENTUM, "T3", "T5") == first


def test_readouts_of_two_kinds_of_machines_are_not_mixed_in_a_run(trained, elsewhere):
    here = machine.stamp("cpu")["processor"]
    assert trained(MOMENTUM, "T3").measures("T3")["processor"] == here
    elsewhere()
    longer = trained(MOMENTUM, "T3", "T5")
    assert {longer.measures(name)["processor"] for name in ("T3", "T5")} == {"riscv64 RVV"}
    assert longer.session_steps == [(0, 3), (3, 5)]


def test_readouts_that_two_kinds_of_machines_left_are_measured_on_one(trained, elsewhere):
    trained(MOMENTUM, "T3", "T5")
    elsewhere()
    trained(MOMENTUM, "T6")  # trains from the beginning, and leaves T3 and T5 of the other
    both = trained(MOMENTUM, "T5", "T6")
    assert {both.measures(name)["processor"] for name in ("T5", "T6")} == {"riscv64 RVV"}


def test_a_cell_says_which_kind_of_machine_made_it(trained):
    result = trained(MOMENTUM, "T3").measures("T3")
    assert {name: result[name] for name in machine.stamp("cpu")} == machine.stamp("cpu")


# ---- packs --------------------------------------------------------------------------------------


def test_runs_that_share_a_process_have_the_bits_of_runs_that_have_their_own(trained):
    runs = {
        replace(MOMENTUM, seed=1, clip="autoclip50"): ["T4", "T6_ema0.9"],
        MOMENTUM: ["T5"],
        replace(MOMENTUM, augmentation="none", label_noise=0.5): ["T5"],
    }
    packed = trained.pack(runs)
    assert list(packed) == [trajectory.name for trajectory in runs]
    for trajectory, names in runs.items():
        alone = trained(trajectory, *names, at=trajectory.name)
        assert packed[trajectory.name].results == alone.results


def test_a_pack_is_two_files_with_a_line_a_cell_a_line_a_run_and_a_row_a_step(trained):
    other = replace(MOMENTUM, seed=1)
    trained.pack({MOMENTUM: ["T2", "T3"], other: ["T3"]})
    rows, histories = trained.files()
    assert set(rows.parent.iterdir()) == {rows, histories}
    records = [json.loads(line) for line in rows.read_text().splitlines()]
    told = [record.get("cell", record.get("run")) for record in records]
    one, two = MOMENTUM.name, other.name
    assert told == [f"{one}/T2", f"{one}/T3", one, f"{two}/T3", two]
    head, *lines = histories.read_text().splitlines()
    assert head == (
        "trajectory,step,loss,norm,observed,limit,coefficient,share,clipped,finite,learning_rate,"
        "training_loss,validation_loss,validation_accuracy"
    )
    assert [line.split(",")[:2] for line in lines] == [
        [name, str(step)] for name in (one, two) for step in (1, 2, 3)
    ]


def test_a_run_that_fails_keeps_none_of_its_pack_and_is_named_with_the_reason(trained):
    bad = replace(MOMENTUM, train_images=99_999)
    with pytest.raises(InputError) as failed:
        trained.pack({bad: ["T4"], MOMENTUM: ["T4"]})
    said = str(failed.value)
    assert said.startswith("1 of 2 runs failed: train_images: 99999 is more than")
    assert said.endswith(f"({bad.name})")
    assert not trained.files()[0].parent.exists()
    assert "T4.json" in trained.kept(MOMENTUM)


def test_a_fault_of_the_trainers_own_leaves_its_traceback_in_the_log(trained, capsys, monkeypatch):
    monkeypatch.setattr(loop, "update", lambda run: 1 / 0)
    with pytest.raises(InputError, match="1 of 1 runs failed: division by zero"):
        trained(MOMENTUM, "T4")
    assert "Traceback" in capsys.readouterr().err


def failing(monkeypatch, trajectory, error):
    """From then on the steps of that run end in `error`. The runs that take a step, in order."""
    begun = []

    def fail(run):
        if run.trajectory not in begun:
            begun.append(run.trajectory)
        if run.trajectory == trajectory:
            raise error
        return update(run)

    update = loop.update
    monkeypatch.setattr(loop, "update", fail)
    return begun


def test_a_fault_of_the_gpu_ends_the_pack_at_once_and_what_was_finished_is_kept(
    trained, monkeypatch
):
    first, faulty, last = (replace(MOMENTUM, seed=seed) for seed in range(3))
    runs = {run: ["T4", "T4_ema0.9"] for run in (first, faulty, last)}
    fault = torch.AcceleratorError("CUDA error: an illegal memory access was encountered")
    with monkeypatch.context() as context:
        begun = failing(context, faulty, fault)
        with pytest.raises(torch.AcceleratorError, match="illegal memory access"):
            trained.pack(runs)
    assert begun == [first, faulty]
    assert not trained.files()[0].exists()
    begun = failing(monkeypatch, None, None)
    again = trained.pack(runs)
    assert begun == [faulty, last]
    assert {n: r.results for n, r in again.items()} == {
        n: r.results for n, r in trained.pack(runs, at="clean").items()
    }


def test_a_run_without_memory_leaves_it_to_the_others_and_is_trained_the_next_time(
    trained, monkeypatch
):
    short, other = MOMENTUM, replace(MOMENTUM, seed=1)
    runs = {short: ["T4"], other: ["T4"]}
    freed = []
    with monkeypatch.context() as context:
        error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")
        failing(context, short, error)
        context.setattr(
            torch.cuda, "empty_cache", lambda: freed.append(trained.store(other).exists())
        )
        with pytest.raises(InputError, match="1 of 2 runs failed: CUDA out of memory") as failed:
            trained.pack(runs)
    assert str(failed.value).endswith(f"({short.name})")
    assert freed == [False]  # before the other one was begun
    assert "T4.json" in trained.kept(other)
    begun = failing(monkeypatch, None, None)
    assert set(trained.pack(runs)) == {short.name, other.name}
    assert begun == [short]


def test_a_signal_ends_the_pack_and_not_only_the_run(trained, monkeypatch, capsys):
    update = loop.update

    def stopped(run):
        if run.step == 2:
            signal.raise_signal(signal.SIGTERM)
        return update(run)

    monkeypatch.setattr(loop, "update", stopped)
    other = replace(MOMENTUM, seed=1)
    with pytest.raises(SystemExit) as end:
        trained.pack({MOMENTUM: ["T4"], other: ["T4"]})
    assert end.value.code == 128 + signal.SIGTERM
    said = capsys.readouterr().err.splitlines()
    assert said.count("stopped by SIGTERM; step 3 is saved") == 1
    assert len([line for line in said if line.startswith("step 3/4 ")]) == 1
    assert trained.kept(MOMENTUM) == {"checkpoint-00000003.pt"}
    assert not trained.store(other).exists()
    assert not trained.files()[0].exists()


def test_the_images_are_put_on_the_device_once_for_a_pack(trained, monkeypatch):
    made = []
    original = pack.Images

    def images(*arguments):
        made.append(arguments)
        return original(*arguments)

    monkeypatch.setattr(pack, "Images", images)
    trained.pack({replace(MOMENTUM, seed=seed): ["T1"] for seed in range(3)})
    assert len(made) == 1


def test_files_that_can_not_be_written_are_an_error_that_names_them(trained, digits, tmp_path):
    blocked = tmp_path / "file"
    blocked.touch()
    with pytest.raises(OSError, match="file"):
        pack.train({}, digits, blocked / "rows.jsonl", blocked / "histories.csv", Path("store"))
