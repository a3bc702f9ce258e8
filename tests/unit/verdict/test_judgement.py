from __future__ import annotations

from pytest_wanlora.verdict.judgement import Verdict


def test_verdicts_fail_from_fail_on() -> None:
    assert [v for v in Verdict if v.fails] == list(Verdict)[3:]
