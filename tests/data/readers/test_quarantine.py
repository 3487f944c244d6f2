"""The quarantine list: what is written is read, and anything else is refused with the fix."""

from pathlib import Path

import pytest

from van_dense.data.readers.quarantine import Quarantine, QuarantinedPart, part_key

LIST = Quarantine({"coco/train.json": QuarantinedPart(frozenset({3, "a"}), frozenset({7}))})


def test_a_saved_list_is_loaded_again(tmp_path: Path) -> None:
    LIST.save(tmp_path / "new folder" / "bad.json")
    assert Quarantine.load(tmp_path / "new folder" / "bad.json") == LIST


def test_the_key_outlives_a_move_of_the_data_set_and_tells_parts_apart() -> None:
    assert LIST.of("/old/coco/train.json") == LIST.of(Path("coco/train.json"))
    assert LIST.of("/new/place/coco/train.json").images == {3, "a"}
    assert LIST.of("/old/coco/val.json") == QuarantinedPart()
    assert part_key("/a/valid/_annotations.coco.json") != part_key(
        "/a/train/_annotations.coco.json"
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not JSON"),
        ("[1]", "expected an object"),
        ('{"a": [1]}', "lists images and annotations"),
        ('{"a": {"images": []}}', "lists images and annotations"),
        ('{"a": {"images": [[1]], "annotations": []}}', "images: not a list of ids"),
        ('{"a": {"images": 1, "annotations": []}}', "images: not a list of ids"),
    ],
)
def test_foreign_files_are_refused_with_the_fix(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"bad\.json: .*{reason}.*van-dense check"):
        Quarantine.load(path)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        Quarantine.load(tmp_path / "none.json")
