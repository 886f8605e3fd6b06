"""A Python function of tensors as a graph: traced, differentiated and rewritten."""

from fastconv.graph.autodiff import grad
from fastconv.graph.ir import Tensor
from fastconv.graph.variable import Variable

__all__ = ["Tensor", "Variable", "grad"]
