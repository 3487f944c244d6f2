"""A trained model that predicts whatever it is given: files, folders, arrays, Pillow images."""

import itertools
import logging
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Literal

import numpy as np
import torch

from van_dense.config import Config
from van_dense.config.segmentation import SemanticData
from van_dense.core.counting import counted
from van_dense.core.dataset_info import DatasetInfo
from van_dense.core.structures import Instances, Prediction, Sample, size_of
from van_dense.data.collate import collate
from van_dense.data.dataset import ReadError
from van_dense.data.io.label_map import LabelMap
from van_dense.data.io.sources import (
    ImageLike,
    ImageSource,
    named_sources,
    read_source,
    source_bytes,
    source_name,
)
from van_dense.data.loader import resolve_workers
from van_dense.deploy.file_model import FileModel
from van_dense.inference.result import Result
from van_dense.inference.selection import Selection
from van_dense.inference.stream import predict_stream
from van_dense.models.cpu_copy import cpu_copy, has_hooks, state_of
from van_dense.models.dense_model import DenseModel
from van_dense.tasks import task_of

log = logging.getLogger(__name__)

Precision = Literal["fp32", "bf16", "fp16"]


@dataclass(repr=False)
class Loaded:
    """A trained model with everything needed to use it, as ``van_dense.load`` returns it.

    >>> import numpy as np, torch, van_dense
    >>> config = van_dense.load_config("semfpn_van_b0", ["model.backbone.weights=null"])
    >>> info = task_of(config).dataset_info(config)
    >>> model = van_dense.build_model(config).eval()  # random weights
    >>> loaded = Loaded(model, config, info, step=0, device=torch.device("cpu"))
    >>> [result] = loaded.predict(np.zeros((48, 64, 3), dtype=np.uint8))
    >>> result.semantic.shape
    (48, 64)
    """

    model: DenseModel  #: network in evaluation mode, on ``device``
    config: Config  #: complete experiment that it was trained with
    info: DatasetInfo  #: names of its classes and keypoints
    step: int  #: number of optimiser steps of its training
    device: torch.device  #: where images are sent
    fast: bool = False  #: whether a CPU predicts with a copy of the model that is made for it
    _copied: tuple[Hashable, DenseModel] | None = field(default=None, init=False)

    def __repr__(self) -> str:
        """One line; that of the model alone has hundreds."""
        config = self.config
        return (
            f"Loaded({config.task} on {config.model.backbone.name}, "
            f"{counted(self.info.num_classes, 'class')} of {self.info.name!r}, step {self.step}, "
            f"{self.device})"
        )

    def predict(
        self,
        images: ImageLike | Iterable[ImageLike],
        proposals: Instances | Iterable[Instances] | None = None,
        *,
        batch_size: int = 1,
        precision: Precision = "fp32",
        min_score: float | None = None,
        classes: Sequence[str | int] | None = None,
        max_instances: int | None = None,
    ) -> list[Result]:
        """Predict images.

        Args:
            images: A path, a folder (its images in all depths), a pattern such as ``a/**/*.jpg``,
                a uint8 (H, W, 3) RGB array, a Pillow image of any mode, or several of these.
            proposals: For pose: the boxes of each image to predict poses in, such as
                ``proposals_from`` makes of a detector's prediction. By default an image is taken
                for the crop of one instance.
            batch_size: Images that the model sees at a time, of one size after the transform.
            precision: Autocast of the model: "fp32", "bf16", or on a GPU "fp16". Of an exported
                file OpenVINO computes "bf16" too.
            min_score: Lowest score of what is kept and drawn; see ``Result.filter``.
            classes: Names or labels of the classes that are kept.
            max_instances: The best so many instances or segments of each image.

        Returns:
            One result for each image, in its own pixels. ``stream`` needs no room for all.

        Raises:
            ReadError: When a file cannot be read; it is named.
            ValueError: When an array is no RGB image, a folder holds none, or the proposals are
                not one for each image; for an unknown class, and a limit that the task has not.
        """
        selection = Selection(min_score, classes, max_instances)
        sources = list(named_sources(images))
        if proposals is not None:
            proposals = [proposals] if isinstance(proposals, Instances) else list(proposals)
            if (num := len(proposals)) != len(sources):
                raise ValueError(f"{num} proposals for {len(sources)} images; give one for each")
        results = []
        for result in self._stream(
            sources, proposals, selection, batch_size=batch_size, precision=precision
        ):
            if isinstance(result, ReadError):
                raise result
            results.append(result)
        return results

    def stream(
        self,
        images: ImageLike | Iterable[ImageLike],
        proposals: Iterable[Instances] | None = None,
        *,
        batch_size: int = 1,
        precision: Precision = "fp32",
        min_score: float | None = None,
        classes: Sequence[str | int] | None = None,
        max_instances: int | None = None,
        predict_image: Callable[[np.ndarray], Prediction] | None = None,
    ) -> Iterator[Result | ReadError]:
        """Predict any number of images, in order, while the next ones are read in threads.

        Args:
            images: Images of any kind that ``predict`` takes; an iterator, such as the frames of
                a video, is taken as it goes.
            proposals: For pose: the boxes to predict poses in, one set for each image.
            batch_size: Images that the model sees at a time, of one size after the transform.
            precision: Autocast of the model: "fp32", "bf16", or on a GPU "fp16". Of an exported
                file OpenVINO computes "bf16" too.
            min_score: Lowest score of what is kept and drawn; see ``Result.filter``.
            classes: Names or labels of the classes that are kept.
            max_instances: The best so many instances or segments of each image.
            predict_image: Function in place of the model, from uint8 (H, W, 3) RGB to a prediction
                in its pixels, such as one made of tiles. Image id and transform stay out of it.

        Yields:
            A result, or the error of an image that cannot be read.

        Raises:
            ValueError: As ``predict`` does, but for files.
        """
        return self._stream(
            named_sources(images),
            proposals,
            Selection(min_score, classes, max_instances),
            batch_size=batch_size,
            precision=precision,
            predict_image=predict_image,
        )

    def _stream(
        self,
        named: Iterable[tuple[str, ImageSource]],
        proposals: Iterable[Instances] | None,
        selection: Selection,
        *,
        batch_size: int,
        precision: Precision,
        predict_image: Callable[[np.ndarray], Prediction] | None = None,
    ) -> Iterator[Result | ReadError]:
        """Like ``stream``, for sources with the names of what is saved of them.

        Mistakes are raised here, and not at the first result.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; give 1 or more")
        selection.labels(self.info)
        if self.model.training:
            log.warning("the model was in training mode; it predicts in evaluation mode")
            self.model.eval()
        predict = partial(self._predict, self.autocast(precision), predict_image)
        transform = task_of(self.config).build_transform(self.config, train=False)

        def prepare(item: tuple[int, tuple[str, ImageSource], Instances | None]) -> Sample:
            index, (_, source), regions = item
            name = source_name(source, index)
            image = read_source(source, name)
            sample = Sample(image, name, path=name, orig_size=size_of(image), proposals=regions)
            return sample if predict_image else transform(sample, np.random.default_rng(0))

        # The shorter one ends it; predict() has compared the lengths.
        pairs = zip(named, itertools.repeat(None) if proposals is None else proposals, strict=False)
        found_of = predict_stream(
            ((index, *pair) for index, pair in enumerate(pairs)),
            prepare,
            predict,
            batch_size=batch_size,
            threads=max(1, resolve_workers("auto")),
            weigh=lambda item: source_bytes(item[1][1]),
        )
        return (
            found
            if isinstance(found, ReadError)
            else self.result(found, source, name).filter(**vars(selection))
            for (_, (name, source), _), found in found_of
        )

    @property
    def network(self) -> DenseModel:
        """What predicts: the model, or on a CPU its faster copy, equal within 1e-4.

        The copy is made when it is first asked for, and anew once weights or attributes of the
        model were changed. A model with hooks predicts itself, so that they see its outputs.
        """
        if not self.fast or self.device.type != "cpu" or has_hooks(self.model):
            return self.model
        state = state_of(self.model)
        if self._copied is None or self._copied[0] != state:
            self._copied = (state, cpu_copy(self.model))
        return self._copied[1]

    def result(
        self, prediction: Prediction, source: ImageSource, name: str | None = None
    ) -> Result:
        """Add what this model knows to a prediction, where its image is, and how to call it."""
        return Result.of(
            prediction,
            source,
            self.info,
            min_score=self.config.eval.min_picture_score,
            label_map=self._label_map,
            name=name,
        )

    @cached_property
    def _label_map(self) -> LabelMap | None:
        data = self.config.data
        if not isinstance(data, SemanticData):
            return None
        return LabelMap.parse(data.label_map, self.info.num_classes)

    def autocast(self, precision: Precision) -> Callable[[], AbstractContextManager[object]]:
        """What every batch is predicted in; ValueError for a precision that is not to be had."""
        if isinstance(self.model, FileModel):
            return self.model.autocast(precision)
        return _autocast(self.device, precision)

    def _predict(
        self,
        autocast: Callable[[], AbstractContextManager[object]],
        predict_image: Callable[[np.ndarray], Prediction] | None,
        samples: Sequence[Sample],
    ) -> list[Prediction]:
        with torch.inference_mode(), autocast():
            if predict_image is not None:
                found = [(sample, predict_image(sample.image)) for sample in samples]
                return [replace(one, image_id=sample.image_id) for sample, one in found]
            batch = collate(samples, self.config.data.size_divisor).to(self.device)
            return self.network.predict(batch)


def _autocast(
    device: torch.device, precision: Precision
) -> Callable[[], AbstractContextManager[object]]:
    if precision == "fp32":
        return nullcontext
    if precision not in ("bf16", "fp16"):
        raise ValueError(f"precision is {precision!r}; give fp32, bf16 or fp16")
    if precision == "fp16" and device.type == "cpu":
        raise ValueError("precision fp16 needs a GPU; take bf16 or fp32")
    dtype = torch.bfloat16 if precision == "bf16" else torch.float16
    return partial(torch.autocast, device.type, dtype)


def proposals_from(
    prediction: Prediction, detector: DatasetInfo, pose: DatasetInfo, *, min_score: float = 0.0
) -> Instances:
    """Detections of the classes that a pose model knows, as its proposals.

    Args:
        prediction: What a detector found in an image.
        detector: What its labels mean.
        pose: What those of the pose model mean; classes are matched by name.
        min_score: Detections below are left out.

    Raises:
        ValueError: When the two have no class in common.
    """
    label_of = {name: label for label, name in enumerate(pose.class_names)}
    labels = torch.tensor([label_of.get(name, -1) for name in detector.class_names])
    if (labels < 0).all():
        raise ValueError(
            f"the detector knows {list(detector.class_names)[:10]}, the pose model "
            f"{list(pose.class_names)[:10]}; they need a class of the same name"
        )
    found = prediction.instances or Instances.empty()
    found = replace(found, labels=labels[found.labels], masks=None)
    keep = found.labels >= 0
    return found[keep if found.scores is None else keep & (found.scores >= min_score)]
