"""Models of JAX as pure functions of their weights and inputs: one function for each of the four libraries."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxrich.errors import AdapterError

# Names of the switches between training and inference in these libraries, and their values for inference.
SWITCHES: Mapping[str, Any] = {"train": False, "training": False, "is_training": False, "deterministic": True}


@dataclass(frozen=True, eq=False)
class Program:
    """A model as a pure function.

    Attributes:
        forward: computes a tree of outputs from weights in the order of `weights`, and from inputs by name.
        weights: floating-point arrays by path.
        inputs: names of the required inputs.
        optional: names of further inputs.
    """

    forward: Callable[[Sequence[Any], Mapping[str, Any]], Any]
    weights: Mapping[str, Any]
    inputs: tuple[str, ...]
    optional: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Parameters:
    """Parameters of a function: required and optional arrays, and values of its switches."""

    required: tuple[str, ...]
    optional: tuple[str, ...]
    switches: Mapping[str, Any]


def is_program(obj: Any) -> bool:
    """Whether an object is one of the models that `to_program` takes."""
    if isinstance(obj, tuple):
        return len(obj) == 2 and (_is_instance(obj[0], "flax.linen", "Module") or _is_function_pair(*obj))
    return any(_is_instance(obj, library, "Module") for library in ("flax.nnx", "equinox", "flax.linen"))


def to_program(obj: Any) -> Program:
    """Convert a model to a pure function.

    Raises:
        AdapterError: for a linen module without its variables.
    """
    if isinstance(obj, tuple):
        model, parameters = obj
        if _is_instance(model, "flax.linen", "Module"):
            return _from_linen(model, parameters)
        if _is_instance(model, "equinox", "Module") and _is_instance(parameters, "equinox.nn", "State"):
            return _from_equinox(model, parameters)
        return _from_function(model, parameters)
    if _is_instance(obj, "flax.nnx", "Module"):
        return _from_nnx(obj)
    if _is_instance(obj, "equinox", "Module"):
        return _from_equinox(obj)
    if obj.scope is None:
        raise AdapterError(
            f"the linen module {type(obj).__qualname__} comes without its variables",
            "a pair of both",
            "Pass (module, variables), or module.bind(variables).",
        )
    return _from_linen(*obj.unbind())


def path_name(path: Sequence[Any]) -> str:
    """The path of a leaf as one word, such as layers/0/kernel."""
    import jax

    # nnx keeps a leaf inside of a variable, and the last step is the variable's attribute.
    steps = path[:-1] if path and getattr(path[-1], "name", None) == "value" else path
    name: str = jax.tree_util.keystr(tuple(steps), simple=True, separator="/")
    return name


def _is_instance(obj: Any, module: str, class_name: str) -> bool:
    """Whether an object is of a class of a module that the caller has imported."""
    library = sys.modules.get(module)
    return library is not None and isinstance(obj, getattr(library, class_name))


def _is_function_pair(function: Any, parameters: Any) -> bool:
    import jax

    if not callable(function):
        return False
    return any(isinstance(leaf, jax.Array | np.ndarray) for leaf in jax.tree.leaves(parameters))


def _from_tree(tree: Any, call: Callable[..., Any], parameters: _Parameters) -> Program:
    """A program from a tree of weights.

    Args:
        tree: the weights.
        call: computes the outputs from such a tree, and from inputs and switches.
        parameters: names of the inputs, and the switches.
    """
    import jax

    leaves, structure = jax.tree_util.tree_flatten_with_path(tree)
    weights = {path_name(path) or "parameters": leaf for path, leaf in leaves if _is_weight(leaf)}

    def forward(values: Sequence[Any], inputs: Mapping[str, Any]) -> Any:
        new = iter(values)
        filled = jax.tree.unflatten(structure, [next(new) if _is_weight(leaf) else leaf for _, leaf in leaves])
        required = [inputs[name] for name in parameters.required]
        optional = {name: value for name, value in inputs.items() if name not in parameters.required}
        return call(filled, *required, **optional, **parameters.switches)

    return Program(forward, weights, parameters.required, parameters.optional)


def _is_weight(leaf: Any) -> bool:
    import jax

    return isinstance(leaf, jax.Array | np.ndarray) and jax.numpy.issubdtype(leaf.dtype, np.inexact)


def _from_function(function: Any, parameters: Any) -> Program:
    return _from_tree(parameters, function, _read_parameters(function, skip=1))


def _from_linen(module: Any, variables: Any) -> Program:
    return _from_tree(variables, module.apply, _read_parameters(module.__call__))


def _from_nnx(module: Any) -> Program:
    from flax import nnx

    definition, state = nnx.split(module)

    def call(tree: Any, *inputs: Any, **options: Any) -> Any:
        merged = nnx.merge(definition, tree)
        merged.eval()
        return merged(*inputs, **options)

    return _from_tree(state, call, _read_parameters(module.__call__))


def _from_equinox(module: Any, state: Any = None) -> Program:
    import equinox
    import jax

    key = {"key": None} if "key" in inspect.signature(module.__call__).parameters else {}

    def call(tree: Any, *inputs: Any, **options: Any) -> Any:
        def call_row(*values: Any, **row_options: Any) -> Any:
            if state is None:
                return tree(*values, **key, **row_options)
            return tree[0](*values, tree[1], **key, **row_options)[0]

        return jax.vmap(call_row)(*inputs, **options)

    tree = equinox.nn.inference_mode(module if state is None else (module, state))
    return _from_tree(tree, call, _read_parameters(module.__call__, without=("key", "state")))


def _read_parameters(function: Any, *, skip: int = 0, without: Sequence[str] = ()) -> _Parameters:
    """Read the signature of a function; where it names no required array, that is "x".

    Args:
        function: the function.
        skip: number of its first parameters that are no inputs.
        without: names of other parameters that are no inputs.
    """
    entries = list(inspect.signature(function).parameters.values())[skip:]
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    arrays = [entry for entry in entries if entry.kind not in kinds and entry.name not in (*SWITCHES, *without)]
    required = tuple(entry.name for entry in arrays if entry.default is inspect.Parameter.empty)
    optional = tuple(entry.name for entry in arrays if entry.name not in required)
    switches = {entry.name: SWITCHES[entry.name] for entry in entries if entry.name in SWITCHES}
    return _Parameters(required or ("x",), optional, switches)
