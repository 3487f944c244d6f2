"""YAML and JSON of any origin: what is read, what is refused, and what it may cost."""

from __future__ import annotations

import json

import pytest

from van_dense.core import budgets, parse
from van_dense.core.budgets import OverBudget
from van_dense.core.parse import parse_json, parse_yaml


def test_scalars_follow_the_core_schema_of_yaml_1_2() -> None:
    text = "[no, yes, on, 12:30, 2024-01-01, 1e-4, 010, 0x10, .5, true, ~, '1', -.inf]"
    assert parse_yaml(text, "a.yaml").values == [
        *("no", "yes", "on", "12:30", "2024-01-01"),
        *(1e-4, 10, 16, 0.5, True, None, "1", -float("inf")),
    ]


def test_every_scalar_is_there_as_it_is_written() -> None:
    found = parse_yaml("a: [001, 1.50, True]\nb: &b {c: 0x1}\nd: {<<: *b, 007: ~}", "a.yaml")
    assert found.texts == {
        "a": ["001", "1.50", "True"],
        "b": {"c": "0x1"},
        "d": {"c": "0x1", "007": "~"},
    }
    assert found.values["d"] == {"c": 1, "007": None}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: [", "not valid YAML"),
        ("a: 1\na: 2", "the key 'a' appears twice"),
        ("? [a]\n: 1", "keys are text"),
        ("{<<: {[a]: 1}}", "keys are text"),
        ("a: &a [*a]", "holds it itself"),
        ("a: !!python/object:os.system x", "not valid YAML"),
        ("a: !!timestamp 2024-13-40", "not valid YAML"),
        ("a: " + "9" * 5000, "not valid YAML"),
        ("a: \x1b", "not valid YAML"),
    ],
)
def test_what_is_no_plain_data_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=rf"^a\.yaml: .*{reason}"):
        parse_yaml(text, "a.yaml")


@pytest.mark.parametrize(
    ("text", "nodes"),
    [("[&a [x], *a, *a, *a]", 1 + 4 * 2), ("{a: &a {k: x}, b: {<<: *a}}", 1 + (1 + 3) + (1 + 5))],
)
def test_values_are_counted_with_aliases_written_out(text: str, nodes: int, monkeypatch) -> None:
    monkeypatch.setattr(budgets, "YAML_NODES", nodes)
    parse_yaml(text, "a.yaml")
    monkeypatch.setattr(budgets, "YAML_NODES", nodes - 1)
    with pytest.raises(OverBudget, match=rf"^a\.yaml: more than {nodes - 1} values .*YAML_NODES"):
        parse_yaml(text, "a.yaml")


def test_aliases_that_expand_without_end_cost_nothing() -> None:
    lines = ["a0: &a0 x"] + [f"a{i}: &a{i} [{f'*a{i - 1}, ' * 9}]" for i in range(1, 30)]
    with pytest.raises(OverBudget, match="YAML_NODES"):
        parse_yaml("\n".join(lines), "a.yaml")


@pytest.mark.parametrize("text", ["[[[x]]]", "[&a [x], [*a]]", "{a: {b: {c: x}}}"])
def test_nesting_counts_through_aliases_as_well(text: str, monkeypatch) -> None:
    monkeypatch.setattr(budgets, "YAML_DEPTH", 3)
    parse_yaml(text, "a.yaml")
    monkeypatch.setattr(budgets, "YAML_DEPTH", 2)
    with pytest.raises(OverBudget, match=r"^a\.yaml: more than 2 levels .*YAML_DEPTH"):
        parse_yaml(text, "a.yaml")


def test_a_path_that_a_comment_cuts_is_refused(tmp_path) -> None:
    (tmp_path / "set #1").mkdir()
    file = str(tmp_path / "a.yaml")
    for text in ("images: data/x #1/images", "images: set #1", "- set #1"):
        with pytest.raises(ValueError, match=r"a\.yaml: line 1: .*whole path into quotes"):
            parse_yaml(text, file)
    assert parse_yaml("images: data/x # of May", file).values == {"images": "data/x"}
    assert parse_yaml("size: 3 #px", file).values == {"size": 3}
    assert parse_yaml("images: 'data/x #1/images'", file).values == {"images": "data/x #1/images"}


def test_json_is_read_with_a_byte_order_mark() -> None:
    assert parse_json(b"\xef\xbb\xbf[1]", "a.json") == [1]
    for content in (b"[1,", b"", b"\xff"):
        with pytest.raises(ValueError, match=r"^a\.json: not valid JSON"):
            parse_json(content, "a.json")


@pytest.mark.parametrize("text", ["[[[1]]]", '{"a": [{"b": 1}]}', '[[["[["], "]["]]'])
def test_json_nests_up_to_the_budget(text: str, monkeypatch) -> None:
    monkeypatch.setattr(budgets, "JSON_DEPTH", 3)
    assert parse_json(text, "a.json") == json.loads(text)
    monkeypatch.setattr(budgets, "JSON_DEPTH", 2)
    with pytest.raises(OverBudget, match=r"^a\.json: more than 2 levels .*JSON_DEPTH"):
        parse_json(text, "a.json")


def test_nesting_is_known_before_json_is_parsed(monkeypatch) -> None:
    monkeypatch.setattr(parse.json, "loads", None)
    for text in ("[" * 200_000, "[" * 200 + "]" * 200, '{"a":' * 101 + "1" + "}" * 101):
        with pytest.raises(OverBudget, match="JSON_DEPTH"):
            parse_json(text, "a.json")


def test_brackets_in_text_are_no_nesting() -> None:
    text = json.dumps(["[" * 300, '\\"[' * 300])
    assert parse_json(text, "a.json") == json.loads(text)


def test_the_first_constant_that_is_no_number_ends_the_reading() -> None:
    text = '[{"a": "NaN"}, {"a": NaN}, {"a": Infinity}, not parsed'
    with pytest.raises(ValueError, match=r"^a\.json, byte 21: NaN is no number of JSON"):
        parse_json(text, "a.json", allow_nan=False)
