"""The log of a run."""

import json
import logging
import math
import re
import time

import pytest

from van_dense.engine.log import (
    RunLog,
    Window,
    best_evaluation,
    duration_line,
    read_log,
    setup_logging,
    train_line,
)

VALUES = {"lr": 0.1, "loss": 1.5, "loss/box": 0.5, "images_per_s": 3.0, "data_fraction": 0.25}


def write(run_dir, steps, **options):
    with RunLog(run_dir, total_steps=10, **options) as run_log:
        for step in steps:
            run_log.train(step, VALUES)
            run_log.advance(step)
        run_log.evaluation(steps[-1], {"bbox/AP": 0.1 * steps[-1]})


def test_entries_come_back_from_the_file(tmp_path):
    write(tmp_path, [1, 2])
    entries = read_log(tmp_path / "log.jsonl")
    assert [(e["kind"], e["step"]) for e in entries] == [("train", 1), ("train", 2), ("eval", 2)]
    assert entries[0].pop("memory_gb") > 0
    assert entries[0] == {
        "kind": "train",
        "step": 1,
        "lr": 0.1,
        "loss": 1.5,
        "losses": {"box": 0.5},
        "images_per_s": 3.0,
        "data_fraction": 0.25,
    }
    assert entries[2] == {"kind": "eval", "step": 2, "metrics": {"bbox/AP": 0.2}}
    assert list((tmp_path / "tensorboard").glob("events.*"))


@pytest.mark.parametrize("start", [0, 2])  # killed before its first checkpoint, and after
def test_tensorboard_shows_what_was_trained_again_once(tmp_path, start):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for rest in ([1, 2, 3, 4], range(start + 1, 5)):
        with RunLog(tmp_path, rest[0] - 1, total_steps=4) as run_log:
            for step in rest:
                run_log.train(step, VALUES)
        time.sleep(1.1)  # names and order of its files count seconds
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("train/loss")] == [1, 2, 3, 4]


def test_lines_are_on_the_disk_before_a_checkpoint_can_be(tmp_path, monkeypatch):
    """Resuming after a power loss would not write those again that its checkpoint has behind it."""
    synced = []
    monkeypatch.setattr("os.fsync", lambda _: synced.append(len(read_log(tmp_path / "log.jsonl"))))
    with RunLog(tmp_path, total_steps=3) as run_log:
        run_log.train(1, VALUES)
        run_log.train(2, VALUES)
        run_log.evaluation(2, {"bbox/AP": 0.5})
    assert synced == [1, 2, 3]


