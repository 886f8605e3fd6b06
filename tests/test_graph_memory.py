"""The memory planner, judged by a simulation that knows nothing of how it plans.

Every byte of every buffer holds the number of the value that was last written there.
A step may only run if each of its inputs is still whole where the plan says it is.
"""

from __future__ import annotations

import random
from math import prod

import numpy as np
import pytest

from fastconv import ops
from fastconv._core import OpKind, op_info
from fastconv.execution.function import Function
from fastconv.execution.lower import Buffers, anchor
from fastconv.graph.ir import Graph, Leaf, Node, Tensor
from fastconv.graph.passes.memory import Storage, assign_offsets, plan_memory, schedule
from fastconv.graph.trace import Trace, as_tensor
from fastconv.graph.variable import Variable, span, together

SHAPES = [(4, 6), (24,), (2, 3, 4), (6, 4), (2, 12), (8, 6), (3,), (4, 1, 6), (0, 6)]


class Simulation:
    """Runs a plan on numbers of values instead of values."""

    def __init__(self, graph: Graph, workspaces=()):
        self.graph = graph
        self.steps = schedule(graph)
        buffers = Buffers(graph)
        self.workspaces = dict(zip(self.steps, workspaces, strict=False))
        self.layout = plan_memory(graph, self.steps, buffers.leaves, self.workspaces)
        self.places = dict(buffers.blocks)
        sizes = [self.layout.arena_bytes, *buffers.sizes[1:]]
        self.memory = [np.full(size, -1) for size in sizes]
        self.contents: dict[Tensor, np.ndarray] = {}
        self.next = 0
        for index, _ in buffers.blocks.values():
            self.memory[index][:] = self.fresh(self.memory[index].size)
        for tensor, (buffer, offset) in buffers.leaves.items():
            region = self.memory[buffer][offset : offset + tensor.nbytes]
            if tensor.node.kind is not Leaf.variable:
                region[:] = self.fresh(tensor.nbytes)
            self.contents[tensor] = region.copy()

    def fresh(self, count: int) -> np.ndarray:
        self.next += count
        return np.arange(self.next - count, self.next)

    def region(self, tensor: Tensor) -> np.ndarray:
        buffer, offset = self.layout.tensors[tensor].place()
        region = self.memory[buffer][offset : offset + tensor.nbytes]
        assert region.size == tensor.nbytes, "outside its buffer"
        return region

    def check(self, tensor: Tensor) -> None:
        held = self.region(tensor)
        assert np.array_equal(held, self.contents[tensor]), (
            f"{tensor!r} was overwritten"
        )

    def made_by(self, node: Node, tensor: Tensor) -> np.ndarray:
        if node.kind == OpKind.reshape:
            return self.contents[node.inputs[0]]
        outermost = (
            node.kind == OpKind.concat and prod(tensor.shape[: node.attrs.axis]) == 1
        )
        if outermost:
            return np.concatenate([self.contents[t] for t in node.inputs])
        return self.fresh(tensor.nbytes)

    def stored(self, node: Node) -> list[Tensor]:
        """The outputs of a node that have a place: all that somebody reads."""
        made = [t for t in node.outputs if t in self.layout.tensors]
        optional = op_info(node.kind).optional_outputs
        assert all(t in made or optional >> t.index & 1 for t in node.outputs)
        return made

    def check_overlaps(self, node: Node) -> None:
        """What a step writes is apart from what it reads, or it works in place."""
        workspace = self.layout.workspaces.get(node)
        scratch = self.memory[0][:0]
        if workspace:
            assert workspace.place()[1] % 64 == 0
            scratch = self.memory[0][workspace.offset :][: workspace.size]
        written = {t.index: self.region(t) for t in self.stored(node)}
        for i, one in written.items():
            others = [w for j, w in written.items() if j < i]
            assert not any(np.shares_memory(one, w) for w in [*others, scratch])
            for j, tensor in enumerate(node.inputs):
                read = self.region(tensor)
                if np.shares_memory(one, read):
                    self.check_in_place(node, i, j, one, read)
        assert not any(np.shares_memory(scratch, self.region(t)) for t in node.inputs)

    def check_in_place(self, node: Node, out: int, into: int, one, read) -> None:
        if node.kind == OpKind.concat:
            before = sum(t.nbytes for t in node.inputs[:into])
            assert _start(read) == _start(one) + before * one.itemsize
            return
        assert out < 2
        assert op_info(node.kind).inplace[out] == into, f"{node!r} cannot work in place"
        assert _start(read) == _start(one)
        assert read.size == one.size

    def run(self) -> None:
        for node in self.steps:
            for tensor in node.inputs:
                self.check(tensor)
            self.check_overlaps(node)
            made = [self.made_by(node, t) for t in self.stored(node)]
            if node in self.layout.workspaces:
                storage = self.layout.workspaces[node]
                self.memory[0][storage.offset : storage.offset + storage.size] = -2
            for tensor, content in zip(self.stored(node), made, strict=True):
                self.contents[tensor] = content
                self.region(tensor)[:] = content
        self.update()
        for tensor in self.graph.outputs:
            self.check(tensor)

    def update(self) -> None:
        """The copies at the end of a plan; then each variable has its new value."""
        targets = []
        for variable, value in self.graph.updates:
            self.check(value)
            buffer, block = self.places[id(variable.block)]
            start = variable.offset * block.array.itemsize
            target = self.memory[buffer][start : start + value.nbytes]
            target[:] = self.contents[value]
            targets.append((target, self.contents[value]))
        for target, content in targets:
            assert np.array_equal(target, content)


