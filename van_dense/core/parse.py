"""YAML and JSON of any origin: the one reader of each, within the budgets of ``budgets.py``.

YAML is read by the core schema of YAML 1.2 (https://yaml.org/spec/1.2.2/#103-core-schema), where
``no``, ``on`` and ``12:30`` are text, ``010`` is ten and ``1e-4`` a number. PyYAML's loaders follow
YAML 1.1, where they are False, True, 750, 8 and text.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from typing import Any, NamedTuple, NoReturn

import yaml
from yaml.composer import Composer
from yaml.constructor import SafeConstructor
from yaml.parser import Parser
from yaml.reader import Reader
from yaml.resolver import BaseResolver
from yaml.scanner import Scanner

from van_dense.core import budgets
from van_dense.core.budgets import OverBudget

_COMMENT = re.compile(r"[ \t]+(#[^\r\n]*)")  # behind a value, on its line
_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_NO_NUMBER = re.compile(rb"-?(?:NaN|Infinity)")
_BRACKETS = b"[]{}"
_ALL_BUT_BRACKETS = bytes(set(range(256)) - set(_BRACKETS))
_ALIKE = bytes.maketrans(b"{}", b"[]")


class Yaml(NamedTuple):
    """Content of a YAML document."""

    values: Any
    texts: Any  #: the same lists and mappings, with every scalar as it is written
    comment: str  #: what follows the content on its last line and is no part of it


def parse_yaml(text: str, source: str, *, is_file: bool = True) -> Yaml:
    """Read a YAML document of plain data, or ValueError that names the source and what is wrong.

    Keys are text. One that stands twice in a mapping is an error, and so is a path that ``#`` cuts.

    Args:
        text: Content.
        source: Path of the file, or other words for where the text is from.
        is_file: May it hold comments? Elsewhere the caller decides about ``comment``.
    """
    try:
        loader = _Loader(text, source, is_file)
        try:
            node = loader.get_single_node()
            if node is None:
                return Yaml(None, None, text.strip())
            end = node.end_mark.index
            return Yaml(loader.construct_document(node), _texts(node), text[end:].strip())
        finally:
            loader.dispose()
    except OverBudget:
        raise
    except _Refused as error:
        raise ValueError(f"{source}: {error}") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ValueError(f"{source}: not valid YAML: {error}") from error


class _Refused(ValueError):
    """What is wrong with YAML that is valid."""


class _Loader(Reader, Scanner, Parser, Composer, SafeConstructor, BaseResolver):
    """Loader of plain data that counts what aliases stand for before anything is made of it."""

    def __init__(self, text: str, source: str, is_file: bool) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)
        Composer.__init__(self)
        SafeConstructor.__init__(self)
        BaseResolver.__init__(self)
        self.name = self._source = source  # in the messages of PyYAML
        self._text, self._is_file = text, is_file
        self._depth = 0
        self._costs: dict[int, tuple[int, int]] = {}  # (nodes, depth) of each finished node

    def compose_node(self, parent: Any, index: Any) -> Any:
        self._depth += 1
        self._check(0, self._depth - 1)
        is_alias = self.check_event(yaml.AliasEvent)
        node = super().compose_node(parent, index)
        self._depth -= 1
        if is_alias and id(node) not in self._costs:
            raise _Refused("an alias stands for a value that holds it itself")
        if id(node) not in self._costs:
            inside = node.value if isinstance(node, yaml.CollectionNode) else []
            if isinstance(node, yaml.MappingNode):
                inside = [one for pair in inside for one in pair]
            costs = [self._costs[id(one)] for one in inside]
            nodes = 1 + sum(cost[0] for cost in costs)
            depth = max((cost[1] for cost in costs), default=-1) + 1
            self._costs[id(node)] = nodes, depth
            self._check(nodes, depth)
            if isinstance(node, yaml.ScalarNode) and node.style is None and self._is_file:
                self._check_comment(node)
        return node

    def _check(self, nodes: int, depth: int) -> None:
        what = None
        if nodes > budgets.YAML_NODES:
            what = f"more than {budgets.YAML_NODES} values with its aliases written out (YAML_NODES"
        if depth > budgets.YAML_DEPTH:
            what = f"more than {budgets.YAML_DEPTH} levels of nesting (YAML_DEPTH"
        if what is not None:
            raise OverBudget(f"{self._source}: {what} of van_dense.core.budgets)")

    def _check_comment(self, node: yaml.ScalarNode) -> None:
        """ValueError for a path that continues behind `` #``, where YAML begins a comment."""
        found = _COMMENT.match(self._text, node.end_mark.index)
        if found is None or not node.value:
            return
        whole = (node.value + found[0]).rstrip()
        folder = os.path.dirname(self._source)
        is_tight = found[1][1:2].strip() and ("/" in node.value or "\\" in node.value)
        if is_tight or any(os.path.lexists(os.path.join(base, whole)) for base in ("", folder)):
            line = node.start_mark.line + 1
            what = f"line {line}: {node.value!r} ends where {found[1]!r:.60} begins a comment"
            fix = "put the whole path into quotes, or a space behind # if it is a comment"
            raise _Refused(f"{what}; {fix}")


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[str, Any]:
    keys = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
    if repeated := sorted(key for key, count in keys.items() if count > 1):
        raise _Refused(f"the key {repeated[0]!r} appears twice")
    loader.flatten_mapping(node)
    if not all(isinstance(key, yaml.ScalarNode) for key, _ in node.value):
        raise _Refused("a list or mapping is used as a key; keys are text")
    return {key.value: loader.construct_object(value, deep=True) for key, value in node.value}


