from __future__ import annotations

import json
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from pytest_wanlora import environment
from pytest_wanlora.scoring.scorer import Scorer, VideoScores
from pytest_wanlora.suite import ClipScorer, Scoring, VideoFeatures

pytestmark = pytest.mark.gpu

CAPTION = "a red lantern"
CUDNN: Any = torch.backends.cudnn


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = torch.nn.Conv3d(3, 64, 3, stride=2, padding=1)
        self.body = torch.nn.Conv3d(64, 64, 3, padding=1)
        self.head = torch.nn.Linear(64, 32)

    def forward(self, videos: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.head(self.body(torch.relu(self.stem(videos))).mean(dim=(2, 3, 4)))
        return features


@pytest.fixture(scope="module")
def scoring(tmp_path_factory: pytest.TempPathFactory) -> Scoring:
    folder = tmp_path_factory.mktemp("scorers")
    torch.manual_seed(0)
    config: dict[str, Any] = {
        "embed_dim": 128,
        "vision_cfg": {"image_size": 64, "layers": 4, "width": 256, "head_width": 64, "patch_size": 8},
        "text_cfg": {"context_length": 32, "vocab_size": 259, "width": 256, "heads": 4, "layers": 4},
    }
    save_file(open_clip.CLIP(**config).state_dict(), folder / "clip.safetensors")
    (folder / "clip.json").write_text(json.dumps({**config, "tokenizer": "bytes"}), encoding="utf-8")
    save_file(Net().state_dict(), folder / "net.safetensors", metadata={"config": "{}"})
    return Scoring(
        clip=ClipScorer(model=str(folder / "clip.json"), weights=str(folder / "clip.safetensors")),
        video_features=VideoFeatures(
            kind="module", weights=str(folder / "net.safetensors"), module=f"{__name__}:Net"
        ),
        reference=str(folder / "reference.safetensors"),
        sharpness_reference=500.0,
    )


def video(seed: int, frames: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (frames, 96, 160, 3), dtype=np.uint8)


def bits(result: VideoScores) -> tuple[object, ...]:
    return dict(result.scores), result.clip_frames.tobytes(), result.video_features.tobytes()


def test_order_and_repetition_change_no_bit(scoring: Scoring) -> None:
    scorer = Scorer(scoring, device="cuda:0")
    videos = [video(seed, frames) for seed, frames in ((1, 9), (2, 13), (3, 49))]
    forwards = [bits(scorer.score(each, CAPTION)) for each in videos]
    backwards = [bits(scorer.score(each, CAPTION)) for each in reversed(videos)]
    assert forwards == backwards[::-1]


def test_settings_of_the_process_change_no_bit(scoring: Scoring) -> None:
    scorer, given = Scorer(scoring, device="cuda:0"), video(1, 9)
    expected = bits(scorer.score(given, CAPTION))
    matmul = torch.backends.cuda.matmul
    found = matmul.fp32_precision, CUDNN.conv.fp32_precision, CUDNN.benchmark
    matmul.fp32_precision, CUDNN.conv.fp32_precision, CUDNN.benchmark = "tf32", "tf32", True
    try:
        with torch.autocast("cuda", dtype=torch.bfloat16):
            assert bits(scorer.score(given, CAPTION)) == expected
    finally:
        matmul.fp32_precision, CUDNN.conv.fp32_precision, CUDNN.benchmark = found


def test_float32_agrees_with_the_cpu(scoring: Scoring) -> None:
    given = video(2, 9)
    gpu, cpu = (Scorer(scoring, device=device).score(given, CAPTION) for device in ("cuda:0", "cpu"))
    # float32 sums of a few hundred terms; TF32 would be off by 1e-3
    assert gpu.clip_frames == pytest.approx(cpu.clip_frames, abs=2e-6)
    assert gpu.video_features == pytest.approx(cpu.video_features, abs=2e-6)


def test_the_environment_knows_the_gpu_as_torch_does() -> None:
    assert torch.cuda.device_count() == environment.visible_gpus() > 0
    for number in range(torch.cuda.device_count()):
        assert environment.gpu_name(number) == torch.cuda.get_device_name(number)
        assert environment.gpu_capability(number) == torch.cuda.get_device_capability(number)
