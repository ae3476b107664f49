"""Transformer blocks of the two-view network: pre-norm, rotary positions, no dropout."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from bevdepth_plus.pointmaps.rope import rotate

Rotation = tuple[Tensor, Tensor]  # see rope.rotation


def layer_norm(dim: int) -> nn.LayerNorm:
    return nn.LayerNorm(dim, eps=1e-6)


def mlp(dim: int, hidden: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, out))


class SelfAttention(nn.Module):
    """Multi-head attention of an image's tokens to each other."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Tensor, rotation: Rotation) -> Tensor:  # [B, T, C] -> [B, T, C]
        qkv = self.qkv(x).unflatten(-1, (3, self.num_heads, -1))
        queries, keys, values = qkv.permute(2, 0, 3, 1, 4)  # [B, K, T, D] each
        attended = scaled_dot_product_attention(
            rotate(queries, rotation), rotate(keys, rotation), values
        )
        return self.out(attended.transpose(1, 2).flatten(2))


class CrossAttention(nn.Module):
    """Multi-head attention of an image's tokens to those of the other image."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.queries = nn.Linear(dim, dim)
        self.keys = nn.Linear(dim, dim)
        self.values = nn.Linear(dim, dim)
        self.out = nn.Linear(dim, dim)

    def forward(
        self,
        x: Tensor,  # [B, T, C]
        other: Tensor,  # [B, T', C]
        rotation: Rotation,
        other_rotation: Rotation,
    ) -> Tensor:  # [B, T, C]
        queries = rotate(self._heads(self.queries(x)), rotation)
        keys = rotate(self._heads(self.keys(other)), other_rotation)
        attended = scaled_dot_product_attention(queries, keys, self._heads(self.values(other)))
        return self.out(attended.transpose(1, 2).flatten(2))

    def _heads(self, x: Tensor) -> Tensor:  # [B, T, C] -> [B, K, T, D]
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


class EncoderBlock(nn.Module):
    def __init__(self, dim: int, num_heads: int, mlp_ratio: int = 4) -> None:
        super().__init__()
        self.norm1 = layer_norm(dim)
        self.attention = SelfAttention(dim, num_heads)
        self.norm2 = layer_norm(dim)
        self.mlp = mlp(dim, mlp_ratio * dim, dim)

    def forward(self, x: Tensor, rotation: Rotation) -> Tensor:  # [B, T, C] -> [B, T, C]
        x = x + self.attention(self.norm1(x), rotation)
        return x + self.mlp(self.norm2(x))


class DecoderBlock(nn.Module):
    def __init__(self, dim: int, num_heads: int, mlp_ratio: int = 4) -> None:
        super().__init__()
        self.norm1 = layer_norm(dim)
        self.attention = SelfAttention(dim, num_heads)
        self.norm2 = layer_norm(dim)
        self.norm_other = layer_norm(dim)
        self.cross_attention = CrossAttention(dim, num_heads)
        self.norm3 = layer_norm(dim)
        self.mlp = mlp(dim, mlp_ratio * dim, dim)

    def forward(
        self,
        x: Tensor,  # [B, T, C]
        other: Tensor,  # [B, T', C], the other view, of the layer before
        rotation: Rotation,
        other_rotation: Rotation,
    ) -> Tensor:  # [B, T, C]
        x = x + self.attention(self.norm1(x), rotation)
        x = x + self.cross_attention(
            self.norm2(x), self.norm_other(other), rotation, other_rotation
        )
        return x + self.mlp(self.norm3(x))
