"""A model whose numbers an exported file computes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from van_dense.core.structures import Batch, Prediction, Size
from van_dense.deploy.maps import SemanticNetwork
from van_dense.deploy.network import Network, Run
from van_dense.deploy.panoptic import PanopticFPNNetwork
from van_dense.models.dense_model import DenseModel
from van_dense.models.segmentation.map_inference import MapInference, Resized
from van_dense.models.segmentation.map_inference import Network as LogitNetwork

if TYPE_CHECKING:
    from typing import Self  # of Python 3.11 on

# From a precision to the function that computes the outputs of a file in it.
Runner = Callable[[str], Run]


class NoLayers(ValueError, AttributeError):
    """A file was asked for parts of a network; ``hasattr`` says no."""


def file_model(network: Network, runner: Runner) -> FileModel:
    """A file as a model, with what models of its kind do beside predicting.

    Args:
        network: Network of the file, whose model need not have weights.
        runner: From "fp32" or "bf16" to the function that computes the outputs in it, or ValueError
            where the runtime cannot. It is asked for every batch, so it keeps what it prepared.
    """
    return _KINDS.get(type(network), FileModel)(network, runner)


class FileModel(DenseModel):
    """Predicts as the model that was exported; it cannot be trained, explained or moved.

    Args:
        network: As ``file_model``.
        runner: As ``file_model``.
    """

    def __init__(self, network: Network, runner: Runner) -> None:
        super(DenseModel, self).__init__()
        self.network = network
        self.runner = runner
        #: That of the ``with`` blocks around; threads do not see those of each other.
        self._precision = ContextVar("precision of a file", default="fp32")
        runner("fp32")  # a file that cannot be run says so now

    def autocast(self, precision: str) -> Callable[[], AbstractContextManager[None]]:
        """Blocks in which this file computes in "bf16", or in "fp32" as what is around them.

        A precision that its runtime lacks is a ValueError, here and not in the block.
        """
        self.runner(precision)
        if precision == "fp32":
            return nullcontext
        return lambda: self._computing(precision)

    @contextmanager
    def _computing(self, precision: str) -> Iterator[None]:
        before = self._precision.set(precision)
        try:
            yield
        finally:
            self._precision.reset(before)

    def run(self, images: Tensor, sizes: Tensor, **more: Tensor) -> Mapping[str, Tensor]:
        """Outputs of the file by name, as ``Run``, in the precision of the block around."""
        return self.runner(self._precision.get())(images, sizes, **more)

    def predict(self, batch: Batch) -> list[Prediction]:
        """Results of each image, in original pixels."""
        return self.network.predict(self.run, batch.to("cpu"))

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """ValueError: a file has no losses."""
        raise ValueError("an exported file cannot be trained; take the run that it was made of")

    def flops_forward(self, size: Size) -> object:
        """ValueError: a file has no layers to count."""
        raise ValueError("operations of an exported file cannot be counted; take its run")

    def __getattr__(self, name: str) -> Any:
        """As ``nn.Module``, but ``NoLayers`` for the parts of a ``DenseModel``."""
        if name in ("backbone", "preprocess"):
            raise NoLayers(
                f"an exported file has no {name}, and no layers to look into or to explain; take "
                "the run that it was made of"
            )
        return super().__getattr__(name)

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Self:
        return self  # the runtime holds the weights, and the model here has none


class SemanticFile(FileModel):
    """File of a ``SemanticSegmenter``."""

    network: SemanticNetwork

    def with_inference(self, inference: MapInference) -> SemanticFile:
        """The same file with other windows, scales or flips."""
        network = SemanticNetwork(self.network.model.with_inference(inference))
        made = SemanticFile(network, self.runner).train(self.training)
        made._precision = self._precision  # within the blocks around this one
        return made

    @property
    def inference(self) -> MapInference:
        """As ``SemanticSegmenter.inference``."""
        return self.network.model.inference

    def padded(self, image_id: int | str) -> LogitNetwork:
        """As ``SemanticSegmenter.padded``."""
        return self.network.model.padded(image_id, self.network.by(self.run))


class PanopticFile(FileModel):
    """File of a ``PanopticFPN``."""

    network: PanopticFPNNetwork

    @property
    def gives_maps(self) -> bool:
        """As ``PanopticFPN.gives_maps``."""
        return self.network.model.gives_maps

    def parts(self, batch: Batch) -> list[tuple[Prediction, Resized | None]]:
        """As ``PanopticFPN.parts``."""
        return self.network.parts(self.run, batch.to("cpu"))

    def merged(
        self, found: Prediction, semantic: tuple[np.ndarray, np.ndarray] | None
    ) -> Prediction:
        """As ``PanopticFPN.merged``."""
        return self.network.model.merged(found, semantic)


_KINDS: Mapping[type[Network], type[FileModel]] = {
    PanopticFPNNetwork: PanopticFile,
    SemanticNetwork: SemanticFile,
}
