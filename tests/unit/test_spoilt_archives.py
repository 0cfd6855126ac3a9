"""Archives that come from anywhere: what is no archive, leads out of itself, is larger than it says
or was changed is one error that says so, and nothing of it is written or run."""

import hashlib
import io
import json
import zipfile

import pytest
from spoilt import FIRST, MANY, spoil_bytes

from clipgrid import InputError
from clipgrid.__main__ import main
from clipgrid.reporting.unpacking import METADATA, NEEDED, unpacked

FILES = {**{f"results/{name}": name.encode() * 9 for name in NEEDED}, "src/a b.py": b"x = 1\n"}


def entities(files):
    return [{"@id": "./", "@type": "Dataset"}] + [
        {
            "@id": name.replace(" ", "%20"),
            "@type": "File",
            "sha256": hashlib.sha256(content).hexdigest(),
        }
        for name, content in files.items()
    ]


def packed(files, graph=None, **options):
    """The bytes of an archive of these files, whose metadata are of FILES, or as given."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, **options) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        said = graph if isinstance(graph, bytes) else json.dumps(graph or made(FILES)).encode()
        archive.writestr(METADATA, said)
    return buffer.getvalue()


def made(files):
    return {"@context": "https://w3id.org/ro/crate/1.1/context", "@graph": entities(files)}


@pytest.fixture
def unpack(tmp_path):
    """Unpacks an archive of these bytes; the names of what was written, and how many files it
    has."""

    def of(content):
        (tmp_path / "a.zip").write_bytes(content)
        (tmp_path / "into").mkdir(exist_ok=True)
        count = unpacked(tmp_path / "a.zip", tmp_path / "into")
        return sorted(path.name for path in (tmp_path / "into").iterdir()), count

    return of


def test_of_a_sound_archive_what_redoes_cells_is_written_and_nothing_else(unpack, tmp_path):
    assert unpack(packed(FILES)) == (sorted(NEEDED), len(FILES))
    assert (tmp_path / "into/cells.csv").read_bytes() == FILES["results/cells.csv"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip", "into"]


def test_changed_files_are_named_all_of_them(unpack):
    changed = {**FILES, "results/cells.csv": b"cell\n", "new\n.txt": b""}
    del changed["src/a b.py"]
    with pytest.raises(InputError) as error:
        unpack(packed(changed))
    assert str(error.value).splitlines()[1:] == [
        "  new\\n.txt: was added",
        "  results/cells.csv: was changed",
        "  src/a b.py: is gone",
    ]


def test_a_bit_that_flipped_on_the_way_is_a_file_that_was_changed(unpack):
    content = bytearray(packed({**FILES, "src/a b.py": bytes(range(256)) * 40}, made(FILES)))
    content[content.index(b"src/a b.py") + 30] ^= 1
    with pytest.raises(InputError, match=r"src/a b.py: was changed"):
        unpack(bytes(content))


def link():
    entry = zipfile.ZipInfo("results/link")
    entry.external_attr = 0o120777 << 16
    buffer = io.BytesIO(packed(FILES))
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr(entry, "/etc/passwd")
    return buffer.getvalue()


def twice():
    buffer = io.BytesIO(packed(FILES))
    with zipfile.ZipFile(buffer, "a") as archive, pytest.warns(UserWarning):
        archive.writestr("src/a b.py", "x = 2\n")
    return buffer.getvalue()


BAD = {
    "no zip": (b"cell,seed\n", "is no archive, or is torn"),
    "empty": (b"", "is no archive, or is torn"),
    "torn": (packed(FILES)[:-40], "is no archive, or is torn"),
    "upwards": (packed({**FILES, "../../x": b""}), r"\.\./\.\./x leads out of it"),
    "absolute": (packed({**FILES, "/tmp/x": b""}), "/tmp/x leads out of it"),
    "nameless": (packed({**FILES, ".": b""}), "leads out of it"),
    "backslash": (packed({**FILES, "..\\x": b""}), "leads out of it"),
    "link": (link(), "results/link leads out of it"),
    "twice": (twice(), "it has src/a b.py twice"),
    "bomb": (packed({**FILES, "x": bytes(10**7)}), "more than 100 times its size"),
    "no metadata": (packed(FILES).replace(METADATA.encode(), b"x" * 22), f"it lacks {METADATA}"),
    "no JSON": (packed(FILES, b"{"), f"{METADATA} can't be read"),
    "deep JSON": (packed(FILES, b"[" * 5000), f"{METADATA} can't be read"),
    "no graph": (packed(FILES, {"@graph": 1}), f"{METADATA} can't be read"),
    "a list": (packed(FILES, b"[1]"), f"{METADATA} can't be read"),
    "a number": (packed(FILES, {"@graph": [1]}), f"{METADATA} can't be read"),
    "of others": (packed(FILES, made({"a.txt": b""})), "names no results/study.json"),
}


@pytest.mark.parametrize("what", BAD)
def test_what_is_no_archive_is_one_error_that_says_why(unpack, tmp_path, capsys, what):
    content, why = BAD[what]
    with pytest.raises(InputError, match=why):
        unpack(content)
    assert not list((tmp_path / "into").iterdir())
    assert main(["verify", str(tmp_path / "a.zip"), "--store", str(tmp_path / "store")]) == 1
    said = capsys.readouterr().err
    assert said.startswith("clipgrid: error:") and said.count("\n") == 1


def test_metadata_that_are_too_large_are_not_read(unpack, monkeypatch):
    monkeypatch.setattr("clipgrid.reporting.unpacking.MOST_METADATA", 100)
    with pytest.raises(InputError, match="it is too large"):
        unpack(packed(FILES))


def test_spoilt_archives_are_as_they_were_or_refused(unpack):
    sound = packed(FILES)
    refused = 0
    for number in range(FIRST, FIRST + MANY):
        try:
            assert unpack(spoil_bytes(sound, number)) == (sorted(NEEDED), len(FILES))
        except InputError:
            refused += 1
    assert refused > MANY / 2
