"""From a Python function of tensors to a plan."""

from fastconv.graph.autodiff import grad
from fastconv.graph.function import Function, function
from fastconv.graph.ir import Tensor
from fastconv.graph.variable import Variable

__all__ = ["Function", "Tensor", "Variable", "function", "grad"]
