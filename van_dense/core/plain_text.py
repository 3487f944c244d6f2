"""Text of foreign files, as it may stand in a terminal, a log, a page or a picture.

Names of classes and files may hold anything: sequences that move the cursor or write to the title
of a terminal, line ends that begin a line of their own, and marks that turn the order of letters.
Here each such character becomes its escape, such as ``\\x1b``.
"""

import logging
import re

# Control characters; line and paragraph separators; marks of direction and other invisible ones
# (but the joiners that Persian, Hindi and emoji need); halves of pairs, which no terminal encodes.
_ODD = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)


def one_line(text: object) -> str:
    """Text with every control character escaped, line ends and tabs too: a name, a sentence."""
    shown = str(text)
    return shown if shown.isprintable() else _ODD.sub(_escape, shown)


def printable(text: object) -> str:
    """Text of several lines with every control character escaped but line ends and tabs."""
    shown = str(text)
    return _ODD.sub(lambda match: match[0] if match[0] in "\n\t" else _escape(match), shown)


class PlainFormatter(logging.Formatter):
    """Formatter of log records without control characters."""

    def format(self, record: logging.LogRecord) -> str:
        """The text of a record."""
        return printable(super().format(record))


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode()
