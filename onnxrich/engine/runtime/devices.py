"""Where to run: devices and execution providers, chosen without a silent fallback."""

from __future__ import annotations

import contextlib
import ctypes
import re
import sys
from dataclasses import dataclass

import onnxruntime as ort

from onnxrich.errors import DeviceError

VERSION: str = ort.__version__

# What the provider loads, by the versions that onnxruntime-gpu 1.31 is built for (CUDA 13, cuDNN 9).
CUDA_LIBRARIES = {"cudart": 13, "cublasLt": 13, "cublas": 13, "curand": 10, "cudnn": 9}

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"
# Providers whose inputs and outputs lie in the memory of an NVIDIA GPU.
ON_CUDA = (CUDA, TENSORRT, "NvTensorRTRTXExecutionProvider")
# TF32 would round float32 products to 10 bits: onnxrich measures the model as it is. Convolutions by the kernel that
# wins a race would differ from run to run, in their last bits.
EXACT = (("use_tf32", "0"), ("cudnn_conv_algo_search", "HEURISTIC"))
# What the wheel for CUDA does not bring, by the version that onnxruntime-gpu 1.31 is built for.
TENSORRT_LIBRARY = "nvinfer_10.dll" if sys.platform == "win32" else "libnvinfer.so.10"
TENSORRT_MISSING = f"{TENSORRT_LIBRARY} of TensorRT 10 is not found"
TENSORRT_REMEDY = (
    'Install it, such as by `pip install "tensorrt-cu13<11"`, and put the folder of its libraries on LD_LIBRARY_PATH; '
    "or pass `--device cuda`."
)
# The wheel that brings a provider, for the message when it is not there.
WHEELS = {"openvino": "onnxruntime-openvino", "dml": "onnxruntime-directml", "qnn": "onnxruntime-qnn"}


@dataclass(frozen=True)
class Choice:
    """What a request for a device came down to.

    Attributes:
        device: as a person names it: "cpu", "cuda", or the short name of another execution provider.
        reason: why it was chosen.
        provider: the execution provider by its full name.
        options: its options.
        numbers: of the devices to run on, one session each.
        lanes: runs that go on at once in a session; where they are several, each has one core.
    """

    device: str
    reason: str
    provider: str = CPU
    options: tuple[tuple[str, str], ...] = ()
    numbers: tuple[int, ...] = (0,)
    lanes: int = 1

    @property
    def memory(self) -> str:
        """Kind of memory in which the provider's tensors lie, in the words of ONNX Runtime."""
        return "cuda" if self.provider in ON_CUDA else "cpu"


def choose(device: str = "auto", provider: str | None = None) -> Choice:
    """The device to run on.

    Args:
        device: "cpu"; "cuda" for the first GPU, "cuda:1" for another, "cuda:0,1" or "cuda:all" for several; "auto":
            CUDA where the runtime and the driver offer it, else the CPU.
        provider: another execution provider, `NAME` or `NAME:key=value,key=value`; it wins over "auto".

    Raises:
        DeviceError: when what is asked for is not there. There is no silent fallback.
    """
    if provider is not None:
        if device != "auto":
            raise DeviceError(f"device {device!r} and provider {provider!r}", "one of the two", "Leave one out.")
        return _provider(provider)
    match = re.fullmatch(r"(auto|cpu|cuda)(?::(all|\d{1,4}(?:,\d{1,4})*))?", device)
    if match is None or (match[2] and match[1] != "cuda"):
        raise DeviceError(
            f"device {device!r}", "auto, cpu, cuda, cuda:N, cuda:N,M or cuda:all", "Pass one of these to --device."
        )
    if match[1] == "cpu":
        return Choice("cpu", "asked for")
    missing = cuda_missing()
    if missing is None:
        reason = "asked for" if match[1] == "cuda" else "a CUDA device is there"
        return Choice("cuda", reason, CUDA, EXACT, _numbers(match[2] or "0", _cuda_devices()))
    if match[1] == "cuda":
        raise DeviceError(f"no CUDA device: {missing}", "CUDA", "Run `onnxrich doctor`, or pass `--device cpu`.")
    return Choice("cpu", missing)


def _numbers(asked: str, count: int) -> tuple[int, ...]:
    numbers = tuple(range(count)) if asked == "all" else tuple(dict.fromkeys(map(int, asked.split(","))))
    if max(numbers) >= count:
        raise DeviceError(f"CUDA device {max(numbers)}", f"one from 0 to {count - 1}", "Pass --device cuda:N.")
    return numbers


