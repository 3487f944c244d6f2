"""What an exported file says of itself, so that it is enough to use it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.parse import parse_json

KEY = "van_dense"  # of the metadata of a file
FORMAT = 1


@dataclass(frozen=True)
class Card:
    """Everything about a file but its numbers.

    Attributes:
        config: Resolved config of the run, as YAML.
        info: Names and conventions of the data set, as ``DatasetInfo.to_dict`` gives them.
        step: Number of optimiser steps of the training.
        outputs: Names of the outputs.
        multiple: Number that the sides of an input are multiples of, in pixels.
        version: Version of van_dense that wrote the file.
        config_sha256: Digest of ``config``.
        checkpoint_sha256: Digest of the checkpoint file.
        licence: Licence of the weights, as whoever exported them stated it.
        precision: Numbers that the file holds: fp32 or int8.
        measured: What the gate measured: metrics, differences and speed, by name.
        format: Version of this card.
    """

    config: str
    info: Mapping[str, Any]
    step: int
    outputs: Sequence[str]
    multiple: int
    version: str
    config_sha256: str
    checkpoint_sha256: str
    licence: str = "not stated"
    precision: str = "fp32"
    measured: Mapping[str, Any] = field(default_factory=dict)
    format: int = FORMAT

    def dumps(self) -> str:
        """The card as JSON; a number that JSON lacks, such as NaN, becomes null."""
        return json.dumps(_finite(asdict(self)), allow_nan=False)

    @staticmethod
    def loads(text: str, source: str) -> Card:
        """Undo ``dumps``; ValueError that names ``source`` for a card of another kind."""
        values = parse_json(text, source)
        names = {one.name for one in fields(Card)}
        if not isinstance(values, dict) or values.get("format") != FORMAT:
            found = values.get("format") if isinstance(values, dict) else None
            raise ValueError(
                f"{source}: its card has format {found}, van_dense reads {FORMAT}; export it again"
            )
        if missing := sorted(names - values.keys()):
            raise ValueError(f"{source}: its card lacks {missing}; export it again")
        return Card(**{name: values[name] for name in names})

    def dataset_info(self) -> DatasetInfo:
        """Classes and keypoints."""
        return DatasetInfo.from_dict(self.info)


def _finite(value: Any) -> Any:
    """The same with None in place of floats that are not finite."""
    if isinstance(value, Mapping):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
