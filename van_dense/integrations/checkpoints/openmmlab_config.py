"""Texts of configs in files of OpenMMLab, read without running them.

``Config.pretty_text`` of mmcv and mmengine is Python in which literals and ``dict(...)`` are given
names. It is parsed, and no more is understood: other calls, operators and imports are not read.
Values of ``type`` may be dotted: after a scope, such as ``mmcls.ConvNeXt``, or after the module,
where the config was one of mmengine's Python modules.
"""

import ast
import math
import warnings
from collections import ChainMap
from collections.abc import Mapping
from typing import Any

from van_dense.core.counting import shorten

_PLAIN = (str, int, float, bool, type(None))
_NUMBERS = {"inf": math.inf, "nan": math.nan}


class _UnreadableError(Exception):
    pass


def parse_config(text: str) -> tuple[dict[str, Any] | None, list[str]]:
    """Values of the top-level keys that can be read, and notes on the others.

    None where the text is no Python, or where it has bases that it would have to be merged with.
    """
    try:
        with warnings.catch_warnings():  # of backslashes in paths of Windows
            warnings.simplefilter("ignore")
            statements = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = getattr(error, "lineno", None)
        return None, [f"the config is left aside: line {line or 1} of its text is no Python"]
    config: dict[str, Any] = {}
    unreadable: list[str] = []
    for statement in statements:
        match statement:
            case ast.Assign(targets=[ast.Name(id=key)], value=node):
                config.pop(key, None)
                try:
                    config[key] = _value(node, ChainMap(config, _NUMBERS))
                except (_UnreadableError, RecursionError):
                    unreadable.append(key)
            case _:
                unreadable.append(f"line {statement.lineno}")
    if "_base_" in config:
        return None, ["the config is left aside: its text has bases that are not in the file"]
    if unreadable:
        return config, [f"not readable in the config, and left aside: {shorten(unreadable, 5)}"]
    return config, []


def _value(node: ast.expr, names: Mapping[str, Any]) -> Any:
    """Value of a literal, of ``dict(...)``, or of a name that stands for one plain value."""
    match node:
        case ast.Constant(value=value) if isinstance(value, _PLAIN):
            return value
        case ast.UnaryOp(op=ast.USub() | ast.UAdd() as sign, operand=operand):
            value = _value(operand, names)
            if isinstance(value, int | float):
                return -value if isinstance(sign, ast.USub) else value
        case ast.List(elts=elements):
            return [_value(element, names) for element in elements]
        case ast.Tuple(elts=elements):
            return tuple(_value(element, names) for element in elements)
        case ast.Dict(keys=keys, values=values):
            return {_key(key, names): _value(v, names) for key, v in zip(keys, values, strict=True)}
        case ast.Call(func=ast.Name(id="dict"), args=[ast.Dict() as only], keywords=[]):
            return _value(only, names)
        case ast.Call(func=ast.Name(id="dict"), args=[], keywords=words):
            if all(word.arg for word in words):
                return {word.arg: _value(word.value, names) for word in words}
        case ast.Name(id=name) if isinstance(value := names.get(name, names), _PLAIN):
            return value  # a plain one: names of names can stand for more than fits into memory
    raise _UnreadableError


def _key(node: ast.expr | None, names: Mapping[str, Any]) -> Any:
    value = None if node is None else _value(node, names)  # None: ``**other``
    if node is None or not isinstance(value, _PLAIN):
        raise _UnreadableError
    return value
