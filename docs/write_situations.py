"""Write docs/situations.md from the tests: ``python docs/write_situations.py``."""

import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS.parent / "tests"))

from situations.situation import Situation, situations  # noqa: E402

HEAD = """# Files as they come

What becomes of files that are not as the description of their format says. Each row is a test:
its files are made, the command runs, and what is read, what is said and the exit code are
compared. "What is read" is what the reader of the training part gives, for `van-dense eval` a
metric; "what is said" is a part of what the command prints. Where objects are lost, the plan of
`--dry-run` says so as well.

Written by `python docs/write_situations.py`.
"""


def table() -> str:
    """The whole page."""
    sections = []
    for title, rows in situations():
        lines = [f"\n## {title}\n", "| situation | what is read | what is said | exit code |"]
        lines += ["|---|---|---|---|", *map(_row, rows)]
        sections.append("\n".join(lines) + "\n")
    return HEAD + "".join(sections)


def _row(row: Situation) -> str:
    said = "<br>".join(_code(words) for words in row.says) or "nothing"
    return f"| {_plain(row.title)} | {row.read or '-'} | {said} | {row.exit_code} |"


def _code(words: str) -> str:
    return f"`{_plain(words)}`"


def _plain(words: str) -> str:
    return words.replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    (DOCS / "situations.md").write_text(table(), encoding="utf-8")
