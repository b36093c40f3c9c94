"""The axis of samples by the names of dimensions."""

from __future__ import annotations

import pytest
from onnx import ModelProto, TensorProto, helper
from zoo_text import refused

from onnxrich.errors import DataError
from onnxrich.model.batch_axes import find_batch_axes

Dims = tuple[str | int | None, ...]


def model(inputs: dict[str, Dims], *outputs: Dims) -> ModelProto:
    """A signature."""
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, dims) for name, dims in inputs.items()]
    results = [helper.make_tensor_value_info(f"y{k}", TensorProto.FLOAT, dims) for k, dims in enumerate(outputs)]
    return helper.make_model(helper.make_graph([], "g", values, results))


@pytest.mark.parametrize(
    ("inputs", "outputs", "axes"),
    [
        ({"x": ("N", 6)}, [("N", 3)], {}),
        ({"x": ("T", "N", 6)}, [("N", 3)], {"x": 1}),
        ({"x": ("T", "N", 6)}, [("T", "N", 3)], {"x": 1}),
        ({"x": ("N", "T", 6)}, [("N", "T", 3)], {}),
        ({"x": ("sequence", "batch_size", 6)}, [("batch_size", 3)], {"x": 1}),
        ({"x": ("time", "samples", 6)}, [("samples", 3)], {"x": 1}),
        ({"x": ("T", "clips", 6)}, [("clips", 3)], {"x": 1}),
        # A dimension that leads the inputs without a name of a sequence may be that of the samples.
        ({"x": ("frames_in", "clips", 6)}, [("clips", 3)], {}),
        ({"x": ("batch", 6), "state": (2, "batch", 128)}, [("batch", 3), (2, "batch", 128)], {"state": 1}),
        ({"x": ("batch", 6), "pairs": ("heads", "batch", "batch")}, [("batch", 3)], {}),
        ({"x": ("M", "N")}, [("M", 3)], {}),
        ({"x": (5, "batch_size", 4)}, [("unk__1", 3)], {"x": 1}),
        ({"x": ("A.batch", "B.batch", 6)}, [("A.batch", "B.batch", 3)], {}),
        ({"x": (None, None, 6)}, [(None, 3)], {}),
        ({"x": ()}, [("N", 3)], {}),
    ],
)
def test_names_tell(inputs: dict[str, Dims], outputs: list[Dims], axes: dict[str, int]) -> None:
    """The symbol that names samples, in inputs and outputs, tells the axis; every doubt leaves the first."""
    assert find_batch_axes(model(inputs, *outputs)) == axes


@pytest.mark.parametrize(
    ("requested", "axes"),
    [
        ("0", {}),
        ("1", {"x": 1, "state": 1}),
        (1, {"x": 1, "state": 1}),
        ("state=1", {"state": 1}),
        ({"x": 1}, {"x": 1}),
    ],
)
def test_the_user_decides(requested: str, axes: dict[str, int]) -> None:
    """A number is for all inputs that have the axis, a name for one; nothing else is then looked for."""
    proto = model({"x": ("T", "N", 6), "flag": (1,), "state": (2, "N", 4)}, ("N", 3))
    assert find_batch_axes(proto, requested) == axes


@pytest.mark.parametrize("requested", ["3", "y=1", "flag=1", "x=1,z=0"])
def test_an_axis_that_no_input_has(requested: str) -> None:
    """A wrong name or number is refused."""
    with refused(DataError, "fits no input", "NAME=N"):
        find_batch_axes(model({"x": ("T", "N", 6), "flag": (1,)}, ("N", 3)), requested)
