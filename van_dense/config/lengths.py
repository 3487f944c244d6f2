"""Intervals and milestones count in the unit of the run; those written for the other are found.

``train.epochs`` makes them epochs, ``train.steps`` steps. A file that says "evaluate every epoch",
with ``train.steps=200`` laid over it, would evaluate at every step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Unit = Literal["epochs", "steps"]

TRIAL_STEPS = 100  # runs up to here only try whether everything works: a note is enough


@dataclass
class Lengths:
    """The layers of a config in order, and the length of the run after each."""

    layers: list[str] = field(default_factory=list)
    #: layer, unit and number, wherever there was exactly one length
    found: list[tuple[str, Unit, float]] = field(default_factory=list)

    def add(self, layer: str, values: Mapping[str, Any]) -> None:
        """Note the length after a layer; ``values`` are those of the merged config."""
        self.layers.append(layer)
        train = values.get("train")
        if not isinstance(train, Mapping):
            return
        set_here = {unit: train.get(unit) for unit in ("epochs", "steps")}
        numbers = {u: n for u, n in set_here.items() if isinstance(n, int | float) and n > 0}
        if len(numbers) == 1 and list(set_here.values()).count(None) == 1:
            (unit, number), *_ = numbers.items()
            self.found.append((layer, "epochs" if unit == "epochs" else "steps", number))

    def mixed(self, train: Any, origins: Mapping[str, str]) -> str | None:
        """What is counted in a unit it was not written for, and the line to write, or None.

        Args:
            train: Section ``train`` as validated, with defaults.
            origins: Layer of each value by its dotted path, where one set it.
        """
        if not self.found:
            return None
        _, unit, length = self.found[-1]
        others = [number for number, one in enumerate(self.found) if one[1] != unit]
        if not others:
            return None
        _, old_unit, old_length = self.found[others[-1]]
        switch = self.found[others[-1] + 1][0]
        since = self.layers.index(switch)
        values = {key: value for key, value in _intervals(train).items() if value}
        old = {
            f"train.{key}": value
            for key, value in values.items()
            if _last(self.layers, origins.get(f"train.{key}")) < since
        }
        if not old:
            return None
        shown = ", ".join(
            f"{key}={_written(value)} ({origins.get(key, 'default')})" for key, value in old.items()
        )
        lines = (
            f"'{key}={_written(_scaled(value, length / old_length, unit))}'"
            for key, value in old.items()
        )
        return (
            f"{shown}: written for a run of {old_length:g} {old_unit}, but train.{unit}="
            f"{length:g} ({switch}) makes {unit} of them; write them in {unit}, in the same "
            f"proportion: {' '.join(lines)}"
        )


def _intervals(train: Any) -> dict[str, Any]:
    """What is counted in the unit of the run and has an effect."""
    is_step = train.schedule.name == "step"
    return {
        "eval_every": train.eval_every,
        "save_every": train.save_every,
        "schedule.milestones": train.schedule.milestones if is_step else (),
        "schedule.cooldown": 0 if is_step else train.schedule.cooldown,
    }


def _last(layers: list[str], layer: str | None) -> int:
    """Place of the last layer of a name; defaults come before all."""
    return len(layers) - 1 - layers[::-1].index(layer) if layer in layers else -1


def _scaled(value: Any, factor: float, unit: Unit) -> Any:
    if isinstance(value, tuple):
        return tuple(_scaled(one, factor, unit) for one in value)
    # Rounded down: a milestone in the last step would lower nothing.
    return max(1, int(value * factor)) if unit == "steps" else float(f"{value * factor:.3g}")


def _written(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{','.join(map(_written, value))}]"
    return str(int(value)) if value == int(value) else f"{value:g}"
