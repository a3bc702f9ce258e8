"""What to write for a file that is half of a pair."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_wanlora.checkpoint.pairs import for_experts
from pytest_wanlora.checkpoint.partners import as_half, partner
from tests import loras


@pytest.mark.parametrize(
    ("name", "other", "argument"),
    [
        ("x_high.safetensors", "x_low.safetensors", "high={0},low={1}"),
        ("x_low_noise.safetensors", "x_high_noise.safetensors", "high={1},low={0}"),
        ("a_low_noise_lora/e-0.safetensors", "a_high_noise_lora/e-0.safetensors", "high={1},low={0}"),
        ("x_low.safetensors", "x_high.SAFETENSORS", "high={1},low={0}"),
        ("x_low.safetensors", "", "high=FILE,low={0}"),
        ("x_low.safetensors", "y_high.safetensors", "high=FILE,low={0}"),
        ("x.safetensors", "x_low.safetensors", "high={0},low=FILE"),
    ],
)
def test_the_other_half_is_found_by_name(
    name: str, other: str, argument: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for each in filter(None, (name, other)):
        Path(each).parent.mkdir(exist_ok=True)
        Path(each).touch()
    assert as_half(Path(name)) == argument.format(name, other)
    assert partner(Path(name)) == (Path(other) if "{1}" in argument else None)


def test_an_expert_that_was_said_is_not_contradicted(tmp_path: Path) -> None:
    for name in ("x_high", "x_low"):
        (tmp_path / f"{name}.safetensors").touch()
    path = tmp_path / "x_low.safetensors"
    assert as_half(path, "high") == f"high={path},low=FILE"
    assert as_half(path, "low") == f"high={tmp_path / 'x_high.safetensors'},low={path}"


def test_what_names_its_experts_stays_as_it_is(tmp_path: Path) -> None:
    state = {f"transformer_2.{key}": value for key, value in loras.random_lora().items()}
    both = loras.write(tmp_path / "both.safetensors", state)
    assert for_experts(both) == str(both)
    assert for_experts(Path("high=a,low=b")) == "high=a,low=b"
    assert for_experts(Path("c")) == "high=c,low=FILE"
