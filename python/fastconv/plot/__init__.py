"""Pictures of training, as SVG text without any dependency."""

from fastconv.plot.chart import training_chart

__all__ = ["training_chart"]
