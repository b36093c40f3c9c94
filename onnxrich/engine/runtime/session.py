"""One ONNX Runtime session over a patched model, and the runtime's failures as errors of onnxrich."""

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
from onnxrich.engine.runtime.devices import CPU, CUDA, EXACT, Device
from onnxrich.engine.runtime.host_binding import HostBinding
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


# Characters of the runtime's own words in a message, which also says what was needed and what to do.
LONGEST = 110


class RunError(ModelError):
    """The runtime fails on a batch."""


class OutOfMemoryError(RunError):
    """A batch does not fit into the device's memory; a smaller one may."""


class Session:
    """An ONNX Runtime session over a patched model.

    Args:
        parts: bytes of the model and of its patch. They are joined here, so that no other copy stays in memory.
        folder: folder of the external weights.
        device: where to run.
        name: name of the model in messages.
        index: which entry of the device's numbers to run on.

    Attributes:
        name: name of the model in messages.
        device: where it runs.
        number: number of the device.
        inference_session: the session of ONNX Runtime.
        providers: execution providers, in the order of their precedence.

    Raises:
        ModelError: when the runtime refuses the model.
        DeviceError: when the execution provider does not start.
    """

    def __init__(
        self, parts: Sequence[bytes], *, folder: Path | None, device: Device, name: str, index: int = 0
    ) -> None:
        self.name, self.device, self.number = name, device, device.numbers[index]
        memory_remedy = ("memory for the model", "Free some memory, or pass another --device.")
        with stdout_to_stderr(), translate_errors(name, "the runtime can't load it", memory_remedy=memory_remedy):
            if device.memory == "cuda":
                ort.preload_dlls()
            self.inference_session = ort.InferenceSession(
                b"".join(parts),
                _session_options(folder, device),
                providers=_provider_list(device, self.number),
                enable_fallback=0,
            )
        self.providers: tuple[str, ...] = tuple(self.inference_session.get_providers())
        if self.providers[0] != device.provider:
            libraries = "the CUDA 13 and cuDNN libraries with `pip install onnxrich[cuda]`"
            raise DeviceError(
                f"{device.provider} did not start",
                "the libraries that it needs",
                f"Install {libraries if device.provider == CUDA else 'them'}, or pass `--device cpu`.",
            )

    def run(self, names: Sequence[str], feed: Feed) -> list[NDArray[Any]]:
        """Run once and return some outputs as arrays on the host.

        Raises:
            OutOfMemoryError: when the batch does not fit into memory.
            ModelError: when the runtime fails on these inputs.
        """
        with translate_errors(self.name, "it fails on this batch", kind=RunError):
            outputs: list[NDArray[Any]] = self.inference_session.run(list(names), dict(feed))
            return outputs

    def bind(self) -> ort.IOBinding | HostBinding:
        """Begin to bind inputs and outputs of a run."""
        session = self.inference_session
        takes_text = any(entry.type == "tensor(string)" for entry in session.get_inputs())
        return HostBinding(session) if takes_text else session.io_binding()

    def run_bound(self, binding: ort.IOBinding | HostBinding) -> None:
        """Run once with bound inputs and outputs; `translate_errors` is the caller's."""
        if isinstance(binding, HostBinding):
            binding.run()
        else:
            self.inference_session.run_with_iobinding(binding)

    def close(self) -> None:
        """Release the model and its memory. The session can't run any more."""
        del self.inference_session

    def count_nodes(self) -> dict[str, int]:
        """Count the graph's nodes by the execution provider that runs them."""
        counts: Counter[str] = Counter()
        for subgraph in self.inference_session.get_provider_graph_assignment_info():
            counts[str(subgraph.ep_name)] += len(subgraph.get_nodes())
        return dict(counts)


def _session_options(folder: Path | None, device: Device) -> Any:
    options = ort.SessionOptions()
    # Runs at once share one pool of threads, and each of them is one more thread.
    options.intra_op_num_threads = 1 if device.lanes > 1 else max(1, usable_cores() // len(device.numbers))
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    # By default the runtime may round activations to eight bits where weights are quantised. Measure the model itself.
    options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")
    # Products of bytes saturate on x86 processors without VNNI, unless the signed ones are shifted.
    options.add_session_config_entry("session.x64quantprecision", "1")
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    options.use_deterministic_compute = device.memory == "cuda"
    if folder is not None:
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(folder))
    return options


def _provider_list(device: Device, number: int) -> list[Any]:
    if device.provider == CPU:
        return [CPU]
    device_id = {"device_id": str(number)} if device.memory == "cuda" else {}
    first = (device.provider, device_id | dict(device.options))
    # TensorRT leaves to CUDA what it can't run. The CPU comes last, for what no other provider has.
    fallback = [(CUDA, device_id | dict(EXACT))] if device.memory == "cuda" and device.provider != CUDA else []
    return [first, *fallback, CPU]


@contextlib.contextmanager
def stdout_to_stderr() -> Iterator[None]:
    """Redirect stdout to stderr: the runtime prints when providers fail to load, and stdout carries results alone."""
    ort.set_default_logger_severity(4)
    with contextlib.redirect_stdout(sys.stderr):
        yield


@contextlib.contextmanager
def translate_errors(
    name: str, failure: str, *, memory_remedy: tuple[str, str] | None = None, kind: type[ModelError] = ModelError
) -> Iterator[None]:
    """Turn the runtime's exceptions into errors of onnxrich.

    Args:
        name: name of the model.
        failure: what fails, as a clause.
        memory_remedy: what memory is needed for, and the remedy, where a smaller batch would not help.
        kind: the error to raise.

    Raises:
        OutOfMemoryError: when memory ran out and a smaller batch may fit.
        ModelError: for every other failure of the runtime, of the given kind.
    """
    try:
        yield
    except _FAILURES as error:
        text = str(error)
        if isinstance(error, MemoryError) or _NO_MEMORY.search(text):
            found = f"{name}: memory ran out: {_clean(text)}"
            if memory_remedy is not None:
                raise ModelError(found, *memory_remedy) from error
            raise OutOfMemoryError(found, "room for a batch", "Pass a smaller --batch-size.") from error
        remedy = "Check it with `onnxrich doctor`."
        if issubclass(kind, RunError):
            remedy = "Check the data. If the model holds a batch size inside, pass it with --batch-size."
        raise kind(f"{name}: {failure}: {_clean(text)}", "a model that ONNX Runtime runs", remedy) from error


def _clean(message: str) -> str:
    """The first line of a runtime's message without colour codes and build paths."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", message).strip().splitlines()
    line = text[0] if text else "no message"
    line = re.sub(r"\[ONNXRuntimeError\] : \d+ : \w+ : ", "", line)
    return re.sub(r"(?:/[\w.+-]+){2,}/", "", line)[:LONGEST]
