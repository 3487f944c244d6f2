"""Attributes that are different for a while, such as the mode of a network."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def attribute_set(objects: Iterable[Any], name: str, value: Any) -> Iterator[None]:
    """Give an attribute of all objects one value, and each its own back at the end."""
    before = [(one, getattr(one, name)) for one in objects]
    for one, _ in before:
        setattr(one, name, value)
    try:
        yield
    finally:
        for one, own in before:
            setattr(one, name, own)
