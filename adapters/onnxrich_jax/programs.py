"""Models of JAX as pure functions of their weights and inputs: one function for each of the four libraries."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from onnxrich.errors import AdapterError

# What libraries name the switches between training and inference, and their values for inference.
SWITCHES: Mapping[str, Any] = {"train": False, "training": False, "is_training": False, "deterministic": True}


@dataclass(frozen=True, eq=False)
class Program:
    """A model as a pure function.

    Attributes:
        forward: from weights in the order of `weights`, and inputs by name, to a tree of outputs.
        weights: floating-point arrays by path.
        inputs: names of the arrays that the model needs.
        optional: names of what it takes besides.
    """

    forward: Callable[[Sequence[Any], Mapping[str, Any]], Any]
    weights: Mapping[str, Any]
    inputs: tuple[str, ...]
    optional: tuple[str, ...] = ()


def is_program(obj: Any) -> bool:
    """Whether an object is one of the models that `program` takes."""
    if isinstance(obj, tuple):
        return len(obj) == 2 and (_is(obj[0], "flax.linen", "Module") or _is_pair(*obj))
    return any(_is(obj, *kind) for kind in (("flax.nnx", "Module"), ("equinox", "Module"), ("flax.linen", "Module")))


def program(obj: Any) -> Program:
    """A model as a pure function.

    Raises:
        AdapterError: for a linen module without its variables.
    """
    if isinstance(obj, tuple):
        model, parameters = obj
        if _is(model, "flax.linen", "Module"):
            return _linen(model, parameters)
        stateful = _is(model, "equinox", "Module") and _is(parameters, "equinox.nn", "State")
        return _equinox(model, parameters) if stateful else _plain(model, parameters)
    if _is(obj, "flax.nnx", "Module"):
        return _nnx(obj)
    if _is(obj, "equinox", "Module"):
        return _equinox(obj)
    if obj.scope is None:
        raise AdapterError(
            f"the linen module {type(obj).__qualname__} without its variables",
            "a pair of both",
            "Pass (module, variables), or module.bind(variables).",
        )
    return _linen(*obj.unbind())


def path_name(path: Sequence[Any]) -> str:
    """The path of a leaf as one word, such as layers/0/kernel."""
    import jax

    # nnx keeps a leaf inside a variable, whose attribute is the last step.
    steps = path[:-1] if path and getattr(path[-1], "name", None) == "value" else path
    name: str = jax.tree_util.keystr(tuple(steps), simple=True, separator="/")
    return name


def _is(obj: Any, module: str, kind: str) -> bool:
    """Whether an object is of a class of a module that is imported already."""
    found = sys.modules.get(module)
    return found is not None and isinstance(obj, getattr(found, kind))


def _is_pair(function: Any, parameters: Any) -> bool:
    import jax

    if not callable(function):
        return False
    return any(isinstance(leaf, jax.Array | np.ndarray) for leaf in jax.tree.leaves(parameters))


def _of_tree(
    tree: Any,
    call: Callable[..., Any],
    function: Callable[..., Any],
    *,
    skip: int = 0,
    without: Sequence[str] = (),
) -> Program:
    """A program from a tree of parameters.

    Args:
        tree: the parameters.
        call: computes the outputs from such a tree, and from what `function` takes.
        function: whose signature says what that is.
        skip: number of its first parameters that are no inputs.
        without: names of others that are none.
    """
    import jax

    leaves, structure = jax.tree_util.tree_flatten_with_path(tree)
    weights = {path_name(path) or "parameters": leaf for path, leaf in leaves if _is_weight(leaf)}
    inputs, optional, switches = _signature(function, skip, without)

    def forward(values: Sequence[Any], given: Mapping[str, Any]) -> Any:
        new = iter(values)
        filled = [next(new) if _is_weight(leaf) else leaf for _, leaf in leaves]
        more = {name: value for name, value in given.items() if name not in inputs}
        needed = [given[name] for name in inputs]
        return call(jax.tree.unflatten(structure, filled), *needed, **more, **switches)

    return Program(forward, weights, inputs, optional)


def _is_weight(leaf: Any) -> bool:
    import jax

    return isinstance(leaf, jax.Array | np.ndarray) and jax.numpy.issubdtype(leaf.dtype, np.inexact)


def _plain(function: Any, parameters: Any) -> Program:
    return _of_tree(parameters, function, function, skip=1)


def _linen(module: Any, variables: Any) -> Program:
    return _of_tree(variables, module.apply, module.__call__)


def _nnx(module: Any) -> Program:
    from flax import nnx

    definition, state = nnx.split(module)

    def call(tree: Any, *inputs: Any, **more: Any) -> Any:
        merged = nnx.merge(definition, tree)
        merged.eval()
        return merged(*inputs, **more)

    return _of_tree(state, call, module.__call__)


def _equinox(module: Any, state: Any = None) -> Program:
    import equinox
    import jax

    keyed = {"key": None} if "key" in inspect.signature(module.__call__).parameters else {}

    def call(tree: Any, *inputs: Any, **more: Any) -> Any:
        def row(*values: Any, **named: Any) -> Any:
            if state is None:
                return tree(*values, **keyed, **named)
            return tree[0](*values, tree[1], **keyed, **named)[0]

        return jax.vmap(row)(*inputs, **more)

    tree = equinox.nn.inference_mode(module if state is None else (module, state))
    return _of_tree(tree, call, module.__call__, without=("key", "state"))


def _signature(
    function: Any, skip: int, without: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...], Mapping[str, Any]]:
    """What a function takes: the arrays that it needs ("x" where it doesn't say), others, and its switches."""
    found = list(inspect.signature(function).parameters.values())[skip:]
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    named = [entry for entry in found if entry.kind not in kinds and entry.name not in (*SWITCHES, *without)]
    needed = tuple(entry.name for entry in named if entry.default is inspect.Parameter.empty)
    optional = tuple(entry.name for entry in named if entry.name not in needed)
    return needed or ("x",), optional, {entry.name: SWITCHES[entry.name] for entry in found if entry.name in SWITCHES}
