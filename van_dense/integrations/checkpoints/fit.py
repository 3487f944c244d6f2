"""A whole network of ours from a file: every weight from it, and every weight of it."""

from collections.abc import Mapping

from torch import Tensor, nn


def fill(model: nn.Module, ours: Mapping[str, Tensor], hint: str) -> None:
    """Load a whole state dict under our names.

    Args:
        model: Filled in place.
        ours: State of the file.
        hint: What to compare where it is another network.

    Raises:
        ValueError: When entries are missing, left over, or of another shape.
    """
    if wrong := _mismatch(model.state_dict(), ours):
        raise ValueError(
            f"this is not the network of the project; {hint}. Under our names: {wrong}"
        )
    model.load_state_dict(ours)


def _mismatch(model: Mapping[str, Tensor], file: Mapping[str, Tensor]) -> str:
    """Counts and first examples of what of two states does not fit, under our names, or nothing."""
    shapes = [
        f"{key} (file {tuple(file[key].shape)}, model {tuple(value.shape)})"
        for key, value in model.items()
        if key in file and file[key].shape != value.shape
    ]
    groups = {
        "not in the file": [key for key in model if key not in file],
        "not in the model": [key for key in file if key not in model],
        "of another shape": shapes,
    }
    parts = (f"{len(keys)} {n}: {', '.join(keys[:3])}" for n, keys in groups.items() if keys)
    return "; ".join(parts)
