"""Views into a trained network, one function each: LKA attention, features, receptive field.

They take what ``van_dense.load`` gives, of any task, and images; several networks by their titles
are drawn side by side. What the network sees is drawn: the image after the transform of the task,
for pose the image as the crop of one instance.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from van_dense.core.crops import regions_of_boxes, to_crop
from van_dense.core.structures import Batch, Sample, Size, size_of
from van_dense.data.collate import collate
from van_dense.data.io.outputs import require_file
from van_dense.data.io.sources import ImageLike, read_source
from van_dense.engine.progress import Track, untracked
from van_dense.explain.attention import attention_grid, lka_maps
from van_dense.explain.features import Components
from van_dense.explain.grid import PAGE, Cell, Row, Table, grouped
from van_dense.explain.layers import layer_maps, stage_layers
from van_dense.explain.receptive_field import field_figure, receptive_field
from van_dense.models.pose.top_down import TopDownPose
from van_dense.models.preprocess import Preprocess
from van_dense.tasks import task_of
from van_dense.visualize.legend import stack

if TYPE_CHECKING:
    from van_dense.inference.loaded import Loaded

    Networks = Loaded | Mapping[str, Loaded]

_FITTED = 16  # images that principal components are of

Source = ImageLike  # a path, an RGB array or a Pillow image


def attention_pages(loaded: Loaded, images: Iterable[Source]) -> Iterator[Image.Image]:
    """Draw the large kernel attention of a VAN: stages beside, blocks and images below each other.

    Args:
        loaded: Network with a VAN backbone, of any task.
        images: Paths, uint8 RGB arrays or Pillow images.

    Yields:
        Pages, each as soon as it is full.

    Raises:
        ValueError: When the backbone is no VAN, or an image cannot be read.
    """

    def grids() -> Iterator[np.ndarray]:
        for source in images:
            photo, pixels = _pixels_of(loaded, source)
            maps = lka_maps(loaded.model.backbone, pixels)
            yield attention_grid(photo, maps, title=name_of(source))

    for page in grouped(grids(), lambda page: sum(map(len, page)) <= PAGE[0]):
        yield Image.fromarray(stack(page))


def features_pages(
    loaded: Networks,
    images: Sequence[Source],
    *,
    layers: Sequence[str] = (),
    track: Track = untracked,
) -> Iterator[Image.Image]:
    """Draw the principal components of layers as colours, a row for each image.

    Args:
        loaded: One network, or several by title.
        images: Paths, uint8 RGB arrays or Pillow images; colours of a column compare across all of
            them. Of more than 16, the components are those of 16 evenly spread ones.
        layers: Names; by default all stages of one network, the last stage of each of several.
        track: Progress bar; images that it does not pass on are left out.

    Yields:
        Pages, each as soon as it is full.

    Raises:
        ValueError: For an unknown layer, or an image that cannot be read.
    """
    networks = _by_title(loaded)
    named = {
        title: _named_layers(title, network.model.backbone, layers, last=len(networks) > 1)
        for title, network in networks.items()
    }
    spread = np.linspace(0, len(images) - 1, min(len(images), _FITTED)).round().astype(int)
    fitted: dict[str, list[Components]] = {}
    for title, network in networks.items():
        few = track([images[i] for i in spread], total=len(spread), what=f"fit {title}".strip())
        maps = [_layer_maps(network, source, named[title])[1] for source in few]
        fitted[title] = [Components.of(one) for one in zip(*maps, strict=True)]

    def rows() -> Iterator[Row]:
        for i, source in enumerate(track(images, total=len(images), what="draw")):
            cells: list[Cell] = []
            for title, network in networks.items():
                photo, maps = _layer_maps(network, source, named[title])
                cells = cells or [Cell(photo)]
                for components, features in zip(fitted[title], maps, strict=True):
                    cells.append(Cell(components.colors(features, photo.shape[:2])))
            yield Row(cells, name_or_number(source, i))

    names = ["image", *(name for one in named.values() for name in one)]
    for page in Table(names).pages(rows()):
        yield Image.fromarray(page)


def _layer_maps(
    network: Loaded, source: Source, named: Mapping[str, str]
) -> tuple[np.ndarray, list[Tensor]]:
    """What the network sees of an image, and the maps (C, h, w) of its layers."""
    photo, pixels = _pixels_of(network, source)
    with torch.no_grad():
        maps = layer_maps(network.model.backbone, pixels[None], list(named.values()))
    return photo, [maps[layer][0] for layer in named.values()]


def field_view(
    loaded: Networks,
    images: Sequence[Source],
    *,
    layer: str | None = None,
    size: Size = (1024, 1024),
    numbers: Path | None = None,
    track: Track = untracked,
) -> Image.Image:
    """Draw the effective receptive field of a layer, measured over the images.

    Args:
        loaded: One network, or several by title.
        images: Paths, or uint8 RGB arrays; RepLKNet takes 50 of ImageNet's validation part.
        layer: Name; by default the last stage.
        size: (height, width) that images are resized to, as in RepLKNet; multiples of 64.
        numbers: JSON file for the numbers of the fields.
        track: Progress bar.

    Raises:
        ValueError: For an unknown layer, an image that cannot be read, or a file that cannot be
            written.
    """
    if numbers is not None:
        require_file(numbers)

    def resized(network: Loaded, source: Source) -> Tensor:
        # Pillow's filter, as torchvision's Resize in RepLKNet's script, averages when it shrinks.
        picture = Image.fromarray(_read(source)).resize(size[::-1], Image.Resampling.BICUBIC)
        return _normalised(network, np.array(picture))

    fields = {}
    for title, network in _by_title(loaded).items():
        going = track(images, total=len(images), what=f"field {title}".strip())
        pixels = map(partial(resized, network), going)
        field = receptive_field(network.model.backbone, pixels, layer)
        fields[title or "effective receptive field"] = field
    if numbers is not None:
        numbers.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps({title: field.to_json() for title, field in fields.items()}, indent=2)
        numbers.write_text(text + "\n", encoding="utf-8")
    return Image.fromarray(field_figure(fields))


def _named_layers(
    title: str, backbone: nn.Module, layers: Sequence[str], *, last: bool
) -> dict[str, str]:
    """The layers named, or the stages or their last one, by title of the column."""
    if layers:
        return {f"{title} {layer}".strip(): layer for layer in layers}
    stages = list(enumerate(stage_layers(backbone), start=1))
    return {f"{title} stage {i}".strip(): layer for i, layer in stages[-1 if last else 0 :]}


def _by_title(loaded: Networks) -> Mapping[str, Loaded]:
    return loaded if isinstance(loaded, Mapping) else {"": loaded}


def _read(source: Source) -> np.ndarray:
    name = name_of(source) or "an image"
    return read_source(Path(source) if isinstance(source, str) else source, name)


def name_of(source: Source) -> str:
    """Name of a file; other images have none."""
    return Path(source).name if isinstance(source, str | Path) else ""


def name_or_number(source: Source, index: int) -> str:
    """Name of a file; "image 3" for another image."""
    return name_of(source) or f"image {index}"


@dataclass(frozen=True)
class NetworkInput:
    """What a network sees of an image."""

    image: np.ndarray  # uint8 RGB (H, W, 3), after the transform of the task
    batch: Batch  # of this image alone; predictions are in its pixels
    original: Size  # (height, width) of the image as it was read


def network_input(network: Loaded, source: Source) -> NetworkInput:
    """Read an image and transform it as the task does, for pose as the crop of one instance.

    Raises:
        ValueError: When the image cannot be read.
    """
    image = _read(source)
    inputs = _transformed(network, image)
    name = name_of(source) or "image"
    sample = Sample(image=inputs, image_id=name, path=name, orig_size=inputs.shape[:2])
    batch = collate([sample], task_of(network.config).multiple(network.config)).to(network.device)
    return NetworkInput(inputs, batch, size_of(image))


def _pixels_of(network: Loaded, source: Source) -> tuple[np.ndarray, Tensor]:
    """What the network sees of an image, uint8 (H, W, 3), and the same normalised, (3, H, W)."""
    inputs = _transformed(network, _read(source))
    return inputs, _normalised(network, inputs)


def _transformed(network: Loaded, image: np.ndarray) -> np.ndarray:
    if isinstance(network.model, TopDownPose):  # it cuts crops out itself: here the image is one
        size = network.model.crop.size
        whole = np.array([[0, 0, image.shape[1], image.shape[0]]])
        counted = to_crop(regions_of_boxes(whole, size, padding=1.0), size)[0]
        # OpenCV counts from the centre of the first pixel, which lies at 0.5 in crops.py.
        counted[:, 2] += counted[:, :2].sum(axis=1) * 0.5 - 0.5
        return cv2.warpAffine(image, counted, size[::-1], flags=cv2.INTER_LINEAR)
    transform = task_of(network.config).build_transform(network.config, train=False)
    sample = Sample(image=image, image_id="", path="", orig_size=image.shape[:2])
    return transform(sample, np.random.default_rng(0)).image


def _normalised(network: Loaded, image: np.ndarray) -> Tensor:
    pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)
    preprocess = network.model.preprocess
    assert isinstance(preprocess, Preprocess)  # of every model, on every engine
    return preprocess.normalise(pixels.to(network.device))
