"""A ResNet that gives all its levels, from half the image's resolution on."""

from __future__ import annotations

from mmdet.models.backbones import ResNet
from torch import Tensor, nn

STRIDES = (2, 4, 8, 16, 32)


class PyramidEncoder(nn.Module):
    """mmdet's ResNet, with the stem's output as the finest level.

    Args:
        depth: of the ResNet: 18, 34, 50, 101.
        in_channels: of the image or map.
        base_channels: of the stem; 64 is the usual ResNet.
        init_cfg: mmengine's, e.g. ``dict(type="Pretrained", checkpoint="torchvision://resnet50")``.

    Attributes:
        channels: of the five levels.
    """

    def __init__(
        self,
        depth: int = 50,
        in_channels: int = 3,
        base_channels: int = 64,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__()
        self.resnet = ResNet(
            depth,
            in_channels=in_channels,
            stem_channels=base_channels,
            base_channels=base_channels,
            norm_eval=False,
            init_cfg=init_cfg,
        )
        widest = self.resnet.feat_dim
        self.channels = (base_channels, *(widest // step for step in (8, 4, 2, 1)))

    def forward(self, image: Tensor) -> list[Tensor]:  # [B, C, H, W]
        """Five levels ``[B, C_l, H / s, W / s]`` for s = 2, 4, 8, 16, 32, rounded up."""
        net = self.resnet
        level = net.relu(net.norm1(net.conv1(image)))
        levels = [level]
        level = net.maxpool(level)
        for name in net.res_layers:
            level = getattr(net, name)(level)
            levels.append(level)
        return levels


def conv_norm_relu(in_channels: int, out_channels: int, kernel_size: int, **options) -> nn.Module:
    """Convolution, BatchNorm, ReLU; the size stays."""
    options.setdefault("padding", kernel_size // 2)
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size, **options),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
    )
