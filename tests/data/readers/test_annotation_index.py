"""With an index a reader gives and says what it does without one, to the last bit."""

import json
import logging
import os
import pickle
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.coco_folder import SQUARE, annotation, coco_data, write_image
from pycocotools import mask as mask_utils

from van_dense.core.seeding import Streams
from van_dense.data.dataset import ReadError, index_notes_of
from van_dense.data.io import columns
from van_dense.data.loader import LoaderPlan, build_train_loader
from van_dense.data.readers import annotation_index, coco, image_places
from van_dense.data.readers.coco import CocoDataset
from van_dense.data.readers.quarantine import Quarantine, QuarantinedPart, fingerprint, part_key
from van_dense.data.readers.table import TableDataset
from van_dense.data.readers.yolo import YoloDataset

Open = Callable[..., TableDataset]
HOLE = [0, 13, 10, 2, 3, 2, 5, 2, 203]  # run lengths of 12 x 20 pixels
RLE = {"size": [12, 20], "counts": HOLE}
JOINTS = [4, 4, 2, 6, 6, 1, 0, 0, 0]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own for what cannot lie beside the annotations; nothing is too recent."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(columns, "_STEP", -(10**12))
    return tmp_path / "cache"


# -------------------------------------------------------------------------------- generated sets


def exporters() -> dict[str, Any]:
    """Crowds, holes, fields that are missing, other forms, records that are broken."""
    text = mask_utils.frPyObjects(RLE, 12, 20)["counts"].decode()
    annotations = [
        annotation(9, image_id=2, bbox=[1.25, 2, 3.3, 4]),
        annotation(1),
        annotation(2, iscrowd=1, bbox=[1, 0, 2, 12], segmentation=RLE),
        annotation(3, iscrowd=1, segmentation={"size": [12, 20], "counts": text}),
        annotation(4, bbox=[1, 0, 3, 10], segmentation={"size": [12, 20], "counts": text}),
        annotation(5, segmentation=[*SQUARE, [2, 3, 5, 3, 5, 5]]),
        annotation(6, segmentation=[[2, 3, 5], *SQUARE]),
        annotation(7, segmentation=SQUARE[0]),
        annotation(7, segmentation=[[2, 3, 6, 8, 2, 3]]),
        annotation(8, iscrowd=None, area=None),
        annotation(10, bbox=None),
        annotation(11, bbox=[-3, -2, 30, 9]),
        annotation(12, bbox=[1, 1, 0, 4]),
        annotation(13, image_id="1", category_id="2"),
        annotation(14, image_id=99),
        annotation(15, category_id=99),
        annotation(16, segmentation=None),
        annotation(17, image_id=7),
        {},
    ]
    data = coco_data(annotations, num_images=5)
    data["images"] += [
        {"id": 6, "file_name": "sub\\a%20b.png", "width": 20, "height": 12},
        {"id": 7, "file_name": "7.png"},
        {"id": 2, "file_name": "2.png", "width": 20, "height": 12},
        {"id": "text", "file_name": "absent.png", "width": 20, "height": 12},
        {"id": 2**70, "file_name": "été.png", "width": 20, "height": 12},
    ]
    return data


def poses() -> dict[str, Any]:
    """Joints, one list of them broken, and a skeleton that cannot be."""
    found = [annotation(i, image_id=i % 3 + 1, keypoints=JOINTS, num_keypoints=2) for i in range(5)]
    found.append(annotation(9, keypoints=[1, 2]))
    data = coco_data([*found, annotation(10)])
    names = {"keypoints": ["nose", "left_paw", "right_paw"], "skeleton": [[1, 2], [1, 9]]}
    return {**data, "categories": [{**data["categories"][0], **names}]}


def boxes() -> dict[str, Any]:
    """No segmentation anywhere, and sizes as text."""
    data = coco_data([annotation(i, image_id=i % 2 + 1, segmentation=None) for i in range(9)])
    data["images"][0]["width"] = "20"
    return data


def plain() -> dict[str, Any]:
    """Nothing to be said."""
    return coco_data([annotation(i, image_id=i % 3 + 1, bbox=[i, 0, 3, 3]) for i in range(9)])


