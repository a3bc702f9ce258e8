from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from safetensors.torch import load_file, save_file

from pytest_wanlora.errors import ScoringError
from pytest_wanlora.scoring.clip import ClipScorer, clip_scores, squares, temporal_consistency
from pytest_wanlora.scoring.determinism import FRAME_BATCH
from pytest_wanlora.scoring.tokenizer import ByteTokenizer
from pytest_wanlora.suite import schema

from .conftest import CLIP_CONFIG, moving, replace, save_clip, sha256

CAPTION = "a red lantern"
seeds = st.integers(0, 2**32 - 1)
few = settings(max_examples=30, deadline=None)


@pytest.fixture(scope="module")
def scorer(clip_settings: schema.ClipScorer) -> ClipScorer:
    return ClipScorer(clip_settings, device="cpu")


@pytest.fixture(scope="module")
def whole(clip_settings: schema.ClipScorer) -> ClipScorer:
    return ClipScorer(replace(clip_settings, frame="whole"), device="cpu")


def unit(seed: int, *shape: int) -> NDArray[np.float32]:
    rows = np.random.default_rng(seed).normal(size=shape)
    return np.asarray(rows / np.linalg.norm(rows, axis=-1, keepdims=True), dtype=np.float32)


def plain_model(config: dict[str, Any], path: str) -> Any:  # noqa: ANN401  open_clip has no types
    model = open_clip.CLIP(**config)
    model.load_state_dict(load_file(path))
    return model.eval()


class TestParity:
    """The same numbers as plain open_clip calls on the whole video at once."""

    @pytest.mark.parametrize("frames", [2, 9, 13])
    def test_score(self, scorer: ClipScorer, clip_settings: schema.ClipScorer, frames: int) -> None:
        video = moving(1, frames=frames)
        model = plain_model(CLIP_CONFIG, clip_settings.weights)
        transform = image_transform_v2(PreprocessCfg(size=32), is_train=False)
        images = torch.stack([transform(Image.fromarray(frame)) for frame in video])
        with torch.no_grad():
            embedded = model.encode_image(images, normalize=True)
            text = model.encode_text(ByteTokenizer(32)([CAPTION]), normalize=True)[0]
        cosines = embedded @ text
        scores = clip_scores(scorer.embed_frames(video), scorer.embed_text(CAPTION))
        assert scores["clip_cosine"] == pytest.approx(float(cosines.mean()), abs=1e-5)
        assert scores["clip"] == pytest.approx(float((2.5 * cosines.clamp(min=0)).mean()), abs=1e-5)
        temporal = 100 * torch.nn.functional.cosine_similarity(embedded[1:], embedded[:-1]).mean()
        assert temporal_consistency(scorer.embed_frames(video)) == pytest.approx(float(temporal), abs=1e-3)

    def test_model_known_by_name(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        config = {**CLIP_CONFIG, "text_cfg": {**CLIP_CONFIG["text_cfg"], "vocab_size": 49408}}
        saved = save_clip(tmp_path, config)
        monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "small", config)
        model, _, transform = open_clip.create_model_and_transforms("small", pretrained=saved.weights)
        model.eval()
        video = moving(2, frames=3)
        with torch.no_grad():
            images = torch.stack([transform(Image.fromarray(frame)) for frame in video])
            embedded = model.encode_image(images, normalize=True)
            text = model.encode_text(open_clip.get_tokenizer("small")([CAPTION]), normalize=True)[0]
        scorer = ClipScorer(replace(saved, model="small"), device="cpu")
        assert scorer.embed_frames(video) == pytest.approx(embedded.numpy(), abs=1e-5)
        assert scorer.embed_text(CAPTION) == pytest.approx(text.numpy(), abs=1e-5)


