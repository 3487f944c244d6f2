"""Long results files are read in blocks: the same table, notes and errors as record by record."""

import json

import numpy as np
import pytest
from pycocotools import mask as mask_utils

from van_dense.core.rle import areas_of_sound
from van_dense.evaluation import result_blocks
from van_dense.evaluation.result_files import load_results

SIZE = (30, 40)
NUMBER = 400
TRUTH = {
    "images": [{"id": 5 * k, "height": 30, "width": 40} for k in range(1, 9)],
    "annotations": [],
    "categories": [{"id": 3, "name": "a"}, {"id": 9, "name": "b"}],
}


def records(kind):
    rng = np.random.default_rng(0)
    found = []
    for _ in range(NUMBER):
        record = {"image_id": int(rng.integers(1, 9)) * 5, "category_id": int(rng.choice([3, 9]))}
        if kind == "segm":
            mask = rng.uniform(size=SIZE) < rng.uniform()
            rle = mask_utils.encode(np.asfortranarray(mask.astype(np.uint8)))
            record["segmentation"] = {"size": [*SIZE], "counts": rle["counts"].decode()}
        elif kind == "keypoints":
            record["keypoints"] = rng.uniform(0, 30, 9).round(3).tolist()
        else:
            record["bbox"] = rng.uniform(0, 20, 4).round(3).tolist()
        found.append({**record, "score": float(rng.uniform())})
    return found


def both(tmp_path, monkeypatch, kind, entries):
    """Outcome in blocks and without them."""
    path = tmp_path / "results.json"
    path.write_text(json.dumps(entries), encoding="utf-8")
    outcomes = []
    for whole in (True, False):
        if not whole:
            monkeypatch.setattr(result_blocks.BlockReader, "read", lambda self, text: (0, 0))
        try:
            found = load_results(path, TRUTH, (kind,))
            outcomes.append((list(found.table), found.notes, found.has_masks))
        except ValueError as error:
            outcomes.append(str(error))
    return outcomes


@pytest.mark.parametrize("kind", ("bbox", "segm", "keypoints"))
def test_blocks_give_the_same_table(tmp_path, monkeypatch, kind):
    read = []
    whole = result_blocks.BlockReader.read

    def counting(self, text):
        read.append(whole(self, text))
        return read[-1]

    monkeypatch.setattr(result_blocks.BlockReader, "read", counting)
    entries = records(kind)
    one, other = both(tmp_path, monkeypatch, kind, entries)
    assert sum(count for _, count in read) > NUMBER / 2
    assert one == other
    assert len(one[0]) == NUMBER


@pytest.mark.parametrize("kind, change", (
    ("bbox", {"image_id": 4}),
    ("bbox", {"category_id": 4}),
    ("bbox", {"category_id": "a"}),
    ("bbox", {"score": "0.5"}),
    ("bbox", {"score": None}),
    ("bbox", {"bbox": [0, 0, -1, 2]}),
    ("bbox", {"bbox": [0, 0, 1e31, 2]}),
    ("bbox", {"bbox": [0, 0, 1]}),
    ("bbox", {"image_id": 5.0}),
    ("keypoints", {"keypoints": [1, 2, 3]}),
    ("keypoints", {"keypoints": [1e30] * 9}),
    ("segm", {"segmentation": {"size": [40, 30], "counts": "0"}}),
    ("segm", {"segmentation": {"size": [30, 40], "counts": "0"}}),
    ("segm", {"segmentation": {"size": [30, 40], "counts": ""}}),
    ("segm", {"segmentation": {"size": [30, 40], "counts": "é"}}),
    ("segm", {"segmentation": {"size": [30, 40], "counts": [0, 1200]}}),
    ("segm", {"segmentation": [[0, 0, 5, 0, 5, 5]]}),
), ids=str)  # fmt: skip
def test_an_odd_record_has_the_same_outcome(tmp_path, monkeypatch, kind, change):
    entries = records(kind)
    entries[250] |= change
    one, other = both(tmp_path, monkeypatch, kind, entries)
    assert one == other


def test_run_lengths_are_judged_together():
    masks = np.random.default_rng(1).uniform(size=(50, *SIZE)) < 0.4
    masks[7], masks[8] = False, True
    rles = mask_utils.encode(np.asfortranarray(masks.transpose(1, 2, 0).astype(np.uint8)))
    counts = [rle["counts"].decode() for rle in rles]
    pixels = np.full(50, SIZE[0] * SIZE[1])
    areas = areas_of_sound(counts, pixels)
    assert areas is not None and np.array_equal(areas, masks.sum(axis=(1, 2)))
    others = [*counts[1:], counts[0] + "0"][::-1]
    assert areas_of_sound(others, pixels + (np.arange(50) == 3)) is None
    assert areas_of_sound([*counts[1:], counts[0][:-1] + "P"], pixels) is None  # a number goes on
    assert areas_of_sound([*counts[1:], "~"], pixels) is None
    assert areas_of_sound([*counts[1:], ""], pixels) is None
    assert areas_of_sound([*counts[1:], "PPPPPPPPP0"], pixels) is None
