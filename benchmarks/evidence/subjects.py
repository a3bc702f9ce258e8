"""Gate LoRAs of a new subject that were trained well and in four wrong ways.

``python -m benchmarks.evidence.subjects --work build/subjects`` trains the five LoRAs of
`benchmarks.evidence.subject_loras`, on a GPU if there is one, and gates each on the CPU with a suite that has
a subject. What was cut short goes on where it stopped.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
import yaml

from benchmarks.evidence.subject_loras import KINDS, TRIGGER, WITHOUT, draw_data, subject_rows, train
from pytest_wanlora.results.run_record import load as load_record
from pytest_wanlora.suite import packaged

_PROMPT = "a {trigger} at day, many petals falling to the left"


def _write_rows(path: Path, rows: Sequence[tuple[str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerows([("video", "prompt"), *rows])


def write_suite(work: Path, name: str) -> Path:
    """The suite of a LoRA; all share one baseline."""
    suite = yaml.safe_load(packaged()["tiny"].read_text(encoding="utf-8"))
    suite["name"] = "poplar"
    suite["subject"] = {
        "trigger": TRIGGER,
        "without": WITHOUT,
        "references": "references",
        "training": f"data/{name}.csv",
    }
    suite["demands"] = {"likeness": {"gain": 0.1}}
    suite["bleed"] = {"about": ["nature"]}
    city, _, action = suite["scenarios"]
    suite["scenarios"] = [{"id": "poplar", "category": "nature", "prompt": _PROMPT}, city, action]
    _write_rows(work / f"data/{name}.csv", subject_rows(KINDS[name].rows))
    path = work / f"{name}.yaml"
    path.write_text(yaml.safe_dump(suite, sort_keys=False), encoding="utf-8")
    return path


def gate(work: Path, name: str | None) -> Path:
    """Measure the baseline, gate the LoRA that is to pass, or ask the questions about one that is to fail.

    Not its scores: one that fails for certain would end the rendering before the questions are proven.

    Returns:
        The run's folder.
    """
    suite, out = write_suite(work, name or "learned"), work / f"runs/{name or 'baseline'}"
    chosen = ["--update-baselines"] if name is None else ["--lora", f"loras/{name}.safetensors"]
    command = [
        *(sys.executable, "-m", "pytest", *chosen, "--wanlora-suite", suite.name),
        *("--wanlora-output-dir", str(out.relative_to(work)), "--wanlora-cache-dir", "cache"),
        *("--wanlora-baselines-dir", "baselines", "-p", "no:cacheprovider", "-n", "0"),
        *(() if name in (None, "learned") else ("-k", "test_question")),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path.cwd())}
    done = subprocess.run(command, check=False, cwd=work, env=environment, capture_output=True, text=True)
    (work / f"runs/{out.name}.txt").write_text(done.stdout + done.stderr, encoding="utf-8")
    if done.returncode not in (0, 1):
        raise SystemExit(f"{out}: {done.stdout[-3000:]}{done.stderr[-2000:]}")
    return out


def row(work: Path, name: str) -> dict[str, object]:
    """What a gate said of a LoRA: the verdict and value of each question."""
    record = load_record(next(iter(sorted((work / f"runs/{name}").glob("*/results.json"))[-1:])))
    found: dict[str, object] = {"lora": name, "is": KINDS[name].says, "exit": record.exit_status}
    for each in record.judgements:
        if each.kind == "question":
            value = each.details["gain"] if each.metric == "likeness" else each.value
            shown = "" if value is None else f" {value:.3f}"
            found[f"{each.metric} {each.scenario}"] = f"{each.verdict}{shown}"
    return found


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("build/subjects"))
    parser.add_argument("--only", nargs="+", choices=KINDS, default=list(KINDS), help="which LoRAs")
    parser.add_argument("--until", choices=("train", "gate"), default="gate")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    work = arguments.work.resolve()
    (work / "runs").mkdir(parents=True, exist_ok=True)
    began = time.monotonic()

    def tell(words: str) -> None:
        print(f"{time.monotonic() - began:.0f} s: {words}", flush=True)

    draw_data(work)
    tell("clips drawn")
    for name in arguments.only:
        if not (work / f"loras/{name}.safetensors").exists():
            train(work, name, KINDS[name])
            tell(f"{name} trained")
    if arguments.until == "train":
        return
    if not (work / "baselines").exists():
        gate(work, None)
        tell("baseline measured")
    rows = []
    for name in arguments.only:
        gate(work, name)
        rows.append(row(work, name))
        tell(json.dumps(rows[-1]))
    (work / "table.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