class TestEmbedding:
    def test_shapes_and_length(self, scorer: ClipScorer) -> None:
        embedded = scorer.embed_frames(moving(3, frames=5))
        assert embedded.shape == (5, 16)
        assert embedded.dtype == np.float32
        assert np.linalg.norm(embedded, axis=1) == pytest.approx(np.ones(5), abs=1e-6)
        assert scorer.embed_text(CAPTION).shape == (16,)

    @pytest.mark.parametrize("frames", [2, FRAME_BATCH, FRAME_BATCH + 1, 2 * FRAME_BATCH + 3])
    def test_a_frame_does_not_depend_on_the_length_of_its_video(
        self, scorer: ClipScorer, frames: int
    ) -> None:
        video = moving(4, frames=2 * FRAME_BATCH + 3)
        assert np.array_equal(scorer.embed_frames(video[:frames]), scorer.embed_frames(video)[:frames])

    def test_threads_change_no_bit(self, scorer: ClipScorer) -> None:
        video, before = moving(5), torch.get_num_threads()
        results = []
        try:
            for threads in (1, 2):
                torch.set_num_threads(threads)
                results.append((scorer.embed_frames(video).tobytes(), scorer.embed_text(CAPTION).tobytes()))
        finally:
            torch.set_num_threads(before)
        assert results[0] == results[1]

    def test_autocast_around_it_changes_no_bit(self, scorer: ClipScorer) -> None:
        video = moving(5)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            inside = scorer.embed_frames(video)
        assert np.array_equal(inside, scorer.embed_frames(video))

    def test_another_caption_has_another_embedding(self, scorer: ClipScorer) -> None:
        assert not np.allclose(scorer.embed_text(CAPTION), scorer.embed_text("a blue lantern"))

    @pytest.mark.parametrize("caption", ["", "  \n"])
    def test_empty_caption(self, scorer: ClipScorer, caption: str) -> None:
        with pytest.raises(ScoringError, match="empty"):
            scorer.embed_text(caption)

    def test_caption_that_would_be_cut(self, scorer: ClipScorer) -> None:
        scorer.embed_text("x" * 30)
        with pytest.raises(ScoringError, match="31 tokens and CLIP reads 30") as caught:
            scorer.embed_text("x" * 31)
        assert "`caption`" in str(caught.value)

    def test_damaged_weights(self, tmp_path: Path, clip_settings: schema.ClipScorer) -> None:
        state = load_file(clip_settings.weights)
        state["visual.proj"] = torch.full_like(state["visual.proj"], torch.nan)
        path = tmp_path / "nan.safetensors"
        save_file(state, path)
        scorer = ClipScorer(replace(clip_settings, weights=str(path), sha256=sha256(path)), device="cpu")
        with pytest.raises(ScoringError, match="NaN or infinity for frames"):
            scorer.embed_frames(moving(1))


class TestWholeFrames:
    @given(st.integers(1, 900), st.integers(1, 900))
    def test_squares_show_all_of_a_frame_and_half_of_each_other(self, height: int, width: int) -> None:
        cuts, side = squares(height, width), min(height, width)
        seen = np.zeros((height, width), dtype=np.bool_)
        for cut in cuts:
            assert seen[cut].shape == (side, side)
            seen[cut] = True
        assert seen.all()
        starts = [rows.start + columns.start for rows, columns in cuts]
        # rounded to a pixel each
        assert all(after - before <= side / 2 + 1 for before, after in pairwise(starts))

    def test_of_a_wide_frame_the_middle_one_is_the_usual_crop(self) -> None:
        all_rows = slice(0, 480)
        assert squares(480, 832) == tuple((all_rows, slice(at, at + 480)) for at in (0, 176, 352))
        assert squares(832, 480) == tuple((slice(at, at + 480), all_rows) for at in (0, 176, 352))

    def test_what_is_only_in_the_margins_changes_the_score_of_whole_frames_alone(
        self, scorer: ClipScorer, whole: ClipScorer
    ) -> None:
        video = moving(7, frames=3, height=96, width=166)
        other = video.copy()
        # the usual crop ends at 131, and its resizing reaches 6 pixels further
        other[:, :, 140:] = 255
        assert np.array_equal(scorer.embed_frames(video), scorer.embed_frames(other))
        before, after = (clip_scores(whole.embed_frames(of), unit(1, 16)) for of in (video, other))
        assert abs(before["clip_cosine"] - after["clip_cosine"]) > 1e-3

    def test_an_embedding_is_the_mean_of_its_squares(self, scorer: ClipScorer, whole: ClipScorer) -> None:
        video = moving(8, frames=4)
        parts = [scorer.embed_frames(np.ascontiguousarray(video[:, *cut])) for cut in squares(64, 96)]
        mean = np.mean(parts, axis=0)
        expected = mean / np.linalg.norm(mean, axis=1, keepdims=True)
        assert whole.embed_frames(video) == pytest.approx(expected, abs=1e-6)

    def test_of_square_frames_it_is_the_same_to_the_bit(self, scorer: ClipScorer, whole: ClipScorer) -> None:
        video = moving(9, frames=3, height=64, width=64)
        assert np.array_equal(scorer.embed_frames(video), whole.embed_frames(video))

    def test_a_model_that_reads_no_squares_is_refused(self, tmp_path: Path) -> None:
        vision = {**CLIP_CONFIG["vision_cfg"], "image_size": [32, 48]}
        saved = save_clip(tmp_path, {**CLIP_CONFIG, "vision_cfg": vision, "tokenizer": "bytes"})
        with pytest.raises(ScoringError, match=r"scoring\.clip\.frame is 'whole' and .* reads no squares"):
            ClipScorer(replace(saved, frame="whole"), device="cpu")


