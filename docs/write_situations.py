"""Write docs/situations.md from the tests: ``python docs/write_situations.py``."""

import re
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS.parent / "tests"))

from situations.situation import Situation, situations  # noqa: E402

HEAD = """# Files as they come

What becomes of files that are not as the description of their format says. Each of the {count} rows
is a test: its files are made, the command runs, and what is read, what is said and the exit code
are compared.

- **What is read**: the training part as the reader of the project gives it, or "nothing" where it
  refuses; crowds are regions of many objects, which are no targets. For `van-dense eval` a metric.
- **What is said**: a part of what the command prints, or "nothing" where there is neither an error
  nor a warning. Where images or objects are lost, `van-dense train --dry-run` says so too.
- **Exit**: 0 is fine, maybe with warnings; 1 is errors, such as an unusable list; 2 is wrong
  arguments.

"""


END = """
Written by `python docs/write_situations.py`.
"""


def table() -> str:
    """The whole page."""
    tables = situations()
    links = [f"- [{title}](#{_anchor(title)}), {len(rows)} rows" for title, rows in tables]
    sections = ["\n".join(links) + "\n"]
    for title, rows in tables:
        lines = [f"\n## {title}\n", "| situation | command | what is read | what is said | exit |"]
        lines += ["|---|---|---|---|---|", *map(_row, rows)]
        sections.append("\n".join(lines) + "\n")
    count = sum(len(rows) for _, rows in tables)
    return HEAD.format(count=count) + "".join(sections) + END


def _anchor(title: str) -> str:
    return re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-")


def _row(row: Situation) -> str:
    said = "<br>".join(_code(words) for words in row.says) or "nothing"
    cells = _plain(row.title), row.command[0], row.read or "-", said, str(row.exit_code)
    return f"| {' | '.join(cells)} |"


def _code(words: str) -> str:
    return f"`{_plain(words)}`"


def _plain(words: str) -> str:
    return words.replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    (DOCS / "situations.md").write_text(table(), encoding="utf-8")
