"""What is exact, needs a setting and is refused of OpenMMLab: the tables of docs/openmmlab.md."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from integrations.checkpoints.openmmlab_cases import CASES, Case, refusal

DOCS = Path(__file__).resolve().parents[3] / "docs"


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.framework}, {case.title}")
def test_a_file_of_another_network_is_refused(case: Case) -> None:
    assert refusal(case)


def test_the_page_has_what_is_said(monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(DOCS))
    sys.modules.pop("write_openmmlab", None)
    from write_openmmlab import PAGE, page  # type: ignore[import-not-found]

    assert PAGE.read_text(encoding="utf-8") == page(), "run: python docs/write_openmmlab.py"
