"""Evaluate a model on the validation part and write what a user looks at afterwards."""

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from van_dense.config import Config
from van_dense.core.structures import Prediction
from van_dense.data.dataset import DenseDataset, TooManyBadImages
from van_dense.data.loader import EvalLoader, resolve_workers
from van_dense.engine.checksum import checksum
from van_dense.engine.inference import predict_chunks, predict_parts
from van_dense.engine.parts import Parts
from van_dense.evaluation.evaluator import Evaluator
from van_dense.evaluation.table import PerClass, save_metrics
from van_dense.models.dense_model import DenseModel
from van_dense.tasks import task_of
from van_dense.visualize.sheet import choose_samples, save_comparisons

log = logging.getLogger(__name__)

_WORST = 3  # classes that are named after each evaluation


def worst_classes(per_class: PerClass, metric: str) -> str:
    """A line of the classes that need attention; empty where there are hardly more to choose of.

    ``metric`` is the one of a run, such as "bbox/AP": its classes are ranked by their first value.
    """
    kind, _, wanted = metric.partition("/")
    rows = {name: dict(values) for name, values in per_class.get(kind, {}).items()}
    name = next((m for values in rows.values() for m in (wanted, *values) if m in values), "")
    found = {c: v[name] for c, v in rows.items() if name in v and not math.isnan(v[name])}
    if len(found) <= _WORST:
        return ""
    worst = sorted(found, key=found.__getitem__)[:_WORST]
    return f"worst of {len(found)} classes, {kind} {name}: " + ", ".join(
        f"{one} {found[one]:.4g}" for one in worst
    )


class Evaluation:
    """Evaluates any number of models on one data set, whose images all processes share.

    Attributes:
        accelerator: Device and processes.
    """

    def __init__(self, config: Config, dataset: DenseDataset, accelerator: Accelerator) -> None:
        self._task = task_of(config)
        self._config, self._dataset, self.accelerator = config, dataset, accelerator
        self._transform = self._task.build_transform(config, train=False)
        if accelerator.is_main_process:
            for note in self._task.limit_notes(config, dataset):
                log.warning("%s", note)

    @cached_property
    def make_evaluator(self) -> Callable[[], Evaluator]:
        """Evaluators of the main process: on others, ground truth would take memory for nothing."""
        return self._task.evaluator_factory(self._dataset, self._config)

    def run(
        self,
        model: DenseModel,
        folder: Path,
        should_stop: Callable[[], bool] = lambda: False,
        parts: Parts | None = None,
    ) -> dict[str, float]:
        """Predict, score, draw, and return the metrics on the main process, none on the others.

        Writes metrics.json, what the evaluator keeps, and pictures/ into ``folder``.

        Args:
            model: Network on the device of the accelerator.
            folder: Folder of the results.
            should_stop: Function that says whether to end, of predictions without ``parts``.
            parts: Where predictions are kept by the numbers of their batches, and taken from where
                they are there; None keeps none.

        Raises:
            EvaluationStopped: When ``should_stop`` says so.
            TooManyBadImages: When more images are unreadable than ``data.max_bad_fraction`` allows.
        """
        config, main = self._config, self.accelerator.is_main_process
        evaluator = self.make_evaluator() if main else None
        samples = choose_samples(self._dataset, config.eval.pictures) if main else []
        drawn: dict[int | str, Prediction | None] = {sample.image_id: None for sample in samples}
        count = 0
        chunks = self._chunks(model, should_stop, parts)
        writer = self._task.prediction_writer(config, self._dataset, folder)
        with writer if main else nullcontext() as write:
            for chunk in chunks:
                if evaluator is None:  # the main process has them all
                    continue
                evaluator.update(chunk)
                count += len(chunk)
                for prediction in chunk:  # kept only where a picture needs it
                    if prediction.image_id in drawn:
                        drawn[prediction.image_id] = prediction
                    if write is not None:
                        write(prediction)
        if evaluator is None:
            return {}
        self._check_count(count)
        metrics = evaluator.compute()
        folder.mkdir(parents=True, exist_ok=True)
        save_metrics(folder / "metrics.json", metrics, evaluator.per_class())
        evaluator.save(folder)
        if worst := worst_classes(evaluator.per_class(), self._task.best_metric(config)):
            log.info("%s", worst)
        self._task.save_figures(evaluator, folder)
        save_comparisons(
            folder / "pictures",
            samples,
            [prediction for prediction in drawn.values() if prediction is not None],
            self._dataset.info,
            min_score=config.eval.min_picture_score,
        )
        return metrics

    @property
    def identity(self) -> dict[str, Any]:
        """What decides about the results beside the weights, in plain data."""
        config = self._config.model_dump(mode="json")
        del config["data"]["workers"]
        ids = [self._dataset.image_id(index) for index in range(len(self._dataset))]
        return {"images": len(ids), "image_ids": checksum(ids), "config": config}

    def _chunks(
        self, model: DenseModel, should_stop: Callable[[], bool], parts: Parts | None
    ) -> Iterator[list[Prediction]]:
        """Predictions of all processes, those in the parts included."""
        batches = -(-len(self._dataset) // self._config.eval.batch_size)
        loader = EvalLoader(
            self._dataset,
            self._transform,
            batch_size=self._config.eval.batch_size,
            rank=self.accelerator.process_index,
            world=self.accelerator.num_processes,
            workers=resolve_workers(self._config.data.workers),
            size_divisor=self._config.data.size_divisor,
            done=None if parts is None else parts.finished(batches),
        )
        if parts is None:
            return predict_chunks(model, loader, self.accelerator, should_stop=should_stop)
        return predict_parts(model, loader, self.accelerator, parts)

    def _check_count(self, predicted: int) -> None:
        images = len(self._dataset)
        unreadable = images - predicted
        if unreadable > max(1, self._config.data.max_bad_fraction * images):
            raise TooManyBadImages(
                f"{unreadable} of {images} validation images are unreadable (listed above); the "
                "metrics would say little. Run van-dense check"
            )
