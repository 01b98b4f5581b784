"""Nodes of an ONNX graph, written one after the other, and the functions and graphs that they make up."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import FunctionProto, GraphProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

OPSET = 18
IR_VERSION = 9
DOMAIN = "batcache"
"""Of the functions in the file, which the graph calls by name."""
FLOAT, DOUBLE, FLOAT16 = TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16
BOOL, INT64 = TensorProto.BOOL, TensorProto.INT64
Value = str | NDArray[Any] | np.generic | float
"""What a node takes: the output of another by its name, or a constant. Python's numbers stand for float32."""


class Nodes:
    """Nodes in the order in which they are computed; each constant is a node too.

    Names within a graph and the graph of a scan in it have to differ: they begin with the name of their own.
    """

    def __init__(self, of: str) -> None:
        self.of, self.nodes = of, list[NodeProto]()

    def add(self, operator: str, *inputs: Value, **attributes: Any) -> str:
        """Add a node of one output; returns its name. ``axes``, ``shape`` and the like are inputs since opset 13."""
        return self.add_many(operator, 1, *inputs, **attributes)[0]

    def add_many(self, operator: str, outputs: int, *inputs: Value, **attributes: Any) -> list[str]:
        """Add a node of several outputs; returns their names."""
        given = [value if isinstance(value, str) else self._constant(value) for value in inputs]
        made = [f"{self._name(operator)}_{number}" for number in range(outputs)]
        self.nodes.append(helper.make_node(operator, given, made, **attributes))
        return made

    def call(self, function: FunctionProto, *inputs: str) -> list[str]:
        """Call a function of the file; returns the names of what it gives."""
        return self.add_many(function.name, len(function.output), *inputs, domain=DOMAIN)

    def slice(self, value: str, start: Value, end: Value, axis: int) -> str:
        """Take ``start`` to ``end`` along an axis; both are int64 of shape ``[1]``."""
        return self.add("Slice", value, start, end, whole(axis))

    def _constant(self, value: NDArray[Any] | np.generic | float) -> str:
        array = np.array(value, np.float32 if isinstance(value, float) else None, order="C")
        name = self._name("constant")
        self.nodes.append(helper.make_node("Constant", [], [name], value=numpy_helper.from_array(array)))
        return name

    def _name(self, stem: str) -> str:
        return f"{self.of}/{stem.lower()}_{len(self.nodes)}"


def whole(*numbers: int) -> NDArray[np.int64]:
    """Whole numbers as axes, shapes and places are given."""
    return np.array(numbers, np.int64)


def make_function(
    name: str, inputs: Sequence[str], outputs: Sequence[str], write: Callable[..., Sequence[str]]
) -> FunctionProto:
    """A function whose nodes ``write(nodes, *inputs)`` adds; it returns the names of the outputs."""
    nodes = Nodes(name)
    _name_outputs(nodes, write(nodes, *inputs), outputs)
    opsets = [helper.make_opsetid("", OPSET)]
    return helper.make_function(DOMAIN, name, list(inputs), list(outputs), nodes.nodes, opsets)


def make_graph(
    name: str, inputs: Sequence[ValueInfoProto], outputs: Sequence[ValueInfoProto], write: Callable[..., Sequence[str]]
) -> GraphProto:
    """A graph whose nodes ``write(nodes, *names of the inputs)`` adds; it returns the names of the outputs."""
    nodes = Nodes(name)
    _name_outputs(nodes, write(nodes, *(value.name for value in inputs)), [value.name for value in outputs])
    return helper.make_graph(nodes.nodes, name, list(inputs), list(outputs))


def typed(name: str, kind: int = FLOAT, shape: Sequence[str | int | None] | None = None) -> ValueInfoProto:
    """An input or output of a graph."""
    return helper.make_tensor_value_info(name, kind, shape)


def _name_outputs(nodes: Nodes, made: Sequence[str], wanted: Sequence[str]) -> None:
    for own, name in zip(made, wanted, strict=True):
        nodes.nodes.append(helper.make_node("Identity", [own], [name]))
