"""Mask2Former in the layout of transformers, read and written.

Source of the names: ``Mask2FormerForUniversalSegmentation`` of transformers 4 and 5, which are
those of published files such as ``facebook/mask2former-swin-tiny-coco-panoptic``.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from van_dense.backbones.layouts import State
from van_dense.backbones.renaming import renamed

_PIXELS = "model.pixel_level_module.decoder."
_OURS = "backbone."
_BACKBONE = "model.pixel_level_module.encoder."
_QUERIES = "model.transformer_module."
# Beginnings of keys, here and there; the first that fits counts.
_NAMES = (
    ("pixel_decoder.input_projections.{0}.conv.", f"{_PIXELS}input_projections.{{0}}.0."),
    ("pixel_decoder.input_projections.{0}.norm.", f"{_PIXELS}input_projections.{{0}}.1."),
    ("pixel_decoder.adapter_1.conv.", f"{_PIXELS}adapter_1.0."),
    ("pixel_decoder.adapter_1.norm.", f"{_PIXELS}adapter_1.1."),
    ("pixel_decoder.layer_1.conv.", f"{_PIXELS}layer_1.0."),
    ("pixel_decoder.layer_1.norm.", f"{_PIXELS}layer_1.1."),
    ("pixel_decoder.", _PIXELS),
    ("query_decoder.", _QUERIES),
    ("class_head.", "class_predictor."),
    ("backbone.body.", f"{_BACKBONE}_backbone."),  # of a TimmBackboneConfig
)
_NO_OBJECT = "criterion.empty_weight"  # weights of the classes in the loss, no part of the network
# Entries whose shape depends on the backbone, on the classes or on the number of queries.
_MAY_DIFFER = (
    *(f"pixel_decoder.input_projections.{level}.conv." for level in range(3)),
    "pixel_decoder.adapter_1.conv.",
    "class_head.",
    "query_decoder.queries_",
)


Shapes = tuple[torch.Size, torch.Size]


@dataclass
class Mask2FormerReport:
    """What a model took from a file of transformers."""

    elements: int  #: of all parameters of the model
    taken: int = 0  #: elements that come from the file
    filled: list[str] = field(default_factory=list)  #: entries of the model that come from it
    anew: list[str] = field(default_factory=list)  #: entries of the model that keep what they had
    #: shapes in the file and in the model, of those entries of ``anew`` that are in both
    shapes: dict[str, Shapes] = field(default_factory=dict)
    unused: list[str] = field(default_factory=list)  #: entries of the file without a place

    def __str__(self) -> str:
        lines = [
            f"Mask2Former of transformers fills {100 * self.taken / self.elements:.1f} % of "
            f"{self.elements / 1e6:.2f} M parameters"
        ]
        for name, keys in (
            ("filled", self.filled),
            ("starts anew", self.anew),
            ("not used", self.unused),
        ):
            lines.append(f"  {name:<11} {len(keys):>4}  {_by_part(keys)}".rstrip())
        backbones = [key for key in self.unused if key.startswith(_BACKBONE)]
        if backbones:
            lines.append(
                "  the backbone of the file is not that of the model: its layers start as they "
                "were, and those that read its maps start anew where the channels differ"
            )
        lines += [f"  another shape: {_with_shapes(*entry)}" for entry in self.shapes.items()]
        return "\n".join(lines)


def _by_part(keys: list[str]) -> str:
    """Number of entries of each part: "backbone 12, class_head 2"."""
    parts = Counter(
        "backbone" if key.startswith(_BACKBONE) else key.split(".", 1)[0] for key in keys
    )
    return ", ".join(f"{part} {count}" for part, count in parts.items())


def _with_shapes(key: str, shapes: Shapes) -> str:
    there, here = shapes
    return f"{key} (file {tuple(there)}, model {tuple(here)})"


def is_transformers(state: Mapping[str, Tensor]) -> bool:
    """Are these the names of a whole Mask2Former of transformers?"""
    return f"{_PIXELS}level_embed" in state and f"{_QUERIES}queries_features.weight" in state


def to_transformers(model_state: Mapping[str, Tensor], *, no_object: float) -> State:
    """Entries of our Mask2Former under the names of transformers; the tensors are shared.

    A model there that loads them has a ``TimmBackboneConfig`` of the same timm name, with the
    ``out_indices`` of strides 4 to 32: (0, 1, 2, 3) for VAN, (1, 2, 3, 4) for a ResNet. What has no
    name there is a ValueError.

    Args:
        model_state: State dict of a ``Mask2Former``.
        no_object: Weight of "no object" in the loss, which they keep beside the weights.
    """
    found = {}
    for key, value in model_state.items():
        if (name := renamed(key, _NAMES)) is None:
            fix = "give the state of a Mask2Former"
            raise ValueError(f"{key!r} has no counterpart in transformers; {fix}")
        found[name] = value
    found[_NO_OBJECT] = torch.ones(len(model_state["class_head.bias"]))
    found[_NO_OBJECT][-1] = no_object
    return found


def load_mask2former(model: nn.Module, state: Mapping[str, Tensor]) -> Mask2FormerReport:
    """Copy what fits of a Mask2Former of transformers into ours, and report every entry.

    Both decoders must be of the same size. Where the backbone is another one, it stays as it is;
    the convolutions that read its maps, the class head and the queries start anew where their
    shapes disagree. Anything else that is missing or of another shape is a ValueError, and the
    model is unchanged.

    Args:
        model: Our ``Mask2Former``; filled in place.
        state: Tensors of the file, as ``read_state`` returns them.
    """
    if not is_transformers(state):
        raise ValueError(
            "this is no Mask2Former of transformers (keys model.pixel_level_module.* and "
            f"model.transformer_module.*); its keys are {list(state)[:5]}, ..."
        )
    own = model.state_dict()
    sizes = {key: parameter.numel() for key, parameter in model.named_parameters()}
    report = Mask2FormerReport(elements=sum(sizes.values()))
    fitting: State = {}
    same_backbone = _same_backbone(own, state)
    for key, value in state.items():
        name = renamed(key, _NAMES, back=True)
        if name not in own or (name.startswith(_OURS) and not same_backbone):
            report.unused.append(key)
        elif value.shape == own[name].shape:
            fitting[name] = value
        else:
            report.shapes[name] = value.shape, own[name].shape
    lacking = [key for key in own if key not in fitting and key not in report.shapes]
    differing = [entry for entry in report.shapes.items() if not entry[0].startswith(_MAY_DIFFER)]
    wrong = [_with_shapes(*entry) for entry in differing]
    wrong += [f"{key} (not in the file)" for key in lacking if not key.startswith(_OURS)]
    wrong += [key for key in report.unused if key.startswith((_PIXELS, _QUERIES))]
    if wrong:
        raise ValueError(
            "the decoders of the file have another size; compare model.channels, "
            "model.pixel_decoder and model.decoder of the config with those of the file: "
            f"{len(wrong)} entries do not fit, such as {', '.join(wrong[:3])}"
        )
    report.anew = [*report.shapes, *(key for key in lacking if key.startswith(_OURS))]
    report.filled = list(fitting)
    report.taken = sum(sizes[key] for key in fitting if key in sizes)
    model.load_state_dict(fitting, strict=False)
    return report


def _same_backbone(own: State, state: Mapping[str, Tensor]) -> bool:
    """Is the backbone of the file ours, entry by entry? Some of another one fit by their shape."""
    there = {renamed(key, _NAMES, back=True): value.shape for key, value in state.items()}
    shapes = {key: value.shape for key, value in own.items() if key.startswith(_OURS)}
    return all(there.get(key) == shape for key, shape in shapes.items())
