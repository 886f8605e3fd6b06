"""What a model tells about itself: layers, plans, memory, time."""

from __future__ import annotations

from typing import Any

from fastconv.training import plan_report, step_profile, summary


class Looking:
    """The part of `Model` that looks at it."""

    def summary(
        self, print_fn: Any = None, batch_size: int = 32, profile: bool = False
    ) -> None:
        """Prints layers, shapes, parameters, operations, and the exact memory.

        Operations are floating-point operations of one sample's forward pass; memory is
        that of the plans for ``batch_size`` samples.

        Parameters
        ----------
        print_fn: called with the text; default `print`.
        batch_size: samples of a step, for memory and profile; default 32.
        profile: whether to run a step several times, of training if the model is
            compiled, else of inference, and to tell the time of each layer, its share
            of the peak rate and bandwidth that are measured on this machine, whether
            the one or the other bounds it, and what may help. The model stays as it
            was. Default False.

        >>> import fastconv as fc
        >>> model = fc.Sequential([fc.Input((4,)), fc.layers.Dense(3, name="out")])
        >>> lines = []
        >>> model.summary(lines.append, batch_size=8, profile=True)
        >>> lines[-1].split()[:5]
        ['Profile', 'of', 'inference,', 'batch', '8;']
        """
        write = print_fn or print
        write(summary.table(self, batch_size))
        if profile:
            write(step_profile.model_table(self, batch_size))

    def explain(self, batch_size: int = 32, training: bool = True) -> None:
        """Prints the plan: each step's kernel, why, shape, bytes and operations."""
        print(plan_report.explanation(self, batch_size, training))

    def memory(self, batch_size: int = 32, training: bool = True) -> dict[str, int]:
        """Bytes that a step needs, known exactly before it runs.

        Returns
        -------
        dict of arena (activations, gradients, workspace), inputs, variables (weights,
        optimiser slots), constants, prepared (constants as kernels keep them), and
        total.
        """
        return plan_report.memory(self, batch_size, training)
