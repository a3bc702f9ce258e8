from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from pytest_wanlora.errors import ScoringError
from pytest_wanlora.scoring.video_features import VideoExtractor, load_extractor
from pytest_wanlora.suite import VideoFeatures

from .conftest import PublishedCall, SmallNet, moving, replace, save_module, save_torchscript, sha256


class NoFeatures(torch.nn.Module):
    """A TorchScript network without the published call."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


class TwoVectors(torch.nn.Module):
    """The published call with a wrong answer."""

    def forward(self, x: torch.Tensor, rescale: bool, resize: bool, return_features: bool) -> torch.Tensor:
        return torch.zeros(2, 4)


class NotANumber(torch.nn.Module):
    """The published call with a broken answer."""

    def forward(self, x: torch.Tensor, rescale: bool, resize: bool, return_features: bool) -> torch.Tensor:
        return torch.full((1, 4), torch.nan)


@pytest.fixture(params=["module", "torchscript"])
def features(
    request: pytest.FixtureRequest, module_settings: VideoFeatures, torchscript_settings: VideoFeatures
) -> VideoFeatures:
    return module_settings if request.param == "module" else torchscript_settings


@pytest.fixture
def extractor(features: VideoFeatures) -> VideoExtractor:
    return load_extractor(features, device="cpu")


class TestBothKinds:
    def test_one_vector(self, extractor: VideoExtractor) -> None:
        vector = extractor(moving(1))
        assert vector.shape == (12,)
        assert vector.dtype == np.float32

    def test_order_and_repetition_change_no_bit(self, extractor: VideoExtractor) -> None:
        videos = [moving(seed) for seed in range(4)]
        forwards = [extractor(video).tobytes() for video in videos]
        backwards = [extractor(video).tobytes() for video in reversed(videos)]
        assert forwards == backwards[::-1]

    def test_threads_change_no_bit(self, extractor: VideoExtractor) -> None:
        before, results = torch.get_num_threads(), []
        try:
            for threads in (1, 2):
                torch.set_num_threads(threads)
                results.append(extractor(moving(1)).tobytes())
        finally:
            torch.set_num_threads(before)
        assert results[0] == results[1]

    def test_motion_shows(self, extractor: VideoExtractor) -> None:
        assert not np.allclose(extractor(moving(1, speed=0)), extractor(moving(1, speed=4)))

    def test_a_view_scores_as_its_copy(self, extractor: VideoExtractor) -> None:
        video = moving(1)[:, :, ::-1]
        assert np.array_equal(extractor(video), extractor(video.copy()))

    def test_too_few_frames(self, extractor: VideoExtractor) -> None:
        shortest = extractor.minimum_frames
        extractor(moving(1, frames=shortest))
        with pytest.raises(ScoringError, match=f"{shortest - 1} frames .* at least {shortest}") as caught:
            extractor(moving(1, frames=shortest - 1))
        assert "sampling.frames" in str(caught.value)

    def test_other_digest(self, features: VideoFeatures) -> None:
        with pytest.raises(ScoringError, match="the suite states"):
            load_extractor(replace(features, sha256="ab" * 32), device="cpu")


class TestTorchscript:
    def test_the_network_resizes_and_rescales(self, torchscript_settings: VideoFeatures) -> None:
        torch.manual_seed(1)
        net = PublishedCall()
        net.net.load_state_dict(_state(torchscript_settings))
        video = moving(2, height=80, width=112)
        batch = torch.from_numpy(video).permute(3, 0, 1, 2)[None].float()
        with torch.no_grad():
            expected = net(batch, rescale=True, resize=True, return_features=True)[0].numpy()
        found = load_extractor(torchscript_settings, device="cpu")(video)
        assert found == pytest.approx(expected, abs=1e-5)

    def test_needs_nine_frames(self, torchscript_settings: VideoFeatures) -> None:
        assert load_extractor(torchscript_settings, device="cpu").minimum_frames == 9

    def test_loading_warns_of_nothing_and_leaves_the_filters(
        self, torchscript_settings: VideoFeatures
    ) -> None:
        before = list(warnings.filters)
        load_extractor(torchscript_settings, device="cpu")(moving(1))
        assert warnings.filters == before

    def test_the_graph_is_not_optimised(
        self, torchscript_settings: VideoFeatures, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Net(torch.nn.Module):
            def forward(self, x: torch.Tensor, **_: bool) -> torch.Tensor:
                return torch.full((1, 1), float(torch._C._get_graph_executor_optimize()))

        monkeypatch.setattr(torch.jit, "load", lambda *_, **__: Net())
        assert torch._C._get_graph_executor_optimize()
        assert load_extractor(torchscript_settings, device="cpu")(moving(1)) == 0.0
        assert torch._C._get_graph_executor_optimize()

    def test_digest_must_be_stated(self, torchscript_settings: VideoFeatures) -> None:
        with pytest.raises(ScoringError, match=r"scoring.video_features.sha256 is missing"):
            load_extractor(replace(torchscript_settings, sha256=""), device="cpu")

    def test_no_torchscript(self, tmp_path: Path) -> None:
        path = tmp_path / "i3d.pt"
        path.write_bytes(b"nothing")
        with pytest.raises(ScoringError, match="is not a TorchScript file"):
            load_extractor(
                VideoFeatures(kind="torchscript", weights=str(path), sha256=sha256(path)), device="cpu"
            )

    @pytest.mark.parametrize(
        ("net", "words"),
        [
            (NoFeatures, "cannot be called as"),
            (TwoVectors, r"returned \(2, 4\)"),
            (NotANumber, "NaN or infinity"),
        ],
    )
    def test_wrong_network(self, tmp_path: Path, net: type[torch.nn.Module], words: str) -> None:
        extractor = load_extractor(save_torchscript(tmp_path / "i3d.pt", net()), device="cpu")
        with pytest.raises(ScoringError, match=words):
            extractor(moving(1))


class TestModule:
    def test_gets_frames_between_minus_one_and_one(self, module_settings: VideoFeatures) -> None:
        net = SmallNet(8)
        net.load_state_dict(load_file(module_settings.weights))
        video = moving(3)
        batch = torch.from_numpy(video).permute(3, 0, 1, 2)[None].float() / 127.5 - 1.0
        with torch.no_grad():
            expected = net(batch)[0].numpy()
        assert load_extractor(module_settings, device="cpu")(video) == pytest.approx(expected, abs=1e-5)

    def test_half_precision_weights_run_in_float32(
        self, tmp_path: Path, module_settings: VideoFeatures
    ) -> None:
        state = {key: value.half() for key, value in load_file(module_settings.weights).items()}
        path = tmp_path / "half.safetensors"
        save_file(state, path, metadata={"config": '{"width": 8}'})
        half = replace(module_settings, weights=str(path), sha256=sha256(path))
        video = moving(1)
        assert load_extractor(half, device="cpu")(video) == pytest.approx(
            load_extractor(module_settings, device="cpu")(video), abs=1e-2
        )

    def test_minimum_frames_of_the_class(self, module_settings: VideoFeatures) -> None:
        assert load_extractor(module_settings, device="cpu").minimum_frames == SmallNet.minimum_frames

    @pytest.mark.parametrize(
        ("module", "words"),
        [
            ("", "allowed is the form package.module:Class"),
            ("torch.nn", "allowed is the form package.module:Class"),
            ("no_such_package:Net", "no_such_package"),
            ("torch.nn:NoSuchClass", "NoSuchClass"),
            ("torch.nn:functional", "is not a class of torch.nn.Module"),
            ("pathlib:Path", "is not a class of torch.nn.Module"),
        ],
    )
    def test_wrong_module(self, module_settings: VideoFeatures, module: str, words: str) -> None:
        with pytest.raises(ScoringError, match=words):
            load_extractor(replace(module_settings, module=module), device="cpu")

    @pytest.mark.parametrize(
        ("config", "words"),
        [
            ('{"width": 16}', "size mismatch"),
            ('{"height": 8}', "unexpected keyword argument 'height'"),
            ("{", "does not load into"),
            ("[]", "does not load into"),
        ],
        ids=["weights", "keyword", "JSON", "object"],
    )
    def test_wrong_configuration(self, tmp_path: Path, config: str, words: str) -> None:
        saved = save_module(tmp_path / "features.safetensors", config=config)
        with pytest.raises(ScoringError, match=words):
            load_extractor(saved, device="cpu")

    def test_no_configuration(self, tmp_path: Path, module_settings: VideoFeatures) -> None:
        path = tmp_path / "bare.safetensors"
        save_file(load_file(module_settings.weights), path)
        with pytest.raises(ScoringError, match="metadata has no `config`"):
            load_extractor(replace(module_settings, weights=str(path), sha256=""), device="cpu")

    def test_surplus_weights(self, tmp_path: Path, module_settings: VideoFeatures) -> None:
        state = {**load_file(module_settings.weights), "extra": torch.zeros(1)}
        path = tmp_path / "surplus.safetensors"
        save_file(state, path, metadata={"config": '{"width": 8}'})
        with pytest.raises(ScoringError, match="extra"):
            load_extractor(replace(module_settings, weights=str(path), sha256=""), device="cpu")


def test_unknown_kind(module_settings: VideoFeatures) -> None:
    with pytest.raises(ScoringError, match="allowed are 'module' and 'torchscript'"):
        load_extractor(replace(module_settings, kind="onnx"), device="cpu")


def _state(features: VideoFeatures) -> dict[str, torch.Tensor]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"`torch\.jit\.")
        loaded = torch.jit.load(features.weights)  # type: ignore[no-untyped-call]  # torch's
    return {key.removeprefix("net."): value for key, value in loaded.state_dict().items()}
