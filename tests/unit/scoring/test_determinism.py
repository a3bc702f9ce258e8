from __future__ import annotations

from typing import Any

import pytest
import torch

from pytest_wanlora import environment
from pytest_wanlora.scoring.determinism import exact_arithmetic

CUDNN: Any = torch.backends.cudnn


def state() -> tuple[object, ...]:
    return (
        torch.get_num_threads(),
        torch.is_inference_mode_enabled(),
        torch.is_autocast_enabled("cpu"),
        torch.backends.cuda.matmul.fp32_precision,
        CUDNN.conv.fp32_precision,
        CUDNN.deterministic,
        CUDNN.benchmark,
    )


def test_cpu_is_one_thread_in_float32_and_put_back() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            before = state()
            with exact_arithmetic(torch.device("cpu")):
                assert torch.get_num_threads() == 1
                assert torch.is_inference_mode_enabled()
                product = torch.ones(2, 2) @ torch.ones(2, 2)
                assert product.dtype == torch.float32
            assert state() == before
    finally:
        torch.set_num_threads(threads)


def test_gpu_settings_hold_inside_and_are_put_back() -> None:
    matmul = torch.backends.cuda.matmul
    found = matmul.fp32_precision, CUDNN.benchmark
    matmul.fp32_precision, CUDNN.benchmark = "tf32", True
    try:
        before = state()
        with exact_arithmetic(torch.device("cuda")):
            assert matmul.fp32_precision == "ieee"
            assert CUDNN.conv.fp32_precision == "ieee"
            assert CUDNN.deterministic
            assert not CUDNN.benchmark
        assert state() == before
    finally:
        matmul.fp32_precision, CUDNN.benchmark = found


@pytest.mark.parametrize(
    ("capability", "expected"),
    [
        ((9, 0), "cudnn,flash,efficient,math"),
        ((8, 0), "flash,efficient,math"),
        (None, "flash,efficient,math"),
    ],
)
def test_a_gpu_attends_with_the_kernels_that_the_environment_names(
    capability: tuple[int, int] | None, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: capability is not None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(environment, "gpu_name", lambda number=0: "a GPU")
    monkeypatch.setattr(environment, "gpu_capability", lambda number=0: capability)
    assert environment.detect("bfloat16").attention == f"torch_sdpa:{expected}"
    names = expected.split(",")
    with exact_arithmetic(torch.device("cuda")):
        order = [torch.nn.attention.SDPBackend(number) for number in torch._C._get_sdp_priority_order()]
        assert torch._C._get_cudnn_sdp_enabled() == ("cudnn" in names)
        assert torch._C._get_flash_sdp_enabled()
    assert [each.name.removesuffix("_ATTENTION").lower() for each in order[: len(names)]] == names


def test_put_back_after_an_error() -> None:
    before = state()
    with pytest.raises(RuntimeError, match="inside"), exact_arithmetic(torch.device("cpu")):
        raise RuntimeError("inside")
    assert state() == before
