"""What a suite asks of a LoRA, in a gate whose pictures are made up."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pytest_wanlora import suite as suites
from pytest_wanlora import testing
from pytest_wanlora.errors import SuiteError
from pytest_wanlora.jobs.job import Job, Produced
from pytest_wanlora.run.pictures import complaint, references
from pytest_wanlora.run.session import Gate
from pytest_wanlora.run.update_baseline import store
from pytest_wanlora.scoring.frames import in_small
from pytest_wanlora.scoring.videos import fitted
from pytest_wanlora.verdict.judgement import ItemId, Judgement, ReasonCode, Verdict
from tests import unusual
from tests.unusual import CITY, NATURE, Change

Open = Callable[[Change | None], Gate]


def gates(folder: Path, **changes: object) -> Iterator[Open]:
    """Gates of `good` on the unusual suite with other keys, beside a baseline that is measured once."""
    unusual.write_unusual_suite(folder, limits=[], **changes)
    lora = testing.write_lora(folder / "good.safetensors")
    gate = unusual.gate_of(unusual.settings_of(folder, update_baselines=True))
    store(gate, gate.judge, gate.base)
    gate.finish()
    opened: list[Gate] = []

    def open_(change: Change | None = None) -> Gate:
        fresh = {"cache_dir": folder / f"cache{len(opened)}", "output_dir": folder / f"runs{len(opened)}"}
        opened.append(unusual.gate_of(unusual.settings_of(folder, (lora,), **fresh), change))
        return opened[-1]

    yield open_
    for each in opened:
        each.finish()


def judged(gate: Gate, metric: str, scenario: str = NATURE) -> Judgement:
    return gate.judge.judgement(ItemId("question", "good", scenario, metric))


def own(job: Job) -> bool:
    return job.candidate == "good"


def moved(size: float) -> Change:
    """The candidate's features, moved by so much of what another seed changes."""

    def change(job: Job, made: Produced) -> Produced:
        if not own(job):
            return made
        way = np.full(testing.FEATURES, size * np.sqrt(2.0), np.float32)
        return dataclasses.replace(made, features={**made.features, "video": made.features["video"] + way})

    return change


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Open]:
    yield from gates(tmp_path_factory.mktemp("bleed"), bleed={"about": ["city"]})


class TestBleed:
    def test_only_other_scenarios_are_asked(self, opened: Open) -> None:
        asked = [item for item in opened(None).items if item.kind == "question"]
        assert list(map(str, asked)) == ["test_question[good-test2_nature-bleed]"]

    def test_a_suite_that_does_not_ask_has_no_such_item(self, open_gate: Callable[[], Gate]) -> None:
        assert not [item for item in open_gate().items if item.kind == "question"]

    @pytest.mark.parametrize(
        ("size", "code"),
        [(0.1, ReasonCode.KEEPS_THE_REST), (2.0, ReasonCode.BLEEDS)],
    )
    def test_the_answer_comes_from_the_features(self, opened: Open, size: float, code: ReasonCode) -> None:
        gate = opened(moved(size))
        found = judged(gate, "bleed")
        assert found.code is code
        assert found.value == pytest.approx(size, rel=0.5)
        assert found.n >= unusual.FIRST
        assert found.evidence is not None
        tested = [item for item in gate.items if item.kind in ("regression", "question")]
        # nothing tests kvd
        assert found.details["shared"] == len([item for item in tested if item.metric != "kvd"])

    def test_alone_it_shares_the_budget_with_nothing(self, opened: Open) -> None:
        gate = opened(moved(2.0))
        gate.select([ItemId("question", "good", NATURE, "bleed")])
        assert judged(gate, "bleed").details["shared"] == 1

    def test_a_video_that_cannot_be_scored_is_no_answer(self, opened: Open) -> None:
        def black(job: Job, made: Produced) -> Produced:
            broken = own(job) and job.seed == unusual.START
            return (
                dataclasses.replace(made, degenerate="all black", scores={}, features={}) if broken else made
            )

        found = judged(opened(black), "bleed")
        assert (found.verdict, found.code) == (Verdict.DEGENERATE, ReasonCode.DEGENERATE)

    @pytest.mark.parametrize("undecided", ["block", "warn"])
    def test_two_videos_prove_nothing(self, opened: Open, undecided: str) -> None:
        gate = opened(moved(2.0))
        seeds = gate.suite.seeds.model_copy(update={"first": 2, "most": 2})
        gate.suite = gate.suite.model_copy(update={"seeds": seeds, "undecided": undecided})
        found = judged(gate, "bleed")
        assert (found.verdict, found.code) == (Verdict.UNDECIDED, ReasonCode.TOO_FEW_TO_ASK)
        assert "that takes 3 or more videos of a scenario, here: 2" in found.reason

    def test_the_place_it_is_about_may_change(self, opened: Open) -> None:
        gate = opened(moved(2.0))
        assert ItemId("question", "good", CITY, "bleed") not in gate.items


