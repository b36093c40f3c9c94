"""Devices and execution providers, chosen without a silent fallback."""

from __future__ import annotations

import contextlib
import ctypes
import re
import sys
from dataclasses import dataclass

import onnxruntime as ort

from onnxrich.errors import DeviceError

VERSION: str = ort.__version__

# Libraries of the CUDA provider, by the versions that onnxruntime-gpu 1.31 is built for (CUDA 13, cuDNN 9).
CUDA_LIBRARIES = {"cudart": 13, "cublasLt": 13, "cublas": 13, "curand": 10, "cudnn": 9}

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"
# Providers whose inputs and outputs lie in the memory of an NVIDIA GPU.
ON_CUDA = (CUDA, TENSORRT, "NvTensorRTRTXExecutionProvider")
# TF32 would round float32 products to 10 bits: onnxrich measures the model as it is. Convolutions by the kernel that
# wins a race would differ from run to run, in their last bits.
EXACT = (("use_tf32", "0"), ("cudnn_conv_algo_search", "HEURISTIC"))
# The wheel for CUDA lacks this library, by the version that onnxruntime-gpu 1.31 is built for.
TENSORRT_LIBRARY = "nvinfer_10.dll" if sys.platform == "win32" else "libnvinfer.so.10"
TENSORRT_MISSING = f"{TENSORRT_LIBRARY} of TensorRT 10 is not found"
TENSORRT_REMEDY = (
    'Install it, such as by `pip install "tensorrt-cu13<11"`, and put the folder of its libraries on LD_LIBRARY_PATH; '
    "or pass `--device cuda`."
)
# The wheel of each provider, for the message when it is missing.
WHEELS = {"openvino": "onnxruntime-openvino", "dml": "onnxruntime-directml", "qnn": "onnxruntime-qnn"}


@dataclass(frozen=True)
class Device:
    """Where to run: an execution provider with its options, its device numbers and its lanes.

    Attributes:
        name: "cpu", "cuda", or the short name of another execution provider.
        reason: why it was chosen.
        provider: full name of the execution provider.
        options: options of the provider.
        numbers: numbers of the devices to run on, one session each.
        lanes: runs at once in a session; with several lanes each has one core.
    """

    name: str
    reason: str
    provider: str = CPU
    options: tuple[tuple[str, str], ...] = ()
    numbers: tuple[int, ...] = (0,)
    lanes: int = 1

    @property
    def memory(self) -> str:
        """Kind of memory in which the provider's tensors lie, as ONNX Runtime names it: "cpu" or "cuda"."""
        return "cuda" if self.provider in ON_CUDA else "cpu"


def choose_device(device: str = "auto", provider: str | None = None) -> Device:
    """Choose the device to run on. There is no silent fallback.

    Args:
        device: "cpu"; "cuda" for the first GPU, "cuda:1" for another, "cuda:0,1" or "cuda:all" for several; "auto":
            CUDA where the runtime and the driver offer it, else the CPU.
        provider: another execution provider, `NAME` or `NAME:key=value,key=value`; it wins over "auto".

    Raises:
        DeviceError: when the requested device or provider is unknown or missing.
    """
    if provider is not None:
        if device != "auto":
            raise DeviceError(
                f"device {device!r} and provider {provider!r} are both given",
                "one of the two",
                "Leave out --device or --provider.",
            )
        return _choose_provider(provider)
    match = re.fullmatch(r"(auto|cpu|cuda)(?::(all|\d{1,4}(?:,\d{1,4})*))?", device)
    if match is None or (match[2] and match[1] != "cuda"):
        raise DeviceError(
            f"device {device!r} is unknown",
            "auto, cpu, cuda, cuda:N, cuda:N,M or cuda:all",
            "Pass one of these to --device.",
        )
    if match[1] == "cpu":
        return Device("cpu", "asked for")
    missing = cuda_missing()
    if missing is None:
        reason = "asked for" if match[1] == "cuda" else "a CUDA device is available"
        return Device("cuda", reason, CUDA, EXACT, _parse_numbers(match[2] or "0", _cuda_device_count()))
    if match[1] == "cuda":
        raise DeviceError(
            f"no CUDA device is usable: {missing}", "CUDA", "Run `onnxrich doctor`, or pass `--device cpu`."
        )
    return Device("cpu", missing)


def _parse_numbers(text: str, count: int) -> tuple[int, ...]:
    """Read device numbers such as "0,1" or "all" of a machine with so many devices."""
    numbers = tuple(range(count)) if text == "all" else tuple(dict.fromkeys(map(int, text.split(","))))
    if max(numbers) >= count:
        raise DeviceError(
            f"CUDA device {max(numbers)} does not exist",
            f"a number from 0 to {count - 1}",
            "Pass one of them as --device cuda:N.",
        )
    return numbers


