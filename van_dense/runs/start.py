"""Starting a training from a whole network that was trained before: ``train.start_from``."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.plain_text import one_line
from van_dense.engine.checkpoint import choose_checkpoint, load_checkpoint
from van_dense.models.class_rows import Rows
from van_dense.models.dense_model import DenseModel

_SHOWN = 6  # entries of each list in the plan
_MOST = 0.9  # of the parameters; layers of other classes alone are fewer than the rest


@dataclass(frozen=True)
class Names:
    """Classes or joints of two networks; rows of weights follow the names that both have."""

    here: tuple[str, ...]
    there: tuple[str, ...]

    def __str__(self) -> str:
        both = tuple(name for name in self.here if name in self.there)
        parts = [
            ("keep their rows, by name", both),
            ("start anew", tuple(name for name in self.here if name not in self.there)),
            ("are not used", tuple(name for name in self.there if name not in self.here)),
        ]
        return "; ".join(
            f"{len(names)} {how}: {_shortened(names)}" for how, names in parts if names
        )


@dataclass(frozen=True)
class StartReport:
    """What a network took from a checkpoint."""

    path: Path  # of the checkpoint
    step: int
    elements: int  # of all parameters of the network
    taken: int  # elements that come from the checkpoint
    anew: tuple[str, ...]  # entries of the network that keep their random start, with the reason
    unused: tuple[str, ...]  # entries of the checkpoint that the network has no place for
    names: dict[str, Names]  # of "classes" and "joints", where the checkpoint's differ

    def __str__(self) -> str:
        lines = [
            f"the network of {self.path} (step {self.step}) fills "
            f"{100.0 * self.taken / self.elements:.1f} % of {self.elements / 1e6:.2f} M parameters"
        ]
        for name, keys in (("start anew", self.anew), ("not used", self.unused)):
            if keys:
                lines.append(f"  {name:<11} {len(keys):>4}  {_shortened(keys)}")
        if self.taken < _MOST * self.elements:
            lines.append(
                "  most of it starts anew, for the networks differ: start with the config of that "
                "run to have the same one (--config RUN/config.yaml --output NEW ...)"
            )
        lines += [f"  {what:<11} {names}" for what, names in self.names.items()]
        return "\n".join(lines)


def _shortened(names: tuple[str, ...]) -> str:
    more = f", ... and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return one_line(", ".join(names[:_SHOWN])) + more


def start_from(model: DenseModel, source: str, *, backbone: str, info: DatasetInfo) -> StartReport:
    """Copy what fits of a trained network into a new one, its average where it has one.

    Entries are matched by name. Those of another shape start anew. In the last layers the rows of
    each class and joint are matched by their names as well, whatever their order and number: those
    of names that the checkpoint does not know keep their random start.

    Args:
        model: Network with random weights.
        source: Run folder or checkpoint of ours, such as ``van-dense convert`` writes.
        backbone: timm name of the new network's backbone.
        info: Classes of the new network.

    Raises:
        ValueError: When there is no such checkpoint, its backbone is another one, or the network
            differs in what its weights hide, such as the rank of Light-Ham.
    """
    path = choose_checkpoint(source)
    content = load_checkpoint(path)
    there = content["config"]["model"]["backbone"]["name"]
    if _architecture(there) != _architecture(backbone):
        raise ValueError(
            f"train.start_from: the network of {path} has the backbone {there}, this experiment "
            f"{backbone}; set model.backbone.name={there}, or start from its own weights with "
            "model.backbone.weights"
        )
    state, own = content["ema"] or content["model"], model.state_dict()
    try:
        model.check_state(state)
    except ValueError as error:
        raise ValueError(f"train.start_from: {path}: {error}") from error
    known = DatasetInfo.from_dict(content["info"])
    fitting, taken = _fitting(
        own, state, here=model.named_rows(info), there=model.named_rows(known)
    )
    anew = tuple(
        f"{key} {tuple(own[key].shape)}, there {tuple(state[key].shape)}" if key in state else key
        for key in own
        if key not in fitting
    )
    model.load_state_dict(fitting, strict=False)
    sizes = {key: parameter.numel() for key, parameter in model.named_parameters()}
    names = {
        "classes": (known.class_names, info.class_names),
        "joints": (known.keypoint_names, info.keypoint_names),
    }
    return StartReport(
        path=path,
        step=content["step"],
        elements=sum(sizes.values()),
        taken=sum(count for key, count in taken.items() if key in sizes),
        anew=anew,
        unused=tuple(key for key in state if key not in own),
        names={what: Names(b, a) for what, (a, b) in names.items() if a != b},
    )


def _fitting(
    own: Mapping[str, Tensor],
    state: Mapping[str, Tensor],
    *,
    here: Mapping[str, Rows],
    there: Mapping[str, Rows],
) -> tuple[dict[str, Tensor], dict[str, int]]:
    """Entries to take over, and how many elements of each come from the checkpoint."""
    fitting: dict[str, Tensor] = {}
    taken: dict[str, int] = {}
    for key in own.keys() & state.keys():
        new, old = own[key], state[key]
        names, known = (rows.get(key.rpartition(".")[0], ()) for rows in (here, there))
        if names == known:
            if old.shape == new.shape:
                fitting[key], taken[key] = old, old.numel()
        elif old.shape[1:] == new.shape[1:] and (len(new), len(old)) == (len(names), len(known)):
            place = {name: row for row, name in enumerate(known)}
            shared = [row for row, name in enumerate(names) if name in place]
            fitting[key], taken[key] = new.clone(), new[shared].numel()
            fitting[key][shared] = old[[place[names[row]] for row in shared]]
    return fitting, taken


def _architecture(name: str) -> str:
    return name.split(".")[0]  # after the point, timm names published weights
