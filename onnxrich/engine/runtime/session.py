"""One ONNX Runtime session over a patched model."""

from __future__ import annotations

import contextlib
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as native

from onnxrich._utils.threads import usable_cores
from onnxrich.engine.runtime.devices import CPU, CUDA, EXACT, Choice
from onnxrich.errors import DeviceError, ModelError

Feed = Mapping[str, NDArray[Any]]

_FAILURES: tuple[type[Exception], ...] = (
    native.EPFail, native.EngineError, native.Fail, native.InvalidArgument, native.InvalidGraph, native.InvalidProtobuf,
    native.ModelLoaded, native.NoModel, native.NoSuchFile, native.NotImplemented, native.RuntimeException, RuntimeError,
    ValueError, MemoryError,
)  # fmt: skip
_NO_MEMORY = re.compile(
    r"allocate memory|out of memory|bad_?\s?alloc|ALLOC(ATION)?_FAILED|smaller than requested bytes", re.IGNORECASE
)


class OutOfMemoryError(ModelError):
    """A batch does not fit into the device's memory; a smaller one may."""


class Session:
    """An ONNX Runtime session over a patched model.

    Args:
        parts: bytes of the model and of its patch; joined here, so that no other copy lives on.
        folder: where external weights lie.
        device: where to run.
        name: how messages name the model.
        number: which of the device's numbers.

    Raises:
        ModelError: when the runtime refuses the model.
        DeviceError: when the execution provider does not start.
    """

    def __init__(
        self, parts: Sequence[bytes], *, folder: Path | None, device: Choice, name: str, number: int = 0
    ) -> None:
        self.name, self.device, self.number = name, device, device.numbers[number]
        room = ("memory for the model", "Free some, or take another --device.")
        with quiet(), native_errors(name, "the runtime can't load it", room=room):
            if device.memory == "cuda":
                ort.preload_dlls()
            self.live = ort.InferenceSession(
                b"".join(parts),
                _options(folder, device),
                providers=_providers(device, self.number),
                enable_fallback=0,
            )
        self.providers: tuple[str, ...] = tuple(self.live.get_providers())
        if self.providers[0] != device.provider:
            remedy = (
                "Install the CUDA 13 and cuDNN libraries with `pip install onnxrich[cuda]`, or pass `--device cpu`."
            )
            raise DeviceError(
                f"{device.provider} did not start",
                "the libraries that it needs",
                remedy if device.provider == CUDA else "Install them, or pass `--device cpu`.",
            )

    def run(self, names: Sequence[str], feed: Feed) -> list[NDArray[Any]]:
        """Some outputs of one run, as arrays on the host.

        Raises:
            OutOfMemoryError: when the batch does not fit into memory.
            ModelError: when the runtime fails on these inputs.
        """
        with native_errors(self.name, "it fails on this batch"):
            result: list[NDArray[Any]] = self.live.run(list(names), dict(feed))
            return result

    def close(self) -> None:
        """Let go of the model and its memory; nothing can be run any more."""
        del self.live

    def nodes(self) -> dict[str, int]:
        """How many of the graph's nodes each execution provider runs."""
        counts: Counter[str] = Counter()
        for part in self.live.get_provider_graph_assignment_info():
            counts[str(part.ep_name)] += len(part.get_nodes())
        return dict(counts)


def _options(folder: Path | None, device: Choice) -> Any:
    options = ort.SessionOptions()
    # Runs that go on at once share one pool, of which each is one more thread.
    options.intra_op_num_threads = 1 if device.lanes > 1 else max(1, usable_cores() // len(device.numbers))
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    # The runtime may round activations to eight bits where weights are quantised: it is to compute what the model says.
    options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")
    # Products of bytes saturate on x86 processors without VNNI, unless the signed ones are shifted.
    options.add_session_config_entry("session.x64quantprecision", "1")
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    options.use_deterministic_compute = device.memory == "cuda"
    if folder is not None:
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(folder))
    return options


def _providers(device: Choice, number: int) -> list[Any]:
    if device.provider == CPU:
        return [CPU]
    numbered = {"device_id": str(number)} if device.memory == "cuda" else {}
    first = (device.provider, numbered | dict(device.options))
    # TensorRT leaves to CUDA what it can't run; the CPU comes last for what no other provider has.
    between = [(CUDA, numbered | dict(EXACT))] if device.memory == "cuda" and device.provider != CUDA else []
    return [first, *between, CPU]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """The runtime prints on stdout when providers fail to load; stdout carries results alone."""
    ort.set_default_logger_severity(4)
    with contextlib.redirect_stdout(sys.stderr):
        yield


@contextlib.contextmanager
def native_errors(name: str, what: str, *, room: tuple[str, str] | None = None) -> Iterator[None]:
    """Turns what the runtime raises into errors of ours.

    Args:
        name: of the model.
        what: fails.
        room: what memory is needed for, and the remedy, where no smaller batch would help.
    """
    try:
        yield
    except _FAILURES as error:
        text = str(error)
        if isinstance(error, MemoryError) or _NO_MEMORY.search(text):
            found = f"{name}: memory ran out: {_clean(text)}"
            if room is not None:
                raise ModelError(found, *room) from error
            raise OutOfMemoryError(found, "room for a batch", "Pass a smaller --batch-size.") from error
        raise ModelError(
            f"{name}: {what}: {_clean(text)}", "a model that ONNX Runtime runs", "Check it with `onnxrich doctor`."
        ) from error


def _clean(message: str) -> str:
    """A runtime's message without colour codes, build paths and further lines."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", message).strip().splitlines()
    line = text[0] if text else "no message"
    line = re.sub(r"\[ONNXRuntimeError\] : \d+ : \w+ : ", "", line)
    return re.sub(r"(?:/[\w.+-]+){2,}/", "", line)[:400]
