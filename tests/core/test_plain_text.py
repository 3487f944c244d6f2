"""Control characters of foreign names: escaped, and nothing else."""

from __future__ import annotations

import logging

import pytest

from van_dense.core.plain_text import PlainFormatter, one_line, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x07", r"\x1b[31mred\x07"),
        ("a\nerror: b\r\t", r"a\nerror: b\r\t"),
        ("\x9b2J", r"\x9b2J"),
        ("gnp.\u202eexe\u2066", r"gnp.\u202eexe\u2066"),
        ("a\u2028b\u200b\ufeff", r"a\u2028b\u200b\ufeff"),
        ("not utf-8: \udcff", r"not utf-8: \udcff"),
        ("tag \U000e0041", r"tag \U000e0041"),
    ],
)
def test_what_moves_a_cursor_or_turns_letters_is_escaped(text: str, shown: str) -> None:
    assert one_line(text) == shown


# Latin, Chinese, Persian and Hindi with their joiners, an emoji of two, Hebrew.
@pytest.mark.parametrize(
    "text",
    [
        *("chat échaudé", "狗", "\u0645\u06cc\u200c\u062e\u0648", "\u0915\u094d\u200d\u0937"),
        *("\U0001f469\u200d\U0001f692", "\u05db\u05dc\u05d1"),
    ],
)
def test_letters_of_all_scripts_stay(text: str) -> None:
    assert one_line(text) == printable(text) == text


def test_text_of_several_lines_keeps_them() -> None:
    assert printable("a\n\tb\r\x1b") == "a\n\tb\\r\\x1b"


def test_log_records_are_plain() -> None:
    record = logging.LogRecord("a", logging.INFO, "a.py", 1, "read %s", ("\x1b[2J",), None)
    assert PlainFormatter("%(message)s").format(record) == r"read \x1b[2J"
