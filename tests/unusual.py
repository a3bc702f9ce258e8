"""A second fake project, in which no value is the usual one, so that code cannot pass it by.

Seeds 3 and 12 that begin with 5, a strength of 0.8, captions that are not the prompts, input images, several
limits for one metric, named and not, unproven losses that block, bands of its own, and batches that are
scored in the background.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import yaml
from PIL import Image

from pytest_wanlora import testing
from pytest_wanlora.checkpoint import Checkpoint
from pytest_wanlora.environment import Environment
from pytest_wanlora.jobs.job import Job, Produced
from pytest_wanlora.run.opening import open_gate
from pytest_wanlora.run.session import Gate
from pytest_wanlora.scoring.frechet import write_reference
from pytest_wanlora.settings import Settings
from pytest_wanlora.suite import Suite
from pytest_wanlora.verdict.judgement import ItemId, Judgement

Change: TypeAlias = Callable[[Job, Produced], Produced]

CITY, NATURE = "test1_city", "test2_nature"
SEEDS = (5, 6, 7)  # of the first look
PROMPTS = {CITY: "a very long prompt about a city", NATURE: "a very long prompt about nature"}
CAPTIONS = {CITY: "a city", NATURE: "nature"}
IMAGES = {CITY: "city.png", NATURE: "nature.png"}
FIRST, MOST, START, SCALE = 3, 12, 5, 0.8
LIMITS = (
    {"metric": "clip", "min": 0.3},
    {"metric": "clip", "min": 0.59, "scenario": NATURE},
    {"metric": "clip", "min": 0.1, "max": 2.0, "scenario": "all"},
    {"metric": "fvd", "max": 5000.0, "scenario": CITY},
    {"metric": "fvd", "max": 4000.0},
)
CPU = Environment("cpu", "cpu", "some processor", "float32", "torch_sdpa", "2.0.0", "2.1.0", "3.12.0")
GPU = dataclasses.replace(CPU, device="cuda", device_name="NVIDIA H100", dtype="bfloat16", attention="flash")


def write_unusual_suite(folder: Path, **changes: Any) -> Path:  # noqa: ANN401 - any key of a suite
    """Write `fake.yaml` and the files that it names; `changes` take the place of its top-level keys."""
    path = testing.write_suite(folder, scenarios=tuple(PROMPTS), limits=LIMITS)
    suite = yaml.safe_load(path.read_text(encoding="utf-8"))
    files = folder / "fake-files"
    for number, name in enumerate(IMAGES.values()):
        Image.new("RGB", (64, 32), (number, 0, 0)).save(folder / name)
    categories = [name.partition("_")[2] for name in PROMPTS]
    rng = np.random.default_rng(7)
    write_reference(
        files / "reference.safetensors",
        {name: rng.normal(size=(40 + 8 * i, testing.FEATURES)) + i for i, name in enumerate(categories)},
        frames=5,
        extractor_sha256=hashlib.sha256((files / "features.safetensors").read_bytes()).hexdigest(),
    )
    suite["scoring"]["reference_sha256"] = hashlib.sha256(
        (files / "reference.safetensors").read_bytes()
    ).hexdigest()
    suite["sampling"]["batch"] = 4
    suite |= {
        "undecided": "block",
        "tolerances": {"sharpness": {"warn": 0.03, "fail": 0.3}, "kvd": {"warn": 0.1, "fail": 0.9}},
        "seeds": {"first": FIRST, "most": MOST, "start": START},
        "scenarios": [
            {
                "id": name,
                "category": name.partition("_")[2],
                "prompt": prompt,
                "caption": CAPTIONS[name],
                "input_image": IMAGES[name],
            }
            for name, prompt in PROMPTS.items()
        ],
        **changes,
    }
    path.write_text(yaml.safe_dump(suite, sort_keys=False), encoding="utf-8")
    return path


class Sketches(testing.FakeProducer):
    """Scores and features from the job alone, without pictures: what is asked of a wire, in microseconds.

    Args:
        suite: As of `FakeProducer`.
        change: Called with each job and what would be made of it; returns what is.
    """

    def __init__(self, suite: Suite, change: Change | None = None) -> None:
        super().__init__(suite, batch=suite.sampling.batch, score_in_background=True)
        self.change = change
        self.made: list[Job] = []
        self.batches: list[list[Job]] = []

    def begin(self, jobs: Sequence[Job], checkpoint: Checkpoint | None) -> list[Callable[[], Produced]]:
        """See `jobs.BatchProducer`."""
        self.batches.append(list(jobs))
        return super().begin(jobs, checkpoint)

    def produce(self, job: Job, checkpoint: Checkpoint | None) -> Produced:
        """See `jobs.Producer`."""
        self.made.append(job)
        text = f"{job.prompt}|{job.seed}"
        rng = np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little"))
        noise = rng.normal(size=8) * 0.002
        usual = (0.6, 0.24, 99.0, 500.0, 90.0, 50.0, 0.02, 85.0)
        names = (
            "clip",
            "clip_cosine",
            "temporal",
            "sharpness",
            "sharpness_pct",
            "color",
            "motion",
            "overall",
        )
        made = Produced(
            scores={n: u * (1 + e) for n, u, e in zip(names, usual, noise.tolist(), strict=True)},
            degenerate=None,
            features={
                "video": rng.normal(size=testing.FEATURES).astype(np.float32),
                # what a LoRA changes, and nothing is judged by
                "clip_frames": np.full((5, 4), 1.0 + (checkpoint is not None), np.float32),
            },
            frames_sha256=hashlib.sha256(f"{text}|{job.candidate}".encode()).hexdigest(),
            seconds=0.0,
            applied=None if checkpoint is None else testing._applied(checkpoint),
        )
        return made if self.change is None else self.change(job, made)


def scored(made: Produced, **factors: float) -> Produced:
    """The same with some scores times a factor."""
    return dataclasses.replace(
        made, scores={name: value * factors.get(name, 1.0) for name, value in made.scores.items()}
    )


def settings_of(folder: Path, lora: tuple[Path, ...] = (), **changes: Any) -> Settings:  # noqa: ANN401
    """The settings of a run in a folder with the suite of `write_unusual_suite`."""
    update = bool(changes.get("update_baselines"))
    known: Mapping[str, Any] = {
        "lora": tuple(map(str, lora)),
        "update_baselines": False,
        "plan": False,
        "suite": str(folder / "fake.yaml"),
        "baseline": "base",
        "baselines_dir": folder / "baselines",
        "update_target": ("accepted" if lora else "base") if update else None,
        "scales": (SCALE,),
        "seeds": None,
        "scenarios": (),
        "device": "cpu",
        "cache_dir": folder / "cache",
        "output_dir": folder / "runs",
        "cache": True,
        "previews": True,
        "allow_environment": False,
        "training_data": None,
        "model_cards": False,
        "sign_key": None,
    }
    return Settings(**{**known, **changes})


def made(gate: Gate) -> list[tuple[str, str, int]]:
    """Candidate, scenario and seed of all that a gate's producer has made, in order of their names."""
    assert isinstance(gate.producer, Sketches)
    return sorted((job.candidate, job.scenario, job.seed) for job in gate.producer.made)


def gate_of(
    settings: Settings,
    change: Change | None = None,
    *,
    environment: Environment = CPU,
) -> Gate:
    """A gate that may render, on an environment that is the same on every machine."""
    gate = open_gate(settings, make_producer=lambda suite, _: Sketches(suite, change))
    gate.environment = environment
    gate.prepare()
    return gate


def judged(gate: Gate, kind: str, scenario: str = "", metric: str = "") -> Judgement:
    """Judge one item of the candidate `good`."""
    return gate.judge.judgement(ItemId(kind, "good", scenario, metric))  # type: ignore[arg-type]  # a known kind


def own(job: Job) -> bool:
    """Whether a job is one of the candidate `good`."""
    return job.candidate == "good"
