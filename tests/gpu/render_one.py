"""Render one video in a process of its own and print the digest of its frames.

`python -m tests.gpu.render_one SUITE CACHE STEPS`: the first scenario's first seed, compiled, without LoRA.
"""

from __future__ import annotations

import sys
from pathlib import Path

from pytest_wanlora.environment import detect
from pytest_wanlora.jobs.job import plan
from pytest_wanlora.studio.pictures import frames_sha256
from pytest_wanlora.studio.pipeline import Studio
from pytest_wanlora.suite import load


def main(file: str, cache: str, steps: str) -> None:
    """Render it.

    Args:
        file: The suite.
        cache: Folder for prompt embeddings.
        steps: Sampling steps.
    """
    suite = load(file)
    sampling = suite.sampling.model_copy(update={"compile": True, "steps": int(steps)})
    suite = suite.model_copy(update={"sampling": sampling})
    environment = detect(sampling.dtype)
    (job,) = plan(
        suite,
        None,
        scale=1.0,
        seeds=(0,),
        environment=environment,
        producer="gpu tests",
        scenarios=suite.scenarios[:1],
    )
    rendered = Studio(suite, environment, cache_dir=Path(cache)).render(job, None)
    sys.stdout.write(f"{frames_sha256(rendered.frames)}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
