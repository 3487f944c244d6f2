"""Objects that exporters marked as crowd regions, which nobody learns or evaluates."""

from collections import Counter
from collections.abc import Sequence

MANY_CROWDS = 0.1  # share of an own file that needs a word; COCO has 1.2 %, one class 10 %
MOST_OF_CLASS = 0.5  # share of a class
_SHOWN = 5  # classes in a message

EXPORTERS = (
    "exporters that write run lengths for crowds alone, as COCO does, mark objects with holes or "
    "brush strokes so (Datumaro, CVAT through it, pycococreator)"
)


def suspicious_crowds(
    crowds: Counter[int], counts: Counter[int], names: Sequence[str]
) -> str | None:
    """Say that objects of the file or of one class have most likely become crowds, or None.

    Args:
        crowds: Number of crowd regions of each label.
        counts: Number of all annotations of each label.
        names: Classes.
    """
    number, total = crowds.total(), counts.total()
    mostly = {key for key, count in crowds.items() if count > MOST_OF_CLASS * counts[key]}
    if number <= MANY_CROWDS * total:
        shown = [(key, count) for key, count in crowds.most_common() if key in mostly]
    else:  # those that lose most of their objects first
        shown = sorted(crowds.most_common(), key=lambda item: item[0] not in mostly)
    by_class = ", ".join(
        f"{count} of {counts[key]} {names[key]}" for key, count in shown[:_SHOWN] if count
    )
    if not by_class:
        return None
    return (
        f"{number} of {total} annotations are crowd regions (iscrowd 1), and neither learnt "
        f"nor evaluated: {by_class}; {EXPORTERS}; data.crowds=objects reads them as objects"
    )