def written(asked: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Full name and options of a provider that is asked for, whether it is here or not.

    Raises:
        DeviceError: when ONNX Runtime knows none of that name, or it takes no such options.
    """
    name, _, told = asked.partition(":")
    full = {_short(each): each for each in ort.get_all_providers()}.get(_short(name))
    if full is None:
        raise DeviceError(f"no execution provider {name!r} in ONNX Runtime", _those_here(), "Pass one of them.")
    options = []
    for pair in filter(None, told.split(",")):
        key, equals, value = pair.partition("=")
        if not (key and equals):
            raise DeviceError(f"provider option {pair!r}", "key=value", "Pass --provider NAME:key=value,key=value.")
        if key == "enable_cuda_graph" and value != "0":
            raise DeviceError(
                "a CUDA graph, which replays its first run", "runs that read other sums each time", f"Leave {key} out."
            )
        if key == "device_id" and full in ON_CUDA and not re.fullmatch(r"[0-9]{1,4}", value):
            raise DeviceError(f"device_id {value!r}", "a number from 0", "Pass --provider NAME:device_id=N.")
        options.append((key, value))
    if options and full == CPU:
        raise DeviceError(f"options {told!r} of the CPU", "none: it takes no options", "Pass --device cpu.")
    return full, tuple(options)


def _provider(asked: str) -> Choice:
    full, options = written(asked)
    name = _short(full)
    if full not in ort.get_available_providers():
        wheel = WHEELS.get(name)
        remedy = f"Install {wheel} in place of onnxruntime-gpu, or pass" if wheel else "Pass"
        raise DeviceError(
            f"no execution provider {name!r} in this onnxruntime", _those_here(), f"{remedy} one of them."
        )
    missing = _missing(full)
    if missing is not None:
        remedy = TENSORRT_REMEDY if missing == TENSORRT_MISSING else "Run `onnxrich doctor`, or pass `--device cpu`."
        raise DeviceError(
            f"execution provider {name!r} can't be loaded here: {missing}",
            "an NVIDIA GPU, its driver and libraries",
            remedy,
        )
    # What it reads and writes must lie on the same device.
    number = dict(options).get("device_id", "0") if full in ON_CUDA else "0"
    exact = [each for each in EXACT if full == CUDA and each[0] not in dict(options)]
    return Choice(name, "asked for", full, (*exact, *options), (int(number),))


def _those_here() -> str:
    """The providers to choose from, those that can't run on this machine behind the others, with the reason."""
    missing = {_short(full): _missing(full) for full in ort.get_available_providers()}
    usable = ", ".join(name for name, reason in missing.items() if reason is None)
    others = ", ".join(f"{name} ({reason})" for name, reason in missing.items() if reason is not None)
    return f"one of {usable}" + (f"; not on this machine {others}" if others else "")


def _missing(full: str) -> str | None:
    """Why a provider that this runtime is built with can't run here, None where nothing is known to be in its way."""
    if full not in ON_CUDA:
        return None
    return _gpu_missing() or (TENSORRT_MISSING if full == TENSORRT and not _loads(TENSORRT_LIBRARY) else None)


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _short(name: str) -> str:
    return name.lower().removesuffix("executionprovider")


def cuda_missing() -> str | None:
    """Why CUDA can't be used, or None when it can: the runtime lists its provider on machines without a GPU too."""
    if CUDA not in ort.get_available_providers():
        return "this onnxruntime is built without CUDA"
    return _gpu_missing()


def _gpu_missing() -> str | None:
    try:
        count = _cuda_devices()
    except OSError:
        return "no NVIDIA driver is installed"
    return None if count else "the NVIDIA driver sees no GPU"


def _cuda_devices() -> int:
    driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    count = ctypes.c_int(0)
    return count.value if driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 else 0


def cuda_libraries_missing() -> list[str]:
    """Names of CUDA libraries that the CUDA execution provider needs and the system can't load."""
    with contextlib.redirect_stdout(sys.stderr):
        ort.preload_dlls()
    pattern = {"linux": "lib{}.so.{}", "win32": "{}64_{}.dll"}.get(sys.platform)
    if pattern is None:
        return []
    return [name for name, version in CUDA_LIBRARIES.items() if not _loads(pattern.format(name, version))]
