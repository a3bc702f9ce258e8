"""The videos of a run: what is to be rendered (`planning`), by whom (`scheduler`), and where it is kept.

A `job` has a key; `cache` keeps results under it for all runs; `board` holds the notes that the processes of
one run share.
"""

from __future__ import annotations

from pytest_wanlora.jobs.board import Board, Progress
from pytest_wanlora.jobs.cache import Cache
from pytest_wanlora.jobs.job import (
    BASE,
    Applied,
    BatchProducer,
    Job,
    JobResult,
    Produced,
    Producer,
    canonical,
    digest,
    file_sha256,
)
from pytest_wanlora.jobs.planning import plan
from pytest_wanlora.jobs.scheduler import Scheduler, ensure, find

__all__ = [
    "BASE",
    "Applied",
    "BatchProducer",
    "Board",
    "Cache",
    "Job",
    "JobResult",
    "Produced",
    "Producer",
    "Progress",
    "Scheduler",
    "canonical",
    "digest",
    "ensure",
    "file_sha256",
    "find",
    "plan",
]
