"""The data sets of the comparison; benchmarks/real/ prepares them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Set:
    """One data set below the folder of all."""

    task: str  # boxes, masks or maps
    folder: str
    project: str  # of this project, below benchmarks/real
    classes: tuple[str, ...]
    size: tuple[int, int]  # height and width of a training image, for all toolkits
    parts: dict[str, str] = field(default_factory=dict)  # of other folders than images/, masks/

    def images(self, root: Path) -> dict[str, str]:
        """Folder of the images of each part."""
        folder = root / self.folder
        return {
            part: str(folder / self.parts.get(part, f"images/{part}")) for part in ("train", "val")
        }

    def masks(self, root: Path) -> dict[str, str]:
        """Folder of the label maps of each part."""
        folder = root / self.folder
        return {
            part: str(folder / self.parts.get(f"{part} masks", f"masks/{part}"))
            for part in ("train", "val")
        }

    def overrides(self, root: Path) -> list[str]:
        """For the project: the prepared files, which all read."""
        keys = [f"data.{part}.images={path}" for part, path in self.images(root).items()]
        if self.task == "maps":
            return keys + [f"data.{part}.masks={path}" for part, path in self.masks(root).items()]
        folder = root / self.folder
        files = [f"data.{part}.annotations={folder / part}.json" for part in ("train", "val")]
        return [*keys, *files, "data.format=coco"]


CAMVID = "sky building pole road pavement tree sign fence car pedestrian bicyclist"
SETS = {
    "bccd": Set("boxes", "bccd", "bccd.yaml", ("Platelets", "RBC", "WBC"), (480, 640)),
    "nuclei": Set("masks", "nuclei", "nuclei.yaml", ("nucleus",), (512, 512)),
    "nuclei_maps": Set("maps", "nuclei", "nuclei_maps.yaml", ("background", "nucleus"), (512, 512)),
    "camvid": Set(
        "maps",
        "camvid",
        "camvid.yaml",
        tuple(CAMVID.split()),
        (360, 480),
        {"train": "train", "val": "val", "train masks": "trainannot", "val masks": "valannot"},
    ),
}
