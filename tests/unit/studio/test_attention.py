"""Which kernel computes a video's attention; the package is stood in for, as it needs a GPU."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from diffsynth.models import wan_video_dit

from pytest_wanlora.environment import FLASH_4, Environment
from pytest_wanlora.errors import StudioError
from pytest_wanlora.studio.attention import pinned_attention
from pytest_wanlora.studio.pipeline import Studio
from tests.unit.studio.random_wan import jobs_of, write_suite


def flash_attn_func(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, **_: Any) -> tuple[torch.Tensor, None]:  # noqa: ANN401
    """As the package's: (B, N, heads, D / heads), and another value that is not needed."""
    turned = [each.transpose(1, 2) for each in (q, k, v)]
    found = torch.nn.functional.scaled_dot_product_attention(turned[0], turned[1], turned[2])
    return found.transpose(1, 2).contiguous(), None


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def put(function: Callable[..., object]) -> None:
        module = ModuleType("flash_attn.cute")
        module.flash_attn_func = function  # type: ignore[attr-defined]  # a module is open to new names
        monkeypatch.setitem(sys.modules, "flash_attn.cute", module)

    return put


def test_the_denoiser_takes_the_package_that_the_suite_names(
    folder: Path, environment: Environment, install: Callable[..., None]
) -> None:
    seen = []

    def counted(*tensors: torch.Tensor, **named: object) -> tuple[torch.Tensor, None]:
        seen.append((tuple(tensors[0].shape), named))
        return flash_attn_func(*tensors)

    install(counted)
    own = Studio(write_suite(folder), environment, threads=1)
    other = Studio(write_suite(folder, attention=FLASH_4), environment, threads=1)
    job = jobs_of(own, None)[0]
    expected = own.render(job, None).frames
    assert not seen
    found = other.render(jobs_of(other, None)[0], None).frames
    assert {shape[2] for shape, _ in seen} == {own.pipe.dit.blocks[0].num_heads}
    # a sum that is split adds up in another order
    assert all(named == {"num_splits": 1} for _, named in seen)
    assert np.abs(found.astype(int) - expected.astype(int)).max() <= 1


def test_its_warnings_are_not_the_users(install: Callable[..., None]) -> None:
    def warns(*tensors: torch.Tensor, **_: object) -> tuple[torch.Tensor, None]:
        warnings.warn("of its own code", UserWarning, stacklevel=1)
        return flash_attn_func(*tensors)

    install(warns)
    q = torch.randn(1, 3, 64)
    with warnings.catch_warnings(), pinned_attention("cpu", FLASH_4):
        warnings.simplefilter("error")
        assert wan_video_dit.flash_attention(q, q, q, num_heads=2).shape == q.shape


def test_its_failure_is_one_message(
    folder: Path, environment: Environment, install: Callable[..., None]
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise AssertionError("Unsupported compute capability.\nSupported: 9.x")

    install(broken)
    with pytest.raises(
        StudioError, match=r"flash-attn-4 failed: AssertionError: Unsupported .* 9\.x"
    ) as caught:
        Studio(write_suite(folder, attention=FLASH_4), environment, threads=1).load()
    assert caught.value.next_command == "set sampling.attention: torch in the suite"


def test_a_kernel_that_computes_something_else_is_noticed(
    folder: Path, environment: Environment, install: Callable[..., None]
) -> None:
    install(lambda q, *_, **__: torch.zeros_like(q))
    with pytest.raises(StudioError, match="differs from this DiffSynth's"):
        Studio(write_suite(folder, attention=FLASH_4), environment, threads=1).load()


def test_it_is_traced_as_one_operator(install: Callable[..., None]) -> None:
    install(flash_attn_func)
    q, k, v = (torch.randn(1, length, 64) for length in (6, 3, 3))

    def attend(*tensors: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = wan_video_dit.flash_attention(*tensors, num_heads=2)
        return found

    with pinned_attention("cpu", FLASH_4):
        expected = attend(q, k, v)
        torch._dynamo.reset()
        found = torch.compile(attend, backend="eager", fullgraph=True)(q, k, v)
    torch.testing.assert_close(found, expected)
    with pinned_attention("cpu"):
        torch.testing.assert_close(attend(q, k, v), expected)
