"""Random states that a training draws from, saved and put back, so that a measurement changes no training.

Those are the global ones of Python, NumPy and PyTorch, and the generators that a model or a loader holds itself, such
as that of a sampler or of an augmentation. JAX has none, and Keras evaluates models without drawing.
"""

from __future__ import annotations

import contextlib
import functools
import random
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

# Objects looked at for generators, and the longest container that is: a data set may hold millions of file names.
MOST_OBJECTS, MOST_ENTRIES = 20_000, 1_000
_END = object()


@dataclass(frozen=True, eq=False)
class RandomStates:
    """The random states of a moment.

    Attributes:
        restorers: functions that put them back, one for each source of random numbers.
    """

    restorers: tuple[Callable[[], None], ...]

    @classmethod
    def capture(cls, generators: tuple[Any, ...] = ()) -> RandomStates:
        """Save the global states, and those of some generators."""
        states = (
            functools.partial(random.setstate, random.getstate()),
            functools.partial(np.random.set_state, np.random.get_state()),
        )
        return cls((*states, *_torch_restorers(), *map(_restorer, generators)))

    def restore(self) -> None:
        """Put the states back."""
        for restore in self.restorers:
            restore()


@contextlib.contextmanager
def preserved_randomness(*owners: Any) -> Iterator[None]:
    """Put back the global random states, and those of all generators that some objects hold."""
    states = RandomStates.capture(find_generators(*owners))
    try:
        yield
    finally:
        states.restore()


def isolated(loader: Iterable[Any]) -> Iterator[Any]:
    """Yield the items of a loader, which draws from random states of its own: those of the moment when it begins."""
    generators = find_generators(loader)
    own_states, items = RandomStates.capture(generators), None
    while True:
        outer_states = RandomStates.capture(generators)
        own_states.restore()
        try:
            items = iterate(loader) if items is None else items
            item = next(items, _END)
        finally:
            own_states = RandomStates.capture(generators)
            outer_states.restore()
        if item is _END:
            return
        yield item


def find_generators(*owners: Any) -> tuple[Any, ...]:
    """Find the generators of random numbers in the attributes of some objects, and of the objects in these."""
    kinds = _generator_kinds()
    pending, seen, found = deque(owners), set[int](), []
    while pending and len(seen) < MOST_OBJECTS:
        entry = pending.popleft()
        if id(entry) in seen:
            continue
        seen.add(id(entry))
        if isinstance(entry, kinds):
            found.append(entry)
        else:
            pending.extend(_parts(entry))
    return tuple(found)


def is_indexed(loader: Any) -> bool:
    """Whether a loader is a data set of rows by index, as those of PyTorch are: it has a length and no `__iter__`."""
    return not hasattr(loader, "__iter__") and hasattr(loader, "__len__") and hasattr(loader, "__getitem__")


def iterate(loader: Any) -> Iterator[Any]:
    """Begin to read a loader; rows by index end at the length, for nothing else says where they end."""
    if is_indexed(loader):
        return (loader[index] for index in range(len(loader)))
    return iter(loader)


def _torch_restorers() -> list[Callable[[], None]]:
    """Functions that put back PyTorch's global states, where the caller has imported it."""
    torch = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "get_rng_state"):
        return []
    restorers: list[Callable[[], None]] = [functools.partial(torch.set_rng_state, torch.get_rng_state())]
    if torch.cuda.is_initialized():
        restorers.append(functools.partial(torch.cuda.set_rng_state_all, torch.cuda.get_rng_state_all()))
    return restorers


def _generator_kinds() -> tuple[type, ...]:
    torch_kind = getattr(sys.modules.get("torch"), "Generator", None)
    own = () if torch_kind is None else (torch_kind,)
    return (random.Random, np.random.Generator, np.random.RandomState, *own)


def _restorer(generator: Any) -> Callable[[], None]:
    """A function that puts the present state of a generator back."""
    if isinstance(generator, np.random.Generator):
        bits = generator.bit_generator
        return functools.partial(setattr, bits, "state", bits.state)
    if isinstance(generator, np.random.RandomState):
        return functools.partial(generator.set_state, generator.get_state())
    if isinstance(generator, random.Random):
        return functools.partial(generator.setstate, generator.getstate())
    return functools.partial(generator.set_state, generator.get_state())


def _parts(entry: Any) -> list[Any]:
    """The objects that an object holds: entries, attributes, and what a function closes over."""
    if isinstance(entry, Mapping | list | tuple | set):
        values = entry.values() if isinstance(entry, Mapping) else entry
        return list(values) if len(entry) <= MOST_ENTRIES else []
    if isinstance(entry, FunctionType):
        return [cell.cell_contents for cell in entry.__closure__ or () if _is_filled(cell)]
    if isinstance(entry, MethodType):
        return [entry.__self__]
    if isinstance(entry, functools.partial):
        return [entry.func, *entry.args, *entry.keywords.values()]
    if isinstance(entry, type | ModuleType | BuiltinFunctionType):
        return []
    return list(getattr(entry, "__dict__", {}).values())


def _is_filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:  # a variable that the outer function has not set yet
        return False
