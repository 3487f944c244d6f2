"""tools/paper_tables.py and the rows of projects/paper_tables.yaml."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.harness import paper_tables

ROOT = Path(__file__).resolve().parents[2]
TABLES: dict[int, Any] = yaml.safe_load((ROOT / "projects/paper_tables.yaml").read_text())["tables"]
ROWS = [(number, row) for number, table in TABLES.items() for row in table["rows"]]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """All counted rows, as the command line gives them to a machine, from any folder."""
    command = [sys.executable, str(ROOT / "tools" / "paper_tables.py"), "--json"]
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    process = subprocess.run(command, cwd=elsewhere, capture_output=True, text=True)
    assert process.returncode == 0, process.stdout + process.stderr
    return json.loads(process.stdout)


# -------------------------------------------------------------------------------------- rows


def test_tables_4_to_17_are_there_with_all_their_rows() -> None:
    assert {number: len(table["rows"]) for number, table in TABLES.items()} == {
        3: 7, 4: 8, 5: 7, 6: 4, 7: 42, 8: 21, 9: 13, 10: 14, 11: 14,
        12: 30, 13: 6, 14: 4, 15: 8, 16: 4, 17: 6,
    }  # fmt: skip


@pytest.mark.parametrize("number", TABLES)
def test_rows_have_distinct_names_and_one_value_for_each_metric(number: int) -> None:
    table = TABLES[number]
    names = [row["row"] for row in table["rows"]]
    assert len(set(names)) == len(names)
    assert {len(row.get("metrics", [])) for row in table["rows"]} == {len(table["metrics"])}


def test_rows_use_known_keys_only() -> None:
    known = {"row", "project", "model", "options", "input", "params_paper", "gflops_paper"}
    known |= {"metrics", "erratum", "note"}
    assert {key for _, row in ROWS for key in row} <= known


def test_every_van_row_names_what_it_counts_and_no_baseline_does() -> None:
    for number, row in ROWS:
        is_van = "VAN" in row["row"] or number == 3
        assert ("project" in row or "model" in row) == is_van, (number, row["row"])


@pytest.mark.parametrize(
    "number, name, values",
    [
        (9, "VAN-B0", [38.8, 58.8, 41.3, 23.4, 42.8, 50.9]),
        (10, "VAN-B3", [48.3, 69.6, 53.3, 43.4, 67.0, 46.8]),
        (11, "Cascade Mask R-CNN, VAN-B2", [52.0, 70.9, 56.4]),
        (12, "UperNet, VAN-B4", [52.2]),
        (15, "VAN-B2, 384x288", [76.7, 91.0, 83.1, 81.7]),
        (17, "VAN-B2", [0.919, 0.028, 0.844, 0.045, 0.897, 0.053]),
    ],
)
def test_metrics_are_as_printed(number: int, name: str, values: list[float]) -> None:
    assert [row["metrics"] for row in TABLES[number]["rows"] if row["row"] == name] == [values]


# -------------------------------------------------------------------------------- comparison


def flag(params: float, params_paper: float | None, gflops: float = 1.0) -> str | None:
    result = {"params": params, "params_paper": params_paper, "gflops": gflops}
    return paper_tables.difference(result | {"gflops_paper": None})


def test_a_difference_within_one_percent_is_none() -> None:
    assert flag(1030.6, 1030) is None
    assert flag(231.48, 231) is None


def test_equal_after_rounding_to_the_printed_digits_is_no_difference() -> None:
    assert flag(0.88, 0.9) is None
    assert flag(13.386, 13.4) is None
    assert flag(7.98, 8) is None


def test_a_larger_difference_is_named_in_percent() -> None:
    assert flag(121.89, 117) == "#P +4.2%"
    assert flag(0.84, 0.9) == "#P -6.7%"


def test_numbers_the_paper_does_not_print_are_not_compared() -> None:
    assert flag(121.89, None) is None


# -------------------------------------------------------------------------------- whole tool


@pytest.mark.slow
def test_no_difference_is_left_unexplained(results: list[dict[str, Any]]) -> None:
    assert [row for row in results if row["flag"] and not row["erratum"]] == []


@pytest.mark.slow
def test_known_errata_are_marked_and_not_hidden(results: list[dict[str, Any]]) -> None:
    (b6,) = [row for row in results if (row["table"], row["row"]) == (5, "VAN-B6")]
    assert b6["flag"] == "GFLOPs +1.3%"
    assert "38.9" in b6["erratum"]


@pytest.mark.slow
def test_every_row_of_the_classification_tables_that_names_van_is_counted(
    results: list[dict[str, Any]],
) -> None:
    counted = [row["table"] for row in results]
    assert [counted.count(number) for number in (4, 5, 6, 7, 8)] == [5, 7, 4, 5, 6]


# Independent counts of the heads' definitions: #P exactly, mmcv GFLOPs at 1280x800.
@pytest.mark.slow
@pytest.mark.parametrize(
    "project, params, gflops",
    [
        ("retinanet_van_b0.yaml", 13_386_068, 169.0),
        ("retinanet_van_b1.yaml", 23_598_772, 203.0),
        ("retinanet_van_b2.yaml", 36_315_444, 254.3),
        ("retinanet_van_b3.yaml", 54_502_580, 335.1),
        ("maskrcnn_van_b0.yaml", 23_885_136, 187.2),
        ("maskrcnn_van_b1.yaml", 33_516_208, 221.6),
        ("maskrcnn_van_b2.yaml", 46_232_880, 272.9),
        ("maskrcnn_van_b3.yaml", 64_420_016, 353.6),
    ],
)
def test_detectors_have_their_known_counts(
    results: list[dict[str, Any]], project: str, params: int, gflops: float
) -> None:
    (row,) = [row for row in results if row["project"] == project]
    assert round(row["params"] * 1e6) == params
    assert row["gflops"] == pytest.approx(gflops, rel=1e-3)
    assert row["gflops_paper"] is None  # Tables 9 and 10 print none


@pytest.mark.slow
@pytest.mark.parametrize(
    "project, params, gflops",
    [("atss_van_b2_3x.yaml", 34_181_018, 221.2), ("gfl_van_b2_3x.yaml", 34_326_233, 224.3)],
)
def test_one_stage_detectors_of_table_11_have_their_known_counts(
    results: list[dict[str, Any]], project: str, params: int, gflops: float
) -> None:
    (row,) = [row for row in results if row["project"] == project]
    assert round(row["params"] * 1e6) == params
    assert row["gflops"] == pytest.approx(gflops, abs=0.05)
    assert row["flag"] is None


def test_one_table_is_printed_with_paper_and_own_numbers(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert paper_tables.main(["--table", "6"]) == 0
    lines = capsys.readouterr().out.splitlines()
    (line,) = [line for line in lines if "K 7, dilation 2" in line]
    assert line.split()[-5:] == ["224x224", "4.03", "4.027", "0.85", "0.85"]
    assert lines[-1] == "4 rows counted; 0 are baselines or wait for their project."


def test_an_unknown_table_lists_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        paper_tables.main(["--table", "2"])
    assert "invalid choice: 2 (choose from 3, 4, 5" in capsys.readouterr().err
