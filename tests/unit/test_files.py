"""Files that several processes write and read at once: each is whole or not there."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import clipgrid
from clipgrid import InputError, files
from clipgrid.files import alone, aside, check_writable, read_json, sweep


def test_a_file_takes_its_place_when_it_is_whole(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with aside(path, "w") as file:
        file.write("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    with pytest.raises(ZeroDivisionError), aside(path, "w") as file:
        file.write("half")
        print(1 / 0)
    assert [p.read_text() for p in tmp_path.iterdir()] == ["new"]


def test_several_write_one_file_and_each_is_whole(tmp_path):
    path = tmp_path / "a.txt"
    with aside(path, "w") as first, aside(path, "w") as second:
        first.write("first")
        second.write("second")
    assert path.read_text() == "first"  # the last to be done
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_living_writer_writes_is_not_swept_away(tmp_path):
    path = tmp_path / "a.txt"
    (tmp_path / "b.txt.0.tmp").write_text("half")
    with aside(path, "w") as file:
        sweep(tmp_path)
        file.write("whole")
        sweep(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    assert path.read_text() == "whole"


def test_what_a_killed_writer_left_is_swept_away(tmp_path):
    code = f"""
import os
from pathlib import Path
from clipgrid.files import aside
with aside(Path({str(tmp_path / "a.txt")!r})) as file:
    file.write(b"half")
    file.flush()
    os.kill(os.getpid(), 9)
"""
    source = {"PYTHONPATH": str(Path(clipgrid.__file__).parents[1])}
    subprocess.run([sys.executable, "-c", code], env={**os.environ, **source}, check=False)
    (left,) = tmp_path.iterdir()
    assert left.read_bytes() == b"half"
    sweep(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_writer_whose_file_was_swept_away_before_it_held_it_begins_anew(tmp_path, monkeypatch):
    flock, calls = files.fcntl.flock, []

    def swept_first(*arguments):
        if not calls:
            calls.append(1)
            for path in tmp_path.glob("*.tmp"):
                path.unlink()
        flock(*arguments)

    monkeypatch.setattr(files.fcntl, "flock", swept_first)
    with aside(tmp_path / "a.txt", "w") as file:
        file.write("whole")
    assert (tmp_path / "a.txt").read_text() == "whole"


def test_one_at_a_time_is_alone_and_the_others_say_that_they_wait(tmp_path, capfd):
    inside, most = [], []

    def work():
        with alone(tmp_path / "lock", "another"):
            inside.append(1)
            most.append(len(inside))
            begun.wait(0.1)
            inside.pop()

    begun = threading.Event()
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1, 1, 1, 1]
    assert "clipgrid: waiting for another\n" in capfd.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_file_system_without_locks_is_written_to(tmp_path, monkeypatch):
    def refused(*_):
        raise OSError(files.errno.ENOLCK, "No locks available")

    monkeypatch.setattr(files.fcntl, "flock", refused)
    with alone(tmp_path / "lock", "another"), aside(tmp_path / "a.txt", "w") as file:
        file.write("whole")
    assert (tmp_path / "a.txt").read_text() == "whole"


@pytest.mark.parametrize(
    "error", [PermissionError(13, "Permission denied"), OSError(30, "Read-only")]
)
def test_a_folder_that_can_not_be_written_to_is_one_error(tmp_path, monkeypatch, error):
    check_writable(tmp_path / "a" / "b")

    def refused(**_):
        raise error

    monkeypatch.setattr(files.tempfile, "TemporaryFile", refused)
    with pytest.raises(InputError, match=f"b can't be written to: {error.strerror}; name another"):
        check_writable(tmp_path / "a" / "b")


def test_json_that_is_torn_is_one_error(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"a": 1})[:-1])
    with pytest.raises(InputError, match=r"a\.json can't be read .* remove it, and run the study"):
        read_json(path)
