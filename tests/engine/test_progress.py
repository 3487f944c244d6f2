"""Bars of tools."""

from van_dense.engine.progress import progress


def test_an_iteration_ends_at_the_wish_to_stop(capsys):
    seen = []
    with progress(lambda: len(seen) == 2) as track:
        for item in track("abc", total=3, what="letters"):
            seen.append(item)
    assert seen == ["a", "b"]
    assert capsys.readouterr().err == ""  # which is no terminal


def test_a_terminal_shows_how_far_it_is(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    with progress() as track:
        assert list(track("abc", total=3, what="letters")) == ["a", "b", "c"]
    assert "letters" in capsys.readouterr().err