class TestScores:
    @few
    @given(seeds, st.integers(2, 12), st.integers(2, 20))
    def test_bounds(self, seed: int, frames: int, dimensions: int) -> None:
        embedded = unit(seed, frames, dimensions)
        scores = clip_scores(embedded, unit(seed + 1, dimensions))
        assert 0.0 <= scores["clip"] <= 2.5
        assert -1.0 <= scores["clip_cosine"] <= 1.0
        assert scores["clip"] >= 2.5 * scores["clip_cosine"] - 1e-12
        assert -100.0 <= temporal_consistency(embedded) <= 100.0

    @few
    @given(seeds, st.integers(2, 12))
    def test_frozen_video_is_wholly_consistent(self, seed: int, frames: int) -> None:
        frozen = np.repeat(unit(seed, 1, 16), frames, axis=0)
        assert temporal_consistency(frozen) == pytest.approx(100.0, abs=1e-12)

    @few
    @given(seeds, st.permutations(range(6)))
    def test_score_does_not_depend_on_the_order_of_frames(self, seed: int, order: list[int]) -> None:
        embedded, text = unit(seed, 6, 16), unit(seed + 1, 16)
        assert clip_scores(embedded[order], text)["clip"] == pytest.approx(
            clip_scores(embedded, text)["clip"]
        )

    @few
    @given(seeds)
    def test_consistency_is_the_same_backwards(self, seed: int) -> None:
        embedded = unit(seed, 6, 16)
        assert temporal_consistency(embedded[::-1]) == pytest.approx(temporal_consistency(embedded))

    def test_scale_is_that_of_clipscore(self) -> None:
        text = np.array([1.0, 0.0], np.float32)
        cosines = np.array([0.25, -0.5], np.float32)
        frames = np.stack([cosines, np.sqrt(1 - cosines**2)], axis=1)
        scores = clip_scores(frames, text)
        assert scores["clip"] == pytest.approx(2.5 * 0.25 / 2)
        assert scores["clip_cosine"] == pytest.approx(-0.125)

    def test_one_frame_has_no_consistency(self) -> None:
        with pytest.raises(ScoringError, match="at least 2 frames"):
            temporal_consistency(unit(0, 1, 4))


class TestConfiguration:
    def test_preprocessing_of_the_configuration_is_used(self, tmp_path: Path) -> None:
        vision = {**CLIP_CONFIG["vision_cfg"], "image_size": [32, 48]}
        config = {**CLIP_CONFIG, "vision_cfg": vision, "tokenizer": "bytes"}
        recipe = {"resize_mode": "squash", "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}
        saved = save_clip(tmp_path, {**config, "preprocess_cfg": recipe})
        video = moving(6, frames=3)
        model = plain_model({**CLIP_CONFIG, "vision_cfg": vision}, saved.weights)
        transform = image_transform_v2(PreprocessCfg(size=(32, 48), **recipe), is_train=False)
        with torch.no_grad():
            images = torch.stack([transform(Image.fromarray(frame)) for frame in video])
            expected = model.encode_image(images, normalize=True).numpy()
        assert ClipScorer(saved, device="cpu").embed_frames(video) == pytest.approx(expected, abs=1e-5)

    def test_own_tokenizer_of_open_clip_works_offline(self, tmp_path: Path) -> None:
        config = {**CLIP_CONFIG, "text_cfg": {**CLIP_CONFIG["text_cfg"], "vocab_size": 49408}}
        scorer = ClipScorer(save_clip(tmp_path, config), device="cpu")
        scorer.check_caption("a red lantern " * 10)
        with pytest.raises(ScoringError, match="33 tokens and CLIP reads 30"):
            scorer.check_caption("a red lantern " * 11)

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"tokenizer": "words"}, "tokenizer 'words', allowed is 'bytes'"),
            ({"extra": 1}, "has the keys embed_dim, extra, text_cfg"),
            ({"preprocess_cfg": {"crop": 1}}, "allowed is an object with mean"),
            ({"preprocess_cfg": {"resize_mode": "fold"}}, "does not load into"),
            ({"embed_dim": 24}, "does not load into .*size mismatch"),
            ({"vision_cfg": {"layers": "two"}}, "does not load into"),
        ],
        ids=["tokenizer", "key", "preprocessing key", "preprocessing value", "size", "type"],
    )
    def test_wrong_configuration(
        self, tmp_path: Path, clip_settings: schema.ClipScorer, change: dict[str, Any], words: str
    ) -> None:
        path = tmp_path / "clip.json"
        path.write_text(json.dumps({**CLIP_CONFIG, "tokenizer": "bytes", **change}), encoding="utf-8")
        with pytest.raises(ScoringError, match=words):
            ClipScorer(replace(clip_settings, model=str(path)), device="cpu")

    def test_bytes_need_their_vocabulary(self, tmp_path: Path) -> None:
        text = {**CLIP_CONFIG["text_cfg"], "vocab_size": 300}
        saved = save_clip(tmp_path, {**CLIP_CONFIG, "text_cfg": text, "tokenizer": "bytes"})
        with pytest.raises(ScoringError, match=r"vocab_size 300, the tokenizer 'bytes' has 259"):
            ClipScorer(saved, device="cpu")

    @pytest.mark.parametrize("text", ["{", "[]", '{"embed_dim": 16}'])
    def test_no_configuration(self, tmp_path: Path, clip_settings: schema.ClipScorer, text: str) -> None:
        path = tmp_path / "clip.json"
        path.write_text(text, encoding="utf-8")
        with pytest.raises(ScoringError, match=r"scoring\.clip\.model"):
            ClipScorer(replace(clip_settings, model=str(path)), device="cpu")

    def test_missing_weights(self, tmp_path: Path, clip_settings: schema.ClipScorer) -> None:
        gone = replace(clip_settings, weights=str(tmp_path / "gone.safetensors"))
        with pytest.raises(ScoringError, match=r"scoring\.clip\.weights"):
            ClipScorer(gone, device="cpu")

    def test_pickled_weights(self, tmp_path: Path, clip_settings: schema.ClipScorer) -> None:
        path = tmp_path / "clip.pt"
        torch.save({}, path)
        with pytest.raises(ScoringError, match="no other is read"):
            ClipScorer(replace(clip_settings, weights=str(path), sha256=""), device="cpu")


