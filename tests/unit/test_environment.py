"""What videos are rendered on is known without torch, and told apart field by field."""

from __future__ import annotations

import ctypes
import dataclasses
import subprocess
import sys
from typing import Any

import pytest

from pytest_wanlora import environment
from pytest_wanlora.environment import Environment, detect, differences

HERE = Environment(
    device="cuda",
    device_name="NVIDIA H100 80GB HBM3",
    processor="x",
    dtype="bfloat16",
    attention="torch_sdpa",
    torch="2.11.0",
    diffsynth="2.1.12",
    python="3.12.1",
)


def test_a_gpu_is_taken_when_the_driver_shows_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "gpu_name", lambda number=0: ["A", "B"][number])
    assert (detect("float32").device, detect("float32").device_name) == ("cuda", "A")
    assert detect("float32", "cuda:1").device_name == "B"
    assert (detect("float32", "cpu").device, detect("float32", "cpu").device_name) == ("cpu", "cpu")


def test_without_a_gpu_it_is_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "gpu_name", lambda number=0: None)
    assert detect("float32").device == "cpu"
    assert detect("float32", "cuda").device_name == "none found"


def test_hidden_gpus_are_not_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert environment.visible_gpus() == 0
    assert environment.gpu_name() is None


def test_identity_holds_what_may_change_pixels() -> None:
    assert set(HERE.identity()) == {"device", "device_name", "dtype", "attention", "torch", "diffsynth"}
    assert set(HERE.record()) == {field.name for field in dataclasses.fields(Environment)}


def test_equal_environments_do_not_differ() -> None:
    assert differences(HERE.record(), HERE) == ([], [])


@pytest.mark.parametrize("field", ["device", "device_name", "dtype", "attention"])
def test_hard_differences(field: str) -> None:
    hard, soft = differences({**HERE.record(), field: "other"}, HERE)
    assert hard == [f"{field}: baseline other, here {getattr(HERE, field)}"]
    assert soft == []


@pytest.mark.parametrize("field", ["torch", "diffsynth"])
def test_soft_differences(field: str) -> None:
    assert differences({**HERE.record(), field: "0"}, HERE) == (
        [],
        [f"{field}: baseline 0, here {getattr(HERE, field)}"],
    )


@pytest.mark.parametrize("field", ["processor", "python"])
def test_what_is_recorded_only(field: str) -> None:
    assert differences({**HERE.record(), field: "other"}, HERE) == ([], [])


def test_a_field_that_was_not_recorded_differs() -> None:
    hard, _ = differences({}, HERE)
    assert hard[0] == "device: baseline not recorded, here cuda"


def test_torch_is_not_imported() -> None:
    code = (
        "import sys; from pytest_wanlora.environment import detect; detect('float32');"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


class Driver:
    """Two GPUs, as the driver's library tells of them."""

    def __init__(self, broken: str = "") -> None:
        self.broken = broken

    def cuDeviceGetCount(self, count: Any) -> int:  # noqa: ANN401 - as the library has it
        count._obj.value = 2
        return 0

    def cuDeviceGet(self, device: Any, number: int) -> int:  # noqa: ANN401 - see above
        device._obj.value = number
        return 0

    def cuDeviceGetName(self, name: Any, size: int, device: Any) -> int:  # noqa: ANN401 - see above
        name.value = f"GPU {device.value}"[:size].encode()
        return int(self.broken == "name")

    def cuDeviceGetAttribute(self, value: Any, attribute: int, device: Any) -> int:  # noqa: ANN401 - see above
        value._obj.value = {75: 8 + device.value, 76: 9 * (1 - device.value)}[attribute]
        return int(self.broken == "attribute")

    def cuDeviceTotalMem_v2(self, total: Any, device: Any) -> int:  # noqa: ANN401 - see above
        total._obj.value = (80 + device.value) * 2**30
        return int(self.broken == "memory")

    def cuDeviceGetPCIBusId(self, bus: Any, size: int, device: Any) -> int:  # noqa: ANN401 - see above
        bus.value = f"0000:0{device.value}:00.0"[:size].encode()
        return int(self.broken == "bus")


class Management:
    """The management library, which counts GPUs in another order than the driver."""

    def __init__(self, broken: str = "") -> None:
        self.broken = broken
        self.open = False

    def nvmlInit_v2(self) -> int:
        self.open = self.broken != "init"
        return int(not self.open)

    def nvmlDeviceGetHandleByPciBusId_v2(self, bus: bytes, handle: Any) -> int:  # noqa: ANN401 - see above
        handle._obj.value = {b"0000:00:00.0": 7, b"0000:01:00.0": 6}[bus]
        return int(self.broken == "handle")

    def nvmlDeviceGetMemoryInfo(self, handle: Any, memory: Any) -> int:  # noqa: ANN401 - see above
        memory._obj.free = handle.value * 2**30
        return int(self.broken == "memory")

    def nvmlShutdown(self) -> int:
        self.open = False
        return 0


def test_the_memory_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    library = Management()
    monkeypatch.setattr(environment, "_driver", Driver)
    monkeypatch.setattr(ctypes, "CDLL", lambda _: library)
    gib = 2**30
    assert [environment.gpu_memory(number) for number in range(3)] == [
        (80 * gib, 7 * gib),
        (81 * gib, 6 * gib),
        None,
    ]
    assert not library.open


@pytest.mark.parametrize("broken", ["init", "handle", "memory"])
def test_free_memory_that_is_not_told(monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    monkeypatch.setattr(environment, "_driver", Driver)
    monkeypatch.setattr(ctypes, "CDLL", lambda _: Management(broken))
    assert environment.gpu_memory() == (80 * 2**30, None)


def test_memory_without_the_management_library(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", missing)
    monkeypatch.setattr(environment, "_driver", Driver)
    assert environment.gpu_memory() == (80 * 2**30, None)
    monkeypatch.setattr(environment, "_driver", lambda: Driver("bus"))
    assert environment.gpu_memory() == (80 * 2**30, None)
    monkeypatch.setattr(environment, "_driver", lambda: Driver("memory"))
    assert environment.gpu_memory() is None


def test_what_the_driver_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "_driver", Driver)
    assert [environment.gpu_name(number) for number in range(3)] == ["GPU 0", "GPU 1", None]
    assert [environment.gpu_capability(number) for number in range(3)] == [(8, 9), (9, 0), None]
    assert detect("bfloat16", "cuda:0").attention == "torch_sdpa:flash,efficient,math"
    assert detect("bfloat16", "cuda:1").attention == "torch_sdpa:cudnn,flash,efficient,math"


def test_the_package_that_computes_attention_is_named_with_its_release(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = detect("bfloat16", "cpu", attention=environment.FLASH_4).attention
    assert asked == "flash-attn-4 not installed, torch_sdpa"
    monkeypatch.setattr(environment, "installed", {"flash-attn-4": "4.0.0b36"}.get)
    monkeypatch.setattr(environment, "_driver", Driver)
    named = detect("bfloat16", "cuda:1", attention=environment.FLASH_4).attention
    assert named == "flash-attn-4 4.0.0b36, torch_sdpa:cudnn,flash,efficient,math"


def test_a_driver_that_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "_driver", lambda: Driver("name"))
    assert environment.gpu_name() is None
    monkeypatch.setattr(environment, "_driver", lambda: Driver("attribute"))
    assert environment.gpu_capability(1) is None
    assert detect("bfloat16", "cuda:1").attention == "torch_sdpa:flash,efficient,math"
