"""Ground truth before and after the transforms, side by side, to see that both move together."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import Prediction, Sample
from van_dense.data.dataset import DenseDataset, Transform
from van_dense.data.readers.class_words import readable_name
from van_dense.visualize import page
from van_dense.visualize.draw import draw_panel, legends
from van_dense.visualize.legend import stack
from van_dense.visualize.page import CAPTION, MARGIN, Panel
from van_dense.visualize.sheet import choose_samples

_HIGHEST = 640  # pixels of a panel


def save_augmented(
    folder: Path, dataset: DenseDataset, transform: Transform, *, num: int, draws: int
) -> list[Path]:
    """Write ``000_<image_id>.png`` and so on: a sample as it is read, then as it is transformed.

    The samples are those of ``choose_samples``. No two pictures have one seed.

    Args:
        folder: Folder to write into; made if missing.
        dataset: Any reader.
        transform: Transform of training or evaluation; changes of whole batches are not shown.
        num: Samples at most.
        draws: Versions of each, with different seeds; 0 for a transform that draws nothing.
    """
    files = []
    for number, sample in enumerate(choose_samples(dataset, num)):
        seeds = {f"seed {s}": s for s in range(number * draws, (number + 1) * draws)}
        picture = augmented(sample, transform, dataset.info, seeds=seeds or {"for evaluation": 0})
        path = folder / f"{number:03d}_{page.file_name(sample.image_id)}.png"
        files.append(page.write_page(path, picture))
    return files


def augmented(
    sample: Sample, transform: Transform, info: DatasetInfo, *, seeds: Mapping[str, int]
) -> np.ndarray:
    """Draw a sample before and after a transform, at one height, with a legend: uint8 (H, W, 3).

    Args:
        sample: Sample as a reader gives it.
        transform: Function of a sample and a generator, ``np.random.default_rng(seed)``.
        info: Class names, colours and skeleton.
        seeds: Seed of each transformed version, by its caption.
    """
    changed = [transform(sample, np.random.default_rng(seed)) for seed in seeds.values()]
    samples = [sample, *changed]
    truths = [page.unscored(Prediction.from_sample(s, info.num_classes)) for s in samples]
    room = page.WIDTH - MARGIN * (len(samples) + 1)
    height = min(_HIGHEST, room / sum(s.size[1] / s.size[0] for s in samples))
    panels = []
    for caption, s, truth in zip(["as read", *seeds], samples, truths, strict=True):
        drawn = draw_panel(s.image, truth, info, scale=height / s.size[0])
        panels.append(Panel(f"{caption}, {s.size[1]} x {s.size[0]}", drawn))
    title = page.title_of(sample)
    if sample.label is not None:
        title = f"{title}: {readable_name(info.class_names[sample.label])}"
    picture = page.draw_page(panels, title)
    size = picture.shape[:2]
    return stack([picture, *legends(truths, info, size, letter_size=CAPTION, indent=MARGIN)])
