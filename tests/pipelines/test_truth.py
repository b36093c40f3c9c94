"""Composed models: each gives the right number, or is refused, or a notice says what the number depends on."""

from __future__ import annotations

import pytest
from graphs import Graph
from hypothesis import given, settings
from hypothesis import strategies as st
from pipelines._compositions import BODIES, EFFECTS, HEADS, TAILS, Registry, compose
from pipelines._verdict import BATCH, Case, verdict


def fitting(registry: Registry, kind: str) -> list[str]:
    """The names of the parts that fit a kind of body."""
    return [name for name, each in registry.items() if kind in each.kinds]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Compositions whose parts fit each other; half of them have no effect of the batch."""
    body = draw(st.sampled_from(list(BODIES)))
    kind = KINDS[body]
    head = draw(st.sampled_from(fitting(HEADS, kind)))
    tail = draw(st.one_of(st.just("no_tail"), st.sampled_from(fitting(TAILS, kind))))
    effect = draw(st.one_of(st.just("none"), st.sampled_from(fitting(EFFECTS, kind))))
    # A batch of one has no other samples that it could depend on.
    sizes = [None, 7, 1000] if EFFECTS[effect].told == BATCH else [None, None, 1, 7, 1000]
    batch_size = draw(st.sampled_from(sizes))
    return compose(body, head, tail, effect, draw(st.integers(0, 2**20)), batch_size)


KINDS = {name: each.build(Graph(), lambda g, z, axis: z).kind for name, each in BODIES.items()}


@settings(max_examples=60, derandomize=True)
@given(case=cases())
def test_some_compositions(case: Case) -> None:
    """A composed model gives the right number or none."""
    verdict(case)


@pytest.mark.extensive
@settings(max_examples=600, derandomize=True)
@given(case=cases())
def test_many_compositions(case: Case) -> None:
    """The same of many."""
    verdict(case)
