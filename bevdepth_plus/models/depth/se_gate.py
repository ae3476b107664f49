"""Squeeze-and-excitation by the camera: its parameters gate the channels of a feature map."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class Mlp(nn.Module):
    """Two linear layers with a ReLU between them: ``[M, in] -> [M, out]``."""

    def __init__(self, in_channels: int, hidden_channels: int, out_channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(in_channels, hidden_channels)
        self.fc2 = nn.Linear(hidden_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(functional.relu(self.fc1(x)))


class SqueezeExcitation(nn.Module):
    """Gate the channels of a feature map by a given vector (of the camera)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_reduce = nn.Conv2d(channels, channels, 1)
        self.conv_expand = nn.Conv2d(channels, channels, 1)

    def forward(
        self,
        features: Tensor,  # [M, C, H, W]
        vector: Tensor,  # [M, C]
    ) -> Tensor:
        gate = self.conv_expand(functional.relu(self.conv_reduce(vector[..., None, None])))
        return features * gate.sigmoid()  # gate: [M, C, 1, 1]
