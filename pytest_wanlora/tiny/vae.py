"""DiffSynth's Wan 2.2 VAE at the embedded model's size."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffsynth.models.wan_video_vae import VideoVAE38_, WanVideoVAE38


class TinyWanVideoVAE38(WanVideoVAE38):  # type: ignore[misc]  # DiffSynth publishes no types
    """`WanVideoVAE38` with widths and latent statistics of its own.

    DiffSynth's class fixes both; everything else (encoding, decoding, tiling) is inherited. Temporal
    compression is 4, spatial compression 16.

    Args:
        z_dim: Latent channels.
        dim: Width of the encoder's first stage.
        dec_dim: Width of the decoder's last stage.
        mean: Mean of every latent channel over the training videos.
        std: Standard deviation of every latent channel over the training videos.
    """

    def __init__(
        self, *, z_dim: int, dim: int, dec_dim: int, mean: Sequence[float], std: Sequence[float]
    ) -> None:
        # WanVideoVAE38.__init__ would build the full-size network first.
        torch.nn.Module.__init__(self)
        self.mean = torch.tensor(mean)
        self.std = torch.tensor(std)
        self.scale = [self.mean, 1.0 / self.std]
        self.model = VideoVAE38_(z_dim=z_dim, dim=dim, dec_dim=dec_dim).eval().requires_grad_(False)
        self.upsampling_factor = 16
        self.z_dim = z_dim
