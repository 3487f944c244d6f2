"""Which library builds a detector: chosen once, when the config is read."""

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo

GUIDE = "https://detectron2.readthedocs.io/tutorials/install.html"


def has_detectron2() -> bool:
    """Whether Detectron2 is installed with its compiled part; importing it would load torch."""
    spec = find_spec("detectron2")
    folders = [Path(f) for f in (spec and spec.submodule_search_locations) or []]
    return any(any(folder.glob(f"_C*.{kind}")) for folder in folders for kind in ("so", "pyd"))


def choose_engine(engine: str) -> str:
    """Freeze ``auto``: a resolved config and a checkpoint name the engine that was used."""
    if engine == "auto":
        return "detectron2" if has_detectron2() else "torchvision"
    if engine == "detectron2" and not has_detectron2():
        other = (
            "model.engine=torchvision, which has the same networks and reads the same checkpoints"
        )
        fix = f"build it as {GUIDE} says, or set {other}"
        raise ValueError(f"Detectron2 is not installed; {fix}")
    return engine


def only_torchvision(engine: object, info: ValidationInfo) -> object:
    """``auto`` of a kind of detector that Detectron2 does not have, and ValueError for that."""
    if engine == "detectron2":
        kind = info.data.get("kind")
        raise ValueError(f"Detectron2 has no {kind}; set model.engine=torchvision or auto")
    return "torchvision" if engine == "auto" else engine


Engine = Annotated[
    Literal["auto", "torchvision", "detectron2"],
    AfterValidator(choose_engine),
    Field(validate_default=True),
]
OnlyTorchvision = Annotated[Literal["torchvision"], BeforeValidator(only_torchvision)]
