"""Pose annotations that are published as lists of their own: named, with the way in."""

from __future__ import annotations

from typing import Any

_MPII = (
    "it looks like MPII's list of poses: for each entry write an annotation with keypoints (x, y "
    "from joints, visibility 2 or, where joints_vis is 0, 0) and bbox (a square around center of "
    "200 x scale pixels), and images with file_name, width and height"
)
_AIC = (
    "it looks like AI Challenger's list of poses: for each human of an entry write an annotation "
    "with bbox (from the corners in human_annotations) and keypoints (visibility 1 there is 2 in "
    "COCO, 2 is 1, 3 is 0), and images with ids, file_name (image_id.jpg), width and height"
)


def name_pose_list(data: Any) -> str | None:
    """How to read a list of poses, by the keys of its first entry; None for any other list."""
    first = data[0] if isinstance(data, list) and data else None
    if not isinstance(first, dict):
        return None
    if "human_annotations" in first or "keypoint_annotations" in first:
        return _AIC
    if "joints" in first and ("joints_vis" in first or "center" in first or "image" in first):
        return _MPII
    return None
