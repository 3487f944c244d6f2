"""From queries to segments, instances and label maps, by hand and beside transformers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from helpers.mask2former import IS_THING, query_filter
from torch import Tensor
from torch.nn import functional as F

from van_dense.core.structures import decode_masks
from van_dense.models.panoptic import query_results
from van_dense.models.panoptic.query_results import (
    Resizing,
    class_map,
    panoptic_segments,
    thing_masks,
)

CPU = torch.device("cpu")
NOTHING = len(IS_THING)


def same_size(masks: Tensor) -> Resizing:
    size = (masks.shape[1], masks.shape[2])
    return Resizing(size, padded=size, valid=size, original=size, device=CPU)


def class_logits(*queries: tuple[int, float]) -> Tensor:
    """Logits (Q, C + 1) of a class and its probability for each query; the rest is shared out."""
    logits = torch.zeros(len(queries), NOTHING + 1)
    for row, (label, probability) in zip(logits, queries, strict=True):
        row[label] = np.log(probability * NOTHING / (1 - probability))
    return logits


def masks(*rows: list[float]) -> Tensor:
    """Logits (Q, 1, W) of mask probabilities."""
    return torch.tensor(rows)[:, None].logit()


def ours(queries: Tensor, logits: Tensor, **changes: Any):
    found = panoptic_segments(
        queries,
        logits,
        resize=same_size(logits),
        filters=query_filter(**changes),
        is_thing=IS_THING,
    )
    return torch.from_numpy(found[0]), found[1]


def panoptic(queries: Tensor, logits: Tensor, **changes: Any):
    ids, segments = ours(queries, logits, **changes)
    return ids.tolist(), [(s["id"], s["label"], round(s["score"], 4)) for s in segments]


def test_a_pixel_goes_to_the_query_with_the_best_product_if_that_is_sure_of_it() -> None:
    queries = class_logits((0, 0.9), (1, 0.99), (0, 0.5), (NOTHING, 0.99))
    logits = masks(
        [0.90, 0.80, 0.99, 0.30, 0.10],
        [0.10, 0.75, 0.95, 0.40, 0.90],  # 0.75 x 0.99 beats 0.80 x 0.9, and 0.95 x 0.99 0.99 x 0.9
        [0.99, 0.99, 0.99, 0.99, 0.99],  # its score is too low
        [0.99, 0.99, 0.99, 0.99, 0.99],  # says that it is nothing
    )
    found, segments = panoptic(queries, logits, overlap_threshold=0.3)
    assert found == [[1, 2, 2, 0, 2]]  # the fourth is best in the second query, below 0.5
    assert segments == [(1, 0, 0.9), (2, 1, 0.99)]


def test_a_score_at_the_threshold_is_too_low() -> None:
    queries, logits = class_logits((0, 0.9)), masks([0.9, 0.9])
    (score,) = queries.softmax(dim=1).amax(dim=1).tolist()
    assert panoptic(queries, logits, score_threshold=score) == ([[0, 0]], [])
    assert panoptic(queries, logits, score_threshold=score - 1e-6)[0] == [[1, 1]]


def test_a_segment_of_whose_mask_too_little_is_visible_is_void_there() -> None:
    queries = class_logits((0, 0.9), (1, 0.99))
    logits = masks([0.9, 0.9, 0.9, 0.9, 0.9], [0.1, 0.1, 0.1, 0.1, 0.9])
    # 4 of the 5 pixels of the first are visible.
    assert panoptic(queries, logits, overlap_threshold=0.8)[0] == [[1, 1, 1, 1, 2]]
    found, segments = panoptic(queries, logits, overlap_threshold=0.81)
    assert found == [[0, 0, 0, 0, 1]] and segments == [(1, 1, 0.99)]


def test_stuff_of_one_class_is_one_segment_and_things_are_many() -> None:
    queries = class_logits((2, 0.9), (0, 0.9), (2, 0.95), (0, 0.85))
    logits = masks(*(0.01 + 0.98 * torch.eye(4)).tolist())
    assert panoptic(queries, logits) == (
        [[1, 2, 1, 3]],
        [(1, 2, 0.95), (2, 0, 0.9), (3, 0, 0.85)],
    )


def test_no_query_left_is_an_empty_map() -> None:
    found, segments = panoptic(class_logits((NOTHING, 0.99)), masks([0.9, 0.9]))
    assert found == [[0, 0]] and segments == []


def test_instances_are_pairs_of_query_and_thing_with_the_mean_of_their_mask() -> None:
    queries = class_logits((0, 0.6), (2, 0.9), (1, 0.8), (1, 0.7))
    logits = masks(
        [0.9, 0.7, 0.1, 0.1],
        [0.9, 0.9, 0.9, 0.9],  # stuff, but the pairs of things with it count too
        [0.1, 0.1, 0.2, 0.8],
        [0.1, 0.1, 0.2, 0.3],  # has no pixel
    )
    found = thing_masks(
        queries,
        logits,
        resize=same_size(logits),
        filters=query_filter(max_instances=4),
        is_thing=IS_THING,
    )
    assert found.labels.tolist() == [1, 0]
    assert found.scores.tolist() == pytest.approx([0.8 * 0.8, 0.6 * 0.8])
    assert found.boxes.tolist() == [[3, 0, 4, 1], [0, 0, 2, 1]]
    assert decode_masks(found.masks, (1, 4)).tolist() == [[[0, 0, 0, 1]], [[1, 1, 0, 0]]]


def test_no_instance_at_all() -> None:
    logits = masks([0.1, 0.1])
    found = thing_masks(
        class_logits((0, 0.9)),
        logits,
        resize=same_size(logits),
        filters=query_filter(),
        is_thing=IS_THING,
    )
    assert len(found) == 0 and found.masks == []


def test_a_label_map_sums_class_times_mask_over_the_queries(monkeypatch) -> None:
    generator = torch.Generator().manual_seed(0)
    queries = torch.randn(6, NOTHING + 1, generator=generator)
    logits = torch.randn(6, 5, 7, generator=generator)
    resize = Resizing((5, 7), padded=(20, 28), valid=(20, 28), original=(20, 28), device=CPU)
    large = F.interpolate(logits[None], (20, 28), mode="bilinear")[0].sigmoid()
    sums = torch.einsum("qc,qhw->chw", queries.softmax(dim=1)[:, :-1], large)
    assert np.array_equal(class_map(queries, logits, resize=resize), sums.argmax(dim=0).numpy())
    monkeypatch.setattr(query_results, "_BAND_ELEMENTS", 28 * 10 * 3)  # three rows at a time
    assert np.array_equal(class_map(queries, logits, resize=resize), sums.argmax(dim=0).numpy())


@pytest.mark.parametrize("original", [(50, 70), (13, 9)])
def test_masks_are_upsampled_to_the_padded_input_cut_and_resized(original) -> None:
    logits = torch.randn(3, 8, 12, generator=torch.Generator().manual_seed(0))
    resize = Resizing((8, 12), padded=(32, 48), valid=(29, 40), original=original, device=CPU)
    padded = F.interpolate(logits[None], (32, 48), mode="bilinear", align_corners=False)
    cut = padded[..., :29, :40]
    expected = F.interpolate(cut, original, mode="bilinear", align_corners=False)[0]
    torch.testing.assert_close(resize(logits), expected)
    torch.testing.assert_close(resize(logits, slice(4, 6)), expected[:, 4:6])


# ---------------------------------------------------------------- post-processing of transformers


def theirs(queries: Tensor, logits: Tensor, **changes: Any) -> tuple[Tensor, list[dict]]:
    transformers = pytest.importorskip("transformers")
    settings = {"threshold": 0.8, "overlap_mask_area_threshold": 0.8, "mask_threshold": 0.5}
    settings |= {"label_ids_to_fuse": {2, 3}} | changes
    outputs = SimpleNamespace(class_queries_logits=queries[None], masks_queries_logits=logits[None])
    processor = transformers.Mask2FormerImageProcessor()
    (found,) = processor.post_process_panoptic_segmentation(outputs, **settings)
    return found["segmentation"], found["segments_info"]


def columns(*probabilities: list[float]) -> Tensor:
    """Mask logits (Q, 384, 384), the size that they resize to, with a column for each number."""
    wide = torch.tensor(probabilities).logit()
    return wide.repeat_interleave(384 // wide.shape[1], dim=1)[:, None].expand(-1, 384, -1)


def test_segments_are_those_of_transformers_where_queries_are_sure() -> None:
    # No mask is doubtful, no pixel is left over, and the same stuff comes twice at the end.
    queries = class_logits((0, 0.999), (0, 0.998), (NOTHING, 0.9), (2, 0.997), (2, 0.996))
    sure = (0.01 + 0.98 * torch.eye(4)).tolist()
    logits = columns(sure[0], sure[1], [0.99] * 4, sure[2], sure[3])
    (here, segments), (there, listed) = ours(queries, logits), theirs(queries, logits)
    assert torch.equal(here, there)
    assert [(s["id"], s["label"]) for s in segments] == [(1, 0), (2, 0), (3, 2)]
    assert [(s["id"], s["label_id"]) for s in listed] == [(1, 0), (2, 0), (3, 2), (3, 2)]
    for one, other in zip(segments, listed, strict=False):
        assert one["score"] == pytest.approx(other["score"], abs=1e-6)


def test_transformers_leaves_no_pixel_of_a_segment_void() -> None:
    queries = class_logits((0, 0.999), (1, 0.998))
    logits = columns([0.99, 0.01, 0.4], [0.01, 0.99, 0.1])
    assert ours(queries, logits)[0][0, ::128].tolist() == [1, 2, 0]
    assert theirs(queries, logits)[0][0, ::128].tolist() == [1, 2, 1]


def test_transformers_compares_the_mask_threshold_with_the_product() -> None:
    queries, logits = class_logits((0, 0.85)), columns([0.55, 0.01])
    assert ours(queries, logits)[0][0, ::192].tolist() == [1, 0]
    assert theirs(queries, logits)[1] == []  # 0.85 x 0.55 is below 0.5, so the mask is empty


def test_transformers_drops_segments_at_the_overlap_threshold() -> None:
    queries = class_logits((0, 0.999), (1, 0.9999))
    logits = columns([0.99, 0.99, 0.01, 0.01], [0.01, 0.999, 0.999, 0.999])  # half is visible
    here = ours(queries, logits, overlap_threshold=0.5)[1]
    there = theirs(queries, logits, overlap_mask_area_threshold=0.5)[1]
    assert [s["label"] for s in here] == [0, 1]
    assert [s["label_id"] for s in there] == [1]


def test_transformers_gives_an_id_twice_after_stuff_that_it_fuses() -> None:
    queries = class_logits((2, 0.99), (0, 0.99), (2, 0.99), (1, 0.99))
    logits = columns(*(0.01 + 0.98 * torch.eye(4)).tolist())
    assert ours(queries, logits)[0][0, ::96].tolist() == [1, 2, 1, 3]
    segmentation, listed = theirs(queries, logits)
    assert segmentation[0, ::96].tolist() == [1, 2, 1, 2]  # the last one is of another class
    assert [(s["id"], s["label_id"]) for s in listed] == [(1, 2), (2, 0), (1, 2), (2, 1)]


def test_transformers_resizes_masks_to_384_pixels_and_then_their_probabilities() -> None:
    transformers = pytest.importorskip("transformers")
    queries = class_logits((0, 0.999), (1, 0.999))
    logits = 4 * torch.randn(2, 24, 40, generator=torch.Generator().manual_seed(0))
    processor = transformers.Mask2FormerImageProcessor()
    outputs = SimpleNamespace(class_queries_logits=queries[None], masks_queries_logits=logits[None])
    (found,) = processor.post_process_panoptic_segmentation(
        outputs,
        threshold=0.8,
        overlap_mask_area_threshold=0.0,
        label_ids_to_fuse={2, 3},
        target_sizes=[(192, 320)],
    )
    square = F.interpolate(logits[None], (384, 384), mode="bilinear", align_corners=False)
    large = F.interpolate(square.sigmoid(), (192, 320), mode="bilinear", align_corners=False)[0]
    assert torch.equal(found["segmentation"], large.argmax(dim=0).int() + 1)
    size = (192, 320)
    resize = Resizing((24, 40), padded=size, valid=size, original=size, device=CPU)
    here, _ = panoptic_segments(
        queries,
        logits,
        resize=resize,
        filters=query_filter(overlap_threshold=0.0),
        is_thing=IS_THING,
    )
    agree = found["segmentation"].numpy() == here
    assert 0.97 < agree[here > 0].mean() < 1  # at the borders of segments
