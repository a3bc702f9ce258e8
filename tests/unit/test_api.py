"""The public API: its names, and what importing it costs."""

from __future__ import annotations

import pkgutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import pytest_wanlora
from pytest_wanlora.api import _option
from pytest_wanlora.errors import RecordError, SettingsError

NAMES = [
    "Baseline", "Checkpoint", "Demands", "ExtensionFile", "Judgement", "LoraFormat", "METRICS", "Metric",
    "Model", "Report", "RunRecord", "Scenario", "Suite", "SuiteFile", "Verdict", "Verification",
    "WanloraError", "__version__", "gate", "load_baseline", "load_record", "load_suite", "read_checkpoint",
    "read_receipt", "verify_receipt",
]  # fmt: skip


def test_the_names_are_locked() -> None:
    # adding one is a promise, and removing one breaks the code of others
    assert dir(pytest_wanlora) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_there_and_described(name: str) -> None:
    found = getattr(pytest_wanlora, name)
    assert name == "__version__" or found.__doc__


def test_the_version_is_that_of_the_package() -> None:
    assert pytest_wanlora.__version__ == metadata.version("pytest-wanlora")


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'pytest_wanlora' has no attribute 'gates'"):
        _ = pytest_wanlora.gates


def test_no_module_hides_a_name() -> None:
    # importing a submodule sets it as an attribute, where it would hide the public name
    assert {module.name for module in pkgutil.iter_modules(pytest_wanlora.__path__)} & {*NAMES} == set()


@pytest.mark.parametrize(
    ("use", "unwanted"),
    [
        ("pass", {"torch", "pytest", "numpy", "pydantic"}),
        ("pytest_wanlora.gate", {"torch", "pytest"}),
        ("pytest_wanlora.METRICS['clip']", {"torch", "pytest"}),
    ],
)
def test_importing_it_imports_neither_torch_nor_pytest(use: str, unwanted: set[str]) -> None:
    code = f"import sys, pytest_wanlora; {use}; sys.exit(bool({unwanted} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("scale", 0.8, ["--wanlora-scale=0.8"]),
        ("wanlora_scale", 0.8, ["--wanlora-scale=0.8"]),
        ("scale", [0.6, 0.8], ["--wanlora-scale=0.6,0.8"]),
        ("seeds", (4, 16), ["--wanlora-seeds=4:16"]),
        ("seeds", 4, ["--wanlora-seeds=4"]),
        ("scenario", ["a", "b"], ["--wanlora-scenario=a", "--wanlora-scenario=b"]),
        ("scenario", "a", ["--wanlora-scenario=a"]),
        ("cache", False, ["--wanlora-no-cache"]),
        ("cache", True, ["--wanlora-cache"]),
        ("output_dir", Path("runs"), ["--wanlora-output-dir=runs"]),
        ("update_baselines", True, ["--update-baselines"]),
        ("update_baselines", False, []),
    ],
)
def test_an_option_is_what_one_types(name: str, value: object, words: list[str]) -> None:
    assert list(_option(name, value)) == words


def test_an_option_that_does_not_exist_is_refused_before_pytest_starts() -> None:
    with pytest.raises(SettingsError, match="gate: 'sacle' is no option; allowed: suite, baseline"):
        pytest_wanlora.gate("x.safetensors", sacle=1)


def test_a_receipt_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"receipt.json: cannot be read: No such file"):
        pytest_wanlora.read_receipt(tmp_path / "receipt.json")