def _int(loader: _Loader, node: yaml.ScalarNode) -> int:
    return int(node.value, {"0o": 8, "0x": 16}.get(node.value[:2], 10))


def _texts(node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return {key.value: _texts(value) for key, value in node.value}
    if isinstance(node, yaml.SequenceNode):
        return [_texts(value) for value in node.value]
    return node.value


def _resolve(kind: str, pattern: str, first: str) -> None:
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{kind}", re.compile(pattern), list(first))


_NUMBER = r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$"
_resolve("bool", "^(?:true|True|TRUE|false|False|FALSE)$", "tTfF")
_resolve("int", "^(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$", "-+0123456789")
_resolve("float", rf"{_NUMBER}|^[-+]?\.(?:inf|Inf|INF)$|^\.(?:nan|NaN|NAN)$", "-+.0123456789")
_resolve("null", "^(?:~|null|Null|NULL)$", "~nN")
_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile("^$"), [""])
_resolve("merge", "^<<$", "<")
# Without dates, binary data and sets, which no file that is read here holds.
_PLAIN = [f"tag:yaml.org,2002:{kind}" for kind in ("null", "bool", "float", "str", "seq")]
_Loader.yaml_constructors = {tag: SafeConstructor.yaml_constructors[tag] for tag in _PLAIN}
_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)  # type: ignore[type-var]
_Loader.add_constructor("tag:yaml.org,2002:int", _int)  # type: ignore[type-var]
_Loader.add_constructor(None, SafeConstructor.construct_undefined)  # type: ignore[type-var]


def parse_json(content: bytes | str, source: str, *, allow_nan: bool = True) -> Any:
    """Read JSON, or ValueError that names the source and what is wrong; a byte order mark is fine.

    Args:
        content: The whole document.
        source: Path of the file, or other words for where the content is from.
        allow_nan: Read NaN and Infinity, which are no JSON but which Python writes; otherwise the
            first of them ends the reading.
    """

    def refuse(constant: str) -> NoReturn:
        refuse_constant(constant, data, source)

    data = content.encode() if isinstance(content, str) else content
    try:
        if is_deep(data):
            raise too_deep(source)
        text = data.decode(json.detect_encoding(data))
        return json.loads(text, parse_constant=None if allow_nan else refuse)
    except RecursionError:
        raise too_deep(source) from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{source}: not valid JSON ({error}); is the file complete?") from error
    except (NoNumber, OverBudget):
        raise
    except ValueError as error:  # no text, or a number of thousands of digits
        raise ValueError(f"{source}: not valid JSON ({error})") from error


class NoNumber(ValueError):
    """NaN or Infinity in JSON, which has no such numbers."""


def refuse_constant(constant: str, data: bytes, source: str, *, start: int = 0) -> NoReturn:
    """ValueError for the first NaN or Infinity in JSON, which begins at byte ``start``."""
    found = _NO_NUMBER.search(_STRINGS.sub(lambda text: b" " * len(text[0]), data))
    where = "" if found is None else f", byte {start + found.start()}"
    raise NoNumber(f"{source}{where}: {constant} is no number of JSON; leave its record out")


def too_deep(source: str) -> OverBudget:
    """The error for JSON that nests deeper than its budget."""
    budget = f"{budgets.JSON_DEPTH} levels of nesting (JSON_DEPTH of van_dense.core.budgets)"
    return OverBudget(f"{source}: more than {budget}")


def is_deep(data: bytes) -> bool:
    """Whether brackets nest deeper than the budget: pairs are taken away, innermost first."""
    for content in (data, None):
        if content is None:  # rarely: text may hold brackets
            content = _STRINGS.sub(b"", data)
        brackets = content.translate(_ALIKE, _ALL_BUT_BRACKETS)
        for _ in range(budgets.JSON_DEPTH):
            shorter = brackets.replace(b"[]", b"")
            if len(shorter) == len(brackets):
                break
            brackets = shorter
        opened = brackets.count(b"[")  # more than closed in broken files
        if b"[]" not in brackets and opened <= budgets.JSON_DEPTH:
            return False
    return True
