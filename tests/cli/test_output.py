"""What commands print: no control characters of foreign names, and quiet where nobody reads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from helpers.coco_folder import write_image

from van_dense.cli.check import main as check
from van_dense.cli.main import main
from van_dense.cli.output import command, complain, say

EVIL = "\x1b]0;title\x07\u202e"


def data_set(folder: Path, count: int = 1) -> list[str]:
    """Arguments of ``check`` for images that are missing but the first, of oddly named classes."""
    write_image(folder / "a.png", 20, 12, 0)
    images = [
        {
            "id": i,
            "file_name": f"{EVIL}\nerror: {i}.png" if i else "a.png",
            "width": 20,
            "height": 12,
        }
        for i in range(count)
    ]
    box = {"id": 1, "image_id": 0, "category_id": 1, "bbox": [1, 1, 5, 5], "area": 25, "iscrowd": 0}
    category = {"id": 1, "name": f"cat{EVIL}\nerror: none"}
    content = {"images": images, "annotations": [box], "categories": [category]}
    (folder / "a.json").write_text(json.dumps(content))
    return ["--images", str(folder), "--annotations", str(folder / "a.json"), "--quiet"]


def test_names_of_classes_and_files_are_escaped(tmp_path, capsys) -> None:
    assert check(data_set(tmp_path, count=2)) == 1
    out = capsys.readouterr().out
    assert r"cat\x1b]0;title\x07\u202e\nerror: none" in out
    assert r"\x1b]0;title\x07\u202e\nerror: 1.png" in out
    assert "\x1b" not in out and "\u202e" not in out
    assert sum(line.startswith("error: ") for line in out.splitlines()) == 1


def test_mistakes_and_results_keep_their_lines_alone(capsys) -> None:
    say("a\nb", "\x1b[1m")
    complain("c\n\x1b[1m")
    assert capsys.readouterr() == ("a\nb \\x1b[1m\n", "c\n\\x1b[1m\n")


def test_words_of_the_command_line_are_escaped_as_well(capsys) -> None:
    assert main(["\x1b[1m"]) == 2
    with pytest.raises(SystemExit):
        check(["--nothing\x1b[1m"])
    assert "\x1b" not in capsys.readouterr().err


@pytest.mark.skipif(os.name != "posix", reason="pipes of a shell")
@pytest.mark.parametrize("words", [["projects"], ["--help"], ["train", "--help"], ["check"]])
def test_a_closed_pipe_ends_quietly_with_the_work_done(tmp_path: Path, words: list[str]) -> None:
    bad = tmp_path / "bad.json"
    if words == ["check"]:
        words = ["check", *data_set(tmp_path, count=50), "--quarantine", str(bad)]
    reader, writer = os.pipe()
    os.close(reader)
    program = [sys.executable, "-m", "van_dense", *words]
    done = subprocess.run(program, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert done.stderr == "" and done.returncode == (1 if "check" in words else 0)
    assert bad.exists() == ("check" in words)


def test_letters_that_a_terminal_cannot_show_are_escaped(tmp_path: Path) -> None:
    code = "from van_dense.cli.output import say; say('\\u72d7 \\udcff')"
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "\\u72d7 \\udcff\n"


def test_the_end_of_another_process_is_a_mistake_of_every_command(monkeypatch, capsys) -> None:
    def end(error: RuntimeError) -> int:
        @command
        def main(argv: Sequence[str] | None = None) -> int:
            raise error

        return main([])

    lost = RuntimeError("[/src/gloo/transport/tcp/pair.cc:561] Connection closed by peer")
    with pytest.raises(RuntimeError, match="closed by peer"):  # there is no other process
        end(lost)
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert end(lost) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: another process of this job cannot be reached: killed by the")
    assert said.endswith("Connection closed by peer); --resume goes on from what was saved\n")
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        end(RuntimeError("shapes cannot be multiplied"))
