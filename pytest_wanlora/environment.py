"""The environment of rendering: device, precision, attention kernel, library versions.

Nothing here imports torch: a run whose videos are all cached needs the environment without that import.
"""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Final, Literal

Device = Literal["cpu", "cuda"]

#: Major and minor number of what a GPU can do; Hopper (H100, H200) is 9.0.
Capability = tuple[int, int]
_HOPPER = 9
_CAPABILITY_ATTRIBUTES = (75, 76)  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR

#: Its package, and the suite's `sampling.attention` that asks for it.
FLASH_4: Final = "flash-attn-4"
#: The device's name where a GPU was requested and there is none.
NO_GPU = "none found"
#: Fields that must be equal, whatever a re-rendered video shows: hardware, precision, kernels.
HARD_FIELDS = ("device", "device_name", "dtype", "attention")
#: Fields that may differ if a re-rendered base video proves that the scores stay the same.
SOFT_FIELDS = ("torch", "diffsynth")


@dataclass(frozen=True)
class Environment:
    """Where and with what videos are rendered.

    Attributes:
        device: `"cuda"` or `"cpu"`.
        device_name: The GPU's name from its driver; `"cpu"` on a CPU, whose model does not change float32
            results beyond rounding (it is recorded in `processor`).
        dtype: Of the pipeline, `"bfloat16"` or `"float32"`.
        attention: The attention kernels, see `attention_kernels`; on a CPU torch has but one. Before them the
            package that the suite names in their place for the denoiser, and its release.
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
        """Fields that may change a pixel, for the key of a job."""
        return {name: getattr(self, name) for name in HARD_FIELDS + SOFT_FIELDS}

    def record(self) -> dict[str, str]:
        """Every field, for baselines and run records."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def detect(dtype: str, device: str = "auto", *, attention: str = "torch") -> Environment:
    """Describe this process' environment without importing torch.

    Args:
        dtype: The suite's `sampling.dtype`.
        device: `"auto"` (the first visible GPU if the driver shows one), `"cpu"`, `"cuda"` or `"cuda:N"`.
        attention: The suite's `sampling.attention`.

    Returns:
        The environment. Whether torch can really use that GPU is checked when the model is loaded.
    """
    kind, _, number = device.partition(":")
    gpu = None if kind == "cpu" else gpu_name(int(number or 0))
    chosen: Device = "cuda" if kind == "cuda" or gpu else "cpu"
    kernels = "torch_sdpa"
    if chosen == "cuda":
        kernels += f":{','.join(attention_kernels(gpu_capability(int(number or 0))))}"
    if attention != "torch":
        kernels = f"{attention} {installed(attention) or 'not installed'}, {kernels}"
    return Environment(
        device=chosen,
        device_name=(gpu or NO_GPU) if chosen == "cuda" else "cpu",
        processor=processor_name(),
        dtype=dtype,
        attention=kernels,
        torch=metadata.version("torch"),
        diffsynth=metadata.version("diffsynth"),
        python=platform.python_version(),
    )


def installed(package: str) -> str | None:
    """Release of a package; None if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def attention_kernels(capability: Capability | None) -> tuple[str, ...]:
    """Kernels of torch's attention on a GPU: the first that takes the shapes is used.

    DiffSynth's Wan model would take FlashAttention or SageAttention where they are installed; torch's own
    are pinned, so that installing a package cannot change a score. It has several, and prefers another one
    from release to release. cuDNN's is much faster on Hopper (docs/performance.md); elsewhere it is not, and
    there it has failed of shapes that it had accepted.
    """
    fast = ("cudnn",) if capability is not None and capability[0] == _HOPPER else ()
    return (*fast, "flash", "efficient", "math")


def differences(stored: Mapping[str, object], here: Environment) -> tuple[list[str], list[str]]:
    """Compare a stored environment with this one.

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
    found = _gpu(number)
    if found is None:
        return None
    driver, device = found
    name = ctypes.create_string_buffer(256)
    if driver.cuDeviceGetName(name, len(name), device) != 0:
        return None
    return name.value.decode()


def gpu_capability(number: int) -> Capability | None:
    """What a visible GPU can do, as `torch.cuda.get_device_capability` gives it; None without one."""
    found = _gpu(number)
    if found is None:
        return None
    driver, device = found
    numbers = [ctypes.c_int() for _ in _CAPABILITY_ATTRIBUTES]
    for value, attribute in zip(numbers, _CAPABILITY_ATTRIBUTES, strict=True):
        if driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, device) != 0:
            return None
    return numbers[0].value, numbers[1].value


def gpu_memory(number: int = 0) -> tuple[int, int | None] | None:
    """Memory of a visible GPU, without starting CUDA on it.

    Returns:
        Bytes in all, and bytes that no process holds now (None where the NVIDIA management library does not
        answer); None without such a GPU.
    """
    found = _gpu(number)
    if found is None:
        return None
    driver, device = found
    total = ctypes.c_size_t()
    if driver.cuDeviceTotalMem_v2(ctypes.byref(total), device) != 0:
        return None
    bus = ctypes.create_string_buffer(32)
    named = driver.cuDeviceGetPCIBusId(bus, len(bus), device) == 0
    return total.value, _free_memory(bus.value) if named else None


def _free_memory(bus: bytes) -> int | None:
    """Free bytes of the GPU at a PCI address, from the management library."""
    try:
        library = ctypes.CDLL("libnvidia-ml.so.1" if os.name == "posix" else "nvml.dll")
    except OSError:
        return None
    if library.nvmlInit_v2() != 0:
        return None
    handle, memory = ctypes.c_void_p(), _NvmlMemory()
    try:
        known = library.nvmlDeviceGetHandleByPciBusId_v2(bus, ctypes.byref(handle)) == 0
        read = known and library.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(memory)) == 0
        return int(memory.free) if read else None
    finally:
        library.nvmlShutdown()


class _NvmlMemory(ctypes.Structure):
    """`nvmlMemory_t` of NVIDIA's management library."""

    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


def _gpu(number: int) -> tuple[ctypes.CDLL, ctypes.c_int] | None:
    driver, device = _driver(), ctypes.c_int()
    if driver is None or visible_gpus() <= number or driver.cuDeviceGet(ctypes.byref(device), number) != 0:
        return None
    return driver, device


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
