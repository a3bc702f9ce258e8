"""What is imported before a run knows that there is anything to render."""

from __future__ import annotations

import subprocess
import sys

LATE = (
    "torch",
    "diffsynth",
    "scipy",
    "cv2",
    "pytest_wanlora.run.record",
    "pytest_wanlora.run.training_data",
    "pytest_wanlora.publishing.receipt",
    "pytest_wanlora.reports.terminal",
    "pytest_wanlora.reports.html",
)


def test_what_renders_and_what_writes_reports_is_imported_when_it_is_needed() -> None:
    code = (
        "import sys\n"
        "import pytest_wanlora.hooks.switching_on, pytest_wanlora.gate_tests, pytest_wanlora.run.judge\n"
        "import pytest_wanlora.run.preflight, pytest_wanlora.studio.producer\n"
        f"print([name for name in {LATE!r} if name in sys.modules])\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
