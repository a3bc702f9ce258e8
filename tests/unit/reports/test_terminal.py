"""The terminal's lines: every verdict is seen, nothing that failed reads like a pass."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_wanlora.jobs.board import Progress
from pytest_wanlora.reports import terminal
from pytest_wanlora.verdict.judgement import ALL, Judgement, Verdict, Worst


def _judged(verdict: Verdict = Verdict.FAIL, **changes: Any) -> Judgement:  # noqa: ANN401 - any field
    known: dict[str, Any] = {
        "kind": "regression",
        "candidate": "epoch-0",
        "scenario": "nature",
        "metric": "sharpness",
        "verdict": verdict,
        "reason": "400.0 -> 200.0, 50.0% worse",
        "value": 200.0,
        "baseline": 400.0,
        "worst": Worst("nature", 3, 100.0, 450.0),
    }
    return Judgement(**{**known, **changes})


class TestProgress:
    @pytest.mark.parametrize(
        ("progress", "line"),
        [
            (
                Progress(12, 0, 0, 0, ("a",), 3.0, None),
                "wanlora: 0 of 12 videos, 1 being rendered, loading the model",
            ),
            (
                Progress(12, 3, 2, 0, ("a", "b"), 9.0, 14.2),
                "wanlora: 5 of 12 videos (3 reused), 2 being rendered, about 14 s left",
            ),
            (Progress(12, 0, 11, 1, (), 9.0, 0.0), "wanlora: 11 of 12 videos, 1 failed"),
            (Progress(4, 4, 0, 0, (), 0.0, None), "wanlora: 4 of 4 videos (4 reused)"),
        ],
    )
    def test_line(self, progress: Progress, line: str) -> None:
        assert terminal.progress_line(progress) == line


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "0 s"),
        (59.4, "59 s"),
        (60, "1 min 0 s"),
        (125, "2 min 5 s"),
        (3725, "1 h 2 min"),
        (90000, "25 h 0 min"),
    ],
)
def test_duration(seconds: float, words: str) -> None:
    assert terminal.duration(seconds) == words


class TestFailure:
    def test_layers(self) -> None:
        text = terminal.failure(
            _judged(), preview="cache/x/preview.mp4", again="pytest --lora X 'wanlora::i'"
        )
        assert text.splitlines() == [
            "FAIL: sharpness of nature (epoch-0)",
            "400.0 -> 200.0, 50.0% worse",
            "higher is better",
            "worst: nature, seed 3: 100.0, its pair 450.0",
            "       cache/x/preview.mp4",
            "next: pytest --lora X 'wanlora::i'",
        ]

    def test_lower_is_better(self) -> None:
        text = terminal.failure(_judged(metric="fvd", worst=None), preview=None, again="again")
        assert "lower is better" in text

    @pytest.mark.parametrize("verdict", [verdict for verdict in Verdict if verdict.fails])
    def test_every_failing_verdict_leads_its_text(self, verdict: Verdict) -> None:
        first = terminal.failure(_judged(verdict), preview=None, again="again").splitlines()[0]
        assert first.split(":")[0].isupper()

    def test_an_errors_own_next_command_is_the_only_one(self) -> None:
        judged = _judged(Verdict.ERROR, reason="no such file\nnext: fetch it", value=None, worst=None)
        text = terminal.failure(judged, preview=None, again="again")
        assert [line for line in text.splitlines() if line.startswith("next: ")] == ["next: fetch it"]

    def test_a_long_reason_is_cut_and_says_so_but_keeps_its_command(self) -> None:
        reason = "\n".join(["x" * 99] * 20) + "\nnext: do this"
        lines = terminal.failure(_judged(reason=reason), preview=None, again="again").splitlines()
        assert sum(map(len, lines)) < 900
        assert any(line.startswith("... (") and "characters more in the record" in line for line in lines)
        assert "next: do this" in lines

    def test_the_pooled_item_and_the_file_have_names(self) -> None:
        pooled = terminal.failure(_judged(scenario=ALL), preview=None, again="a")
        assert pooled.startswith("FAIL: sharpness of all (epoch-0)")
        file = _judged(kind="checkpoint", scenario="", metric="", value=None, worst=None)
        assert terminal.failure(file, preview=None, again="a").startswith(
            "FAIL: checkpoint of epoch-0 (epoch-0)"
        )


def test_stored_lines() -> None:
    assert terminal.stored_lines("b/base", ["s  clip  none -> 0.6"], ["too tight"]) == [
        "stored b/base",
        "  s  clip  none -> 0.6",
        "  note: too tight",
    ]
