"""Names and texts as other systems write them."""

from pathlib import Path

import pytest

from van_dense.data.io.names import find_all_below, find_below, plain_stem, read_text


@pytest.mark.parametrize(
    ("name", "there"),
    [
        ("sub\\a.png", "sub/a.png"),
        ("a%20b.png", "a b.png"),
        ("a%20b.png", "a%20b.png"),
        ("caf\u00e9.png", "cafe\u0301.png"),
        ("cafe\u0301.png", "caf\u00e9.png"),
    ],
)
def test_the_spelling_that_exists_is_found(tmp_path: Path, name: str, there: str) -> None:
    (tmp_path / there).parent.mkdir(exist_ok=True)
    (tmp_path / there).touch()
    assert Path(find_below(tmp_path, name)) == tmp_path / there


def test_names_of_nothing_stay_as_they_are(tmp_path: Path) -> None:
    assert find_all_below(tmp_path, ["a%20b.png", "c.png"]) == (
        [str(tmp_path / "a%20b.png"), str(tmp_path / "c.png")],
        None,
    )


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_is_no_text(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.txt").write_bytes("0 0.5\n".encode(encoding))
    assert read_text(tmp_path / "a.txt") == "0 0.5\n"


def test_other_encodings_are_refused_with_the_fix(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("caf\u00e9".encode("latin-1"))
    with pytest.raises(ValueError, match=r"a\.txt: not text in UTF-8.*save it as UTF-8"):
        read_text(tmp_path / "a.txt")


def test_stems_are_compared_without_spelling() -> None:
    assert plain_stem("A%20b.PNG") == plain_stem("a b.txt")
