"""The model card's fragment: what the hub's own classes make of it, and that no name can break it."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard, ModelCardData

from pytest_wanlora.errors import RecordError
from pytest_wanlora.reports import model_card
from pytest_wanlora.results.run_record import RunRecord
from tests.unit.reports import gated

HOSTILE = (
    "---\nlicense: evil\n---\n<script>alert(1)</script> | [x](javascript:1) `code` \u202e 한국어 🎬 " * 200
)


def card_of(record: RunRecord, candidate: str = "epoch-2") -> ModelCard:
    # what the hub reads when a README is pushed; errors are raised, not passed over
    return ModelCard(model_card.fragment(record, candidate), ignore_metadata_errors=False)


def data_of(record: RunRecord) -> ModelCardData:
    data = card_of(record).data
    assert isinstance(data, ModelCardData)
    return data


def hostile() -> RunRecord:
    record = gated.record()
    prompts = {name: p.model_copy(update={"prompt": HOSTILE}) for name, p in record.suite.prompts.items()}
    suite = record.suite.model_copy(update={"prompts": prompts, "name": HOSTILE})
    card = gated.card(reason=HOSTILE)
    described = {**(card.checkpoint or {}), "file": f"{HOSTILE}.safetensors"}
    return gated.record(suite=suite, candidates=(card.model_copy(update={"checkpoint": described}),))


class TestFrontMatter:
    def test_it_says_what_the_file_is(self) -> None:
        data = data_of(gated.record())
        assert data.base_model == "Wan-AI/Wan2.2-TI2V-5B"
        assert data.get("base_model_relation") == "adapter"
        assert data.pipeline_tag == "text-to-video"
        assert data.library_name == "diffsynth"
        assert data.tags == ["lora", "wan", "text-to-video", "pytest-wanlora"]
        assert data.license is None

    def test_a_model_that_is_not_on_the_hub_is_not_made_up(self) -> None:
        suite = gated.record().suite.model_copy(update={"fingerprint": {"model": {"files": {}}}})
        data = data_of(gated.record(suite=suite))
        assert data.base_model is None
        assert data.get("base_model_relation") is None

    def test_a_file_for_diffusers_says_so(self) -> None:
        described = {**(gated.card().checkpoint or {}), "format": "diffusers"}
        assert (
            data_of(gated.record(candidates=(gated.card(checkpoint=described),))).library_name == "diffusers"
        )

    def test_results_are_pooled_first_and_then_by_scenario(self) -> None:
        data = data_of(gated.record())
        assert data.model_name == "epoch-2"
        assert data.eval_results is not None
        found = {(r.dataset_config, r.metric_type): r for r in data.eval_results}
        assert list(dict.fromkeys(config for config, _ in found)) == ["all", "test1_city", "test2_nature"]
        pooled = found["all", "fvd"]
        assert pooled.metric_value == 1015.0
        assert pooled.metric_args == {"videos": 4, "reference_videos": 64}
        assert pooled.dataset_revision == gated.SUITE_SHA
        assert {r.task_type for r in data.eval_results} == {"text-to-video"}
        assert found["test2_nature", "clip"].metric_name == "CLIPScore"

    def test_a_limit_alone_gives_a_result_too(self) -> None:
        limits = tuple(judged for judged in gated.judgements() if judged.kind != "regression")
        data = data_of(gated.record(judgements=limits, expected=gated.items(limits)))
        assert data.eval_results is not None
        assert {(r.dataset_config, r.metric_type, r.metric_value) for r in data.eval_results} == {
            ("all", "fvd", 1015.0),
            ("test1_city", "clip", 0.61),
            ("test2_nature", "clip", 0.58),
        }

    def test_what_was_not_measured_is_no_result(self) -> None:
        data = data_of(gated.record(judgements=(), candidates=(gated.card(publishable=False, reason="no"),)))
        assert data.eval_results is None
        assert "model-index" not in data.to_yaml()

    def test_image_to_video_is_another_task(self) -> None:
        record = gated.record()
        image = {"input_image_sha256": "ab" * 32}
        prompts = {name: p.model_copy(update=image) for name, p in record.suite.prompts.items()}
        data = data_of(gated.record(suite=record.suite.model_copy(update={"prompts": prompts})))
        assert data.pipeline_tag == "image-to-video"

    def test_sample_videos_lie_beside_the_card(self) -> None:
        assert data_of(gated.record()).get("widget") == [
            {"text": f"a {name}", "output": {"url": f"samples/epoch-2/{name}-0.mp4"}}
            for name in gated.SCENARIOS
        ]

    def test_without_previews_there_are_none(self) -> None:
        record = gated.record(videos=gated.videos(preview=False))
        assert model_card.samples(record, "epoch-2") == ()
        assert data_of(record).get("widget") is None

    def test_names_cannot_leave_their_place(self) -> None:
        text = model_card.fragment(hostile(), "epoch-2")
        front, body = text.split("\n---\n", 1)
        found = yaml.safe_load(front.removeprefix("---\n"))
        assert "license" not in found
        assert set(found) <= {
            *("base_model", "base_model_relation", "library_name", "model-index", "pipeline_tag"),
            *("tags", "widget"),
        }
        assert all(len(each["text"]) <= 1001 for each in found["widget"])
        for structure in ("<script", "](", "\n---\n", "\u202e"):
            assert structure not in body
        assert data_of(hostile()).tags == ["lora", "wan", "text-to-video", "pytest-wanlora"]


class TestSection:
    def test_it_shows_the_decision_and_every_item(self) -> None:
        text = card_of(gated.record()).text
        assert "may be published: all 13 items pass" in text
        assert "may not be published" not in text
        rows = [line for line in text.splitlines() if line.startswith("| ")]
        assert len([row for row in rows if row.endswith("| pass |")]) == 12
        assert "at least 0.3" in text
        assert "at most 1140" in text
        assert f"`{gated.SHA}`" in text
        assert "python -m pytest_wanlora verify receipt.json epoch-2.safetensors" in text

    def test_a_failing_checkpoint_says_so_first(self) -> None:
        text = card_of(gated.failing()).text
        assert "**may not be published**: 1 of 13 items fail" in text
        assert "| 50.0% worse | 2 | fail |" in text

    def test_of_several_the_right_receipt_is_named(self) -> None:
        record = gated.several("epoch-1", "epoch-2")
        text = model_card.fragment(record, "epoch-1")
        assert "verify receipt-epoch-1.json" in text
        assert "samples/epoch-1/" in text

    def test_a_repeated_run_shows(self) -> None:
        assert "run 7 of these bytes" in card_of(gated.record(candidates=(gated.card(runs=7),))).text

    @pytest.mark.parametrize("candidate", ["base", "epoch-9"])
    def test_another_name_is_refused(self, candidate: Any) -> None:  # noqa: ANN401 - a name
        with pytest.raises(RecordError, match="is no checkpoint of this run"):
            model_card.fragment(gated.record(), candidate)
