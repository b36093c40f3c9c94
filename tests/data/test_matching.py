"""Arrays become the model's type where nothing is lost, and are refused with a remedy where it is not plain how."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from zoo_text import build, read_all, refused, source_of, two_layers

from onnxrich.errors import DataError


def takes(kind: str, shape: str = "N,6") -> onnx.ModelProto:
    """A model with one input of an ONNX type."""
    cast = "f = Cast<to = 1>(x)\n a = MatMul(f, w1)\n h = Relu(a)\n y = MatMul(h, w2)"
    return build(cast, x=f"{kind}[{shape}] x")


@pytest.mark.parametrize(
    ("have", "want"),
    [
        (np.float64, "float"), (np.float16, "float"), (np.longdouble, "float"), (">f8", "float"), ("<f4", "double"),
        (np.float32, "float16"), (np.int32, "int64"), (np.int64, "int32"), (np.uint8, "int64"), (">i2", "int64"),
        (np.bool_, "int64"), (np.bool_, "bool"), (np.int64, "uint8"), (np.uint64, "int8"),
    ],
)  # fmt: skip
def test_converted(have: Any, want: str) -> None:
    """Numbers of the same kind are converted to the model's type, in native byte order."""
    x = (np.arange(60).reshape(10, 6) % 2).astype(have)
    rows, _ = read_all(source_of(takes(want), x), 4)
    np.testing.assert_array_equal(rows["x"].astype(np.float64), x.astype(np.float64))
    expected = {"float": "float32", "double": "float64"}.get(want, want)
    assert rows["x"].dtype.name == expected
    assert rows["x"].dtype.isnative


@pytest.mark.parametrize(
    ("have", "want", "message"),
    [
        ("u1", "float", "input 'x' gets uint8 data; needed: float32. Say how bytes are scaled, as in training "
                        "(--scale 1/255), or convert the array with `.astype('float32')` and save it again."),
        ("i8", "float", "input 'x' gets int64 data; needed: float32. Convert the array with `.astype('float32')` "
                        "and save it again."),
        ("f4", "int64", "input 'x' gets float32 data; needed: int64. Leave out --scale, --mean and --std where they "
         "are passed, or convert the array with `.astype('int64')` "
                        "and sav"),
        ("f4", "bool", "input 'x' gets float32 data; needed: bool. Convert the array with `.astype('bool')` and save"),
        ("?", "float", "input 'x' gets bool data; needed: float32. Convert the array with `.astype('float32')` and"),
        ("U3", "float", "input 'x' gets <U3 data; needed: float32."),
        ("O", "float", "input 'x' gets object data; needed: float32."),
        ("M8[s]", "int64", "input 'x' gets datetime64[s] data; needed: int64."),
        ("c8", "float", "input 'x' gets complex64 data; needed: float32."),
        ("f4", "bfloat16", "input 'x' has type bfloat16; needed: inputs of a type that NumPy has."),
    ],
)  # fmt: skip
@pytest.mark.parametrize("iterable", [False, True])
def test_refused(have: str, want: str, message: str, iterable: bool) -> None:
    """A type that would have to be guessed at, as bytes for a model of floats, is refused with what to do."""
    x = np.zeros((10, 6), have)
    with refused(DataError, message):
        read_all(source_of(takes(want), [x] if iterable else x), 4)


@pytest.mark.parametrize(
    ("values", "want", "message"),
    [
        ([0, 300], "uint8", "input 'x' gets values from 0 to 300; needed: values that uint8 holds. Check the data and"),
        ([-1, 5], "uint8", "input 'x' gets values from -1 to 5; needed: values that uint8 holds."),
        ([0, 2**31], "int32", "input 'x' gets values from 0 to 2147483648; needed: values that int32 holds."),
    ],
)
def test_integers_too_large(values: list[int], want: str, message: str) -> None:
    """Integers that the model's type can't hold are refused when they are met; they never wrap around."""
    x = np.zeros((10, 6), np.int64)
    x[7, 1:3] = values
    batches = source_of(takes(want), x).batches(5)
    next(batches)
    with refused(DataError, message):
        next(batches)


def test_unsigned_integers_too_large() -> None:
    """The highest unsigned integers don't fit the widest signed type."""
    with refused(DataError, "input 'x' gets values from 0 to 18446744073709551615; needed: values that int64 holds."):
        read_all(source_of(takes("int64"), np.array([[0] * 5 + [2**64 - 1]], np.uint64)), 4)


