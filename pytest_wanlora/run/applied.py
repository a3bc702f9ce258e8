"""Judges the checkpoint itself: whether its file is sound, and its LoRA was applied and does something."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pytest_wanlora import checkpoint as checkpoints
from pytest_wanlora.errors import CheckpointError
from pytest_wanlora.run.comparison import repeats
from pytest_wanlora.verdict.judgement import Detail, Details, ItemId, Judgement, ReasonCode, Verdict
from pytest_wanlora.verdict.measured import failed, said

if TYPE_CHECKING:
    from pytest_wanlora.checkpoint import Problem
    from pytest_wanlora.jobs.job import Applied, JobResult
    from pytest_wanlora.run.candidates import Candidate
    from pytest_wanlora.run.session import Gate

#: Below this the pipeline's precision has rounded so much of the LoRA away that another file was measured.
_FAITHFUL = 0.9
#: Part of the weights that a change which was really made is large enough to show in a video.
_PLAIN_TO_SEE = 1e-3


class Files:
    """Judges the files of one run's candidates.

    Args:
        gate: The run.
    """

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self._changes: dict[str, CheckpointError | None] = {}

    def broken(self, candidate: str) -> Judgement | None:
        """The judgement on a candidate's file where that is known before anything is rendered."""
        checkpoint = self.gate.candidate(candidate).checkpoint
        if checkpoint is None or not checkpoint.problems:
            return None
        details: Details = {"problems": _listed(checkpoint.problems)}
        return said(ItemId("checkpoint", candidate, "", ""), Verdict.FAIL, ReasonCode.FILE_BROKEN, details)

    def changed(self, candidate: str) -> Judgement | None:
        """The judgement on a candidate whose file is no longer the one that was read; None if it still is.

        What would be published then is not what was measured.
        """
        checkpoint = self.gate.candidate(candidate).checkpoint
        if checkpoint is None:
            return None
        # a file is read once for all its strengths
        if checkpoint.argument not in self._changes:
            try:
                checkpoints.require_unchanged(checkpoint)
                self._changes[checkpoint.argument] = None
            except CheckpointError as error:
                self._changes[checkpoint.argument] = error
        change = self._changes[checkpoint.argument]
        if change is None:
            return None
        return failed(ItemId("checkpoint", candidate, "", ""), Verdict.ERROR, ReasonCode.ERROR, change)

    def judgement(self, item: ItemId) -> Judgement:
        """Judge one checkpoint by its file and by the first video of it.

        Raises:
            WanloraError: That video cannot be rendered.
        """
        if broken := self.broken(item.candidate):
            return broken
        candidate = self.gate.candidate(item.candidate)
        base, own = self.gate.results(self.gate.probes(candidate))
        applied = own.applied
        if applied is None:
            return said(item, Verdict.ERROR, ReasonCode.LORA_NOT_KNOWN_APPLIED)
        counted: dict[str, Detail] = {"patched": applied.patched, "targets": applied.targets}
        if applied.patched != applied.targets or applied.changed == 0:
            counted["changed"] = applied.changed
            return said(item, Verdict.FAIL, ReasonCode.LORA_NOT_APPLIED, counted)
        place: Details = {"scenario": own.scenario, "seed": own.seed}
        if own.frames_sha256 == base.frames_sha256:
            return said(item, Verdict.FAIL, ReasonCode.LORA_WITHOUT_EFFECT, {**counted, **place})
        # what cannot be scored is for the other items to judge
        if own.degenerate is None and base.degenerate is None and repeats(own, base):
            return said(item, Verdict.FAIL, ReasonCode.LORA_WITHIN_REPEATABILITY, {**counted, **place})
        for expert, of in applied.experts.items():
            if self._does_nothing(candidate, expert, of, own):
                return said(
                    item,
                    Verdict.FAIL,
                    ReasonCode.LORA_HALF_WITHOUT_EFFECT,
                    {**counted, **place, "expert": expert},
                )
        names = ("mode", "strength", "cosine", "relative_size")
        details = {**counted, **{name: getattr(applied, name) for name in names}}
        if applied.told:
            details["half"] = applied.told
        if abs(applied.strength - 1.0) <= 1.0 - _FAITHFUL and applied.cosine >= _FAITHFUL:
            if warned := _listed(() if candidate.checkpoint is None else candidate.checkpoint.warnings):
                details = {**details, "problems": warned}
                return said(item, Verdict.WARN, ReasonCode.LORA_WARNED, details, value=applied.strength)
            return said(item, Verdict.PASS, ReasonCode.LORA_APPLIED, details, value=applied.strength)
        return said(item, Verdict.WARN, ReasonCode.LORA_ROUNDED_AWAY, details, value=applied.strength)

    def _does_nothing(self, candidate: Candidate, expert: str, of: Applied, own: JobResult) -> bool:
        """Whether the LoRA of one expert of a pair changes no video, which that of the other one may hide.

        Where the change of its weights is large and was really made, no video is rendered to know it.
        """
        rest = self.gate.without(candidate, expert)
        if rest is None or (of.faithfulness >= _FAITHFUL and of.relative_size >= _PLAIN_TO_SEE):
            return False
        scenario = self.gate.scenario(own.scenario)
        (other,) = self.gate.results(self.gate.jobs(rest, [scenario], [own.seed]))
        if other.frames_sha256 == own.frames_sha256:
            return True
        return own.degenerate is None and other.degenerate is None and repeats(own, other)


def _listed(problems: Sequence[Problem]) -> tuple[tuple[str, int, str], ...]:
    return tuple((problem.code, len(problem.targets), problem.words) for problem in problems)
