"""Devices and execution providers: what is asked for, or a clear error; never something else in silence."""

from __future__ import annotations

import sys

import onnxruntime as ort
import pytest
from zoo_text import refused

from onnxrich.engine.runtime import Device, choose_device, cuda_missing, devices
from onnxrich.errors import DeviceError


def test_cpu() -> None:
    """The CPU is there always, and `auto` says why it was taken where it was."""
    assert choose_device("cpu") == Device("cpu", "asked for")
    chosen, missing = choose_device("auto"), cuda_missing()
    assert (chosen.name, chosen.reason) == ("cpu", missing) if missing else chosen.name == "cuda"


@pytest.mark.parametrize("device", ["tpu", "cuda:", "cuda:x", "cpu:0", "auto:all", "cuda:0,", "CPU"])
def test_unknown_device(device: str) -> None:
    """What is no device is refused with the list of those that are."""
    with refused(DeviceError, f"device {device!r} is unknown; needed: auto, cpu, cuda, cuda:N, cuda:N,M or cuda:all"):
        choose_device(device)


@pytest.mark.parametrize(
    ("asked", "numbers"), [("0", (0,)), ("2", (2,)), ("0,2", (0, 2)), ("1,1", (1,)), ("all", (0, 1, 2))]
)
def test_numbers(asked: str, numbers: tuple[int, ...]) -> None:
    """Each device is named once; `all` are all."""
    assert devices._parse_numbers(asked, 3) == numbers


def test_number_that_is_not_there() -> None:
    """The error says which there are."""
    with refused(DeviceError, "CUDA device 3 does not exist; needed: a number from 0 to 2"):
        devices._parse_numbers("0,3", 3)


@pytest.mark.skipif(cuda_missing() is None, reason="a CUDA device is there")
@pytest.mark.parametrize("device", ["cuda", "cuda:1", "cuda:all"])
def test_no_silent_fallback(device: str) -> None:
    """CUDA that is asked for and is not there is an error, and not the CPU."""
    with refused(DeviceError, "no CUDA device is usable: ", "onnxrich doctor"):
        choose_device(device)


def test_provider() -> None:
    """A provider is found by its full or its short name, in any case."""
    for name in ("cpu", "CPU", "CPUExecutionProvider"):
        assert choose_device(provider=name).provider == "CPUExecutionProvider"


def test_provider_options(monkeypatch: pytest.MonkeyPatch) -> None:
    """Options of a provider are kept as they are."""
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["OpenVINOExecutionProvider", "CPUExecutionProvider"])
    device = choose_device(provider="openvino:a=1,b=x=y")
    assert (device.provider, device.options) == ("OpenVINOExecutionProvider", (("a", "1"), ("b", "x=y")))


def test_provider_that_is_not_there() -> None:
    """The error lists those that are there, and names the wheel where one is known."""
    with refused(
        DeviceError,
        "this onnxruntime is built without the execution provider 'openvino'",
        "Install onnxruntime-openvino in place of",
    ):
        choose_device(provider="openvino:device_type=CPU")
    with refused(
        DeviceError,
        "ONNX Runtime has no execution provider 'nothing'; needed: one of cpu",
        "Pass one of them to --provider.",
    ):
        choose_device(provider="nothing")


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> None:
    """A runtime that is built with TensorRT and CUDA, and lists them first, whatever this one is."""
    names = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(ort, "get_available_providers", lambda: names)


@pytest.mark.usefixtures("built")
def test_providers_without_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that can't run here are told as such, behind those that can, and refused before the runtime loads them."""
    monkeypatch.setattr(devices, "_cuda_device_count", lambda: 0)
    none = "the NVIDIA driver sees no GPU"
    listed = (
        f"needed: one of cpu; not on this machine tensorrt ({none}), cuda ({none}). Pass one of them to --provider."
    )
    with refused(DeviceError, listed):
        choose_device(provider="nothing")
    for name in ("tensorrt", "cuda"):
        with refused(DeviceError, f"execution provider '{name}' can't be loaded here: {none}; needed: an NVIDIA GPU"):
            choose_device(provider=name)


@pytest.mark.usefixtures("built")
def test_tensorrt_without_its_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the library and where it comes from; CUDA itself is not in its way."""
    monkeypatch.setattr(devices, "_cuda_device_count", lambda: 1)
    monkeypatch.setattr(devices, "TENSORRT_LIBRARY", "libnothing.so.10")
    with refused(DeviceError, "'tensorrt' can't be loaded here: libnvinfer.so.10 of TensorRT 10", "tensorrt-cu13<11"):
        choose_device(provider="tensorrt:device_id=0")
    assert choose_device(provider="cuda").name == "cuda"
    monkeypatch.setattr(devices, "TENSORRT_LIBRARY", "libc.so.6" if sys.platform == "linux" else "libc.dylib")
    assert choose_device(provider="tensorrt").provider == "TensorrtExecutionProvider"


def test_provider_options_are_pairs() -> None:
    """An option without a value is refused."""
    with refused(DeviceError, "provider option 'fast' has no value; needed: key=value"):
        choose_device(provider="cpu:fast")


def test_the_cpu_takes_no_options() -> None:
    """Options that nothing would read are refused."""
    with refused(
        DeviceError, "the CPU takes no provider options, and 'arena=0' are given; needed: a provider without options"
    ):
        choose_device(provider="cpu:arena=0")


@pytest.fixture
def with_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """A runtime that is built with CUDA on a machine that has it, whatever this one is."""
    monkeypatch.setattr(devices, "_cuda_device_count", lambda: 4)
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])


@pytest.mark.usefixtures("with_cuda")
def test_cuda_as_a_provider_rounds_no_more_than_as_a_device() -> None:
    """TF32 is off unless it is asked for, and kernels are not chosen by a race."""
    kernels = ("cudnn_conv_algo_search", "HEURISTIC")
    assert choose_device(provider="cuda").options == (("use_tf32", "0"), kernels)
    assert choose_device(provider="cuda:use_tf32=1").options == (kernels, ("use_tf32", "1"))


@pytest.mark.usefixtures("with_cuda")
def test_cuda_graphs_are_refused() -> None:
    """They replay the first run, whose sums lie elsewhere than those of the second."""
    with refused(DeviceError, "a CUDA graph", "Leave enable_cuda_graph out."):
        choose_device(provider="cuda:enable_cuda_graph=1")
    assert choose_device(provider="cuda:enable_cuda_graph=0").options[-1] == ("enable_cuda_graph", "0")


@pytest.mark.usefixtures("with_cuda")
def test_tensors_lie_on_the_device_of_the_provider() -> None:
    """The number of the device is that of the provider's option."""
    assert choose_device(provider="cuda:device_id=3").numbers == (3,)
    with refused(DeviceError, "device_id 'x' is not a device number"):
        choose_device(provider="cuda:device_id=x")


def test_device_or_provider() -> None:
    """Two answers to one question are refused."""
    with refused(DeviceError, "device 'cpu' and provider 'cpu' are both given; needed: one of the two"):
        choose_device("cpu", "cpu")
