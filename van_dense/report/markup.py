"""HTML from Python: what is text is escaped, by its type, and only what is ``Html`` is not."""

from __future__ import annotations

from html import escape
from typing import TypeAlias

from van_dense.core.plain_text import one_line

_VOID = frozenset({"meta", "link", "img"})  # elements without an end

Attribute: TypeAlias = str | int | bool | None


class Html(str):
    """Markup, which goes to a page as it is."""

    __slots__ = ()


def element(tag: str, *children: str, **attributes: Attribute) -> Html:
    """Make an element; children and attributes that are plain text are escaped.

    Args:
        tag: Name of the element.
        *children: Contents in their order; control characters of text are shown as escapes.
        **attributes: Attributes, written ``class_`` and ``aria_label`` in Python; True stands for
            one without a value, False and None for none.
    """
    start = f"<{tag}{''.join(map(_attribute, attributes.items()))}>"
    return Html(start if tag in _VOID else f"{start}{joined(*children)}</{tag}>")


def joined(*children: str) -> Html:
    """Contents one after another, text escaped."""
    return Html("".join(child if isinstance(child, Html) else _text(child) for child in children))


def _attribute(item: tuple[str, Attribute]) -> str:
    name, value = item[0].rstrip("_").replace("_", "-"), item[1]
    if value is None or value is False:
        return ""
    return f" {name}" if value is True else f' {name}="{_text(value)}"'


def _text(text: object) -> str:
    return escape(one_line(text))
