"""What the data doctor says of the sizes of boxes: a table for each part, and warnings."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from van_dense.core.counting import counted
from van_dense.core.plain_text import one_line
from van_dense.data.doctor.boxes import LIMITS, BoxSetting, BoxTable, Seen, see
from van_dense.data.doctor.report import PartReport

MAX_ROWS = 100  # classes of a table
MANY = 0.05  # fraction of tiny boxes that is worth a warning
MOST = 0.5  # fraction of the boxes of a class that is
FEW_BOXES = 20  # of a part or class; fractions of fewer mean nothing
_WIDTHS = (6, 7, 6)  # of 5 %, median, 95 %


@dataclass(frozen=True)
class BoxStatistics:
    """Boxes of one part of a data set in the views of a config."""

    table: BoxTable
    setting: BoxSetting
    is_train: bool  #: whether the views of training are asked for, besides those of the test

    @cached_property
    def seen(self) -> list[Seen]:
        """The boxes in each view, those of the test first; of validation images in these alone."""
        views = sorted(self.setting.views, key=lambda view: not view.is_test)
        kept = [view for view in views if self.is_train or view.is_test]
        return [see(self.table, view, self.setting.rule) for view in kept]

    @cached_property
    def own(self) -> list[Seen]:
        """The boxes in the views that this part is for."""
        return [s for s in self.seen if (s.view.is_train if self.is_train else s.view.is_test)]

    @property
    def largest(self) -> Seen:
        """The one of its own views in which boxes are largest."""
        return max(self.own, key=lambda seen: float(np.median(seen.sides)))

    @cached_property
    def unreached(self) -> np.ndarray | None:
        """Whether no anchor reaches a box in any of its own views, bool (N,)."""
        if self.setting.rule is None:
            return None
        reached = [seen.reached for seen in self.own if seen.reached is not None]
        return ~np.any(reached, axis=0)

    def add_to(self, report: PartReport) -> None:
        """Add table and warnings to the report of the part."""
        if len(self.table.boxes) == 0:
            return
        report.tables.append("\n".join(self.lines()))
        if len(self.table.boxes) >= FEW_BOXES:
            for what, fix in (*self._small(), *self._beyond_anchors()):
                report.note("warning", what, fix)

    def lines(self) -> Iterator[str]:
        """The table: all boxes in each view, then each class in the first view."""
        counts = self.table.per_image
        yield (
            f"  boxes      {len(self.table.boxes)} after the transform, without crowds; objects of "
            f"an image: median {np.median(counts):g}, at most {counts.max()}"
        )
        if self.setting.remark and self.is_train:
            yield f"             {self.setting.remark}"
        if self.setting.rule is not None:
            yield f"  reached    {self.setting.rule.meaning}"
        names = [seen.view.name for seen in self.seen]
        labels = self.table.labels
        order = np.argsort(-np.bincount(labels, minlength=1), kind="stable")
        classes = [c for c in order.tolist() if np.any(labels == c)]
        shown = [one_line(self.table.class_names[c]) for c in classes[:MAX_ROWS]]
        width = max(map(len, [*names, *shown]))
        yield self._head(width)
        everything = np.ones(len(labels), dtype=bool)
        for name, seen in zip(names, self.seen, strict=True):
            yield self._row(name.ljust(width), seen, everything)
        if len(classes) > 1:
            yield f"  by class, {names[0]}"
            for name, c in zip(shown, classes, strict=False):
                yield self._row(name.ljust(width), self.seen[0], labels == c)
        if len(classes) > MAX_ROWS:
            yield f"  and {counted(len(classes) - MAX_ROWS, 'rarer class')}"

    def _head(self, width: int) -> str:
        lower = "".join(f"  {f'<{limit} px':>7}" for limit in LIMITS)
        last = "" if self.setting.rule is None else "  not reached"
        sizes = f"{'sqrt(area), px':^{sum(_WIDTHS)}}  {'height / width':^{sum(_WIDTHS)}}"
        quantiles = "".join(f"{q:>{w}}" for q, w in zip(("5%", "50%", "95%"), _WIDTHS, strict=True))
        first = f"  {'':<{width}}  {'':>7}  {'':>9}  {sizes}"
        return (
            f"{first.rstrip()}\n  {'':<{width}}  {'boxes':>7}  {'w x h':>9}  {quantiles}  "
            f"{quantiles}{lower}{last}"
        )

    def _row(self, name: str, seen: Seen, rows: np.ndarray) -> str:
        sides, ratios = seen.sides[rows], self.table.ratios[rows]
        width, height = np.median(seen.boxes[rows, 2:] - seen.boxes[rows, :2], axis=0)
        shares = "".join(f"  {np.mean(sides < limit):>7.1%}" for limit in LIMITS)
        last = "" if seen.reached is None else f"  {np.mean(~seen.reached[rows]):>11.1%}"
        middle = f"{width:.0f}x{height:.0f}"
        return (
            f"  {name}  {len(sides):>7}  {middle:>9}  {_quantiles(sides, 0)}  "
            f"{_quantiles(ratios, 2)}{shares}{last}"
        )

    def _small(self) -> Iterator[tuple[str, str]]:
        """Boxes below the smallest limit in all of their own views."""
        largest = self.largest
        if (share := self._share(largest.sides < LIMITS[0], MANY)) is None:
            return
        what = f"{share} are smaller than {LIMITS[0]} px (square root of the area) after the"
        side = "short_sides" if self.is_train else "test_short_side"
        fix = f"raise data.transforms.{side} and max_long_side, or cut the images into tiles:"
        fix += " a cell of the finest map is 4 or 8 px"
        yield f"{what} transform, {largest.view.name}", fix

    def _beyond_anchors(self) -> Iterator[tuple[str, str]]:
        """Boxes that no anchor reaches in any of their own views."""
        rule = self.setting.rule
        if rule is None or self.unreached is None or not self.is_train:
            return
        if (share := self._share(self.unreached, rule.many)) is None:
            return
        what = f"{share} are reached by no anchor of the config at any training size"
        if rule.iou is None:
            fix = "raise data.transforms.short_sides: a box between the positions has no anchor"
            yield f"{what} ({rule.meaning})", fix
            return
        causes, fix = self._causes()
        yield f"{what} ({rule.meaning}): {', '.join(causes)}", fix

    def _share(self, rows: np.ndarray, many: float) -> str | None:
        """Say which fraction of the boxes some are, and of a class; None if they are not many."""
        counts = np.bincount(self.table.labels)
        found = np.bincount(self.table.labels[rows], minlength=len(counts))
        shares = np.divide(found, counts, out=np.zeros(len(counts)), where=counts >= FEW_BOXES)
        worst, share = int(shares.argmax()), float(np.mean(rows))
        if share <= many and shares[worst] <= MOST:
            return None
        text = f"{share:.1%} of the boxes"
        if shares[worst] > 2 * share:
            text += f" ({shares[worst]:.1%} of {self.table.class_names[worst]!r})"
        return text

    def _causes(self) -> tuple[list[str], str]:
        """How many boxes are beyond the anchors in which way, and what to do about most."""
        assert self.setting.rule is not None and self.unreached is not None  # the caller asks
        shapes = np.concatenate([level.shapes for level in self.setting.rule.levels])
        width, height = (shapes[:, 2:] - shapes[:, :2]).T
        sides, ratios = np.sqrt(width * height), height / width
        smallest = min(self.own, key=lambda seen: float(np.median(seen.sides)))
        is_small = self.unreached & (self.largest.sides < sides.min())
        is_large = self.unreached & ~is_small & (smallest.sides > sides.max())
        own = self.table.ratios
        is_long = self.unreached & ~is_small & ~is_large
        is_long &= (own < ratios.min()) | (own > ratios.max())
        between = self.unreached & ~is_small & ~is_large & ~is_long
        names = {
            f"smaller than the smallest anchor of {sides.min():.0f} px": is_small,
            f"larger than the largest of {sides.max():.0f} px": is_large,
            f"of height / width outside {ratios.min():.2g}..{ratios.max():.2g}": is_long,
            "between sizes or positions of the anchors": between,
        }
        counts = {name: int(rows.sum()) for name, rows in names.items()}
        fixes = (
            "raise data.transforms.short_sides, or lower model.anchor_sizes",
            "raise model.anchor_sizes",
            "no key changes the ratios of anchors; atss and gfl projects learn such boxes",
            "raise data.transforms.short_sides; anchors of less than four strides leave gaps",
        )
        fix = fixes[int(np.argmax(list(counts.values())))]
        return [f"{count} {name}" for name, count in counts.items() if count], fix


def _quantiles(values: np.ndarray, digits: int) -> str:
    found: Sequence[float] = np.quantile(values, (0.05, 0.5, 0.95)).tolist()
    return "".join(f"{v:>{w}.{digits}f}" for v, w in zip(found, _WIDTHS, strict=True))