def test_floats_too_large() -> None:
    """A float64 that float32 can't hold becomes infinite without a word: the features show whether it matters."""
    x = np.full((4, 6), 1e300)
    assert np.isinf(read_all(source_of(takes("float"), x), 4)[0]["x"]).all()


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (
            (10,),
            "input 'x' gets data of shape 10; needed: shape N × 6. Reshape or transpose the array (first axis: row",
        ),
        ((10, 5), "input 'x' gets data of shape 10 × 5; needed: shape N × 6."),
        ((6, 10), "input 'x' gets data of shape 6 × 10; needed: shape N × 6."),
        ((10, 6, 1), "input 'x' gets data of shape 10 × 6 × 1; needed: shape N × 6."),
    ],
)
@pytest.mark.parametrize("iterable", [False, True])
def test_shapes(shape: tuple[int, ...], message: str, iterable: bool) -> None:
    """Another rank, and another size where the model fixes it, are refused with both shapes."""
    x = np.zeros(shape, np.float32)
    with refused(DataError, message):
        read_all(source_of(two_layers(), [x] if iterable else x), 4)


def test_scalar_for_a_batch() -> None:
    """A number where rows are needed is refused."""
    with refused(DataError, "no array with rows; needed: the same number of rows in each."):
        source_of(two_layers(), np.array(3.0, np.float32))
    with refused(DataError, "input 'x' gets data of shape (); needed: shape N × 6."):
        read_all(source_of(two_layers(), [np.float32(1)]), 4)


def test_free_dimensions_fit_any_size() -> None:
    """Symbolic and unknown dimensions, and negative ones as some exporters write them, take what comes."""
    proto = takes("float", "N,C,?,6")
    proto.graph.input[0].type.tensor_type.shape.dim[2].dim_value = -1
    rows, _ = read_all(source_of(proto, np.zeros((10, 2, 3, 6))), 4)
    assert rows["x"].shape == (10, 2, 3, 6)


def test_unknown_rank_fits_any() -> None:
    """An input without a shape takes arrays of any rank."""
    proto = takes("float")
    proto.graph.input[0].type.tensor_type.ClearField("shape")
    assert read_all(source_of(proto, np.zeros((10, 2, 3))), 4)[0]["x"].shape == (10, 2, 3)


@pytest.mark.parametrize("data", [np.zeros((10, 6)), [np.zeros((10, 6))], None], ids=["array", "iterable", "none"])
def test_batch_of_zero(data: Any) -> None:
    """A model that fixes its batch at no rows can't be fed."""
    with refused(
        DataError,
        "input 'x' takes batches of 0 rows; needed: a batch dimension that is free or positive. "
        "Export the model with a dynamic batch axis.",
    ):
        source_of(takes("float", "0,6"), data)


@pytest.mark.parametrize("kind", ["seq", "optional"])
def test_inputs_that_are_no_tensors(kind: str) -> None:
    """Sequences and options are refused by name."""
    name = {"seq": "seq(float[N]) s", "optional": "optional(float[N]) s"}[kind]
    proto = build("a = MatMul(x, w1)\n h = Relu(a)\n y = MatMul(h, w2)", x=f"float[N,6] x, {name}")
    message = (
        "input 's' is no tensor; needed: inputs of numbers or strings. Export the model without sequences, maps and "
        "optional inputs."
    )
    for data in ({"x": np.zeros((5, 6)), "s": np.array(["a"] * 5)}, [{"x": np.zeros((5, 6)), "s": np.zeros(5)}]):
        with refused(DataError, message):
            read_all(source_of(proto, data), 4)


@pytest.mark.parametrize("iterable", [False, True])
def test_ragged_lists(iterable: bool) -> None:
    """Lists of different lengths are no array, and the error says so in the words of NumPy."""
    data: Any = {"x": [[1.0, 2.0], [3.0]]}
    with refused(
        DataError,
        "'x' of type list can't be converted: setting an array element with a sequence",
        "rows of equal shape.",
    ):
        read_all(source_of(two_layers(), [data] if iterable else data), 4)


def test_a_missing_axis_is_named() -> None:
    """Grey images without an axis of channels: the remedy says which axis to add."""
    model = build(
        "a = Flatten(x)\n h = Relu(a)\n y = MatMul(h, w)", x="float[N,1,2,3] x", w=np.ones((6, 3), np.float32)
    )
    with refused(DataError, "shape N × 1 × 2 × 3. An axis of length 1 is missing: pass --layout NCHW, or save "):
        read_all(source_of(model, np.zeros((4, 2, 3), np.float32)), 4)
    with refused(DataError, "shape N × 1 × 2 × 3. Reshape or transpose the array"):
        read_all(source_of(model, np.zeros((4, 3, 2), np.float32)), 4)
