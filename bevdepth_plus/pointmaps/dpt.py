"""Dense prediction head that merges tokens of four layers. Source: DPT (ICCV 2021)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.functional import interpolate


class ResidualUnit(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(dim, dim, 3, padding=1)
        self.conv2 = nn.Conv2d(dim, dim, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:  # [B, C, h, w] -> [B, C, h, w]
        return x + self.conv2(self.conv1(x.relu()).relu())


class Fusion(nn.Module):
    """Merge the deeper map with the skip of one level and double the resolution."""

    def __init__(self, dim: int, has_skip: bool) -> None:
        super().__init__()
        self.skip = ResidualUnit(dim) if has_skip else None
        self.residual = ResidualUnit(dim)
        self.out = nn.Conv2d(dim, dim, 1)

    def forward(self, deeper: Tensor, skip: Tensor | None = None) -> Tensor:
        if skip is not None:
            deeper = deeper + self.skip(skip)
        return self.out(upsample(self.residual(deeper)))  # [B, C, 2h, 2w]


class DPT(nn.Module):
    """Tokens of four layers -> a map of the image's size.

    Args:
        token_dims: channels of the tokens of the four layers.
        layer_dims: channels of the maps at 1/4, 1/8, 1/16 and 1/32 of the image.
        feature_dim: channels of the fused maps.
        last_dim: channels before the last convolution.
        out_channels: channels of the result.
    """

    def __init__(
        self,
        token_dims: Sequence[int],
        layer_dims: Sequence[int] = (96, 192, 384, 768),
        feature_dim: int = 256,
        last_dim: int = 128,
        out_channels: int = 4,
    ) -> None:
        super().__init__()
        resample = (
            nn.ConvTranspose2d(layer_dims[0], layer_dims[0], 4, stride=4),
            nn.ConvTranspose2d(layer_dims[1], layer_dims[1], 2, stride=2),
            nn.Identity(),
            nn.Conv2d(layer_dims[3], layer_dims[3], 3, stride=2, padding=1),
        )
        self.reassemble = nn.ModuleList(
            nn.Sequential(nn.Conv2d(token_dim, layer_dim, 1), sampler)
            for token_dim, layer_dim, sampler in zip(token_dims, layer_dims, resample, strict=True)
        )
        self.to_features = nn.ModuleList(
            nn.Conv2d(layer_dim, feature_dim, 3, padding=1, bias=False) for layer_dim in layer_dims
        )
        self.fusions = nn.ModuleList(Fusion(feature_dim, has_skip=level < 3) for level in range(4))
        self.out = nn.Sequential(
            nn.Conv2d(feature_dim, feature_dim // 2, 3, padding=1),
            nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
            nn.Conv2d(feature_dim // 2, last_dim, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(last_dim, out_channels, 1),
        )

    def forward(
        self,
        tokens: Sequence[Tensor],  # four of [B, T, C]
        grid: tuple[int, int],  # rows, columns of the tokens
    ) -> Tensor:  # [B, out_channels, H, W]
        levels = [
            to_features(reassemble(layer.mT.unflatten(2, grid)))
            for layer, reassemble, to_features in zip(
                tokens, self.reassemble, self.to_features, strict=True
            )
        ]
        x = self.fusions[3](levels[3])
        # An odd number of tokens was rounded up at 1/32: cut what stands over.
        x = x[..., : grid[0], : grid[1]]
        for level in (2, 1, 0):
            x = self.fusions[level](x, levels[level])
        return self.out(x)


def upsample(x: Tensor) -> Tensor:  # [B, C, h, w] -> [B, C, 2h, 2w]
    return interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
