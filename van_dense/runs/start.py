"""Starting a training from a whole network that was trained before: ``train.start_from``."""

from dataclasses import dataclass
from pathlib import Path

from van_dense.core.dataset_info import DatasetInfo
from van_dense.engine.checkpoint import choose_checkpoint, load_checkpoint
from van_dense.models.dense_model import DenseModel

_SHOWN = 6  # entries of each list in the plan
_MOST = 0.9  # of the parameters; layers of other classes alone are fewer than the rest


@dataclass(frozen=True)
class StartReport:
    """What a network took from a checkpoint."""

    path: Path  # of the checkpoint
    step: int
    elements: int  # of all parameters of the network
    taken: int  # elements that come from the checkpoint
    anew: tuple[str, ...]  # entries of the network that keep their random start, with the reason
    unused: tuple[str, ...]  # entries of the checkpoint that the network has no place for
    others: dict[str, tuple[str, ...]]  # the checkpoint's "classes" and "joints", where they differ

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
        for name, there in self.others.items():
            lines.append(f"  its {name} are others: {_shortened(there) or 'none'}")
        return "\n".join(lines)


def _shortened(names: tuple[str, ...]) -> str:
    more = f", ... and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def start_from(model: DenseModel, source: str, *, backbone: str, info: DatasetInfo) -> StartReport:
    """Copy what fits of a trained network into a new one, its average where it has one.

    Entries are matched by name. Those of another shape start anew: the last layers, where the
    classes are others. Where classes or joints are others but as many, the last layers are taken
    too and learn what they now stand for; the report says so.

    Args:
        model: Network with random weights.
        source: Run folder or checkpoint of ours, such as ``van-dense convert`` writes.
        backbone: timm name of the new network's backbone.
        info: Classes of the new network.

    Raises:
        ValueError: When there is no such checkpoint, or its backbone is another one.
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
    fitting = {k: v for k, v in state.items() if k in own and v.shape == own[k].shape}
    anew = tuple(
        f"{key} {tuple(own[key].shape)}, there {tuple(state[key].shape)}" if key in state else key
        for key in own
        if key not in fitting
    )
    model.load_state_dict(fitting, strict=False)
    sizes = {key: parameter.numel() for key, parameter in model.named_parameters()}
    known = DatasetInfo.from_dict(content["info"])
    names = {
        "classes": (known.class_names, info.class_names),
        "joints": (known.keypoint_names, info.keypoint_names),
    }
    return StartReport(
        path=path,
        step=content["step"],
        elements=sum(sizes.values()),
        taken=sum(size for key, size in sizes.items() if key in fitting),
        anew=anew,
        unused=tuple(key for key in state if key not in own),
        others={what: there for what, (there, here) in names.items() if there != here},
    )


def _architecture(name: str) -> str:
    return name.split(".")[0]  # after the point, timm names published weights