def _start(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


class Builder:
    """A random function of tensors and variables; the same each time for one seed."""

    def __init__(self, seed: int, variables: list[Variable]) -> None:
        self.seed, self.variables = seed, variables

    def __call__(self, *inputs: Tensor) -> list[Tensor]:
        self.random = random.Random(self.seed)
        self.tensors = list(inputs)
        self.assigned: list[Variable] = []
        for _ in range(self.random.randint(1, 25)):
            self.tensors += self.one()
            if self.random.random() < 0.2:
                self.assign()
        count = self.random.randint(1, 4)
        return [self.pick() for _ in range(count)]

    def pick(self, fits=lambda t: True) -> Tensor:
        recent = [t for t in self.tensors[-6:] if fits(t)]
        return self.random.choice(recent or [t for t in self.tensors if fits(t)])

    def one(self) -> list[Tensor]:
        makers = [self.unary, self.unary, self.binary, self.binary, self.reshape]
        makers += [self.concat, self.matmul, self.dropout, self.slice, self.read]
        return self.random.choice(makers)()

    def unary(self):
        make = self.random.choice([ops.relu, ops.tanh, ops.negative, ops.softmax])
        return [make(self.pick(lambda t: t.shape[-1] > 0))]

    def binary(self):
        a = self.pick()
        b = self.pick(lambda t: t.shape == a.shape)
        return [self.random.choice([ops.add, ops.subtract, ops.maximum])(a, b)]

    def reshape(self):
        t = self.pick()
        return [
            ops.reshape(
                t,
                self.random.choice(
                    [s for s in [t.shape, *SHAPES] if prod(s) == t.size]
                ),
            )
        ]

    def concat(self):
        a = self.pick()
        parts = [
            self.pick(lambda t: t.shape == a.shape)
            for _ in range(self.random.randint(1, 3))
        ]
        if a.size * (len(parts) + 1) > 400:
            return []
        axis = self.random.randrange(a.ndim)
        return [ops.concatenate([a, *parts], axis)]

    def matmul(self):
        if all(t.ndim != 2 for t in self.tensors):
            return []
        a = self.pick(lambda t: t.ndim == 2)
        return [ops.matmul(a, a, transpose_b=True)] if a.size < 200 else []

    def dropout(self):
        return [
            ops.dropout(self.pick(), 0.5, np.array([1, 2]), stream=len(self.tensors))
        ]

    def slice(self):
        t = self.pick()
        return [t[1:]] if t.shape[0] > 1 else []

    def read(self):
        variable = self.random.choice(self.variables)
        seen = [a for a in self.assigned if a.overlaps(variable)]
        whole = all(
            a.size >= variable.size and a.offset <= variable.offset for a in seen
        )
        return [as_tensor(variable)] if whole else []

    def assign(self) -> None:
        variable = self.random.choice(self.variables)
        values = [t for t in self.tensors if t.shape == variable.shape]
        if values and all(
            v is variable or not v.overlaps(variable) for v in self.assigned
        ):
            variable.assign(self.random.choice(values))
            self.assigned.append(variable)
            self.tensors = [t for t in self.tensors if t.node.kind is not Leaf.variable]
            self.tensors.append(as_tensor(np.ones((4, 6), np.float32)))


def make_variables() -> list[Variable]:
    rng = np.random.default_rng(0)
    parts = [Variable(rng.standard_normal(s), f"v{i}") for i, s in
             enumerate([(4, 6), (4, 6), (24,)])]  # fmt: skip
    together(parts)
    whole = span(parts[:2])
    return [
        *parts,
        whole,
        span([parts[2]]),
        Variable(rng.standard_normal((6, 4)), "alone"),
    ]


def make_inputs(seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    shapes = [(4, 6), SHAPES[seed % len(SHAPES)]]
    return [rng.standard_normal(s).astype(np.float32) for s in shapes]


def trace(builder, arrays) -> Graph:
    made = Trace()
    with made.active():
        inputs = [
            made.input(a.shape, a.dtype.name, f"x{i}") for i, a in enumerate(arrays)
        ]
        results = builder(*inputs)
        results = [results] if isinstance(results, Tensor) else list(results)
        return anchor(made.graph(results))


@pytest.mark.parametrize("block", range(10))
def test_nothing_alive_is_overwritten(block):
    for seed in range(block * 100, block * 100 + 100):
        graph = trace(Builder(seed, make_variables()), make_inputs(seed))
        sizes = random.Random(seed)
        workspaces = [sizes.choice([0, 0, 64, 100, 1000]) for _ in range(100)]
        try:
            Simulation(graph, workspaces).run()
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}\n{graph}") from error


@pytest.mark.parametrize("block", range(5))
def test_random_graphs_compute_what_the_reference_does(cpu, block):
    for seed in range(block * 40, block * 40 + 40):
        arrays = make_inputs(seed)
        ours, theirs = make_variables(), make_variables()
        actual = cpu.run(Builder(seed, ours), *arrays)
        expected = Function(Builder(seed, theirs), "reference")(*arrays)
        try:
            cpu.isclose(actual, expected, 100)
            cpu.isclose([v.value for v in ours], [v.value for v in theirs], 100)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error


def arena_of(python, *shapes) -> int:
    arrays = [np.zeros(s, np.float32) for s in shapes]
    simulation = Simulation(trace(python, arrays))
    simulation.run()
    return simulation.layout.arena_bytes


MIB = 1 << 20
WIDE = (1024, 256)  # one MiB


def test_a_chain_takes_one_array():
    def chain(x):
        for _ in range(5):
            x = ops.tanh(ops.reshape(ops.relu(x), (256, 1024)))
        return x

    assert arena_of(chain, WIDE) == MIB


def test_an_outermost_concat_copies_nothing():
    def parts(x, y):
        return ops.concatenate([ops.relu(x), ops.tanh(y)], axis=0)

    assert arena_of(parts, WIDE, WIDE) == 2 * MIB


@pytest.mark.parametrize("unit", [1, 16])
def test_parts_of_a_concat_begin_at_whole_units(unit):
    trace = Trace()
    with trace.active():
        x = [trace.input((n,), "float32", f"x{n}") for n in (4, 3, 8)]
        parts = [ops.relu(t) for t in x]
        graph = anchor(trace.graph([ops.concatenate(parts, 0)]))
    steps, leaves = schedule(graph), Buffers(graph).leaves
    layout = plan_memory(graph, steps, leaves, {}, unit)
    places = [layout.tensors[t].place()[1] for t in parts]
    assert all(place % unit == 0 for place in places)
    joined = [layout.tensors[t].parent is not None for t in parts]
    assert joined == [True, True, unit == 1]


def test_what_is_read_again_is_not_overwritten():
    def skip(x):
        y = ops.relu(x)
        return y + ops.tanh(y)

    assert arena_of(skip, WIDE) == 2 * MIB


def test_results_and_inputs_are_not_overwritten():
    def both(x):
        y = ops.relu(x)
        return y, ops.tanh(y)

    assert arena_of(both, WIDE) == 2 * MIB


def test_an_update_in_place_takes_no_memory():
    weights = Variable(np.zeros(WIDE, np.float32))

    def update(x):
        weights.assign(weights - ops.relu(x))
        return []

    assert arena_of(update, WIDE) == MIB  # relu(x)


def test_an_update_waits_for_readers_that_overlap():
    parts = [Variable(np.arange(3.0)) for _ in range(3)]
    together(parts)
    first, second = span(parts[:2]), span(parts[1:])

    def shift():
        first.assign(first + second)
        return []

    Simulation(trace(shift, [])).run()
    Function(shift)()
    np.testing.assert_array_equal(parts[0].block.array, [0, 2, 4, 0, 2, 4, 0, 1, 2])


def test_offsets_are_apart_and_aligned():
    for seed in range(200):
        rng = random.Random(seed)
        storages = []
        for _ in range(rng.randint(1, 30)):
            first = rng.randint(0, 10)
            size = rng.choice([0, 1, 64, 65, 1000, 4096])
            storages.append(Storage(size, first=first, last=first + rng.randint(0, 5)))
        end = assign_offsets(storages)
        alive = [
            sum(s.size for s in storages if s.first <= i <= s.last) for i in range(16)
        ]
        assert max(alive) <= end <= sum(s.size + 63 for s in storages)
        for i, a in enumerate(storages):
            assert a.offset % 64 == 0
            assert a.offset + a.size <= end
            for b in storages[:i]:
                together_alive = a.first <= b.last and b.first <= a.last
                apart = a.offset + a.size <= b.offset or b.offset + b.size <= a.offset
                assert apart or not together_alive


def test_outputs_that_nobody_reads_take_no_memory():
    shape = (1, 64, 64, 8)
    assert arena_of(lambda x: ops.max_pool(x, 2), shape) == 4 * 32 * 32 * 8
    run = Function(lambda x: ops.max_pool(x, 2))
    [step] = run.explain(np.ones(shape, np.float32))
    assert step.bytes == 4 * (64 * 64 * 8 + 32 * 32 * 8)
    run = Function(lambda x: ops.max_pool(x, 2, return_indices=True))
    [step] = run.explain(np.ones(shape, np.float32))
    assert step.bytes == 4 * (64 * 64 * 8 + 2 * 32 * 32 * 8)
