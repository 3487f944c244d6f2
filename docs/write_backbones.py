"""Write docs/backbones.md: ``python docs/write_backbones.py`` tries one model of each timm family.

It takes five minutes of CPU time, and needs no weights and no network.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import timm
import torch
from timm.models import list_models, list_modules

from van_dense.backbones.build import TimmBackbone, build_backbone
from van_dense.backbones.pyramid import STRIDES

PAGE = Path(__file__).resolve().parent / "backbones.md"
MARK = "<!-- written by docs/write_backbones.py -->\n"
# Height and width: multiples of 32, larger than what models are made for, not of one another.
SIZE = (256, 352)
OURS = (
    "registry",
    "registry_dense",
    "registry_staged",
    "resnet",
)  # modules of this package among timm's


class Row(NamedTuple):
    """What became of one model."""

    family: str  #: module of timm
    model: str  #: the smallest of the family
    outcome: str  #: "any size", "one size" or "refused"
    maps: str  #: strides of the model's own maps, and which of c2..c5 are made; or the reason


def families() -> dict[str, str]:
    """The smallest model of each of timm's modules, of those made for about 224 pixels."""
    smallest = {}
    for module in list_modules():
        sizes = {name: _parameters(name) for name in list_models(module=module)}
        if sizes:
            smallest[module] = min(sizes, key=sizes.__getitem__)
    return smallest


def tried(family: str, model: str) -> Row:
    """Build a backbone with random weights, and give it images of a size that it is not made for.

    A model that refuses them is tried once more as one for images of that size, and once with
    those that timm makes it for.
    """
    made_for = tuple(timm.get_pretrained_cfg(model).input_size[1:])
    reason = ""
    for size, seen, outcome in (
        (None, SIZE, "any size"),
        (SIZE, SIZE, "one size, set by `img_size`"),
        (None, made_for, f"{made_for[0]}x{made_for[1]} alone"),
    ):
        try:
            backbone = _backbone(model, size)
            with torch.inference_mode():
                backbone(torch.zeros(1, 3, *seen))
        except ValueError as error:
            reason = str(error)
        else:
            return Row(family, model, outcome, _maps(backbone))
    return Row(family, model, "refused", _short(reason))


def table(rows: list[Row]) -> str:
    """The table in Markdown, after a line that counts."""
    counts = Counter("refused" if row.outcome == "refused" else "taken" for row in rows)
    head = (
        f"{len(rows)} families of timm {timm.__version__}, the smallest model of each: "
        f"{counts['taken']} are taken, {counts['refused']} refused.\n\n"
        "| family | model tried | images | maps |\n|---|---|---|---|\n"
    )
    return head + "".join(f"| {' | '.join((r[0], f'`{r[1]}`', *r[2:]))} |\n" for r in rows)


def _backbone(model: str, size: tuple[int, int] | None) -> TimmBackbone:
    backbone = build_backbone(
        model,
        drop_path=0.0,
        norm_mode="batch",
        freeze_stages=0,
        checkpointing=False,
        options={},
        size=size,
    )
    return backbone.eval()


def _parameters(name: str) -> int:
    with torch.device("meta"):
        try:
            return sum(p.numel() for p in timm.create_model(name).parameters())
        except (RuntimeError, NotImplementedError, ValueError):  # not made on the meta device
            return 1 << 40


def _maps(backbone: TimmBackbone) -> str:
    found = sorted({level["reduction"] for level in backbone.body.feature_info})
    if backbone.pyramid is None:
        return "strides " + ", ".join(map(str, STRIDES))
    strides = f"stride {found[0]}" if len(found) == 1 else f"strides {', '.join(map(str, found))}"
    levels = enumerate(backbone.pyramid.levels, start=2)
    made = [f"c{i}" for i, level in levels if not isinstance(level, torch.nn.Identity)]
    return f"{strides}; {', '.join(made)} made by the pyramid"


def _short(reason: str) -> str:
    """The reason without what to do about it, on one line."""
    reason = reason.removeprefix("model.backbone.name: ").replace("|", "/")
    return re.split(r"; |\. |: it cuts", reason)[0].replace("\n", " ")


def main() -> None:
    """Try all and replace the table of the page."""
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    found = {family: model for family, model in families().items() if family not in OURS}
    rows = [tried(family, model) for family, model in found.items()]
    text = PAGE.read_text(encoding="utf-8").split(MARK)[0]
    PAGE.write_text(text + MARK + "\n" + table(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
