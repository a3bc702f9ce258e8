"""What goes on top of a model card on the Hugging Face hub, and the gate's own section below it.

The front matter holds `base_model`, `model-index` with the gate's scores and sample videos; it is made by
huggingface_hub's own classes, so it is what the hub accepts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_wanlora.checkpoint import argument_of, reads_in
from pytest_wanlora.errors import RecordError
from pytest_wanlora.files import canonical, json_sha256
from pytest_wanlora.metrics import METRICS
from pytest_wanlora.reports import sentences, summary
from pytest_wanlora.reports.commands import file_name, names_of, typed
from pytest_wanlora.reports.limits import limit_rows
from pytest_wanlora.reports.markdown_filters import environment, markdown
from pytest_wanlora.verdict.judgement import ALL, Judgement
from pytest_wanlora.verdict.standing import judged_change

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

    from pytest_wanlora.results.parts import CandidateCard
    from pytest_wanlora.results.run_record import RunRecord

_LONGEST_PROMPT = 1000


@dataclass(frozen=True)
class Sample:
    """One sample video of the card.

    Attributes:
        path: Where it lies beside the card, with forward slashes.
        source: Where the run has it, relative to the run's folder.
        scenario: Scenario id.
        seed: Of the noise.
    """

    path: str
    source: str
    scenario: str
    seed: int


def samples(record: RunRecord, candidate: str) -> tuple[Sample, ...]:
    """One video of each scenario, of the first seed that has one; none where no previews were kept."""
    folder = names_of(record)[candidate]
    found: dict[str, Sample] = {}
    for video in sorted(record.videos, key=lambda each: each.seed):
        if video.role == "candidate" and video.candidate == candidate and video.preview is not None:
            path = f"samples/{folder}/{video.scenario}-{video.seed}.mp4"
            found.setdefault(video.scenario, Sample(path, video.preview, video.scenario, video.seed))
    return tuple(found[scenario] for scenario in record.suite.prompts if scenario in found)


def fragment(record: RunRecord, candidate: str, shown: Sequence[Sample] | None = None) -> str:
    """Front matter and a section on the gate, for the top of a `README.md`.

    Args:
        record: The run.
        candidate: Name of the checkpoint.
        shown: Sample videos; all that the record knows when left out.

    Returns:
        Markdown with YAML front matter. Keys that the gate cannot know, such as the licence, are left to you.

    Raises:
        RecordError: The run has no such checkpoint.
    """
    # tens of milliseconds that no other view needs
    from huggingface_hub import ModelCardData

    card = next((card for card in record.candidates if card.name == candidate and card.checkpoint), None)
    if card is None or card.checkpoint is None:
        raise RecordError(f"{record.run_id}: {candidate!r} is no checkpoint of this run")
    base_model = _base_model(record)
    images = [prompt.input_image_sha256 is not None for prompt in record.suite.prompts.values()]
    task = "image-to-video" if images and all(images) else "text-to-video"
    widget = [
        {"text": _one_line(record.suite.prompts[each.scenario].prompt), "output": {"url": each.path}}
        for each in (samples(record, candidate) if shown is None else shown)
    ]
    data = ModelCardData(
        base_model=base_model,
        library_name="diffusers" if card.checkpoint["format"] == "diffusers" else "diffsynth",
        pipeline_tag=task,
        tags=["lora", "wan", task, "pytest-wanlora"],
        model_name=_one_line(candidate),
        eval_results=_results(record, candidate) or None,
        # not a field of that class: it is written as it stands
        base_model_relation=None if base_model is None else "adapter",
        widget=widget or None,
    )
    return (
        environment("en")
        .get_template("model-card.md.j2")
        .render(
            front_matter=markdown(data.to_yaml()),
            record=record,
            card=card,
            file=card.checkpoint["file"],
            accepted=record.baseline is not None and record.baseline.sha256 is not None,
            reads_in=reads_in.summary(card.checkpoint.get("reads_in")),
            compared=summary.rows(record, candidate),
            limits=limit_rows(record, candidate),
            remarks=[*(words for _, words in card.told("warnings")), *sentences.hints(card, "en")],
            of_digests=markdown(_of_digests(card)),
            published=_published(card),
            verify=_verify(record, card),
            change=lambda judged: markdown(judged_change(judged)),
        )
    )


def _of_digests(card: CandidateCard) -> str:
    """The JSON whose digest is the pair's; empty where the digest is a file's."""
    digests = {expert: half.sha256 for expert, half in card.halves.items()}
    return canonical(digests) if digests and json_sha256(digests) == card.sha256 else ""


def _published(card: CandidateCard) -> dict[str, str]:
    """Places of a pair's files: two of one name, or each with a config of one name, need folders."""
    files = {expert: half.file for expert, half in card.halves.items()}
    if card.has_config or len(set(files.values())) < len({half.sha256 for half in card.halves.values()}):
        return {expert: f"{expert}_noise/{name}" for expert, name in files.items()}
    return files


def _verify(record: RunRecord, card: CandidateCard) -> str:
    """The command that checks the receipt, with the checkpoint's files beside it."""
    strengths = {expert: half.strength for expert, half in card.halves.items()}
    file = argument_of(_published(card), strengths) or str((card.checkpoint or {}).get("file"))
    strength = () if card.scale == 1.0 else ("--scale", f"{card.scale!r}")
    receipt = file_name(record, card.name, "receipt", ".json")
    return typed("python", "-m", "pytest_wanlora", "verify", receipt, file, *strength)


def _base_model(record: RunRecord) -> str | None:
    """Hub id of the video model, where the suite takes it from the hub."""
    files = record.suite.fingerprint.get("model", {}).get("files", {})
    hub = files.get("model.dit[0]", {}).get("hub")
    return hub.partition(":")[0] if isinstance(hub, str) else None


def _results(record: RunRecord, candidate: str) -> list[EvalResult]:
    """The pooled scores, then those of each scenario."""
    from huggingface_hub import EvalResult

    values: dict[tuple[str, str], Judgement] = {}
    judged_items = [row.judgement for row in summary.rows(record, candidate)]
    # comparisons come first: they rest on at least as many videos as the limits
    judged_items += [row.judgement for row in limit_rows(record, candidate)]
    for judged in judged_items:
        values.setdefault((judged.scenario, judged.metric), judged)
    prompts = record.suite.prompts
    places = {ALL: f"all {len(prompts)} prompts", **{name: name for name in prompts}}
    results = []
    for place, title in places.items():
        prompt = prompts.get(place)
        image = prompt is not None and prompt.input_image_sha256 is not None
        for metric in METRICS.values():
            found = values.get((place, metric.id))
            if found is None or found.value is None:
                continue
            counted = {"videos": found.n, "reference_videos": found.reference_n}
            results.append(
                EvalResult(
                    task_type="image-to-video" if image else "text-to-video",
                    dataset_type=record.suite.name,
                    dataset_name=f"suite {record.suite.name}, {title}",
                    dataset_config=place,
                    dataset_revision=record.suite.sha256,
                    metric_type=metric.id,
                    metric_name=metric.title,
                    metric_value=round(found.value, metric.digits),
                    metric_args={name: n for name, n in counted.items() if n is not None},
                )
            )
    return results


def _one_line(text: str) -> str:
    short = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return short if len(short) <= _LONGEST_PROMPT else f"{short[:_LONGEST_PROMPT]}…"
