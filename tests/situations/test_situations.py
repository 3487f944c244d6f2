"""Every row of docs/situations.md: what is read and said, the exit code, and no silent loss."""

from __future__ import annotations

import logging
import re
import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from situations.situation import (
    Situation,
    check_again,
    metrics_of,
    notes_by,
    num_images,
    num_listed,
    read_by,
    run,
    situations,
)

DOCS = Path(__file__).resolve().parents[2] / "docs"
ROWS = [row for _, rows in situations() for row in rows]


@pytest.fixture
def made(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Situation:
    """A situation whose files lie in the working folder."""
    situation: Situation = request.param
    situation.make(tmp_path)
    monkeypatch.chdir(tmp_path)
    return situation


def each(rows: list[Situation]) -> pytest.MarkDecorator:
    """One test for each of some rows."""
    return pytest.mark.parametrize("made", rows, indirect=True, ids=[row.title for row in rows])


@each(ROWS)
def test_what_is_read_and_said(
    made: Situation, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        assert run(made.command) == made.exit_code
    printed = capsys.readouterr()
    output = printed.out + printed.err + caplog.text
    for words in made.says:
        assert words in output
    if not made.says:
        assert not re.search(r"^(error|warning):", output, re.MULTILINE), output
        assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    if made.command[0] == "check":
        assert read_by(made.command) == made.read
    elif made.read:
        name, value = made.read.split()
        assert f"{metrics_of(Path())[name]:.3f}" == value


CHECKS = [row for row in ROWS if row.command[0] == "check"]


@each([row for row in CHECKS if row.objects is not None or "data.train.masks" in str(row.command)])
def test_nothing_is_lost_in_silence(made: Situation) -> None:
    """What a human finds is read, or the doctor and the plan have a word about it."""
    pairs = "data.train.masks" in str(made.command)
    if made.loses or (pairs and num_listed(made.command) < num_images(made.command)):
        assert made.says, "the doctor has a word about it"
        assert new_notes(made), "the plan has a word about it"


@cache
def sound_notes(module: str) -> frozenset[str]:
    """Words of the plan about the first situation of a table: of no loss, if it is sound."""
    first = dict(situations())[module][0]
    if first.says:
        return frozenset()
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        first.make(Path(folder))
        return frozenset(in_words(notes_by(first.command)))


def new_notes(made: Situation) -> list[str]:
    """Words of the plan that a sound situation does not have."""
    (module,) = [title for title, rows in situations() if made in rows]
    usual = sound_notes(module)
    return [note for note in in_words(notes_by(made.command)) if note not in usual]


def in_words(notes: str) -> list[str]:
    """Notes without their numbers and paths, which differ between equal sentences."""
    return [re.sub(r"\S*/\S*|\d+", "", note) for note in notes.splitlines()]


@each([row for row in ROWS if row.quarantined is not None])
def test_quarantine_leaves_a_sound_rest(
    made: Situation, capsys: pytest.CaptureFixture[str]
) -> None:
    run((*made.command, "--quarantine", "bad.json"))
    again = check_again(made.command, "data.quarantine=bad.json")
    capsys.readouterr()
    assert run(again) == 0, capsys.readouterr().out
    assert read_by(again) == made.quarantined


def test_table_of_the_docs_is_written_from_these_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(DOCS))
    sys.modules.pop("write_situations", None)
    from write_situations import table  # type: ignore[import-not-found]

    fix = "run: python docs/write_situations.py"
    assert (DOCS / "situations.md").read_text(encoding="utf-8") == table(), fix


def test_titles_are_unique() -> None:
    titles = [row.title for row in ROWS]
    assert sorted(set(titles)) == sorted(titles)
