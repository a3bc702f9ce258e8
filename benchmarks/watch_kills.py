"""A watch beside a real training of the embedded model, killed hard at random moments.

    python -m benchmarks.watch_kills --kills 20

The training writes an epoch after the other. Meanwhile the watch is killed and started again, every third
time as two at once; every other kill takes the gate with it that it has begun, else that one outlives it. In
the end every epoch must have been gated, none twice, and no more videos rendered again than a killed gate had
begun.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

from pytest_wanlora import results
from pytest_wanlora.files import file_sha256
from pytest_wanlora.results.run_record import load
from tools.tiny_world.dataset import write_dataset

_ROOT = Path(__file__).parents[1]
_EVEN = {"urban": 0.3, "nature": 0.3, "action": 0.2, "other": 0.2}
_OPTIONS = ("--wanlora-suite", "tiny", "--wanlora-seeds", "3", "-p", "no:cacheprovider")
_BASELINES = ("--wanlora-baselines-dir", str(_ROOT / "baselines"))
_CONFTEST = """
from pathlib import Path

import pytest

LOG = Path({log!r})


@pytest.hookimpl(wrapper=True)
def pytest_wanlora_producer(suite):
    producer = yield
    begin = producer.begin

    def logged(jobs, checkpoint):
        lines = [f"{{len(jobs)}} {{job.candidate}} {{job.scenario}} {{job.seed}}\\n" for job in jobs]
        with LOG.open("a", encoding="utf-8") as log:
            log.writelines(lines)
        return begin(jobs, checkpoint)

    producer.begin = logged
    return producer
"""


def main() -> int:
    """Run the campaign; 1 if anything was wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--rows", type=int, default=24, help="videos an epoch of the training")
    parser.add_argument("--seconds", type=float, default=12.0, help="the longest time between two kills")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)  # noqa: S311 - no secret
    with tempfile.TemporaryDirectory() as folder:
        return _campaign(Path(folder), chance, arguments)


def _campaign(folder: Path, chance: random.Random, arguments: argparse.Namespace) -> int:
    log, out, began = folder / "rendered.log", folder / "out", time.monotonic()
    (folder / "conftest.py").write_text(_CONFTEST.format(log=str(log)), encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    write_dataset(folder / "data", arguments.rows, _EVEN, seed=4)
    with (folder / "training.log").open("wb") as printed:
        trainer = subprocess.Popen(
            [
                *(sys.executable, "-m", "tools.tiny_world.train_lora", "--data", str(folder / "data")),
                *("--out", str(out), "--rate", "4e-4", "--epochs", str(arguments.epochs)),
            ],
            cwd=_ROOT,
            stdout=printed,
            stderr=printed,
        )
    watches = [_watch(folder, trainer.pid)]
    gates = 0
    for kill in range(arguments.kills):
        time.sleep(chance.uniform(0.3, arguments.seconds))
        with_gate = kill % 2 == 1
        for watch in watches:
            children = _children(watch.pid)
            watch.kill()
            watch.wait()
            for child in children if with_gate else ():
                with suppress(ProcessLookupError):
                    # a gate leads a session of its own
                    os.killpg(child, signal.SIGKILL)
                    gates += 1
        watches = [_watch(folder, trainer.pid) for _ in range(2 if kill % 3 == 2 else 1)]
        print(f"kill {kill + 1} after {time.monotonic() - began:.0f} s", flush=True)
    trainer.wait()
    codes = [watch.wait() for watch in watches]
    wrong = [f"exit code {code} of the last watch" for code in codes if code]
    wrong += _wrong(folder, out, log, arguments.epochs, gates)
    if trainer.returncode:
        wrong.append((folder / "training.log").read_text(encoding="utf-8", errors="replace")[-2000:])
    print(
        f"{arguments.epochs} epochs, {arguments.kills} kills of the watch, {gates} of its gate; "
        f"{time.monotonic() - began:.0f} s"
    )
    print(f"wrong: {len(wrong)}", *wrong, sep="\n  ")
    if wrong:
        print((folder / "watch.log").read_text(encoding="utf-8", errors="replace")[-6000:])
    return bool(wrong)


def _watch(folder: Path, trainer: int) -> subprocess.Popen[bytes]:
    command = [
        sys.executable,
        "-m",
        "pytest_wanlora",
        "watch",
        "out",
        "--pid",
        str(trainer),
        "--every",
        "0.5s",
    ]
    with (folder / "watch.log").open("ab") as printed:
        return subprocess.Popen(
            [*command, "--", *_OPTIONS, *_BASELINES], cwd=folder, stdout=printed, stderr=printed
        )


def _children(pid: int) -> list[int]:
    try:
        return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))
    except OSError:
        return []


def _wrong(folder: Path, out: Path, log: Path, epochs: int, gates: int) -> list[str]:
    """What must not be, once the training and the last watch have ended."""
    wrong = []
    digests = {file_sha256(path): path.stem for path in sorted(out.glob("*.safetensors"))}
    if len(digests) != epochs:
        wrong.append(f"{len(digests)} epochs were written")
    records = [load(path) for path in results.records(folder / ".wanlora" / "runs")]
    # the board of a run goes when all its reports are written
    whole = [each for each in records if not (folder / ".wanlora" / "runs" / each.run_id / "board").exists()]
    gated = Counter(card.sha256 for record in whole for card in record.candidates)
    for digest, name in digests.items():
        if gated[digest] != 1:
            wrong.append(f"{name} was gated {gated[digest]} times")
    begun = Counter(line.partition(" ")[2] for line in log.read_text(encoding="utf-8").splitlines())
    largest = max(int(line.split()[0]) for line in log.read_text(encoding="utf-8").splitlines())
    again = sum(count - 1 for name, count in begun.items() if not name.startswith("base "))
    print(f"{len(begun)} videos, {again} of them begun again, batches of {largest}; {len(whole)} whole runs")
    # a gate renders a batch while it scores the one before
    if again > 2 * largest * gates:
        wrong.append(f"{again} videos were begun again by {gates} gates that were killed")
    answers = list((folder / ".wanlora" / "watch").glob("*/*.json"))
    done = [path for path in answers if not path.name.endswith(".job.json")]
    if len(done) != epochs:
        wrong.append(f"{len(done)} answers")
    return wrong


if __name__ == "__main__":
    sys.exit(main())
