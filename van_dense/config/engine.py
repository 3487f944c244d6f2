"""Which library builds a detector: chosen once, when the config is read."""

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo

GUIDE = "https://detectron2.readthedocs.io/tutorials/install.html"


def has_detectron2() -> bool:
    """Whether a built Detectron2 is installed; looks at files alone, since importing loads torch.

    Its source folder alone, without the compiled part, can be found too, but not be imported.
    """
    spec = find_spec("detectron2")
    if spec is None:
        return False
    folders = [Path(folder) for folder in spec.submodule_search_locations or []]
    return any(any(folder.glob(f"_C*.{kind}")) for folder in folders for kind in ("so", "pyd"))


def choose_engine(engine: str) -> str:
    """Freeze ``auto``: a resolved config and a checkpoint name the engine that was used.

    Raises:
        ValueError: When Detectron2 is asked for but not installed.
    """
    if engine == "auto":
        return "detectron2" if has_detectron2() else "torchvision"
    if engine == "detectron2" and not has_detectron2():
        raise ValueError(
            f"Detectron2 is not installed; build it as {GUIDE} says, or set "
            "model.engine=torchvision, which gives the same networks and reads the same checkpoints"
        )
    return engine


def only_torchvision(engine: object, info: ValidationInfo) -> object:
    """``auto`` of a kind of detector that Detectron2 does not have.

    Raises:
        ValueError: When Detectron2 is asked for.
    """
    if engine == "detectron2":
        raise ValueError(
            f"Detectron2 has no {info.data.get('kind')}; set model.engine=torchvision or auto"
        )
    return "torchvision" if engine == "auto" else engine


Engine = Annotated[
    Literal["auto", "torchvision", "detectron2"],
    AfterValidator(choose_engine),
    Field(validate_default=True),
]
OnlyTorchvision = Annotated[Literal["torchvision"], BeforeValidator(only_torchvision)]
