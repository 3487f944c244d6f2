"""The harness that trains other toolkits beside this one; the toolkits themselves are not here."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.peers import broken, jobs, ours_peer, table
from benchmarks.peers.environments import PEERS
from benchmarks.peers.jobs import Job, Meter, steps_that_fit
from benchmarks.peers.scores import score
from benchmarks.peers.sets import SETS
from van_dense.config import load_config


@pytest.fixture
def job(tmp_path):
    return Job(
        peer="ours",
        task="boxes",
        seed=0,
        steps=9,
        cpu_seconds=100.0,
        out=str(tmp_path),
        folder=str(tmp_path),
        images={},
        masks={"val": str(tmp_path / "masks")},
        classes=["a", "b"],
        size=[8, 8],
        backbone="",
        weights="",
        project="",
    )


@pytest.fixture
def clock(monkeypatch):
    """CPU time that passes by hand."""
    now = [0.0]
    monkeypatch.setattr(jobs.time, "process_time", lambda: now[0])
    return now


def test_a_job_survives_its_file(job, tmp_path):
    job.write(tmp_path / "job.json")
    assert Job.read(tmp_path / "job.json") == job


def test_states_are_kept_after_each_third_and_saving_costs_nothing(job, clock):
    meter = Meter(job)

    def save(path):
        clock[0] += 50.0

    going = []
    for _ in range(9):
        clock[0] += 2.0
        going.append(meter.after_step(save))
    assert [(s["step"], s["cpu_s"]) for s in meter.saved] == [(3, 6.0), (6, 12.0), (9, 18.0)]
    assert going == [True] * 8 + [False]


def test_a_run_ends_with_a_state_where_its_time_is_spent(job, clock):
    meter = Meter(replace(job, cpu_seconds=5.0))
    for expected in (True, True, False):
        clock[0] += 2.0
        assert meter.after_step(lambda path: None) is expected
    assert [s["step"] for s in meter.saved] == [3]


def test_a_calibration_tells_how_many_steps_fit(job, clock):
    meter = Meter(replace(job, steps=0, cpu_seconds=10.0))
    clock[0] += 4.0  # reading data
    going = True
    while going:
        clock[0] += 2.0
        going = meter.after_step(lambda path: pytest.fail("nothing is saved"))
    report = meter.report(batch=4)
    assert (report["cpu_s_of_a_step"], report["cpu_s_before_steps"]) == (2.0, 4.0)
    assert report["images_per_cpu_s"] == 2.0
    assert steps_that_fit(report, 100.0) == 46  # (97 - 4) / 2


def truth(folder: Path) -> list[dict]:
    entry = {
        "id": 1,
        "image_id": 1,
        "category_id": 3,
        "bbox": [1, 1, 4, 4],
        "area": 16,
        "iscrowd": 0,
    }
    image = {"id": 1, "file_name": "a.jpg", "width": 8, "height": 8}
    categories = [{"id": 3, "name": "a"}, {"id": 4, "name": "b"}]
    coco = {"images": [image], "annotations": [entry], "categories": categories}
    (folder / "val.json").write_text(json.dumps(coco))
    return [{"image_id": 1, "category_id": 3, "bbox": [1, 1, 4, 4], "score": 0.9}]


def test_the_truth_scores_one_and_nothing_scores_zero(job, tmp_path):
    for name, records in {"all": truth(tmp_path), "none": []}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "results.json").write_text(json.dumps(records))
    assert score(job, tmp_path / "all")["bbox/AP"] == pytest.approx(1.0)
    assert score(job, tmp_path / "none")["bbox/AP"] == 0.0


def test_label_maps_count_classes_alone(job, tmp_path):
    for name in ("masks", "found"):
        (tmp_path / name).mkdir()
    Image.fromarray(np.array([[0, 1], [1, 9]], np.uint8)).save(tmp_path / "masks/a.png")
    Image.fromarray(np.array([[0, 1], [0, 1]], np.uint8)).save(tmp_path / "found/a.png")
    found = score(replace(job, task="maps"), tmp_path / "found")
    assert found["semantic/mIoU"] == pytest.approx(0.5)


@pytest.mark.parametrize("name", [n for n, data in SETS.items() if data.task == "maps"])
def test_projects_take_what_the_harness_sets(name, tmp_path):
    data = SETS[name]
    root = Path(__file__).resolve().parents[2] / "benchmarks/real"
    config = load_config(root / data.project, data.overrides(tmp_path))
    assert config.data.classes == data.classes
    assert config.data.val.masks == data.masks(tmp_path)["val"]


@pytest.mark.parametrize("name", PEERS)
def test_each_toolkit_has_lines_that_a_user_writes(name):
    assert 2 <= table.lines_to_write(name) < 150


def test_a_row_shows_curve_end_and_spread():
    saved = [
        {"scores": {"semantic/mIoU": x}, "predict_images_per_cpu_s": 4.0} for x in (0.1, 0.2, 0.3)
    ]
    run = {"saved": saved, "images_per_cpu_s": 5.0, "peak_mb": 900.0, "cpu_s": 60.0}
    other = run | {"saved": [*saved[:2], {**saved[2], "scores": {"semantic/mIoU": 0.5}}]}
    text = table.runs({"runs": {"ours/1/0": run, "ours/1/1": other}}, "maps")
    line = "| 1 | van_dense | 2 | 1.0 | 0.100, 0.200 | 0.400 (0.300 to 0.500) | 5.0 | 4.0 | 900 |"
    assert line in text


@pytest.fixture
def small(tmp_path):
    """The first two cells of a set, as broken.py copies them."""
    folder = tmp_path / "source/bccd"
    for part in ("train", "val"):
        (folder / "images" / part).mkdir(parents=True)
        (folder / "labels" / part).mkdir(parents=True)
        coco = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "RBC"}]}
        for number, name in enumerate("ab", 1):
            Image.new("RGB", (16, 8)).save(folder / f"images/{part}/{name}.jpg")
            (folder / f"labels/{part}/{name}.txt").write_text("0 0.5 0.5 0.1 0.1\n")
            image = {"id": number, "file_name": f"{name}.jpg", "width": 16, "height": 8}
            entry = {"id": number, "image_id": number, "category_id": 1, "bbox": [1, 1, 2, 2]}
            coco["images"].append(image)
            coco["annotations"].append(entry)
        (folder / f"{part}.json").write_text(json.dumps(coco))
    (folder / "data.yaml").write_text("path: elsewhere\ntrain: images/train\n")
    return broken.Small(SETS["bccd"], tmp_path / "source", tmp_path / "copy")


def test_a_copy_is_whole_and_names_itself(small):
    assert small.image.name == "b.jpg"
    assert (small.folder / "data.yaml").read_text().startswith(f"path: {small.folder}\n")
    assert len(json.loads((small.folder / "val.json").read_text())["images"]) == 2


@pytest.mark.parametrize("fault", broken.FAULTS["boxes"], ids=lambda fault: fault.__name__)
def test_a_fault_is_in_one_image_and_in_both_formats(small, fault):
    def read():
        return json.loads((small.folder / "train.json").read_text())["annotations"]

    label = small.folder / "labels/train/b.txt"
    before, content = (read(), label.read_text()), small.image.read_bytes()
    fault(small)
    assert (small.folder / "images/train/a.jpg").is_file()
    assert read()[0] == before[0][0]
    if fault is broken.missing_image:
        assert not small.image.exists()
    elif fault is broken.truncated_image:
        assert len(small.image.read_bytes()) == len(content) // 2
    else:
        assert read() != before[0] and label.read_text() != before[1]


def test_a_training_of_ours_that_refuses_its_data_ends(job, tmp_path):
    project = str(Path(__file__).parents[2] / "benchmarks/real/bccd.yaml")
    broken_job = replace(job, project=project, overrides=[f"data.voc.root={tmp_path}/none"])
    with pytest.raises(SystemExit, match="1"):
        ours_peer.train(broken_job, Meter(broken_job))
