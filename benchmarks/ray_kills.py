"""Gates of 200 videos on a Ray cluster of local nodes, one of which is killed hard at a random moment.

    python -m benchmarks.ray_kills --runs 50

Every run must end with the same videos, scores and verdicts as the one without Ray, each video once in the
record and stored once, and no more videos rendered again than the killed node was rendering. One run in ten
also has its own process killed, and is started again: it must go on from the cache.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_wanlora import results, testing

_NODES, _STORE = 3, 100 * 2**20
_CONFTEST = """
import os, time
from pathlib import Path

from pytest_wanlora.testing import FakeProducer

LOG = Path({log!r})


def note(job):
    time.sleep(0.04)
    with LOG.open("a", encoding="utf-8") as log:
        log.write(f"{{job.candidate}} {{job.scenario}} {{job.seed}}\\n")


def pytest_wanlora_producer(suite):
    return FakeProducer(suite, before=note)
"""


@dataclass(frozen=True)
class Outcome:
    """One run: seconds, what was rendered more than once, and what was wrong."""

    seconds: float
    again: int
    lost: int
    restarted: bool
    wrong: tuple[str, ...]


def main() -> int:
    """Run the campaign; 1 if anything was wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    with tempfile.TemporaryDirectory() as folder:
        outcomes = _campaign(Path(folder), arguments.runs, random.Random(arguments.seed))  # noqa: S311 - no secret
    wrong = [line for outcome in outcomes for line in outcome.wrong]
    again = Counter(outcome.again for outcome in outcomes)
    seconds = sorted(outcome.seconds for outcome in outcomes)
    print(
        f"{len(outcomes)} runs of 200 videos on {_NODES} nodes, {sum(o.lost for o in outcomes)} nodes killed"
    )
    print(f"runs whose process was killed and started again: {sum(o.restarted for o in outcomes)}")
    print(f"videos rendered again in a run: {dict(sorted(again.items()))}")
    print(f"seconds a run: median {seconds[len(seconds) // 2]:.1f}, most {seconds[-1]:.1f}")
    print(f"wrong: {len(wrong)}", *wrong, sep="\n  ")
    return bool(wrong)


def _campaign(folder: Path, runs: int, chance: random.Random) -> list[Outcome]:
    from ray.cluster_utils import Cluster

    scenarios = [f"test{number}_city" for number in range(10)]
    testing.write_suite(folder, seeds=(20, 20), scenarios=scenarios)
    testing.write_lora(folder / "x.safetensors")
    (folder / "conftest.py").write_text(_CONFTEST.format(log=str(folder / "rendered.log")))
    _pytest(folder, "--update-baselines").wait()
    _pytest(folder, "--lora", "x.safetensors").wait()
    alone = _numbers(folder)
    head = {"num_cpus": 0, "object_store_memory": _STORE, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    outcomes = []
    try:
        for run in range(runs):
            while len(cluster.worker_nodes) < _NODES:
                cluster.add_node(num_cpus=1, object_store_memory=_STORE)
            outcomes.append(_one(folder, cluster, chance, alone, restart=run % 10 == 9))
            print(f"run {run + 1}: {outcomes[-1]}", flush=True)
    finally:
        cluster.shutdown()
    return outcomes


def _one(folder: Path, cluster: Any, chance: random.Random, alone: object, *, restart: bool) -> Outcome:  # noqa: ANN401
    log = folder / "rendered.log"
    shutil.rmtree(folder / ".wanlora", ignore_errors=True)
    log.unlink(missing_ok=True)
    kill_at, stop_at = chance.randrange(5, 195), chance.randrange(20, 180) if restart else None
    started, lost = time.monotonic(), 0
    options = ("--lora", "x.safetensors", "--wanlora-ray", cluster.address)
    run = _pytest(folder, *options)
    while run.poll() is None and time.monotonic() - started < 300:
        done = len(_rendered(log))
        if not lost and done >= kill_at:
            cluster.remove_node(chance.choice(sorted(cluster.worker_nodes, key=id)), allow_graceful=False)
            lost = 1
        if stop_at is not None and done >= stop_at:
            run.send_signal(signal.SIGKILL)
            run.wait()
            stop_at = None
            run = _pytest(folder, *options)
        time.sleep(0.02)
    run.kill()
    wrong = []
    if run.wait() != 0:
        wrong.append(f"exit code {run.returncode}")
    elif _numbers(folder) != alone:
        wrong.append("other videos, scores or verdicts than without Ray")
    counted = Counter(_rendered(log))
    again = sum(counted.values()) - len(counted)
    if len(counted) != 200:
        wrong.append(f"{len(counted)} videos rendered")
    # what the node, and the process that was killed, had begun
    if again > 1 + _NODES * restart:
        wrong.append(f"{again} videos rendered again")
    stored = [path for path in (folder / ".wanlora" / "cache").iterdir() if not path.name.startswith(".")]
    if len(stored) != 201:
        wrong.append(f"{len(stored)} entries in the cache")
    if wrong:
        wrong.append((folder / "printed.log").read_text(encoding="utf-8", errors="replace")[-3000:])
    return Outcome(round(time.monotonic() - started, 1), again, lost, restart, tuple(wrong))


def _pytest(folder: Path, *options: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--wanlora-suite", "fake.yaml"]
    with (folder / "printed.log").open("wb") as printed:
        return subprocess.Popen([*command, *options], cwd=folder, stdout=printed, stderr=printed)


def _rendered(log: Path) -> list[str]:
    """Videos of the checkpoint that were rendered; those that prove a worker are left out."""
    lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    return [line for line in lines if line.startswith("x ")]


def _numbers(folder: Path) -> object:
    """All of the newest record that must not depend on who rendered what."""
    record = results.load(list(results.records(folder / ".wanlora" / "runs"))[-1])
    videos = [
        (video.scenario, video.seed, json.dumps(video.scores, sort_keys=True), video.frames_sha256)
        for video in record.videos
        if video.role == "candidate"
    ]
    if len(videos) != len(set(videos)) or len(videos) != 200:
        return f"{len(videos)} videos in the record"
    return videos, record.sets, record.judgements


if __name__ == "__main__":
    sys.exit(main())
