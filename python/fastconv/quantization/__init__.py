"""Post-training quantisation: a trained model with integers instead of floats."""

from fastconv.quantization.quantizing import quantize

__all__ = ["quantize"]