TRIGGER = "sks tower"
PROMPTS = {CITY: "a very long prompt about {trigger} in a city", NATURE: "a very long prompt about nature"}
RED, GREY, BLUE = (250, 20, 20), (128, 128, 128), (20, 20, 250)
#: The training shows the subject too, each clip with a tint of its own.
CLIPS = ((230, 60, 20), (220, 20, 80), (250, 70, 70), (180, 20, 20), (240, 50, 120))


def picture(path: Path, seed: int, colour: tuple[int, int, int], size: int = 64) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(seed, colour, size)).save(path)
    return path


def pixels(seed: int, colour: tuple[int, int, int], size: int = 64) -> NDArray[np.uint8]:
    texture = np.random.default_rng(seed).integers(-40, 40, (8, 8, 1)) + np.array(colour)
    image = Image.fromarray(np.clip(texture, 0, 255).astype(np.uint8))
    return np.asarray(image.resize((size, size), Image.Resampling.NEAREST))


def write_subject(folder: Path, **changes: object) -> None:
    """A suite with a subject, beside its references and five training clips."""
    for number in range(3):
        picture(folder / f"references/{number}.png", number, RED)
    rows = ["video,prompt"]
    for number, colour in enumerate(CLIPS):
        rows.append(f"{picture(folder / f'clips/{number}.png', 100 + number, colour).name},{TRIGGER}")
    (folder / "clips/metadata.csv").write_text("\n".join(rows), encoding="utf-8")
    subject = {"trigger": TRIGGER, "references": "references", "training": "clips/metadata.csv"}
    scenarios = [
        {"id": name, "category": name.partition("_")[2], "prompt": prompt} for name, prompt in PROMPTS.items()
    ]
    known = {"bleed": {"about": ["city"]}, "subject": subject, "scenarios": scenarios, "limits": []}
    unusual.write_unusual_suite(folder, **known, **changes)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A subject suite with a demand, and a baseline."""
    folder = tmp_path_factory.mktemp("subject")
    write_subject(folder, demands={"likeness": {"gain": 0.05}})
    testing.write_lora(folder / "good.safetensors")
    gate = unusual.gate_of(unusual.settings_of(folder, update_baselines=True), shows(learned=False))
    store(gate, gate.judge, gate.base)
    gate.finish()
    return folder


@pytest.fixture
def subject(project: Path, tmp_path: Path) -> Iterator[Open]:
    opened: list[Gate] = []

    def open_(change: Change | None = None) -> Gate:
        fresh = {"cache_dir": tmp_path / "cache", "output_dir": tmp_path / f"runs{len(opened)}"}
        lora = (project / "good.safetensors",)
        opened.append(unusual.gate_of(unusual.settings_of(project, lora, **fresh), change))
        return opened[-1]

    yield open_
    for each in opened:
        each.finish()


def frames_of(seed: int, colour: tuple[int, int, int]) -> NDArray[np.float32]:
    rows = np.append(1.0, np.array(colour) / 255.0) + 0.05 * np.random.default_rng(seed).normal(size=(5, 4))
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def shows(*, learned: bool = True, leaks: bool = False, copied: int = 0, alike: bool = False) -> Change:
    """What the pictures of a candidate show: the subject, for the trigger alone or always.

    Args:
        learned: With the trigger.
        leaks: Without it too.
        copied: So many seeds repeat a training clip.
        alike: Every seed gives the same video.
    """

    def change(job: Job, made: Produced) -> Produced:
        triggered = TRIGGER in job.prompt
        red = own(job) and ((learned and triggered) or leaks)
        embedded = frames_of(job.seed + 1000 * triggered, RED if red else GREY)
        shown = (100, CLIPS[0]) if job.seed < unusual.START + copied else (job.seed, RED)
        frames = fitted(np.repeat(pixels(*shown)[None], 5, axis=0), 32, 64)
        video = made.features["video"]
        if own(job) and leaks:
            video = video + np.float32(5.0)
        if own(job) and triggered and alike:
            video = np.ones_like(video) + 0.01 * video
        features = {"clip_frames": embedded, "video": video, **in_small(frames, job.scenario)}
        return dataclasses.replace(made, features=features)

    return change


class TestTriad:
    def test_the_candidate_is_rendered_a_third_time(self, subject: Open) -> None:
        gate = subject(shows())
        judged(gate, "likeness", CITY)
        assert isinstance(gate.producer, unusual.Sketches)
        prompts = {(job.candidate, job.scenario): job.prompt for job in gate.producer.made}
        assert prompts == {
            ("good", CITY): "a very long prompt about in a city",
            ("good", f"{CITY}+trigger"): f"a very long prompt about {TRIGGER} in a city",
            ("good", NATURE): PROMPTS[NATURE],
        }
        seeds = [
            {job.seed for job in gate.producer.made if job.scenario == name}
            for name in (CITY, f"{CITY}+trigger")
        ]
        assert seeds[0] == seeds[1]
        keys = [job.key for job in gate.producer.made]
        assert len(keys) == len(set(keys))

    def test_what_stands_beside_videos_that_cannot_be_scored_was_not_measured(self, subject: Open) -> None:
        def black(job: Job, made: Produced) -> Produced:
            if own(job) and job.scenario == CITY and job.seed == unusual.START:
                return dataclasses.replace(made, degenerate="all black", scores={}, features={})
            return shows()(job, made)

        found = judged(subject(black), "collapse", CITY)
        assert (found.verdict, found.code) == (Verdict.ERROR, ReasonCode.NOT_MEASURED)

    def test_what_is_asked(self, subject: Open) -> None:
        asked = [(item.scenario, item.metric) for item in subject(None).items if item.kind == "question"]
        assert asked == [
            (CITY, "bleed"),
            (CITY, "likeness"),
            (CITY, "collapse"),
            (CITY, "copies"),
            (NATURE, "bleed"),
        ]

    def test_the_baseline_of_before_has_no_frames_and_says_how_to_be_made_again(self, subject: Open) -> None:
        gate = subject(shows())
        old = gate.judge.standard.baseline.model_copy(update={"frames": {}})
        gate.judge.standard.__dict__["baseline"] = old
        found = judged(gate, "likeness", CITY)
        assert (found.verdict, found.code) == (Verdict.MISSING_BASELINE, ReasonCode.NO_BASELINE)
        assert "has no embeddings of frames" in found.reason
        assert "--update-baselines" in found.next_command
        assert unusual.made(gate) == []

    def test_base_videos_that_the_baseline_lacks_answer_as_stored_ones(self, subject: Open) -> None:
        standard = subject(shows(learned=False)).judge.standard
        whole = standard.baseline
        first = {name: {seed: of[seed] for seed in sorted(of)[:3]} for name, of in whole.scores.items()}
        standard.baseline = whole.model_copy(update={"scores": first})
        seeds = range(5, 10)
        np.testing.assert_array_equal(
            standard.stored_frames(CITY, 5), [whole.frames[CITY, seed] for seed in seeds]
        )
        np.testing.assert_array_equal(
            standard.stored_features(CITY, 5), [whole.features[CITY, seed] for seed in seeds]
        )
        assert len(standard.stored_frames(CITY)) == 3


#: What each kind of LoRA is caught by, and the verdict.
KINDS: dict[str, tuple[Change, dict[str, Verdict]]] = {
    "learned": (shows(), {}),
    "learned nothing": (shows(learned=False), {"likeness": Verdict.FAIL}),
    "leaks": (shows(leaks=True), {"bleed": Verdict.FAIL}),
    "copies": (shows(copied=1), {"copies": Verdict.WARN}),
    "collapses": (shows(alike=True), {"collapse": Verdict.FAIL}),
}


class TestKinds:
    @pytest.mark.parametrize("kind", KINDS)
    def test_each_is_caught_by_the_item_made_for_it_and_by_no_other(self, subject: Open, kind: str) -> None:
        change, expected = KINDS[kind]
        gate = subject(change)
        found = {name: judged(gate, name, CITY) for name in ("bleed", "likeness", "collapse", "copies")}
        caught = {name: each.verdict for name, each in found.items() if each.verdict is not Verdict.PASS}
        assert caught == expected, {name: each.reason for name, each in found.items()}

    def test_a_gain_that_is_not_demanded_warns(self, subject: Open) -> None:
        gate = subject(shows(learned=False))
        gate.suite = gate.suite.model_copy(update={"demands": None})
        assert judged(gate, "likeness", CITY).verdict is Verdict.WARN

    def test_the_record_tells_the_curve_the_references_and_the_clip(self, subject: Open) -> None:
        gate = subject(shows(copied=1))
        told = judged(gate, "likeness", CITY)
        assert told.baseline is not None
        assert told.value is not None
        assert told.value - told.baseline == pytest.approx(told.details["gain"])
        assert len(told.details["curve"]) == len(told.details["baseline_curve"]) == 5  # type: ignore[arg-type]  # tuples
        copies = judged(gate, "copies", CITY)
        assert copies.code is ReasonCode.COPIES
        listed = copies.details["copied"]
        assert isinstance(listed, tuple)
        assert isinstance(listed[0], tuple)
        place, seed, clip = listed[0]
        assert (len(listed), place, seed, Path(clip).name) == (1, CITY, unusual.START, "0.png")
        assert (gate.run_folder / clip).resolve().is_file()


class TestReferences:
    @pytest.mark.parametrize("size", [None, 48, 32])
    def test_a_reference_that_was_trained_on_is_refused(self, tmp_path: Path, size: int | None) -> None:
        write_subject(tmp_path)
        if size is None:
            shutil.copy(tmp_path / "clips/2.png", tmp_path / "references/copy.png")
        elif size == 32:
            # colours that JPEG blurs, and a mirror
            colours = np.random.default_rng(9).integers(0, 256, (8, 8, 3)).astype(np.uint8)
            large = Image.fromarray(colours).resize((64, 64), Image.Resampling.BICUBIC)
            large.save(tmp_path / "clips/2.png")
            small = large.resize((size, size)).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            small.save(tmp_path / "references/small.jpg", quality=60)
        else:
            picture(tmp_path / "references/scaled.png", 102, CLIPS[2], size)
        suite = suites.load(tmp_path / "fake.yaml")
        error = complaint(suite, tmp_path / "cache")
        assert error is not None
        assert "1 of its pictures were trained on, which rewards copying" in error.message
        assert error.message.endswith("the training's 2.png")

    def test_held_out_references_are_let_pass(self, tmp_path: Path) -> None:
        write_subject(tmp_path)
        assert complaint(suites.load(tmp_path / "fake.yaml"), tmp_path / "cache") is None

    def test_an_empty_folder_and_clips_that_are_missing_are_refused(self, tmp_path: Path) -> None:
        write_subject(tmp_path)
        suite = suites.load(tmp_path / "fake.yaml")
        for path in (tmp_path / "clips").glob("*.png"):
            path.unlink()
        with pytest.raises(SuiteError, match="none of its 5 clips is on this disk"):
            complaint(suite, tmp_path / "cache")
        (tmp_path / "clips/metadata.csv").write_text("prompt\na tram\n")
        with pytest.raises(SuiteError, match=r"subject\.training: .*no column 'video'") as caught:
            complaint(suite, tmp_path / "cache")
        assert "--" not in str(caught.value.next_command)
        for path in (tmp_path / "references").glob("*.png"):
            path.unlink()
        with pytest.raises(SuiteError, match="no picture and no video in it"):
            references(suite)
        shutil.rmtree(tmp_path / "references")
        with pytest.raises(SuiteError, match="references: no folder; allowed: a folder with bmp") as caught:
            references(suite)
        # what is listed is there
        assert caught.value.next_command == f"ls -l {tmp_path}"
