"""The only module that knows ONNX Runtime: devices, sessions, and the loop that keeps the moments on the device."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as native

from onnxrich.errors import DeviceError, ModelError
from onnxrich.moments import Array
from onnxrich.rewrite import Patch

Device = Literal["auto", "cpu", "cuda"]
Feed = Mapping[str, NDArray[Any]]

VERSION: str = ort.__version__

# What the provider loads, by the versions that onnxruntime-gpu 1.31 is built for (CUDA 13, cuDNN 9).
CUDA_LIBRARIES = {"cudart": 13, "cublasLt": 13, "cublas": 13, "curand": 10, "cudnn": 9}

_CPU = "CPUExecutionProvider"
_CUDA = "CUDAExecutionProvider"
_FAILURES: tuple[type[Exception], ...] = (
    native.EPFail, native.EngineError, native.Fail, native.InvalidArgument, native.InvalidGraph, native.InvalidProtobuf,
    native.ModelLoaded, native.NoModel, native.NoSuchFile, native.NotImplemented, native.RuntimeException, RuntimeError,
    ValueError,
)  # fmt: skip


@dataclass(frozen=True)
class Choice:
    """The device that a request came down to, and why."""

    device: Literal["cpu", "cuda"]
    reason: str


def choose(device: Device) -> Choice:
    """The device to run on.

    Args:
        device: "cpu", "cuda", or "auto": CUDA where the runtime and the driver offer it.

    Raises:
        DeviceError: when CUDA is asked for and is not there. There is no silent fallback.
    """
    if device == "cpu":
        return Choice("cpu", "asked for")
    missing = cuda_missing()
    if missing is None:
        return Choice("cuda", "asked for" if device == "cuda" else "a CUDA device is there")
    if device == "cuda":
        raise DeviceError(f"no CUDA device: {missing}", "CUDA", "Run `onnxrich doctor`, or pass `--device cpu`.")
    return Choice("cpu", missing)


def cuda_missing() -> str | None:
    """Why CUDA can't be used, or None when it can: the runtime lists its provider on machines without a GPU too."""
    if _CUDA not in ort.get_available_providers():
        return "this onnxruntime is built without CUDA"
    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return "no NVIDIA driver is installed"
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0 or count.value == 0:
        return "the NVIDIA driver sees no GPU"
    return None


def cuda_libraries_missing() -> list[str]:
    """Names of CUDA libraries that the CUDA execution provider needs and the system can't load."""
    with contextlib.redirect_stdout(sys.stderr):
        ort.preload_dlls()
    pattern = {"linux": "lib{}.so.{}", "win32": "{}64_{}.dll"}.get(sys.platform)
    if pattern is None:
        return []
    missing = []
    for name, version in CUDA_LIBRARIES.items():
        try:
            ctypes.CDLL(pattern.format(name, version))
        except OSError:
            missing.append(name)
    return missing


class Session:
    """An ONNX Runtime session over a patched model, with its moments as accumulators on the device.

    Args:
        parts: bytes of the model and of its patch; joined here, so that no other copy lives on.
        folder: where external weights lie.
        device: where to run.
        name: how messages name the model.

    Raises:
        ModelError: when the runtime refuses the model.
        DeviceError: when the CUDA provider does not start.
    """

    def __init__(
        self, parts: Sequence[bytes], *, folder: Path | None, device: Literal["cpu", "cuda"], name: str
    ) -> None:
        self.name, self.device = name, device
        with _quiet(), _native_errors(name, "the runtime can't load it"):
            self._session = ort.InferenceSession(b"".join(parts), _options(folder), providers=_providers(device))
        self.providers: tuple[str, ...] = tuple(self._session.get_providers())
        if device == "cuda" and self.providers[0] != _CUDA:
            raise DeviceError(
                "the CUDA execution provider did not start",
                "the CUDA 13 and cuDNN libraries",
                "Install them with `pip install onnxrich[cuda]`, or pass `--device cpu`.",
            )

    def run(self, names: Sequence[str], feed: Feed) -> list[NDArray[Any]]:
        """Some outputs of one run, as arrays on the host.

        Raises:
            ModelError: when the runtime fails on these inputs.
        """
        with _native_errors(self.name, "it fails on this batch"):
            result: list[NDArray[Any]] = self._session.run(list(names), dict(feed))
            return result

    def accumulate(self, patch: Patch, shift: Array) -> Accumulator:
        """An accumulator of moments about a shift, at zero rows."""
        return Accumulator(self, patch, shift)


class Accumulator:
    """Moments that grow on the device, batch by batch: two sets of buffers that swap roles after each run.

    Only `read` brings them to the host.
    """

    def __init__(self, session: Session, patch: Patch, shift: Array) -> None:
        self._session, self._patch, self._shift = session, patch, np.ascontiguousarray(shift.reshape(1, -1))
        self._sums, self._next = (
            [ort.OrtValue.ortvalue_from_numpy(np.zeros(shape), session.device, 0) for shape in patch.shapes]
            for _ in range(2)
        )

    def add(self, feed: Feed) -> None:
        """Add the moments of one batch.

        Args:
            feed: the model's inputs, and the patch's weights and targets.

        Raises:
            ModelError: when the runtime fails on this batch; the sums are as they were before it.
        """
        patch, binding = self._patch, self._session._session.io_binding()
        with _native_errors(self._session.name, "it fails on this batch"):
            for name, array in (*feed.items(), (patch.shift, self._shift)):
                binding.bind_cpu_input(name, array)
            for name, value in zip(patch.accumulators, self._sums, strict=True):
                binding.bind_ortvalue_input(name, value)
            for name, value in zip(patch.accumulated, self._next, strict=True):
                binding.bind_ortvalue_output(name, value)
            self._session._session.run_with_iobinding(binding)
        self._sums, self._next = self._next, self._sums

    def read(self) -> list[Array]:
        """The accumulators so far, on the host, in the order of the patch."""
        return [value.numpy() for value in self._sums]


def usable_cores() -> int:
    """Cores that this process may use: fewer than the machine has, in a container or under taskset."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _options(folder: Path | None) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = usable_cores()
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    # The runtime may round activations to eight bits where weights are quantised: it is to compute what the model says.
    options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")
    if folder is not None:
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(folder))
    return options


def _providers(device: Literal["cpu", "cuda"]) -> list[Any]:
    if device == "cpu":
        return [_CPU]
    ort.preload_dlls()
    # TF32 would round float32 products to 10 bits: onnxrich measures the model as it is.
    return [(_CUDA, {"use_tf32": "0"}), _CPU]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The runtime prints on stdout when providers fail to load; stdout carries results alone."""
    ort.set_default_logger_severity(4)
    with contextlib.redirect_stdout(sys.stderr):
        yield


@contextlib.contextmanager
def _native_errors(name: str, what: str) -> Iterator[None]:
    try:
        yield
    except _FAILURES as error:
        raise ModelError(
            f"{name}: {what}: {_clean(str(error))}",
            "a model that ONNX Runtime runs",
            "Check it with `onnxrich doctor`.",
        ) from error


def _clean(message: str) -> str:
    """A runtime's message without colour codes, build paths and further lines."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", message).strip().splitlines()
    line = text[0] if text else "no message"
    line = re.sub(r"\[ONNXRuntimeError\] : \d+ : \w+ : ", "", line)
    return re.sub(r"(?:/[\w.+-]+){2,}/", "", line)[:400]