def parse_provider(text: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Read the full name and the options of a provider, whether this runtime has it or not.

    Args:
        text: `NAME` or `NAME:key=value,key=value`.

    Raises:
        DeviceError: when ONNX Runtime knows no provider of that name, or an option is not allowed.
    """
    name, _, option_text = text.partition(":")
    provider = {_short_name(known): known for known in ort.get_all_providers()}.get(_short_name(name))
    if provider is None:
        raise DeviceError(
            f"ONNX Runtime has no execution provider {name!r}", _list_providers(), "Pass one of them to --provider."
        )
    options = tuple(_parse_option(pair, provider) for pair in option_text.split(",") if pair)
    if options and provider == CPU:
        raise DeviceError(
            f"the CPU takes no provider options, and {option_text!r} are given",
            "a provider without options",
            "Pass --device cpu.",
        )
    return provider, options


def _parse_option(pair: str, provider: str) -> tuple[str, str]:
    """Read one option `key=value` of a provider."""
    key, equals, value = pair.partition("=")
    if not (key and equals):
        raise DeviceError(
            f"provider option {pair!r} has no value", "key=value", "Pass --provider NAME:key=value,key=value."
        )
    if key == "enable_cuda_graph" and value != "0":
        raise DeviceError(
            "a CUDA graph replays its first run", "runs that read other sums each time", f"Leave {key} out."
        )
    if key == "device_id" and provider in ON_CUDA and not re.fullmatch(r"[0-9]{1,4}", value):
        raise DeviceError(
            f"device_id {value!r} is not a device number", "a number from 0", "Pass --provider NAME:device_id=N."
        )
    return key, value


def _choose_provider(text: str) -> Device:
    provider, options = parse_provider(text)
    name = _short_name(provider)
    if provider not in ort.get_available_providers():
        wheel = WHEELS.get(name)
        remedy = f"Install {wheel} in place of onnxruntime-gpu, or pass" if wheel else "Pass"
        raise DeviceError(
            f"this onnxruntime is built without the execution provider {name!r}",
            _list_providers(),
            f"{remedy} one of them to --provider.",
        )
    missing = _provider_missing(provider)
    if missing is not None:
        remedy = TENSORRT_REMEDY if missing == TENSORRT_MISSING else "Run `onnxrich doctor`, or pass `--device cpu`."
        raise DeviceError(
            f"execution provider {name!r} can't be loaded here: {missing}",
            "an NVIDIA GPU, its driver and libraries",
            remedy,
        )
    # The tensors that a provider reads and writes must lie on its own device.
    number = dict(options).get("device_id", "0") if provider in ON_CUDA else "0"
    exact = [option for option in EXACT if provider == CUDA and option[0] not in dict(options)]
    return Device(name, "asked for", provider, (*exact, *options), (int(number),))


def _list_providers() -> str:
    """List the providers to choose from; those that can't run on this machine come last, with the reason."""
    missing = {_short_name(provider): _provider_missing(provider) for provider in ort.get_available_providers()}
    usable = ", ".join(name for name, reason in missing.items() if reason is None)
    unusable = ", ".join(f"{name} ({reason})" for name, reason in missing.items() if reason is not None)
    return f"one of {usable}" + (f"; not on this machine {unusable}" if unusable else "")


def _provider_missing(provider: str) -> str | None:
    """The reason why a provider of this runtime can't run on this machine; None where no reason is known."""
    if provider not in ON_CUDA:
        return None
    return _gpu_missing() or (TENSORRT_MISSING if provider == TENSORRT and not _can_load(TENSORRT_LIBRARY) else None)


def _can_load(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _short_name(provider: str) -> str:
    return provider.lower().removesuffix("executionprovider")


def cuda_missing() -> str | None:
    """The reason why CUDA can't be used; None when it can.

    The runtime lists the CUDA provider on machines without a GPU too, so the driver is asked as well.
    """
    if CUDA not in ort.get_available_providers():
        return "this onnxruntime is built without CUDA"
    return _gpu_missing()


def _gpu_missing() -> str | None:
    try:
        count = _cuda_device_count()
    except OSError:
        return "no NVIDIA driver is installed"
    return None if count else "the NVIDIA driver sees no GPU"


def _cuda_device_count() -> int:
    driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    count = ctypes.c_int(0)
    return count.value if driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 else 0


def missing_cuda_libraries() -> list[str]:
    """Names of the libraries that the CUDA execution provider needs and the system can't load."""
    with contextlib.redirect_stdout(sys.stderr):
        ort.preload_dlls()
    pattern = {"linux": "lib{}.so.{}", "win32": "{}64_{}.dll"}.get(sys.platform)
    if pattern is None:
        return []
    names = [pattern.format(library, version) for library, version in CUDA_LIBRARIES.items()]
    return [name for name in names if not _can_load(name)]
