"""What the rows of a network's last layers stand for, so that weights can follow the names."""

from collections.abc import Hashable, Sequence

from torch import nn

Rows = tuple[Hashable, ...]  # a name for each row of a weight
BACKGROUND = "(none of the classes)"


def rows_of(model: nn.Module, layer: str, rows: Rows) -> dict[str, Rows]:
    """The same rows for all modules with weights whose last name is ``layer``, by full name."""
    modules = {key.rpartition(".")[0] for key in model.state_dict()}
    return {name: rows for name in modules if name.rpartition(".")[2] == layer}


def second_stage_rows(model: nn.Module, classes: Sequence[str]) -> dict[str, Rows]:
    """Rows of box and mask branches; background is the last class."""
    return {
        **rows_of(model, "class_logits", (*classes, BACKGROUND)),
        **rows_of(model, "box_deltas", tuple((name, i) for name in classes for i in range(4))),
        **rows_of(model, "mask_fcn_logits", tuple(classes)),
    }


def anchor_rows(model: nn.Module, classes: Sequence[str], num_anchors: int) -> dict[str, Rows]:
    """Rows of a one-stage head: the classes of one anchor of a position after the other."""
    rows = tuple((anchor, name) for anchor in range(num_anchors) for name in classes)
    return rows_of(model, "class_logits", rows)
