"""Pictures of training, as SVG text without any dependency."""

from fastconv.plot.chart import sweep_chart, training_chart

__all__ = ["sweep_chart", "training_chart"]
