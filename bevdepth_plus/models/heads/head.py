"""The interface of heads; another head is one new class and one line in a config."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from mmdet3d.structures import Det3DDataSample
from torch import Tensor


class BEVHead(ABC):
    """Base of all heads, beside ``nn.Module``. The detector builds it with ``in_channels`` and
    ``grid`` filled in, and calls only these methods.

    ``outputs`` may be of any kind: only the head itself looks into them.
    """

    @abstractmethod
    def outputs(self, bev: Tensor) -> Any:
        """The head's outputs for the encoded map ``[B, C, Y, X]``."""

    @abstractmethod
    def losses(self, outputs: Any, samples: Sequence[Det3DDataSample]) -> dict[str, Tensor]:
        """Losses by name, against the ground truth in the samples."""

    @abstractmethod
    def add_predictions(self, outputs: Any, samples: Sequence[Det3DDataSample]) -> None:
        """Write the predictions into the samples, in the samples' own ego frame."""

    @abstractmethod
    def undo_mirror(self, outputs: Any, x: bool, y: bool) -> Any:
        """Outputs of a BEV frame whose axes were mirrored, converted to the unmirrored one."""

    @abstractmethod
    def mean(self, variants: Sequence[Any]) -> Any:
        """The mean of several outputs of the same scene (test-time augmentation)."""
