"""van-dense report and compare: pages of saved predictions, and what they refuse."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from van_dense.cli.main import main

SIDE = 32


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Annotations of six photos, right results, and shifted ones."""
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    images, annotations = [], []
    for number in range(1, 7):
        Image.new("RGB", (SIDE, SIDE), (90, 120, 40)).save(f"photos/{number}.png")
        name = f"{number}.png"
        images.append({"id": number, "file_name": name, "width": SIDE, "height": SIDE})
        box = [number, 4, 10, 12]
        one = {"id": number, "image_id": number, "category_id": 1 + number % 2, "bbox": box}
        annotations.append({**one, "area": 120, "iscrowd": 0})
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "<b>dog</b>"}]
    truth = {"images": images, "annotations": annotations, "categories": categories}
    Path("gt.json").write_text(json.dumps(truth))
    for name, shift in (("good", 0), ("bad", 6)):
        results = [
            {
                "image_id": one["image_id"],
                "category_id": one["category_id"],
                "bbox": [one["bbox"][0] + shift, *one["bbox"][1:]],
                "score": 0.9,
            }
            for one in annotations
        ]
        Path(f"{name}.json").write_text(json.dumps(results))
    return tmp_path


SAVED = ("--annotations", "gt.json", "--type", "bbox", "--images", "photos")


def test_a_report_of_saved_results_is_a_page_and_its_numbers(files, capsys):
    assert main(["report", "--predictions", "bad.json", *SAVED]) == 0
    page = files / "report_bbox" / "report.html"
    assert f"report: {page}" in capsys.readouterr().out
    html = page.read_text(encoding="utf-8")
    assert "<b>dog</b>" not in html and "data:image" in html
    numbers = json.loads(page.with_suffix(".json").read_text())
    main(["eval", "--predictions", "bad.json", *SAVED[:4], "--output", "m.json"])
    expected = json.loads(Path("m.json").read_text())["metrics"]
    assert all(
        numbers[key] == value or numbers[key] == pytest.approx(value, abs=1e-12)
        for key, value in expected.items()
    )


def test_two_files_of_results_are_compared(files, capsys):
    assert main(["compare", "good.json", "bad.json", *SAVED, "--output", "out"]) == 0
    html = (files / "out" / "compare.html").read_text(encoding="utf-8")
    assert "good is better than bad in bbox/AP by 1.000" in html
    numbers = json.loads((files / "out" / "compare.json").read_text())
    assert numbers["bad: bbox/AP, difference"] == -1


def test_maps_of_two_folders_are_reported(files, capsys):
    for name, label in (("masks", 1), ("maps", 0)):
        (files / name).mkdir()
        for number in (1, 2):
            labels = np.full((SIDE, SIDE), label, np.uint8)
            labels[:8] = 1
            Image.fromarray(labels).save(files / name / f"{number}.png")
    options = ["--type", "semantic", "--label-map", "0..1 -> 0..1"]
    saved = ["--predictions", "maps", "--annotations", "masks", "--images", "photos"]
    assert main(["report", *saved, *options]) == 0
    numbers = json.loads((files / "report_semantic" / "report.json").read_text())
    assert numbers["semantic/mIoU"] == pytest.approx((0 + 8 / 32) / 2)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["report"], "give either RUN, or --predictions"),
        (["report", "run", "--predictions", "good.json"], "give either RUN, or --predictions"),
        (["report", "run", "--type", "bbox"], "belongs to saved predictions"),
        (["report", "--predictions", "good.json"], "need --annotations and --type"),
        (["report", "--predictions", "x", *SAVED, "--label-map", "0 -> 0"], "belongs to --type se"),
        (["report", "--predictions", "x", *SAVED, "--max-detections", "0"], "from 1 on"),
        (["compare", "good.json"], "at least two models"),
        (["compare", "a", "b", "--type", "bbox"], "belongs to saved predictions"),
    ],
)
def test_options_that_do_not_fit_end_with_2(files, arguments, problem, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert problem in capsys.readouterr().err


def test_results_on_other_images_are_refused(files, capsys):
    results = json.loads(Path("good.json").read_text())
    Path("other.json").write_text(json.dumps([{**results[0], "image_id": 99}]))
    assert main(["compare", "good.json", "other.json", *SAVED]) == 1
    assert "error: other.json" in capsys.readouterr().err


def test_label_maps_need_a_meaning(files, capsys):
    saved = ["--predictions", "photos", "--annotations", "photos", "--type", "semantic"]
    assert main(["report", *saved]) == 1
    assert "what do the values of the label maps mean?" in capsys.readouterr().err