class TestName:
    @pytest.mark.parametrize("name", ["ViT-B-33", "hf-hub:owner/name", "local-dir:/tmp"])
    def test_unknown(self, clip_settings: schema.ClipScorer, name: str) -> None:
        with pytest.raises(ScoringError, match=r"neither a model of open_clip nor a \.json file"):
            ClipScorer(replace(clip_settings, model=name), device="cpu")

    @pytest.mark.parametrize("name", ["ViT-B-16-SigLIP", "xlm-roberta-base-ViT-B-32"])
    def test_tokenizer_that_is_not_there(self, clip_settings: schema.ClipScorer, name: str) -> None:
        with pytest.raises(ScoringError, match="tokenizer that would have to be downloaded"):
            ClipScorer(replace(clip_settings, model=name), device="cpu")

    @pytest.mark.parametrize(
        ("name", "repository", "words", "other"),
        [
            ("ViT-B-32", "timm/vit_base_patch32_clip_224.openai", "trained with it", "ViT-B-32-quickgelu"),
            ("ViT-B-32-quickgelu", "laion/CLIP-ViT-B-32-laion2B-s34B-b79K", "trained without it", "ViT-B-32"),
        ],
    )
    def test_activation_of_other_weights(
        self,
        clip_settings: schema.ClipScorer,
        monkeypatch: pytest.MonkeyPatch,
        name: str,
        repository: str,
        words: str,
        other: str,
    ) -> None:
        monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *_, **__: clip_settings.weights)
        hub = replace(clip_settings, model=name, weights=f"hub:{repository}:open_clip_model.safetensors")
        with pytest.raises(ScoringError, match=words) as caught:
            ClipScorer(hub, device="cpu")
        assert str(caught.value).endswith(f"set scoring.clip.model to {other}")

    def test_weights_of_another_model(
        self, clip_settings: schema.ClipScorer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        config = {**CLIP_CONFIG, "embed_dim": 24}
        monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "small", config)
        with pytest.raises(ScoringError, match=r"does not load into small: .*size mismatch"):
            ClipScorer(replace(clip_settings, model="small"), device="cpu")

    def test_several_published_preprocessings(
        self, clip_settings: schema.ClipScorer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "small", CLIP_CONFIG)
        published = {
            "one": {"hf_hub": "owner/one/", "mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)},
            "two": {"hf_hub": "owner/two/", "mean": (0.5, 0.5, 0.5), "std": (1.0, 1.0, 1.0)},
        }
        monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "small", published)
        named = replace(clip_settings, model="small")
        with pytest.raises(ScoringError, match="different preprocessings"):
            ClipScorer(named, device="cpu")
        monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *_, **__: clip_settings.weights)
        results = [
            ClipScorer(replace(named, weights=f"hub:owner/{tag}:x.safetensors"), device="cpu").embed_frames(
                moving(1)
            )
            for tag in ("one", "two")
        ]
        assert not np.allclose(results[0], results[1])
