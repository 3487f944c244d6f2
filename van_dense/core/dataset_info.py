"""What a data set says about itself: names, id maps, colours and keypoints.

It travels inside checkpoints, so that a trained model can be used without its data set.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from van_dense.core.counting import counted

log = logging.getLogger(__name__)

Color = tuple[int, int, int]


@dataclass(frozen=True)
class DatasetInfo:
    """Names and conventions of a data set with C classes and K keypoints.

    Attributes:
        name: Name of the data set in titles and logs.
        class_names: C names; the position is the 0-based label used everywhere inside.
        category_ids: C ids as the annotation files spell them (COCO: 1..90 with gaps).
        is_thing: C flags, False for stuff; empty means "all things", see ``thing_flags``.
        colors: C RGB colours 0..255; empty means "chosen by the palette".
        keypoint_names: K names of keypoints, or empty.
        flip_pairs: Pairs of keypoint names that swap under a horizontal flip. None means unknown,
            and flipping raises; an empty tuple means that no keypoint has a mirror twin.
        sigmas: K constants of the OKS metric, as standard deviations in units of sqrt(area).
        skeleton: Pairs of keypoint names to join when drawing.
        upper_body: Keypoint names of the upper half; the others are the lower half. Empty means
            unknown, and half-body crops raise.
        head: Keypoint names of the head, at least two: the largest distance between two of them
            is the length that PCKh measures errors in. Empty means unknown.

    Raises:
        ValueError: When lengths disagree, ids repeat, or a pair names an unknown keypoint.
    """

    name: str
    class_names: tuple[str, ...]
    category_ids: tuple[int, ...]
    is_thing: tuple[bool, ...] = ()
    colors: tuple[Color, ...] = ()
    keypoint_names: tuple[str, ...] = ()
    flip_pairs: tuple[tuple[str, str], ...] | None = None
    sigmas: tuple[float, ...] = ()
    skeleton: tuple[tuple[str, str], ...] = ()
    upper_body: tuple[str, ...] = ()
    head: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for field in ("category_ids", "is_thing", "colors"):
            values = getattr(self, field)
            if len(values) not in (len(self.class_names), 0 if field != "category_ids" else -1):
                what = (
                    f"{field} has {counted(len(values), 'entry')} for "
                    f"{counted(len(self.class_names), 'class name')}"
                )
                raise ValueError(f"data set {self.name!r}: {what}")
        if len(set(self.category_ids)) != len(self.category_ids):
            raise ValueError(f"data set {self.name!r}: category ids repeat: {self.category_ids}")
        count = len(self.keypoint_names)
        if self.sigmas and len(self.sigmas) != count:
            what = f"{counted(len(self.sigmas), 'sigma')} for {counted(count, 'keypoint')}"
            raise ValueError(f"data set {self.name!r}: {what}")
        groups = [("upper_body", self.upper_body), ("head", self.head)]
        groups += [("flip_pairs", pair) for pair in self.flip_pairs or ()]
        groups += [("skeleton", pair) for pair in self.skeleton]
        for field, names in groups:
            for keypoint in names:
                if keypoint not in self.keypoint_names:
                    what = f"{field} {names} names the keypoint {keypoint!r}, which is none of"
                    raise ValueError(f"data set {self.name!r}: {what} {list(self.keypoint_names)}")

    @property
    def num_classes(self) -> int:
        """Number of classes C."""
        return len(self.class_names)

    @property
    def thing_flags(self) -> tuple[bool, ...]:
        """C flags, False for stuff, also where ``is_thing`` is empty."""
        return self.is_thing or (True,) * self.num_classes

    @property
    def label_of(self) -> dict[int, int]:
        """Map from the annotation file's category id to the 0-based label."""
        return {category_id: label for label, category_id in enumerate(self.category_ids)}

    def flip_order(self) -> list[int]:
        """Position each keypoint comes from under a horizontal flip; swaps are made by name.

        Raises a ValueError when the flip pairs are unknown.
        """
        if self.flip_pairs is None:
            what = f"data set {self.name!r} does not say which keypoints swap under a flip"
            fix = "give flip_pairs as pairs of names (an empty list if none do), or flip neither in"
            where = "training nor in evaluation (data.transforms.flip=0 eval.flip=false)"
            raise ValueError(f"{what}; {fix} {where}")
        order = list(range(len(self.keypoint_names)))
        for left, right in self.flip_pairs:
            i, j = self.keypoint_names.index(left), self.keypoint_names.index(right)
            order[i], order[j] = j, i
        return order

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON or a checkpoint."""
        return asdict(self)

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> DatasetInfo:
        """Undo ``to_dict`` of any version: what is unknown here is left out with a log line."""

        def freeze(value: Any) -> Any:  # lists become tuples again
            return tuple(freeze(v) for v in value) if isinstance(value, list | tuple) else value

        names = {field.name for field in fields(DatasetInfo)}
        known = {key: freeze(data[key]) for key in data if key in names}
        if unknown := sorted(data.keys() - known.keys()):
            log.warning("data set %r: left out %s, of a newer version", data.get("name"), unknown)
        return DatasetInfo(**known)
