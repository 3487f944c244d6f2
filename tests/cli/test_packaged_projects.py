"""``van-dense projects`` lists what ``--config`` takes by name."""

import pytest

from van_dense.cli.projects import main
from van_dense.config import presets


def test_each_project_has_a_line(capsys):
    assert main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == presets.project_names()
    assert "maskrcnn_van_b2  " in "\n".join(lines)


@pytest.mark.parametrize("name", presets.project_names())
def test_the_line_is_a_whole_sentence_of_one_line(name):
    title = presets.title(name)
    assert 20 < len(title) <= 98
    assert title.endswith(".")
