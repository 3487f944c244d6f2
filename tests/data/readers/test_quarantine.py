"""The quarantine list: bound to its files, read as written; anything else is refused with a fix."""

import json
import shutil
from pathlib import Path

import pytest

from van_dense.data.readers.quarantine import (
    Quarantine,
    QuarantinedPart,
    StaleQuarantine,
    fingerprint,
)

BAD = QuarantinedPart(frozenset({3, "a"}), frozenset({7}), frozenset({"images[10]", "images[9]"}))


def write_list(root: Path, source: Path, *others: Path) -> Path:
    """A list beside the files, of one part."""
    part = QuarantinedPart(BAD.images, BAD.annotations, BAD.records, fingerprint(source, *others))
    Quarantine({str(source): part}).save(root / "lists" / "bad.json")
    return root / "lists" / "bad.json"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """One of two annotation files of the same name in folders of the same name."""
    for task in ("train", "val"):
        (tmp_path / task / "annotations").mkdir(parents=True)
        (tmp_path / task / "annotations" / "instances_default.json").write_text(f'{{"{task}": 1}}')
    return tmp_path / "train" / "annotations" / "instances_default.json"


def test_a_saved_list_is_loaded_again_and_holds_readable_places(
    tmp_path: Path, source: Path
) -> None:
    path = write_list(tmp_path, source)
    known = Quarantine.load(path)
    part = known.of(source)
    assert (part.images, part.annotations, part.records) == (
        BAD.images,
        BAD.annotations,
        BAD.records,
    )
    (entry,) = json.loads(path.read_text())["parts"]
    assert entry["source"] == "../train/annotations/instances_default.json"
    assert entry["images"] == [3, "a"] and entry["records"] == ["images[9]", "images[10]"]


def test_files_of_equal_names_share_nothing(tmp_path: Path, source: Path) -> None:
    known = Quarantine.load(write_list(tmp_path, source))
    twin = tmp_path / "val" / "annotations" / "instances_default.json"
    assert known.of(source) and not known.of(twin)


def test_list_and_files_may_move_together(tmp_path: Path, source: Path) -> None:
    write_list(tmp_path / "old", source)
    (tmp_path / "old" / "lists").rename(tmp_path / "lists")
    old = tmp_path / "data"
    shutil.copytree(tmp_path / "train", old / "train")
    write_list(old, old / "train" / "annotations" / "instances_default.json")
    new = old.rename(tmp_path / "elsewhere")
    known = Quarantine.load(new / "lists" / "bad.json")
    assert known.of(new / "train" / "annotations" / "instances_default.json").images == BAD.images


def test_a_link_to_the_file_is_the_file(tmp_path: Path, source: Path) -> None:
    known = Quarantine.load(write_list(tmp_path, source))
    (tmp_path / "link").symlink_to(tmp_path / "train", target_is_directory=True)
    assert known.of(tmp_path / "link" / "annotations" / source.name).images == BAD.images


def test_the_working_folder_changes_nothing(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_list(Path(), source.relative_to(tmp_path))
    monkeypatch.chdir(source.parent)
    assert Quarantine.load("../../lists/bad.json").of(source.name).images == BAD.images


def test_a_list_of_another_content_is_refused_with_the_fix(tmp_path: Path, source: Path) -> None:
    known = Quarantine.load(write_list(tmp_path, source))
    source.write_text(source.read_text() + "\n")
    with pytest.raises(StaleQuarantine, match=r"default\.json has changed.*van-dense check"):
        known.of(source)
    assert not known.of(tmp_path / "val" / "annotations" / source.name)


def test_a_folder_is_bound_by_the_names_of_its_images(tmp_path: Path) -> None:
    (tmp_path / "cats").mkdir()
    (tmp_path / "cats" / "1.png").write_bytes(b"1")
    known = Quarantine.load(write_list(tmp_path, tmp_path / "cats"))
    (tmp_path / "cats" / "1.png").write_bytes(b"repaired")
    (tmp_path / "cats" / "notes.txt").write_text("no image")
    assert known.of(tmp_path / "cats")
    (tmp_path / "cats" / "2.png").write_bytes(b"1")
    with pytest.raises(StaleQuarantine):
        known.of(tmp_path / "cats")


def test_files_beside_the_source_are_bound_by_name_and_content(tmp_path: Path) -> None:
    labels = [tmp_path / "labels" / name for name in ("a.txt", "b.txt")]
    labels[0].parent.mkdir()
    labels[0].write_text("0 .5 .5 .5 .5")
    split = tmp_path / "train"  # a key of data.yaml and no file
    known = Quarantine.load(write_list(tmp_path, split, *labels))
    assert known.of(split, *reversed(labels))
    labels[1].write_text("")  # written since
    assert known.of(split, *labels)
    labels[1].write_text("0 .5 .5 .5 .5")
    with pytest.raises(StaleQuarantine, match="2 paths"):
        known.of(split, *labels)
    labels[1].unlink()
    labels[0].write_text("1 .5 .5 .5 .5")
    with pytest.raises(StaleQuarantine):
        known.of(split, *labels)


def test_a_list_without_any_part_of_these_files_is_named(tmp_path: Path, source: Path) -> None:
    known = Quarantine.load(write_list(tmp_path, source))
    assert known.unused_problem([source, "other.json"]) is None
    assert str(source) in str(known.unused_problem(["other.json"]))
    assert Quarantine().unused_problem(["other.json"]) is None


def part(**changes: object) -> dict[str, object]:
    sound = {"source": "a", "fingerprint": "f", "images": [], "annotations": [], "records": []}
    return sound | changes


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not valid JSON"),
        ("[" * 100_000, "100 levels of nesting"),
        ("[1]", "expected an object"),
        ('{"a/b.json": {"images": [1], "annotations": []}}', "an older van_dense"),
        ('{"a": [1]}', "'version' must be 2"),
        ('{"version": 3, "parts": []}', "'version' must be 2, got 3"),
        ('{"version": 2, "parts": {}}', "'parts' must be a list"),
        ('{"version": 2, "parts": [{}]}', r"parts\[0\] must hold source"),
        (json.dumps({"version": 2, "parts": [part(), part(source=3)]}), r"\[1\], source"),
        (json.dumps({"version": 2, "parts": [part(fingerprint="")]}), "fingerprint: not a text"),
        (json.dumps({"version": 2, "parts": [part(images=[[1]])]}), "images: not a list of ids"),
        (json.dumps({"version": 2, "parts": [part(images=1)]}), "images: not a list of ids"),
        (json.dumps({"version": 2, "parts": [part(annotations=[True])]}), "not a list of ids"),
        (json.dumps({"version": 2, "parts": [part(records=[1])]}), "not a list of places"),
    ],
)
def test_foreign_files_are_refused_with_the_fix(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"bad\.json: .*{reason}.*van-dense check"):
        Quarantine.load(path)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such quarantine list"):
        Quarantine.load(tmp_path / "none.json")
