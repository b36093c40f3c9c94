"""Public functions whose keyword arguments are the fields of an options class."""

from __future__ import annotations

import functools
import inspect
import textwrap
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar, cast

from onnxrich.pipelines.options import WorkOptions, described

S = TypeVar("S")
P = ParamSpec("P")
R = TypeVar("R")
O = TypeVar("O", bound=WorkOptions)  # noqa: E741 - the options, beside subject, parameters and result

# Where the meanings of the options go in a docstring.
PLACEHOLDER = "<options>"


def takes(options: Callable[P, O]) -> Callable[[Callable[[S, O], R]], Callable[Concatenate[S, P], R]]:
    """Let a function of a subject and options take the options as keyword arguments.

    Signature and docstring follow from the options class, so that each option is declared there alone.

    Args:
        options: the class; it checks its fields.
    """

    def decorate(function: Callable[[S, O], R]) -> Callable[Concatenate[S, P], R]:
        signature, build = _signature(function, options), cast("Callable[..., O]", options)

        @functools.wraps(function)
        def public(*arguments: object, **keywords: object) -> R:
            try:
                bound = signature.bind(*arguments, **keywords).arguments
            except TypeError as error:
                raise TypeError(f"{function.__name__}() {error}") from None
            subject = bound.pop(next(iter(signature.parameters)))
            return function(subject, build(**bound))

        public.__signature__ = signature  # type: ignore[attr-defined]
        public.__doc__ = (function.__doc__ or "").replace(PLACEHOLDER, _meanings(options))
        return public

    return decorate


def _signature(function: Callable[[S, O], R], options: Callable[P, O]) -> inspect.Signature:
    subject = next(iter(inspect.signature(function).parameters.values()))
    own = inspect.signature(options).parameters.values()
    returns = inspect.signature(function).return_annotation
    return inspect.Signature([subject, *own], return_annotation=returns)


def _meanings(options: Callable[P, O]) -> str:
    """The options as the arguments of a Google docstring, from the second line on indented by eight columns."""
    assert isinstance(options, type)  # noqa: S101 - the type checker knows it as a callable alone
    lines = [f"{field.name}: {field.metadata['meaning']} {field.metadata['in_python']}" for field in described(options)]
    wrapped = [textwrap.fill(line, 112, subsequent_indent="    ", break_on_hyphens=False) for line in lines]
    return textwrap.indent("\n".join(wrapped), " " * 8).strip()
