"""Inception-3D (Carreira 2017, "Quo Vadis") at the size of the published Kinetics-400 network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_CLASSES = 400
# channels of the four branches: 1x1, 1x1 then 3x3, 1x1 then 3x3, pool then 1x1
_MIXED = (
    (192, (64, 96, 128, 16, 32, 32)),
    (256, (128, 128, 192, 32, 96, 64)),
    (480, (192, 96, 208, 16, 48, 64)),
    (512, (160, 112, 224, 24, 64, 64)),
    (512, (128, 128, 256, 24, 64, 64)),
    (512, (112, 144, 288, 32, 64, 64)),
    (528, (256, 160, 320, 32, 128, 128)),
    (832, (256, 160, 320, 32, 128, 128)),
    (832, (384, 192, 384, 48, 128, 128)),
)


def _same(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """TensorFlow's padding "SAME" of one axis: zeros before and after."""
    surplus = kernel - stride if size % stride == 0 else kernel - size % stride
    surplus = max(surplus, 0)
    return surplus // 2, surplus - surplus // 2


class _Same(nn.Module):
    """Pads time, height and width for a kernel and a stride."""

    def __init__(self, kernel: tuple[int, int, int], stride: tuple[int, int, int]) -> None:
        super().__init__()
        self.kernel = kernel
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        front, back = _same(x.shape[2], self.kernel[0], self.stride[0])
        top, bottom = _same(x.shape[3], self.kernel[1], self.stride[1])
        left, right = _same(x.shape[4], self.kernel[2], self.stride[2])
        return nn.functional.pad(x, [left, right, top, bottom, front, back])


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    cube, step = (kernel, kernel, kernel), (stride, stride, stride)
    return nn.Sequential(
        _Same(cube, step),
        nn.Conv3d(inputs, outputs, kernel, stride=stride, bias=False),
        nn.BatchNorm3d(outputs, eps=0.001),
        nn.ReLU(),
    )


def _pool(kernel: tuple[int, int, int], stride: tuple[int, int, int]) -> nn.Sequential:
    return nn.Sequential(_Same(kernel, stride), nn.MaxPool3d(kernel, stride=stride))


class _Mixed(nn.Module):
    """Four branches side by side."""

    def __init__(self, inputs: int, outputs: tuple[int, int, int, int, int, int]) -> None:
        super().__init__()
        self.one = _conv(inputs, outputs[0], 1)
        self.two = nn.Sequential(_conv(inputs, outputs[1], 1), _conv(outputs[1], outputs[2], 3))
        self.three = nn.Sequential(_conv(inputs, outputs[3], 1), _conv(outputs[3], outputs[4], 3))
        self.four = nn.Sequential(_pool((3, 3, 3), (1, 1, 1)), _conv(inputs, outputs[5], 1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.one(x), self.two(x), self.three(x), self.four(x)], dim=1)


class Inception3d(nn.Module):
    """The network, with the published TorchScript file's call.

    Args:
        width: Factor on every layer's channels; 1 is the published size, 12.7 M parameters.
    """

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()

        def wide(channels: int) -> int:
            return max(1, int(channels * width))

        def mixed(number: int) -> _Mixed:
            a, b, c, d, e, f = (wide(channels) for channels in _MIXED[number][1])
            inputs = wide(192)
            if number:
                last = _MIXED[number - 1][1]
                inputs = sum(wide(last[place]) for place in (0, 2, 4, 5))
            return _Mixed(inputs, (a, b, c, d, e, f))

        blocks = [mixed(number) for number in range(len(_MIXED))]
        self.layers = nn.Sequential(
            _conv(3, wide(64), 7, stride=2),
            _pool((1, 3, 3), (1, 2, 2)),
            _conv(wide(64), wide(64), 1),
            _conv(wide(64), wide(192), 3),
            _pool((1, 3, 3), (1, 2, 2)),
            *blocks[:2],
            _pool((3, 3, 3), (2, 2, 2)),
            *blocks[2:7],
            _pool((2, 2, 2), (2, 2, 2)),
            *blocks[7:],
            nn.AvgPool3d((2, 7, 7), stride=1),
        )
        ends = sum(wide(_MIXED[-1][1][place]) for place in (0, 2, 4, 5))
        self.logits = nn.Conv3d(ends, _CLASSES, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                # keeps the signal's size through 22 layers; with torch's default all videos look alike
                nn.init.kaiming_normal_(module.weight)

    def forward(
        self, videos: Tensor, rescale: bool = False, resize: bool = False, return_features: bool = False
    ) -> Tensor:
        """Return logits (n, 400) of videos (n, 3, T, H, W); probabilities without `return_features`.

        Args:
            videos: 0 to 255 with `rescale`, else -1 to 1; T >= 9.
            rescale: Bring 0..255 to -1..1.
            resize: Scale every frame to 224x224, bilinear, without keeping the aspect ratio.
            return_features: The logits.
        """
        if resize:
            count, channels, frames, height, wide = videos.shape
            flat = videos.permute(0, 2, 1, 3, 4).reshape(count * frames, channels, height, wide)
            flat = nn.functional.interpolate(flat, size=[224, 224], mode="bilinear", align_corners=False)
            videos = flat.reshape(count, frames, channels, 224, 224).permute(0, 2, 1, 3, 4)
        if rescale:
            videos = videos * (2.0 / 255.0) - 1.0
        logits: Tensor = self.logits(self.layers(videos)).squeeze(4).squeeze(3).mean(dim=2)
        if return_features:
            return logits
        return torch.softmax(logits, dim=1)
