"""The plan on paper of docs/many-machines.md is what the code says today."""

from pathlib import Path

from benchmarks.plan_on_paper import table
from van_dense.config import load_config

PAGE = Path(__file__).resolve().parents[2] / "docs/many-machines.md"


def test_the_table_of_the_page_is_that_of_the_plan():
    assert table(load_config("maskrcnn_van_b2")) in PAGE.read_text(encoding="utf-8")
