"""Rows of projects/family_tables.yaml: exact counts of whole networks, by the tool of the paper."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.harness import paper_tables

ROOT = Path(__file__).resolve().parents[2]
TABLES: dict[str, Any] = yaml.safe_load((ROOT / "projects/family_tables.yaml").read_text())[
    "tables"
]


@pytest.mark.parametrize("name", TABLES)
def test_rows_have_distinct_names_known_keys_and_one_value_for_each_metric(name: str) -> None:
    table = TABLES[name]
    names = [row["row"] for row in table["rows"]]
    assert len(set(names)) == len(names)
    assert {len(row.get("metrics", [])) for row in table["rows"]} == {len(table["metrics"])}
    known = {"row", "project", "model", "options", "params_paper", "params_exact", "gflops_paper"}
    assert {key for row in table["rows"] for key in row} <= known | {"metrics", "erratum", "note"}


@pytest.mark.parametrize("name", TABLES)
def test_every_row_is_counted_exactly_and_meets_what_is_published(name: str) -> None:
    rows = paper_tables.compare(name, TABLES[name])
    assert len(rows) == len(TABLES[name]["rows"])
    assert [row["flag"] for row in rows if not row["erratum"] and row["flag"]] == []
    assert all(row["params_exact"] == round(1e6 * row["params"]) for row in rows)


@pytest.mark.parametrize(
    ("name", "row", "params"),
    [
        ("segnext", "SegNeXt-T", 4_263_414),
        ("segnext", "SegNeXt-S", 13_932_886),
        ("segnext", "SegNeXt-B", 27_636_310),
        ("segnext", "SegNeXt-L", 48_926_550),
        ("van_ham", "VAN-B0", 4_866_134),
        ("van_ham", "VAN-B1", 14_707_286),
        ("van_ham", "VAN-B2", 27_423_958),
        ("van_ham", "VAN-B3", 45_611_094),
    ],
)
def test_counts_are_those_of_the_authors_code(name: str, row: str, params: int) -> None:
    (found,) = [one["params_exact"] for one in TABLES[name]["rows"] if one["row"] == row]
    assert found == params


def test_light_ham_of_256_channels_on_van_b0_has_the_size_of_its_readme() -> None:
    import torch

    import van_dense

    config = van_dense.load_config(
        ROOT / "projects/van_b0_ham.yaml",
        ["model.decoder={channels: 256, ham_channels: 256, rank: 16}"],
    )
    with torch.device("meta"):
        model = van_dense.build_model(config)
    assert sum(parameter.numel() for parameter in model.parameters()) == 4_208_630


def test_one_parameter_too_many_is_a_difference() -> None:
    result = {"params": 4.263415, "params_exact": 4_263_414, "params_paper": 4}
    flag = paper_tables.difference(result | {"gflops": 1.0, "gflops_paper": None})
    assert flag is not None and flag.startswith("#P 4,263,415, exactly 4,263,414")


def test_a_table_is_chosen_by_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert paper_tables.main(["--table", "lsknet"]) == 0
    assert "2 rows counted" in capsys.readouterr().out
