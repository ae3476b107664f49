"""The two-view network: two images -> two pointmaps in the frame of the first.

Source: DUSt3R (CVPR 2024) for points, MASt3R (ECCV 2024) for descriptors.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from bevdepth_plus.pointmaps.decoder import CrossDecoder
from bevdepth_plus.pointmaps.encoder import ImageEncoder, Tokens, check_images
from bevdepth_plus.pointmaps.heads import DPTHead, LinearHead, Pointmap, activate


@dataclass(frozen=True)
class TwoViewConfig:
    """Sizes of a :class:`TwoViewModel`; the defaults are those of the released networks.

    Attributes:
        head: "linear" or "dpt".
        descriptor_dim: channels of the local descriptors; 0: none (DUSt3R).
        dpt_layer_dims, dpt_feature_dim, dpt_last_dim: see :class:`dpt.DPT`.
    """

    encoder_dim: int = 1024
    encoder_depth: int = 24
    encoder_heads: int = 16
    decoder_dim: int = 768
    decoder_depth: int = 12
    decoder_heads: int = 12
    head: str = "dpt"
    descriptor_dim: int = 0
    dpt_layer_dims: tuple[int, int, int, int] = (96, 192, 384, 768)
    dpt_feature_dim: int = 256
    dpt_last_dim: int = 128

    def __post_init__(self) -> None:
        if self.head not in ("linear", "dpt"):
            raise ValueError(f'head must be "linear" or "dpt", got {self.head!r}')
        if self.head == "linear" and self.descriptor_dim:
            raise ValueError("descriptors need the head 'dpt', got head='linear'")

    def to_dict(self) -> dict:
        return asdict(self)


class TwoViewModel(nn.Module):
    """Images are RGB in [-1, 1]; both sides any multiple of 16, and the views may differ in size.

    Portrait images may share a batch with landscape ones: store them transposed and say so in
    ``transposed1`` and ``transposed2``. Their pointmaps come back transposed, too.
    """

    def __init__(self, config: TwoViewConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = ImageEncoder(config.encoder_dim, config.encoder_depth, config.encoder_heads)
        self.decoder = CrossDecoder(
            config.encoder_dim, config.decoder_dim, config.decoder_depth, config.decoder_heads
        )
        self.head1 = _head(config)
        self.head2 = _head(config)

    def forward(
        self,
        images1: Tensor,  # [B, 3, H1, W1]
        images2: Tensor,  # [B, 3, H2, W2]
        transposed1: Tensor | None = None,  # [B], bool
        transposed2: Tensor | None = None,  # [B], bool
        symmetrised: bool = False,
    ) -> tuple[Pointmap, Pointmap]:
        """Pointmaps of view 1 and of view 2, both in the camera frame of view 1.

        Args:
            symmetrised: the pairs are (a, b), (b, a), (c, d), (d, c), ...: each image is then
                encoded once.

        Raises:
            ValueError: a shape is wrong, or the pairs are not symmetrised as said.
        """
        encode = self.encode_symmetrised if symmetrised else self.encode
        tokens1, tokens2 = encode(images1, images2, transposed1, transposed2)
        layers1, layers2 = self.decoder(tokens1, tokens2)
        return self.pointmap(1, layers1, tokens1), self.pointmap(2, layers2, tokens2)

    def symmetric(
        self,
        images1: Tensor,  # [B, 3, H1, W1]
        images2: Tensor,  # [B, 3, H2, W2]
    ) -> tuple[Pointmap, Pointmap, Pointmap, Pointmap]:
        """Both orders of each pair, encoded once: pointmaps 1 in 1, 2 in 1, 2 in 2, 1 in 2."""
        tokens1, tokens2 = self.encode(images1, images2)
        results = []
        for first, second in ((tokens1, tokens2), (tokens2, tokens1)):
            layers1, layers2 = self.decoder(first, second)
            results += [self.pointmap(1, layers1, first), self.pointmap(2, layers2, second)]
        return tuple(results)

    def encode(
        self,
        images1: Tensor,
        images2: Tensor,
        transposed1: Tensor | None = None,
        transposed2: Tensor | None = None,
    ) -> tuple[Tokens, Tokens]:
        """Tokens of both views; views of one size go through the encoder in one batch."""
        check_images(images1)
        check_images(images2)
        if len(images1) != len(images2):
            raise ValueError(
                f"as many images of view 1 as of view 2: {len(images1)}, {len(images2)}"
            )
        if images1.shape != images2.shape:
            return self.encoder(images1, transposed1), self.encoder(images2, transposed2)
        tokens = self.encoder(
            torch.cat([images1, images2]), _both(transposed1, transposed2, images1)
        )
        first, second = tokens.features.chunk(2)
        if tokens.transposed is None:
            return tokens.with_features(first), tokens.with_features(second)
        return tuple(
            Tokens(features, positions, tokens.grid, transposed)
            for features, positions, transposed in zip(
                (first, second), tokens.positions.chunk(2), tokens.transposed.chunk(2), strict=True
            )
        )

    def encode_symmetrised(
        self,
        images1: Tensor,
        images2: Tensor,
        transposed1: Tensor | None = None,
        transposed2: Tensor | None = None,
    ) -> tuple[Tokens, Tokens]:
        """Tokens of both views of pairs (a, b), (b, a), ...; only every other pair is encoded."""
        even, odd = slice(0, None, 2), slice(1, None, 2)
        if (
            images1.shape != images2.shape
            or len(images1) % 2
            or not torch.equal(images1[even], images2[odd])
            or not torch.equal(images1[odd], images2[even])
        ):
            raise ValueError(
                "symmetrised=True needs the pairs (a, b), (b, a), ... of one size, one after the "
                f"other; got {tuple(images1.shape)} and {tuple(images2.shape)}"
            )
        halves = [None if t is None else t[even] for t in (transposed1, transposed2)]
        tokens1, tokens2 = self.encode(images1[even], images2[even], *halves)
        return _interleaved(tokens1, tokens2), _interleaved(tokens2, tokens1)

    def pointmap(self, view: int, layers: list[Tensor], tokens: Tokens) -> Pointmap:
        """What the head of view 1 or 2 makes of the decoder's layers."""
        return activate(self.raw_map(view, layers, tokens))

    def raw_map(self, view: int, layers: list[Tensor], tokens: Tokens) -> Tensor:
        """The head's numbers before activation, in float32, ``[B, C, H, W]`` as stored."""
        head = self.head1 if view == 1 else self.head2
        device = layers[0].device.type
        with torch.autocast(device, enabled=False):
            layers = [layer.float() for layer in layers]
            if tokens.transposed is None:
                return head(layers, tokens.grid)
            portrait = tokens.transposed
            raw = [None] * len(portrait)
            for is_portrait in (False, True):
                rows = (portrait == is_portrait).nonzero()[:, 0]
                if len(rows):
                    grid = tokens.grid[::-1] if is_portrait else tokens.grid
                    maps = head([layer[rows] for layer in layers], grid)
                    for row, one in zip(rows.tolist(), maps, strict=True):
                        raw[row] = one.mT if is_portrait else one
            return torch.stack(raw)


def _head(config: TwoViewConfig) -> nn.Module:
    if config.head == "linear":
        return LinearHead(config.decoder_dim)
    return DPTHead(
        config.encoder_dim,
        config.decoder_dim,
        config.decoder_depth,
        config.descriptor_dim,
        layer_dims=config.dpt_layer_dims,
        feature_dim=config.dpt_feature_dim,
        last_dim=config.dpt_last_dim,
    )


def _both(transposed1: Tensor | None, transposed2: Tensor | None, images: Tensor) -> Tensor | None:
    if transposed1 is None and transposed2 is None:
        return None
    none = torch.zeros(len(images), dtype=torch.bool, device=images.device)
    return torch.cat([none if t is None else t for t in (transposed1, transposed2)])


def _interleaved(first: Tokens, second: Tokens) -> Tokens:
    """Tokens of first 0, second 0, first 1, second 1, ..."""

    def mix(a: Tensor, b: Tensor) -> Tensor:
        return torch.stack([a, b], dim=1).flatten(0, 1)

    features = mix(first.features, second.features)
    if first.transposed is None:
        return first.with_features(features)
    positions = mix(first.positions, second.positions)
    return Tokens(features, positions, first.grid, mix(first.transposed, second.transposed))