def test_a_torn_last_line_is_left_out_but_a_broken_one_inside_is_an_error(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"step": 1}\n{"ste')
    assert read_log(path) == [{"step": 1}]
    path.write_text('{"step": 1}\n{"ste\n{"step": 3}\n')
    with pytest.raises(ValueError, match="line 2: not valid JSON"):
        read_log(path)


def test_logs_of_version_0_1_are_read_by_the_names_of_today(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"kind": "train", "step": 1, "data_share": 0.25}\n')
    assert read_log(path) == [{"kind": "train", "step": 1, "data_fraction": 0.25}]


def test_a_resumed_run_drops_what_comes_after_its_checkpoint(tmp_path):
    write(tmp_path, [1, 2])
    write(tmp_path, [4, 6])
    with open(tmp_path / "log.jsonl", "a") as file:
        file.write('{"torn')
    with RunLog(tmp_path, 4, total_steps=10) as run_log:
        assert [e["step"] for e in run_log.evaluations] == []
        run_log.train(5, VALUES)
    assert [e["step"] for e in read_log(tmp_path / "log.jsonl")] == [4, 5]


def test_values_that_are_not_finite_are_null(tmp_path):
    with RunLog(tmp_path, total_steps=1) as run_log:
        run_log.train(1, {**VALUES, "loss/box": math.inf})
        run_log.evaluation(1, {"bbox/AP": math.nan})
    text = (tmp_path / "log.jsonl").read_text()
    assert [json.loads(line, parse_constant=pytest.fail) for line in text.splitlines()]
    assert read_log(tmp_path / "log.jsonl")[1]["metrics"] == {"bbox/AP": None}


def test_after_the_first_steps_it_says_once_how_long_the_run_will_take(tmp_path, caplog):
    with caplog.at_level(logging.INFO, "van_dense"):
        with RunLog(tmp_path, 5, total_steps=25, evaluation_steps=4.0) as run_log:
            for step in range(6, 26):
                run_log.advance(step)
    (line,) = [r.getMessage() for r in caplog.records if "to go, until" in r.getMessage()]
    assert "10 steps of" in line and "of evaluation" in line


def test_a_run_that_is_over_by_then_says_nothing_of_its_length(tmp_path, caplog):
    with caplog.at_level(logging.INFO, "van_dense"):
        with RunLog(tmp_path, total_steps=10) as run_log:
            for step in range(1, 11):
                run_log.advance(step)
    assert "to go" not in caplog.text


@pytest.mark.parametrize(
    ("pace", "steps", "evaluation_steps", "words"),
    [
        (1.5, 180, 20, "about 5 min to go, until .*: 180 steps of 1.5 s and about 0.5 min of eval"),
        (0.01, 10, 0, "about 1 min to go, until [0-9:]{5}: 10 steps of 0.01 s$"),
        (2.0, 90_000, 0, "about 50 h 0 min to go, until [0-9-]{10} [0-9:]{5}: "),
    ],
)
def test_the_length_of_a_run_follows_from_the_pace(pace, steps, evaluation_steps, words):
    assert re.match(words, duration_line(pace, steps, evaluation_steps, now=0.0))


def test_other_ranks_write_nothing(tmp_path):
    write(tmp_path / "run", [1], enabled=False)
    assert not (tmp_path / "run").exists()


def test_the_line_shows_losses_speed_memory_and_the_time_left(tmp_path, caplog):
    line = train_line({**VALUES, "losses": {"box": 0.5}, "memory_gb": 1.25}, eta=3723)
    assert line == ("loss 1.5  ETA 1:02:03  3.0 images/s  data 25%  1.2 GB  lr 1.00e-01  (box 0.5)")
    with caplog.at_level(logging.INFO, "van_dense"):
        write(tmp_path, [1])
    assert "step 1/10  loss 1.5" in caplog.text  # tests have no terminal: lines, not a bar


def test_a_window_gives_means_and_travels_through_a_checkpoint():
    window = Window()
    window.add({"loss": 1.0}, seconds=2.0, waited=0.5)
    window = Window(**window.state_dict())
    window.add({"loss": 3.0}, seconds=4.0, waited=1.0)
    assert window.means(8) == {"loss": 2.0, "images_per_s": 2.0, "data_fraction": 0.25}


def test_the_best_evaluation_is_the_first_maximum():
    entries = [
        {"step": s, "metrics": {"AP": v}} for s, v in ((5, 0.1), (10, 0.3), (15, 0.3), (20, None))
    ]
    assert best_evaluation(entries, "AP") == (10, 2)
    with pytest.raises(ValueError, match=r"eval.best_metric to one of \['AP'\]"):
        best_evaluation(entries, "mIoU")


def test_of_an_error_the_lowest_value_is_the_best():
    entries = [
        {"step": s, "metrics": {"pysod/MAE": v, "pysod/MAE_rank": v}}
        for s, v in ((5, None), (10, 0.3), (15, 0.1), (20, 0.1), (25, 0.2))
    ]
    assert best_evaluation(entries, "pysod/MAE") == (15, 2)
    assert best_evaluation(entries, "pysod/MAE_rank") == (10, 3)  # only the whole name counts


def test_only_the_main_process_is_talkative():
    logger = logging.getLogger("van_dense")
    before = logger.level
    try:
        setup_logging(is_main=False)
        assert logger.level == logging.WARNING
        setup_logging()
        assert logger.level == logging.INFO
    finally:
        logger.setLevel(before)


def test_a_full_disk_names_the_log(tmp_path, monkeypatch):
    with RunLog(tmp_path, total_steps=2) as log:
        monkeypatch.setattr(log, "_file", open("/dev/full", "w"))
        with pytest.raises(OSError, match=r"log\.jsonl cannot be written: No space left"):
            log.evaluation(1, {"a/b": 0.5})
    assert read_log(tmp_path / "log.jsonl") == []
