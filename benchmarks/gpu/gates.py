"""Whole gate runs, each a process as a user starts it: cold, warm, from the cache, on one GPU and several."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.gpu import breakdown
from benchmarks.gpu.children import TIMED_OUT, run_group
from benchmarks.gpu.context import Context
from benchmarks.gpu.record import say
from benchmarks.gpu.timeline import FOLDER_VARIABLE
from pytest_wanlora import results

__all__ = ["one_gpu", "several_gpus"]

_ROOT = Path(__file__).parents[2]
_SHOWN = 4000  # characters of a failed run's output
#: What is kept of each number of videos; of the last one all is.
_OF_EACH = (
    "speed_up_span",
    "speed_up_busiest",
    "videos_compared",
    "equal_frames",
    "equal_scores",
    "equal_verdicts",
)
#: Folders of compiled code, and the variables that name them to torch and triton.
_COMPILED = {"inductor": "TORCHINDUCTOR_CACHE_DIR", "triton": "TRITON_CACHE_DIR"}


@dataclass(frozen=True)
class Outcome:
    """A finished gate run.

    Attributes:
        seconds: From starting the process to its end.
        exit_code: pytest's.
        began: When it was started.
        processes: What its processes did.
        record: Its `results.json`; empty if it wrote none.
        notes: What the studio noted: seconds until it was ready, the most memory of a video.
    """

    seconds: float
    exit_code: int
    began: float
    processes: tuple[breakdown.Process, ...]
    record: Mapping[str, Any]
    notes: Mapping[str, Any]

    def figures(self) -> dict[str, Any]:
        """What is kept of it."""
        main = [each for each in self.processes if each.worker == "main"]
        found: dict[str, Any] = {
            "seconds": round(self.seconds, 2),
            "exit_code": self.exit_code,
            "rendering": breakdown.rendering(self.processes),
            "verdicts": self.verdicts(),
            **self.notes,
        }
        if main:
            found["breakdown"] = breakdown.exclusive(main[0], self.began, self.began + self.seconds)
            found["not_seen"] = list(main[0].missing)
        workers = [each for each in self.processes if each.worker != "main"]
        if workers:
            found["workers"] = {
                each.worker: breakdown.exclusive(each, each.began, each.ended) for each in workers
            }
        return found

    def verdicts(self) -> dict[str, int]:
        """How often each verdict was given."""
        counts: dict[str, int] = {}
        for judged in self.record.get("judgements", []):
            counts[judged["verdict"]] = counts.get(judged["verdict"], 0) + 1
        return counts

    def videos(self) -> dict[str, tuple[Any, Any]]:
        """Digest of the frames and scores of each video of the candidates."""
        return {
            f"{each['candidate']}, {each['scenario']}, seed {each['seed']}": (
                each["frames_sha256"],
                each["scores"],
            )
            for each in self.record.get("videos", [])
            if each["role"] == "candidate"
        }


def one_gpu(context: Context) -> None:
    """Store a baseline, gate one LoRA with everything cold, another with everything warm, and that again."""
    record, folder = context.record, _fresh(context.work / "gate")
    suite = context.suite_file
    arguments = ["--update-baselines"]
    record.note("gate", baseline=_run(context, folder, suite, arguments, "base").figures())
    evicted = _evict(context.model)
    # results, prompts and compiled code: what a machine has on which this suite never ran
    for name in ("cache", *_COMPILED):
        shutil.rmtree(folder / name, ignore_errors=True)
    record.note("gate", evicting_seconds=evicted)
    runs = (("cold", "epoch-0"), ("warm", "epoch-1"), ("cached", "epoch-1"))
    for name, lora in runs:
        arguments = ["--lora", str(context.lora(lora))]
        record.note("gate", **{name: _run(context, folder, suite, arguments, name).figures()})


def several_gpus(context: Context) -> None:
    """Do the same gate with one GPU and with all of them, everything warm, and compare every video."""
    record, folder = context.record, _fresh(context.work / "gpus")
    count = _gpus(context)
    record.note("gpus", count=count)
    if count < 2:
        return
    few = _limits_only(context, "few", 1)
    arguments = ["--lora", str(context.lora("epoch-1"))]
    # makes the prompts, the compiled code and the base model's video that both sides find
    record.note("gpus", preparing=_run(context, folder, few, arguments, "few").figures())
    prepared = folder / "cache"
    arguments = ["--lora", str(context.lora("epoch-0"))]
    for seeds in context.seeds:
        suite = _limits_only(context, f"{seeds}-seeds", seeds)
        outcomes = {}
        for side, workers in (("one", 0), ("all", count)):
            name = f"{side}-{seeds}"
            cache = folder / f"cache-{name}"
            shutil.copytree(prepared, cache)
            extra = ["-n", str(workers)] if workers else []
            outcomes[side] = _run(
                context, folder, suite, [*arguments, *extra], name, cache=cache, one_gpu=not workers
            )
            record.note("gpus", **{side: outcomes[side].figures()})
        compared = _compared(outcomes["one"], outcomes["all"])
        record.note("gpus", seeds=seeds, **compared)
        videos = seeds * len(context.suite.scenarios)
        whole = {side: round(each.seconds, 2) for side, each in outcomes.items()}
        record.add("gpus", "by_videos", str(videos), whole | {name: compared[name] for name in _OF_EACH})


def _compared(one: Outcome, several: Outcome) -> dict[str, Any]:
    alone, together = one.videos(), several.videos()
    spans = [breakdown.rendering(each.processes) for each in (one, several)]
    busiest = max((gpu["busy"] for gpu in spans[1]["gpus"].values()), default=0.0)
    same = [name for name in alone if name in together]
    return {
        "speed_up": round(one.seconds / several.seconds, 3),
        "speed_up_span": round(spans[0]["span"] / spans[1]["span"], 3) if spans[1]["span"] else None,
        "speed_up_busiest": round(spans[0]["busy"] / busiest, 3) if busiest else None,
        "slower_a_video": round(spans[1]["busy"] / spans[0]["busy"], 3) if spans[0]["busy"] else None,
        "videos_compared": len(same),
        "videos_missing": sorted(alone.keys() ^ together.keys()),
        "equal_frames": sum(alone[name][0] == together[name][0] for name in same),
        "equal_scores": sum(alone[name][1] == together[name][1] for name in same),
        "largest_difference": _largest(alone, together, same),
        "equal_verdicts": _verdicts(one) == _verdicts(several),
    }


def _largest(
    alone: Mapping[str, tuple[Any, Any]], together: Mapping[str, tuple[Any, Any]], names: Iterable[str]
) -> dict[str, float]:
    """The largest relative difference of each score."""
    found: dict[str, float] = {}
    for name in names:
        for metric, value in alone[name][1].items():
            other = together[name][1].get(metric, float("nan"))
            off = abs(value - other) / max(abs(value), 1e-12)
            found[metric] = max(found.get(metric, 0.0), off)
    return found


def _verdicts(outcome: Outcome) -> list[tuple[Any, ...]]:
    keys = ("kind", "candidate", "scenario", "metric", "verdict")
    return sorted(tuple(str(each.get(key)) for key in keys) for each in outcome.record.get("judgements", []))


def _run(
    context: Context,
    folder: Path,
    suite: Path,
    arguments: list[str],
    name: str,
    *,
    cache: Path | None = None,
    one_gpu: bool = True,
) -> Outcome:
    timeline, output = folder / "timelines" / name, folder / "runs" / name
    environment = _environment(context, folder, timeline, one_gpu=one_gpu)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "benchmarks.gpu.timeline"]
    command += ["--wanlora-suite", str(suite), "--wanlora-output-dir", str(output)]
    command += ["--wanlora-cache-dir", str(cache or folder / "cache")]
    command += ["--wanlora-baselines-dir", str(folder / "baselines"), *arguments]
    say(f"{name}: pytest {' '.join(arguments)}")
    began = time.time()
    with (folder / f"{name}.log").open("wb") as log:
        code = run_group(command, max(1.0, context.left), cwd=folder, env=environment, stdout=log)
    seconds = time.time() - began
    text = (folder / f"{name}.log").read_text(encoding="utf-8", errors="replace")
    say(f"{name}: exit code {code} after {seconds:.1f} s\n{text[-_SHOWN:]}")
    if code == TIMED_OUT:
        # what a run that was ended has done is no figure of it
        raise TimeoutError(f"no time was left for the run {name}")
    if code not in (0, 1):
        # a gate passes or fails; of a run that ended otherwise there are no figures
        raise RuntimeError(f"the run {name} ended with {code}; what it printed is above")
    records = results.records(output)
    document = json.loads(records[-1].read_text(encoding="utf-8")) if records else {}
    processes = tuple(breakdown.read(timeline))
    return Outcome(seconds, code, began, processes, document, _notes(cache or folder / "cache", began))


def _notes(cache: Path, began: float) -> dict[str, Any]:
    """What the studio noted beside the videos that were rendered since then."""
    found: dict[str, Any] = {"ready_seconds": [], "peak_gib": None}
    for path in cache.glob("*/result.json"):
        result = json.loads(path.read_text(encoding="utf-8"))
        notes = result["notes"]
        if result["finished"] < began:
            continue
        if "ready_seconds" in notes:
            found["ready_seconds"].append(notes["ready_seconds"])
        if notes.get("peak_memory"):
            found["peak_gib"] = max(found["peak_gib"] or 0.0, round(notes["peak_memory"] / 2**30, 2))
    return found


def _environment(context: Context, folder: Path, timeline: Path, *, one_gpu: bool) -> dict[str, str]:
    given = dict(os.environ)
    paths = [str(_ROOT), *filter(None, [given.get("PYTHONPATH")])]
    # an image may be made so that Python keeps no byte code; a user's installer has kept that of the packages
    given.pop("PYTHONDONTWRITEBYTECODE", None)
    given |= {
        "PYTHONPYCACHEPREFIX": str(context.work / "byte-code"),
        FOLDER_VARIABLE: str(timeline),
        "PYTHONPATH": os.pathsep.join(paths),
        # what is not in the cache folder must not be warm by chance either
        **{variable: str(folder / name) for name, variable in _COMPILED.items()},
        **hub_variables(context.model),
    }
    if one_gpu and given.get("CUDA_VISIBLE_DEVICES", "0") != "":
        given["CUDA_VISIBLE_DEVICES"] = given.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    return given


def hub_variables(model: Path) -> dict[str, str]:
    """Environment variables with which DiffSynth finds the hollow files under the published names."""
    return {"DIFFSYNTH_MODEL_BASE_PATH": str(model), "DIFFSYNTH_SKIP_DOWNLOAD": "True"}


def _limits_only(context: Context, name: str, seeds: int) -> Path:
    """The suite with limits on every metric and no comparison: no baseline, and many items to hand out."""
    document: dict[str, Any] = yaml.safe_load(context.suite_file.read_text(encoding="utf-8"))
    metrics = ("clip", "temporal", "sharpness", "color", "motion", "overall")
    document["limits"] = [{"metric": metric, "min": 0.0, "scenario": "each"} for metric in metrics]
    document["tolerances"] = dict.fromkeys((*metrics, "fvd"), "off")
    document["seeds"] = {"first": seeds, "most": seeds, "start": 0}
    # beside the suite, for its files are named relative to it
    path = context.model / f"suite-{name}.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return path


def _gpus(context: Context) -> int:
    from pytest_wanlora.environment import visible_gpus

    return visible_gpus() or (2 if context.smoke else 0)


def _evict(folder: Path) -> float:
    """Take the model's files out of the page cache, so that the next process reads them from the disk."""
    began = time.perf_counter()
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                # pages that are not on the disk yet cannot be given up
                os.fdatasync(descriptor)
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)
    return round(time.perf_counter() - began, 1)


def _fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