def opener_of_coco(root: Path, data: dict[str, Any], **options: Any) -> Open:
    """Write a set; the returned function reads it."""
    images, file = root / "images", root / "annotations.json"
    (images / "sub").mkdir(parents=True)
    for number in range(1, 6):
        write_image(images / f"{number}.png", 20, 12, seed=number)
    write_image(images / "5.png", 24, 12)  # of another size than it is annotated with
    write_image(images / "sub" / "a b.png", 20, 12, seed=6)
    file.write_text(json.dumps(data))
    settings = {"name": "pets", "drop_empty": False, **options}
    return lambda index: CocoDataset(images, file, **settings, index=index)


def quarantined(root: Path) -> Quarantine:
    """A list that a check wrote for the annotations there."""
    file = root / "annotations.json"
    root.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(exporters()))
    left_out = frozenset((3,)), frozenset((9, 11)), frozenset(("annotations[18]", "images[8]"))
    part = QuarantinedPart(*left_out, fingerprint=fingerprint(file))
    return Quarantine({part_key(file): part}, path=str(root / "list.json"))


def opener_of_yolo(root: Path, **options: Any) -> Open:
    """Boxes and polygons, an empty file, a missing one, broken lines, a broken image."""
    for number in range(1, 6):
        write_image(root / "images" / "train" / f"{number}.png", 20, 12, seed=number)
    (root / "images" / "train" / "6.png").write_bytes(b"no image")
    (root / "data.yaml").write_text("train: images/train\nnames: {3: cat, 5: dog}\n")
    labels = root / "labels" / "train"
    labels.mkdir(parents=True)
    polygon = "5 0.1 0.1 0.4 0.1 0.4 0.6"
    (labels / "1.txt").write_text(f"3 0.5 0.5 0.2 0.3\n{polygon}\n{polygon}\n4 0.5 0.5 0.1 0.1\n")
    (labels / "2.txt").write_text("")
    (labels / "4.txt").write_text("3 0.5 0.5 0.2 nan\nthree 0.5 0.5 0.2 0.1\n3 0.9 0.9 0.3 0.3\n")
    (labels / "6.txt").write_text("3 0.5 0.5 0.2 0.3\n")
    settings = {"name": "pets", "drop_empty": False, **options}
    return lambda index: YoloDataset(root, "train", **settings, index=index)


OPENERS: dict[str, Callable[[Path], Open]] = {
    "plain": lambda root: opener_of_coco(root, plain()),
    "exporters": lambda root: opener_of_coco(root, exporters()),
    "exporters_without_masks": lambda root: opener_of_coco(root, exporters(), masks=False),
    "crowds_as_objects": lambda root: opener_of_coco(root, exporters(), crowds="objects"),
    "drop_empty": lambda root: opener_of_coco(root, exporters(), drop_empty=True),
    "quarantine": lambda root: opener_of_coco(root, exporters(), quarantine=quarantined(root)),
    "poses": lambda root: opener_of_coco(root, poses(), masks=False),
    "poses_with_masks": lambda root: opener_of_coco(root, poses(), drop_empty=True),
    "boxes": lambda root: opener_of_coco(root, boxes()),
    "yolo": opener_of_yolo,
    "yolo_boxes": lambda root: opener_of_yolo(root, masks=False, drop_empty=True),
}


@pytest.fixture(params=OPENERS)
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    return OPENERS[request.param](tmp_path / "set")


# ------------------------------------------------------------------------------------- contract


def values_of(value: Any) -> Any:
    """Arrays as bytes with kind and shape, in whatever they lie."""
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, list | tuple):
        return [values_of(one) for one in value]
    if hasattr(value, "numpy"):
        return values_of(value.numpy())
    if hasattr(value, "__dataclass_fields__"):
        return {key: values_of(one) for key, one in vars(value).items()}
    return type(value), value


