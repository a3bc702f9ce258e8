"""A record as a run of Weights & Biases: the gates of one training go on with one run there."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import wandb

from pytest_wanlora.files import json_sha256
from pytest_wanlora.reports.export import points, side_by_side
from pytest_wanlora.reports.writing import Report

if TYPE_CHECKING:
    from pytest_wanlora.results.run_record import RunRecord


def _write(record: RunRecord, folder: Path) -> Iterator[Path]:
    """Log a run; where and how, such as offline, its own environment variables say (`WANDB_MODE`)."""
    for point in points(record, folder):
        run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "wanlora"),
            id=json_sha256([record.suite.name, point.training])[:16],
            name=point.training,
            resume="allow",
            dir=str(folder.parent),
            config={"suite": record.suite.name, "fingerprint": record.suite.fingerprint},
        )
        with tempfile.TemporaryDirectory() as temporary, run:
            # gates may end in another order than the epochs
            run.define_metric("epoch")
            run.define_metric("*", step_metric="epoch")
            videos = {}
            for number, (name, pair) in enumerate(point.videos.items()):
                target = Path(temporary) / f"{number}.mp4"
                side_by_side(pair, target)
                videos[f"baseline | candidate/{name}"] = wandb.Video(str(target), format="mp4")
            run.log({**point.numbers, **videos, "decision": point.words, "epoch": point.step})
        yield Path(run.dir)


REPORT = Report(write=_write)
