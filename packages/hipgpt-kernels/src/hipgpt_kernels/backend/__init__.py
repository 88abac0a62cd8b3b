"""The contract that every backend fulfils, in parts: memory, layers, training, generation."""

from hipgpt_kernels.backend.contract import Backend, Graph
from hipgpt_kernels.backend.terms import Activation, Array, Number, Precision
from hipgpt_kernels.backend.training import Control

__all__ = ["Activation", "Array", "Backend", "Control", "Graph", "Number", "Precision"]