def everything(dataset: TableDataset) -> Iterator[Any]:
    """All that a data set gives and says."""
    yield len(dataset), dataset.info, dataset.has_masks, dataset.left_out
    yield dataset.notes, dataset.warnings, dataset.object_counts()
    for index in range(len(dataset)):
        yield dataset.size(index), dataset.image_id(index), dataset.path(index)
        yield values_of(dataset.instances(index))
        for read in (dataset.raw, dataset.truth, *([dataset.masks] * dataset.has_masks)):
            try:
                yield values_of(read(index))
            except ReadError as error:
                yield str(error)
    if isinstance(dataset, CocoDataset):
        truth = dataset.coco_dict()
        yield {**truth, "annotations": list(truth["annotations"])}


def logged(caplog: pytest.LogCaptureFixture) -> list[tuple[int, str]]:
    """What readers said, without the line that an index is built."""
    found = [(r.levelno, r.message) for r in caplog.records if "an index" not in r.message]
    caplog.clear()
    return found


def test_samples_and_notes_are_the_same_with_an_index(
    opener: Open, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    plain, said = opener("never"), logged(caplog)
    built, said_when_built = opener("always"), logged(caplog)
    used, said_when_used = opener("always"), logged(caplog)
    assert said == said_when_built == said_when_used
    for there, then, now in zip(*map(everything, (plain, built, used)), strict=True):
        assert there == then == now
    assert index_notes_of(plain) == []
    assert "built in" in index_notes_of(built)[0] and "used as it is" in index_notes_of(used)[0]


def test_batches_of_training_are_the_same_with_an_index(tmp_path: Path) -> None:
    opener = opener_of_coco(tmp_path, plain(), masks=True)
    streams = Streams(3)
    plan = LoaderPlan(2, 2, 0, streams, 32, group_by_aspect=True, max_bad_fraction=0.0)
    batches = [
        build_train_loader(opener(use), lambda s, _: s, plan=plan) for use in ("never", "always")
    ]
    for _ in range(6):
        there, here = map(next, batches)
        assert there.image_ids == here.image_ids and there.seeds == here.seeds
        assert values_of(there.images) == values_of(here.images)


def test_errors_are_the_same_with_an_index(tmp_path: Path) -> None:
    cases = {
        "nothing usable": coco_data([annotation(1, category_id=7)]),
        "no image": {**plain(), "images": [{"id": 1}]},
        "no list": {"images": []},
    }
    for name, data in cases.items():
        opener = opener_of_coco(tmp_path / name, data, drop_empty=True)
        said = []
        for use in ("never", "always", "always"):
            with pytest.raises(ValueError) as error:
                opener(use)
            said.append(str(error.value))
        assert said[0] == said[1] == said[2]
        assert not list((tmp_path / name).rglob("tmp-*"))
    with pytest.raises(ValueError, match=r"nowhere.json: no such annotation file"):
        CocoDataset(tmp_path, tmp_path / "nowhere.json", name="x", drop_empty=False, index="always")


# ------------------------------------------------------------------------------- which, and where


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "set"


@pytest.fixture
def pets(folder: Path) -> Open:
    return opener_of_coco(folder, plain())


def indices(folder: Path) -> list[str]:
    return [file.parent.name for file in folder.glob(".annotations.json.index/*-*/index.json")]


def refuse(*_: Any, **__: Any) -> None:
    raise AssertionError("this is not needed")


def no_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coco, "read_coco_json", refuse)


