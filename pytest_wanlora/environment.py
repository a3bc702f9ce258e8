"""On what a video is rendered: device, precision, attention kernel, library versions.

Nothing here imports torch: a run whose videos are all in the cache must know its environment
without paying for that import.
"""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

Device = Literal["cpu", "cuda"]

#: DiffSynth's Wan model would take FlashAttention or SageAttention when they happen to be installed;
#: the studio pins torch's own kernel, so that installing a package cannot change a score. On a GPU torch has
#: several and prefers another one from release to release: the first of these that takes the shapes is used.
ATTENTION: dict[Device, str] = {"cpu": "torch_sdpa", "cuda": "torch_sdpa:cudnn,flash,efficient,math"}

#: The device's name where a GPU was asked for and there is none.
NO_GPU = "none found"
#: What must be equal, whatever a re-rendered video says: other hardware, precision or kernels.
HARD_FIELDS = ("device", "device_name", "dtype", "attention")
#: What may differ as long as a re-rendered base video proves that the scores stay the same.
SOFT_FIELDS = ("torch", "diffsynth")


@dataclass(frozen=True)
class Environment:
    """Where and with what videos are rendered.

    Attributes:
        device: `"cuda"` or `"cpu"`.
        device_name: The GPU's name as its driver tells it; `"cpu"` on a CPU, whose model does not
            change float32 results beyond rounding (it is recorded in `processor`).
        processor: Model of the CPU, for the record.
        dtype: Of the pipeline, `"bfloat16"` or `"float32"`.
        attention: The attention kernel, see `ATTENTION`.
        torch: Version with its build suffix.
        diffsynth: Version.
        python: Version.
    """

    device: Device
    device_name: str
    processor: str
    dtype: str
    attention: str
    torch: str
    diffsynth: str
    python: str

    def identity(self) -> dict[str, str]:
        """All that may change a pixel, for the key of a job."""
        return {name: getattr(self, name) for name in HARD_FIELDS + SOFT_FIELDS}

    def record(self) -> dict[str, str]:
        """Every field, for baselines and run records."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def detect(dtype: str, device: str = "auto") -> Environment:
    """Describe this process' environment without importing torch.

    Args:
        dtype: The suite's pipeline precision.
        device: `"auto"` (the first visible GPU if the driver shows one), `"cpu"`, `"cuda"` or `"cuda:N"`.

    Returns:
        The environment. Whether torch can really use that GPU is checked when the model is loaded.
    """
    kind, _, number = device.partition(":")
    gpu = None if kind == "cpu" else gpu_name(int(number or 0))
    chosen: Device = "cuda" if kind == "cuda" or gpu else "cpu"
    return Environment(
        device=chosen,
        device_name=(gpu or NO_GPU) if chosen == "cuda" else "cpu",
        processor=processor_name(),
        dtype=dtype,
        attention=ATTENTION[chosen],
        torch=metadata.version("torch"),
        diffsynth=metadata.version("diffsynth"),
        python=platform.python_version(),
    )


def differences(stored: Mapping[str, object], here: Environment) -> tuple[list[str], list[str]]:
    """Compare a stored environment with this one.

    Args:
        stored: `Environment.record()` of a baseline.
        here: This process' environment.

    Returns:
        Two lists of lines such as `"device_name: baseline NVIDIA A100, here NVIDIA H100"`: the hard
        differences, and the soft ones.
    """
    return _differing(stored, here, HARD_FIELDS), _differing(stored, here, SOFT_FIELDS)


def _differing(stored: Mapping[str, object], here: Environment, fields: tuple[str, ...]) -> list[str]:
    return [
        f"{name}: baseline {stored.get(name, 'not recorded')}, here {getattr(here, name)}"
        for name in fields
        if stored.get(name) != getattr(here, name)
    ]


def visible_gpus() -> int:
    """Count the GPUs that CUDA_VISIBLE_DEVICES leaves visible, as the driver sees them."""
    driver = _driver()
    if driver is None:
        return 0
    count = ctypes.c_int()
    return count.value if driver.cuDeviceGetCount(ctypes.byref(count)) == 0 else 0


def gpu_name(number: int = 0) -> str | None:
    """Name of a visible GPU, as `torch.cuda.get_device_name` gives it; None without one."""
    if visible_gpus() <= number:
        return None
    driver = _driver()
    device = ctypes.c_int()
    name = ctypes.create_string_buffer(256)
    if driver is None or driver.cuDeviceGet(ctypes.byref(device), number) != 0:
        return None
    if driver.cuDeviceGetName(name, len(name), device) != 0:
        return None
    return name.value.decode()


def _driver() -> ctypes.CDLL | None:
    if os.environ.get("CUDA_VISIBLE_DEVICES") == "":
        return None
    try:
        driver = ctypes.CDLL("libcuda.so.1" if os.name == "posix" else "nvcuda.dll")
    except OSError:
        return None
    return driver if driver.cuInit(0) == 0 else None


def processor_name() -> str:
    """Model of the CPU."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
