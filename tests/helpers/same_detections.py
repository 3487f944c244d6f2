"""What both engines promise of their detections."""

from __future__ import annotations

from pycocotools import mask as mask_utils

from van_dense.core.structures import Instances


def assert_same_detections(ours: Instances, theirs: Instances, *, at_least: int = 5) -> None:
    """Every detection above 0.1 has a partner: 0.05 px, 1e-4 in score, and its mask.

    Masks may differ in 1 % of their pixels, or in two whose probability lies on the threshold.
    """
    found = ours[ours.scores > 0.1]
    assert len(found) >= at_least
    assert len(found) == int((theirs.scores > 0.1).sum())
    for index in range(len(found)):
        same = (theirs.labels == found.labels[index]).nonzero()[:, 0]
        apart = (theirs.boxes[same] - found.boxes[index]).abs().max(dim=1).values
        partner = same[apart.argmin()]
        assert apart.min() < 0.05
        assert abs(theirs.scores[partner] - found.scores[index]) < 1e-4
        if found.masks is not None and theirs.masks is not None:
            a, b = found.masks[index], theirs.masks[int(partner)]
            either = mask_utils.area(mask_utils.merge([a, b]))
            both = mask_utils.area(mask_utils.merge([a, b], intersect=True))
            assert either - both <= max(2, 0.01 * either)
