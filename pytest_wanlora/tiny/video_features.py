"""The network behind the embedded suite's Frechet distance: the stand-in for I3D."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class FeatureNetwork(nn.Module):
    """Recognise the factors of a video of the tiny world.

    Its penultimate layer is the feature vector of ``fvd`` and ``kvd``. Batch statistics are fixed after
    training, so a video's features do not depend on what it is scored with.

    Args:
        features: Length of the feature vector.
        width: Channels of the first stage.
        targets: Name of every target -> its number of classes.
    """

    def __init__(self, *, features: int, width: int, targets: Mapping[str, int]) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        inner = 3
        plan = (
            (width, (1, 5, 5), (1, 2, 2)),
            (2 * width, (3, 3, 3), (1, 2, 2)),
            (4 * width, (3, 3, 3), (2, 2, 2)),
            (6 * width, (3, 3, 3), (2, 2, 2)),
        )
        for outer, kernel, stride in plan:
            padding = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
            stages += [
                nn.Conv3d(inner, outer, kernel, stride, padding, bias=False),
                nn.BatchNorm3d(outer),
                nn.GELU(),
            ]
            inner = outer
        self.stages = nn.Sequential(*stages)
        # A 3 x 5 grid keeps where things are; the mean alone would forget positions.
        self.project = nn.Linear(inner * 15, features)
        self.heads = nn.ModuleDict(
            {name.replace(".", "_"): nn.Linear(features, size) for name, size in targets.items()}
        )

    def forward(self, videos: Tensor) -> Tensor:
        """Compute feature vectors.

        Args:
            videos: Shape (videos, 3, frames, height, width), values in -1..1.

        Returns:
            Shape (videos, features).
        """
        maps = self.stages(videos).mean(2)
        pooled = torch.nn.functional.adaptive_avg_pool2d(maps, (3, 5))
        result: Tensor = self.project(pooled.flatten(1))
        return result

    def classify(self, features: Tensor) -> dict[str, Tensor]:
        """Logits of every target from feature vectors of shape (videos, features)."""
        hidden = torch.nn.functional.gelu(features)
        return {name: head(hidden) for name, head in self.heads.items()}
