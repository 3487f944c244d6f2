"""``tools/check_data.py``: lines, summary, quarantine list and exit code, as a user calls it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.command import Done, call_main
from helpers.panoptic_folder import panoptic_data, write_panoptic
from helpers.voc_folder import (
    labelme_data,
    shape,
    voc_object,
    voc_xml,
    write_labelme,
    write_voc,
)
from PIL import Image

from van_dense.cli import check

TOOL = Path(__file__).parents[2] / "tools" / "check_data.py"


def call(*arguments: object) -> Done:
    return call_main(check.main, *arguments)


@pytest.fixture
def coco(tmp_path: Path) -> tuple[Path, Path]:
    """Two images; the box of annotation 2 has no size."""
    images, file = tmp_path / "images", tmp_path / "train.json"
    images.mkdir()
    for number in (1, 2):
        Image.new("RGB", (20, 12), (number, 0, 0)).save(images / f"{number}.png")
    boxes = [[1, 1, 5, 5], [1, 1, 0, 5]]
    data = {
        "images": [{"id": i, "file_name": f"{i}.png", "width": 20, "height": 12} for i in (1, 2)],
        "annotations": [
            {"id": i, "image_id": i, "category_id": 1, "bbox": box}
            for i, box in enumerate(boxes, 1)
        ],
        "categories": [{"id": 1, "name": "cat"}],
    }
    file.write_text(json.dumps(data))
    return images, file


def test_help_answers_at_once() -> None:
    code = "import sys; sys.argv[1:] = ['--help']\ntry: runpy.run_path(PATH, run_name='__main__')\n"
    code = f"import runpy; PATH = {str(TOOL)!r}; {code}finally: assert 'torch' not in sys.modules"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0 and "--quarantine" in result.stdout


def test_problems_are_printed_quarantined_and_make_the_exit_code_one(
    tmp_path: Path, coco: tuple[Path, Path]
) -> None:
    images, file = coco
    out = tmp_path / "bad.json"
    result = call("--images", images, "--annotations", file, "--quarantine", out)
    assert result.returncode == 1, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0].startswith(
        f"error: {file}: annotations[1] (id 2) of 2.png: the box [1, 1, 0, 5]"
    )
    assert "1 error, 1 warning, 1 note" in lines  # there is no area
    assert any("cat" in line and line.endswith("1") for line in lines)
    assert f"data.quarantine={out}" in lines[-1]
    (part,) = json.loads(out.read_text())["parts"]
    assert part.pop("fingerprint")
    assert part == {"source": "train.json", "images": [], "annotations": [2], "records": []}


def test_panoptic_maps_lie_beside_their_json_unless_told_otherwise(tmp_path: Path) -> None:
    images, file, masks = write_panoptic(tmp_path, panoptic_data())
    result = call("--images", images, "--panoptic", file, "--quiet")
    assert result.returncode == 0, result.stderr
    assert "4 of things, 2 of stuff, and 2 crowd regions" in result.stdout
    assert result.stdout.endswith("\n0 errors, 0 warnings, 0 notes\n")
    elsewhere = masks.rename(tmp_path / "maps")
    result = call("--images", images, "--panoptic", file, "--quiet")
    assert result.returncode == 1 and f"error: {masks}: no such folder" in result.stdout
    result = call("--images", images, "--panoptic", file, "--masks", elsewhere, "--quiet")
    assert result.returncode == 0, result.stderr


def test_a_sound_yolo_folder_gives_zero(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    Image.new("RGB", (20, 12)).save(tmp_path / "images" / "a.png")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "a.txt").write_text("0 .5 .5 .5 .5")
    (tmp_path / "data.yaml").write_text("train: images\nnames: [cat]\n")
    result = call("--yolo", tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "0 errors" in result.stdout


def test_parts_of_a_voc_folder_and_folders_of_labelme_are_found(tmp_path: Path) -> None:
    write_voc(tmp_path / "voc", {"a": voc_xml(voc_object(), voc_object("dog", (9, 2, 14, 9)))})
    result = call("--voc", tmp_path / "voc")
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.count("  images     1, of them 0 without an object") == 2
    for seed, part in enumerate(("shots", "more")):
        write_labelme(tmp_path / part, {"a": labelme_data(shape())}, seed)
    result = call("--labelme", tmp_path / "shots", tmp_path / "more")
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.endswith("\n0 errors, 0 warnings, 1 note\n")  # both are called a.png


@pytest.fixture
def pairs(tmp_path: Path) -> tuple[Path, Path]:
    """Two images; half of each mask has the value 3, the rest 0 or 1."""
    for number in (0, 1):
        image = Image.new("RGB", (20, 12), (number, 0, 0))
        mask = Image.new("L", (20, 12), number)
        mask.paste(3, (0, 0, 10, 12))
        for folder, picture in (("photos", image), ("maps", mask)):
            (tmp_path / folder).mkdir(exist_ok=True)
            picture.save(tmp_path / folder / f"{number}.png")
    return tmp_path / "photos", tmp_path / "maps"


def test_values_of_masks_are_counted_and_those_without_a_line_make_the_exit_code_one(
    tmp_path: Path, pairs: tuple[Path, Path]
) -> None:
    images, masks = pairs
    out = tmp_path / "bad.json"
    how = ["--label-map", "0 -> ignore", "1 -> 0", "--quarantine", out]
    result = call("--images", images, "--masks", masks, *how)
    assert result.returncode == 1, result.stderr
    assert result.stdout.startswith(f"error: {masks}: the value 3 is not in data.label_map")
    assert '"3 -> ignore"' in result.stdout and "50.000%" in result.stdout
    (part,) = json.loads(out.read_text())["parts"]
    assert part["source"] == "photos" and part["images"] == ["0", "1"]


def test_without_a_label_map_one_is_suggested(pairs: tuple[Path, Path]) -> None:
    patterns = ["--image-pattern", "{key}.png", "--mask-pattern", "{key}.*"]
    result = call("--images", pairs[0], "--masks", pairs[1], *patterns)
    assert result.returncode == 0, result.stderr
    assert '["0..1 -> 0..1", "3 -> 2"]' in result.stdout


def test_saliency_masks_are_told_apart_by_grey(pairs: tuple[Path, Path]) -> None:
    how = ("--images", pairs[0], "--masks", pairs[1], "--saliency")
    result = call(*how)
    assert result.returncode == 1, result.stderr
    assert "the values 0, 3 look like ids of classes" in result.stdout
    for mask in pairs[1].iterdir():
        Image.open(mask).point(lambda value: value * 60).save(mask)
    result = call(*how)
    assert result.returncode == 0, result.stderr
    assert "2 masks are not binary" in result.stdout


def write_classes(root: Path, *, first: int) -> Path:
    """Two folders of six images; the shades of grey differ from ``first`` on."""
    for number in range(12):
        folder = root / ("cat", "dog")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 40), (first + number,) * 3).save(folder / f"{first}_{number}.png")
    return root


def test_pictures_in_training_and_validation_make_the_exit_code_one(tmp_path: Path) -> None:
    train = write_classes(tmp_path / "train", first=0)
    val = write_classes(tmp_path / "val", first=11)  # its first picture is the last of training
    result = call("--classes", train, val)
    assert result.returncode == 1, result.stderr
    assert result.stdout.startswith(f"error: {train}/dog/0_11.png")
    assert "1 error, 0 warnings, 0 notes" in result.stdout


def test_a_classification_project_is_checked(tmp_path: Path) -> None:
    project = TOOL.parents[1] / "projects" / "classify_van_b0_in1k.yaml"
    parts = [
        f"data.train={write_classes(tmp_path / 'train', first=0)}",
        f"data.val={write_classes(tmp_path / 'val', first=50)}",
    ]
    result = call("--config", project, *parts)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.count("12 that can be read") == 2


def test_samples_are_drawn_and_unreadable_ones_reported(tmp_path: Path) -> None:
    project = TOOL.parents[1] / "projects" / "classify_van_b0_in1k.yaml"
    train, val = (
        write_classes(tmp_path / part, first=i) for i, part in ((0, "train"), (50, "val"))
    )
    (train / "cat" / "0_0.png").write_bytes(b"no image")
    out = tmp_path / "pictures"
    options = ["--sample", "--quiet", "--draw", 1, "--output", out]
    result = call("--config", project, f"data.train={train}", f"data.val={val}", *options)
    assert result.returncode == 1  # of the broken file
    assert "no picture of image cat/0_0.png" in result.stderr
    assert result.stdout.splitlines()[-2:] == [
        f"train: 1 picture in {out / 'train'}",
        f"val: 1 picture in {out / 'val'}",
    ]
    assert [file.name for file in (out / "train").iterdir()] == ["000_cat_0_10.png.png"]


def test_sizes_of_boxes_are_told_and_drawn(tmp_path: Path, coco: tuple[Path, Path]) -> None:
    images, file = coco
    project = TOOL.parents[1] / "projects" / "retinanet_van_b0.yaml"
    parts = [f"data.{p}.{k}={v}" for p in ("train", "val") for k, v in
             (("images", images), ("annotations", file))]  # fmt: skip
    out = tmp_path / "pictures"
    result = call("--config", project, *parts, "--quiet", "--draw", 1, "--output", out)
    assert "boxes      1 after the transform" in result.stdout, result.stderr
    for part in ("train", "val"):
        assert f"{part}: sizes of boxes in {out / f'boxes_{part}.png'}" in result.stdout
        with Image.open(out / f"boxes_{part}.png") as picture:
            assert picture.size == (1500, 900)


def test_cub_is_checked_in_its_own_layout(tmp_path: Path) -> None:
    result = call("--cub", tmp_path)
    assert result.returncode == 1
    assert result.stdout.startswith(f"error: {tmp_path}/classes.txt: no such file")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give --config"),
        (["--classes", "a", "--cub", "b"], "give --config"),
        (["--images", "a", "--masks", "b", "--annotations", "c"], "give --config"),
        (["--masks", "b"], "give --config"),
        (["--yolo", "a", "--saliency"], "--masks DIR"),
        (["--images", "a", "--annotations", "b", "--label-map", "0 -> 0"], "--masks DIR"),
        (["--images", "a", "--masks", "b", "--saliency", "--label-map", "0 -> 0"], "not allowed"),
        (["--images", "a"], "give --config"),
        (["--yolo", "a", "--config", "b"], "give --config"),
        (["--yolo", "a", "seed=1"], "unexpected"),
        (["--yolo", "a", "--threads", "0"], "--threads"),
        (["--yolo", "a", "--draw", "3"], "--draw N takes"),
        (["--config", "b", "--draw", "0"], "--draw N takes"),
        (["--voc", "a", "--labelme", "b"], "give --config"),
    ],
)
def test_misuse_gives_two_and_one_line_why(arguments: list[str], message: str) -> None:
    result = call(*arguments)
    assert result.returncode == 2
    assert message in result.stderr and "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--yolo", "missing"], "data.yaml"),
        (["--images", "a", "--masks", "b", "--label-map", "0 = 0"], "'0 = 0' cannot be read"),
        (["--config", "missing.yaml"], "missing.yaml: no such file"),
    ],
)
def test_what_files_and_label_maps_lack_gives_one_and_a_line_why(
    arguments: list[str], message: str
) -> None:
    result = call(*arguments)
    assert result.returncode == 1
    assert result.stderr.startswith("error: ") and message in result.stderr
