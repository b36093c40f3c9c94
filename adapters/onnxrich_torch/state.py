"""Everything that a forward pass may change, saved before it and put back behind it."""

from __future__ import annotations

import contextlib
import copy
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from onnxrich.frameworks.randomness import preserved_randomness

# Containers whose entries are put back too: hooks, parameters, buffers, and what a module collects by itself.
CONTAINERS = (dict, OrderedDict, list, set)


@contextlib.contextmanager
def undisturbed(module: Any) -> Iterator[None]:
    """Evaluate a module, and leave it and all random states as they were.

    Modes of all submodules, attributes, entries of containers and values of buffers are put back. Parameters are not
    copied: only an optimizer changes them.
    """
    states = [_ModuleState.of(part) for part in module.modules()]
    with preserved_randomness(module):
        for state in states:
            state.module.training = False
        try:
            yield
        finally:
            for state in states:
                state.restore()


@dataclass(frozen=True, eq=False)
class _ModuleState:
    """The state of a module without its submodules.

    Attributes:
        module: the module.
        training: its mode.
        attributes: its attributes by name.
        entries: copies of the attributes that are containers.
        buffers: its buffers, and copies of their values.
    """

    module: Any
    training: bool
    attributes: Mapping[str, Any]
    entries: Mapping[str, Any]
    buffers: tuple[tuple[Any, Any], ...]

    @classmethod
    def of(cls, module: Any) -> _ModuleState:
        attributes = dict(vars(module))
        entries = {name: copy.copy(value) for name, value in attributes.items() if type(value) in CONTAINERS}
        tensors = [tensor for _, tensor in module.named_buffers(recurse=False)]
        tensors += [value for value in attributes.values() if hasattr(value, "detach") and hasattr(value, "copy_")]
        copies = tuple((tensor, tensor.detach().clone()) for tensor in tensors)
        return cls(module, module.training, attributes, entries, copies)

    def restore(self) -> None:
        import torch

        present = vars(self.module)
        for name in set(present) - set(self.attributes):
            del present[name]
        present.update(self.attributes)
        for name, entries in self.entries.items():
            container = self.attributes[name]
            container.clear()
            container.extend(entries) if isinstance(container, list) else container.update(entries)
        with torch.no_grad():
            for tensor, values in self.buffers:
                # A write counts as a change to autograd, which may need the buffer for a pending backward pass.
                if not torch.equal(tensor, values):
                    tensor.copy_(values)
        self.module.training = self.training