def test_small_files_get_none_unless_one_asks_for_it(
    pets: Open, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sorted(folder.rglob("*"))
    assert pets("never").index_note is pets("auto").index_note is None
    assert sorted(folder.rglob("*")) == before
    monkeypatch.setattr(annotation_index, "LARGE", 100)
    assert "built" in str(pets("auto").index_note)


def test_it_lies_beside_the_annotations_and_nothing_is_parsed_or_hashed_again(
    pets: Open, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pets("always")
    no_reading(monkeypatch)
    for module, name in ((coco, "fingerprint"), (columns, "_crc"), (image_places, "_look")):
        monkeypatch.setattr(module, name, refuse)
    dataset = pets("always")
    assert str(folder / ".annotations.json.index") in str(dataset.index_note)
    assert isinstance(dataset._columns.boxes.base, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        dataset._columns.boxes[0] = 0


def test_a_file_of_other_times_is_proven_by_its_hash(
    pets: Open, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pets("always")
    os.utime(folder / "annotations.json", (1, 1))
    no_reading(monkeypatch)
    assert "used" in str(pets("always").index_note)


def test_times_that_are_too_recent_prove_nothing(
    pets: Open, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within the step of a file system's clock, an edit leaves size and times as they are."""
    monkeypatch.setattr(columns, "_STEP", 10**15)
    pets("always")
    (pointer,) = (folder / ".annotations.json.index").glob("*.json")
    assert json.loads(pointer.read_text())["stamp"] is None
    assert "used" in str(pets("always").index_note)  # the hash says so


@pytest.mark.parametrize("keeps_size_and_time", [True, False])
def test_a_changed_file_is_indexed_anew_and_the_old_index_goes(
    pets: Open, folder: Path, keeps_size_and_time: bool
) -> None:
    pets("always")
    before = indices(folder)
    file = folder / "annotations.json"
    times = os.stat(file).st_atime_ns, os.stat(file).st_mtime_ns
    file.write_text(file.read_text().replace("[0, 0, 3, 3]", "[0, 0, 3, 4]"))
    if keeps_size_and_time:  # the system's own time of change remains
        os.utime(file, ns=times)
    dataset = pets("always")
    assert dataset.raw(0).boxes[0].tolist() == [0, 0, 3, 4]
    assert "built" in str(dataset.index_note)
    assert len(before) == len(indices(folder)) == 1 and before != indices(folder)


def test_each_kind_of_reading_has_its_own(folder: Path) -> None:
    with_masks = opener_of_coco(folder, exporters())
    paths = folder / "images", folder / "annotations.json"

    def without(index: Any) -> TableDataset:
        return CocoDataset(*paths, name="x", drop_empty=False, masks=False, index=index)

    assert with_masks("always").has_masks and not without("always").has_masks
    assert all("used" in str(read("always").index_note) for read in (with_masks, without))


def test_another_quarantine_list_or_reader_is_another_index(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opener = opener_of_coco(folder, exporters())
    all_of_it = opener("always")
    images, file = folder / "images", folder / "annotations.json"
    options: Any = {"name": "pets", "drop_empty": False, "index": "always"}
    fewer = CocoDataset(images, file, quarantine=quarantined(folder), **options)
    assert len(fewer) < len(all_of_it) and "built" in str(fewer.index_note)
    monkeypatch.setattr(annotation_index, "_version", lambda: "another")
    assert "built" in str(opener("always").index_note)


def test_images_that_come_and_go_are_noticed(pets: Open, folder: Path) -> None:
    assert pets("always").warnings == []
    (folder / "images" / "2.png").rename(folder / "2.png")
    (warning,) = pets("always").warnings
    assert "1 of 3 images are not there, such as" in warning
    assert pets("always").warnings == [warning]
    (folder / "2.png").rename(folder / "images" / "2.png")
    assert pets("always").warnings == []


def test_where_nothing_can_be_written_the_cache_has_it(
    pets: Open, folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / ".annotations.json.index").write_text("in the way, as read-only media are")
    assert str(cache / "van_dense" / "index") in str(pets("always").index_note)
    no_reading(monkeypatch)
    assert "used" in str(pets("always").index_note)


def test_where_nothing_can_be_written_at_all_the_text_is_read(
    pets: Open, folder: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / ".annotations.json.index").write_text("")
    cache.write_text("")
    assert len(pets("always")) == 3 and pets("always").index_note is None
    assert "no index can be written" in caplog.text


def test_an_index_on_read_only_media_is_used(
    pets: Open, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pets("always")
    os.utime(folder / "annotations.json", (1, 1))
    no_reading(monkeypatch)

    def fail(*_: Any) -> None:
        raise OSError("read-only file system")

    monkeypatch.setattr(annotation_index, "write_whole", fail)
    monkeypatch.setattr(image_places, "publish", fail)
    assert "used" in str(pets("always").index_note)


def test_a_full_disk_leaves_nothing_behind(
    pets: Open, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(annotation_index, "seal", full)
    assert len(pets("always")) == 3
    assert "No space left on device" in caplog.text
    assert not list(folder.rglob("*.npy"))


# ----------------------------------------------------------------------------- damage and company


@pytest.mark.parametrize("name", ["index.json", "boxes.npy", "paths.npy", "coordinates.npy"])
@pytest.mark.parametrize("damage", ["cut", "flipped", "gone", "empty"])
def test_a_damaged_index_is_built_anew_with_a_message(
    pets: Open, folder: Path, name: str, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    expected = [values_of(pets("always").raw(index)) for index in range(3)]
    (file,) = (folder / ".annotations.json.index").glob(f"*-*/{name}")
    content = file.read_bytes()
    if damage == "gone":
        file.unlink()
    else:
        changed = {"cut": content[:-5], "empty": b""}.get(damage)
        flipped = content[:-20] + bytes([content[-20] ^ 1]) + content[-19:]
        file.write_bytes(flipped if changed is None else changed)
    again = pets("always")
    assert "built" in str(again.index_note)
    if (damage, name) != ("gone", "index.json"):  # then there is no index
        assert "is damaged, and is built anew" in caplog.text
    assert [values_of(again.raw(index)) for index in range(3)] == expected
    assert "used" in str(pets("always").index_note)


def test_no_file_is_unpickled(pets: Open, folder: Path) -> None:
    pets("always")
    (file,) = (folder / ".annotations.json.index").glob("*-*/boxes.npy")
    np.save(file, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    assert "built" in str(pets("always").index_note)


def test_masks_of_a_hostile_index_do_not_reach_pycocotools(folder: Path) -> None:
    opener = opener_of_coco(folder, exporters())
    table = opener("always")._columns
    assert table.folder is not None
    arrays = {name: np.load(file) for file in table.folder.glob("*.npy") for name in [file.stem]}
    arrays["rle_text"] = np.full_like(arrays["rle_text"], ord("o"))
    arrays["coordinates"][:] = 1e30
    facts = columns.open_columns(table.folder, None)[1]
    columns.publish(table.folder, lambda temporary: columns.seal(temporary, arrays, facts))
    dataset = opener("always")
    for index in range(2):
        with pytest.raises(ReadError, match="damaged; delete it"):
            dataset.raw(index)


def open_and_sum(folder: Path) -> tuple[bool, float]:
    dataset = CocoDataset(
        folder / "images", folder / "annotations.json", name="x", drop_empty=False, index="always"
    )
    boxes = sum(float(dataset.instances(index).boxes.sum()) for index in range(len(dataset)))
    return "built" in str(dataset.index_note), boxes


def test_of_processes_that_start_together_one_builds(pets: Open, folder: Path) -> None:
    with get_context("fork").Pool(4) as pool:
        found = pool.map(open_and_sum, [folder] * 4)
    assert sorted(built for built, _ in found) == [False, False, False, True]
    assert len({boxes for _, boxes in found}) == 1


def test_a_process_that_gets_a_data_set_maps_the_same_files(pets: Open) -> None:
    dataset = pets("always")
    data = pickle.dumps(dataset)
    assert len(data) < 5000
    copy = pickle.loads(data)
    assert isinstance(copy._columns.boxes.base, np.memmap)
    assert list(everything(copy)) == list(everything(dataset))
    in_memory = pets("never")
    assert list(everything(pickle.loads(pickle.dumps(in_memory)))) == list(everything(in_memory))


def test_what_a_killed_builder_left_is_removed_after_a_day(pets: Open, folder: Path) -> None:
    pets("always")
    home = folder / ".annotations.json.index"
    (lock,) = home.glob("*.lock")
    old, new = (home / f"tmp-{lock.stem}-{name}" for name in ("old", "new"))
    for left in (old, new):
        left.mkdir()
    os.utime(old, (1, 1))
    (folder / "annotations.json").write_text(json.dumps(boxes()))
    pets("always")
    assert not old.exists() and new.exists()
