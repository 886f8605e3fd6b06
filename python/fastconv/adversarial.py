"""Adversarial examples: images changed so little that the network errs.

They tell what a network would do against someone who knows its weights, and training
on them makes it more robust. All attacks here are white-box: they follow the gradient
of the loss with respect to the pixels, and stay within ``epsilon`` in every pixel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from fastconv import ops, random
from fastconv.data.batches import ArrayBatches, Batch
from fastconv.errors import ArgumentError, DataError, ShapeError
from fastconv.execution import function
from fastconv.explain.scores import in_batches, scores
from fastconv.graph import Tensor, grad

__all__ = ["AdversarialBatches", "accuracy_under_attack", "fgsm", "pgd"]

_STREAM = 5 << 32  # keeps the random starts apart from other random numbers


def fgsm(
    model: Any,
    x: Any,
    y: Any,
    epsilon: float,
    *,
    targeted: bool = False,
    limits: tuple[float, float] = (0.0, 1.0),
    batch_size: int = 256,
) -> np.ndarray:
    """The fast gradient sign method: one step of size epsilon in every pixel.

    Formula: ``clip(x + epsilon sign(d loss(x, y) / d x))``, with minus if ``targeted``.
    Goodfellow, Shlens and Szegedy, "Explaining and harnessing adversarial examples",
    ICLR 2015, section 4.

    Parameters
    ----------
    model: with one output (N, C), C >= 2, of probabilities or of scores.
    x: data (N, ...) within ``limits``.
    y: the true classes (N,), which the attack leads away from; or, if ``targeted``,
        the wanted classes, which it leads to: an array, or one number for all.
    epsilon: largest change of a pixel, in the units of x.
    limits: least and largest value of a pixel.
    batch_size: samples at a time; the result does not depend on it.

    Returns
    -------
    Array of the shape of x, float32.

    Raises
    ------
    ArgumentError: a negative epsilon; DataError: x outside of the limits, or classes
    out of range; ShapeError: another number of classes than of samples.

    >>> import fastconv as fc
    >>> import numpy as np
    >>> x = np.full((2, 32, 32, 1), 0.5, np.float32)
    >>> bad = fc.adversarial.fgsm(fc.models.LeNet5(), x, [3, 8], epsilon=0.1)
    >>> bool(np.abs(bad - x).max() < 0.1001)
    True
    """
    attack = _Attack(model, epsilon, epsilon, 1, targeted, False, limits, 0)
    return attack.on_all(x, y, batch_size)


def pgd(
    model: Any,
    x: Any,
    y: Any,
    epsilon: float,
    *,
    steps: int = 10,
    step_size: float | None = None,
    targeted: bool = False,
    random_start: bool = True,
    seed: int = 0,
    limits: tuple[float, float] = (0.0, 1.0),
    batch_size: int = 256,
) -> np.ndarray:
    """Projected gradient descent: small sign steps that stay within epsilon.

    Formula: ``x_0`` uniform within epsilon of x; ``x_t+1 = P(x_t + step_size sign(d
    loss(x_t, y) / d x_t))``, with minus if ``targeted``; P cuts to epsilon around x and
    to the limits. Madry et al., "Towards deep learning models resistant to adversarial
    attacks", ICLR 2018, section 2.1.

    Parameters
    ----------
    model, x, y, epsilon, targeted, limits, batch_size, and errors: as for `fgsm`.
    steps: default 10.
    step_size: default ``2.5 epsilon / steps``, which reaches every corner.
    random_start: False starts at x itself.
    seed: of the random start.

    Returns
    -------
    Array of the shape of x, float32.

    >>> import fastconv as fc
    >>> import numpy as np
    >>> x = np.full((2, 32, 32, 1), 0.5, np.float32)
    >>> bad = fc.adversarial.pgd(fc.models.LeNet5(), x, 7, 0.1, steps=2, targeted=True)
    >>> bool(np.abs(bad - x).max() < 0.1001)
    True
    """
    size = 2.5 * epsilon / max(steps, 1) if step_size is None else step_size
    attack = _Attack(model, epsilon, size, steps, targeted, random_start, limits, seed)
    return attack.on_all(x, y, batch_size)


def accuracy_under_attack(
    model: Any,
    x: Any,
    y: Any,
    epsilons: Sequence[float],
    attack: Callable[..., np.ndarray] = fgsm,
    **options: Any,
) -> np.ndarray:
    """The accuracy as a function of epsilon.

    Parameters
    ----------
    model, x, y: as for `fgsm`; y are the true classes.
    epsilons: sizes of the attack; 0 is the accuracy without one.
    attack: `fgsm`, `pgd`, or a function with the same first four arguments.
    options: handed on to the attack.

    Returns
    -------
    Array of one accuracy in [0, 1] for each epsilon.

    >>> import fastconv as fc
    >>> import numpy as np
    >>> x, y = np.full((4, 32, 32, 1), 0.5), np.array([0, 1, 2, 3])
    >>> fc.adversarial.accuracy_under_attack(fc.models.LeNet5(), x, y, [0, 0.1]).shape
    (2,)
    """
    x, labels = np.asarray(x, np.float32), np.asarray(y).reshape(-1)
    found = []
    for epsilon in epsilons:
        seen = attack(model, x, labels, epsilon, **options) if epsilon else x
        answers = np.asarray(model.predict(seen, batch_size=256, verbose=0))
        found.append(float((answers.argmax(-1) == labels).mean()))
    return np.array(found)


class AdversarialBatches(ArrayBatches):
    """Batches for ``model.fit`` whose images are attacked with the weights of the step.

    Adversarial training, Madry et al., ICLR 2018, eq. 2.1: minimise the loss of the
    worst images within epsilon, which `pgd` looks for anew in each step.

    Parameters
    ----------
    model: the one that is trained; its weights are read at every batch.
    x, y: images within ``limits``, and classes (N,).
    epsilon: largest change of a pixel; it grows from 0 over the first ``warm_up``
        epochs.
    batch_size: samples of a step.
    steps, step_size, limits: as for `pgd`; 1 step is fast, and with a random start
        often enough (Wong, Rice and Kolter, "Fast is better than free", ICLR 2020).
    warm_up: epochs until epsilon is reached.

    Raises
    ------
    As `pgd`.

    >>> import fastconv as fc
    >>> import numpy as np
    >>> model = fc.models.LeNet5()
    >>> model.compile("sgd", "sparse_categorical_crossentropy")
    >>> x, y = np.full((8, 32, 32, 1), 0.5), np.arange(8)
    >>> data = fc.adversarial.AdversarialBatches(model, x, y, 0.1, batch_size=4)
    >>> history = model.fit(data, epochs=1, verbose=0)
    """

    def __init__(
        self,
        model: Any,
        x: Any,
        y: Any,
        epsilon: float,
        *,
        batch_size: int = 32,
        steps: int = 5,
        step_size: float | None = None,
        limits: tuple[float, float] = (0.0, 1.0),
        warm_up: int = 0,
    ) -> None:
        seed = random.get_seed()
        size = 2.5 * epsilon / max(steps, 1) if step_size is None else step_size
        self._attack = _Attack(model, epsilon, size, steps, False, True, limits, seed)
        self._warm_up = warm_up
        x, y = self._attack.checked(x, y)
        super().__init__(x, y, batch_size=batch_size, shuffle=True, seed=seed)

    def batches(
        self, epoch: int = 0, shuffle: bool | None = None, start: int = 0
    ) -> Iterator[Batch]:
        """The batches of an epoch, from batch ``start`` on."""
        share = min(1.0, (epoch + 1) / (self._warm_up + 1))
        first = epoch * self.num_batches
        for i, (x, y, w) in enumerate(super().batches(epoch, shuffle, start), start):
            draw = random.generator(self.seed, _STREAM + first + i)
            yield self._attack(x, y, self._attack.noise(x, draw), share), y, w


class _Attack:
    """Sign steps on the pixels of arrays; one plan for each shape of a batch."""

    def __init__(
        self,
        model: Any,
        epsilon: float,
        step_size: float,
        steps: int,
        targeted: bool,
        random_start: bool,
        limits: tuple[float, float],
        seed: int,
    ) -> None:
        if not (epsilon >= 0 and step_size >= 0 and steps >= 1):
            raise ArgumentError(
                f"attack: expected epsilon >= 0, step_size >= 0 and 1 step or more, "
                f"received {epsilon}, {step_size} and {steps}"
            )
        self._epsilon, self._limits = float(epsilon), limits
        self._step = -float(step_size) if targeted else float(step_size)
        self._steps, self._random_start, self._seed = steps, random_start, seed
        self._direction = function(lambda x, y: _direction(model, x, y))

    def on_all(self, x: Any, y: Any, batch_size: int) -> np.ndarray:
        """The attack on arrays of any length."""
        x, y = self.checked(x, y)
        draw = random.generator(self._seed, _STREAM)
        noise = self.noise(x, draw) if self._random_start else np.zeros_like(x)
        return in_batches(self, batch_size, x, y, noise)

    def noise(self, x: np.ndarray, draw: np.random.Generator) -> np.ndarray:
        """Where to start from: between -1 and 1, in units of epsilon."""
        return draw.random(x.shape, np.float32) * 2 - 1

    def __call__(
        self, x: np.ndarray, y: np.ndarray, noise: np.ndarray, share: float = 1.0
    ) -> np.ndarray:
        """The attack on one batch, with a share of epsilon."""
        epsilon, size = (np.float32(v * share) for v in (self._epsilon, self._step))
        low = np.maximum(x - epsilon, np.float32(self._limits[0]))
        high = np.minimum(x + epsilon, np.float32(self._limits[1]))
        found = np.clip(x + epsilon * noise, low, high)
        for _ in range(self._steps):
            found = np.clip(found + size * self._direction(found, y), low, high)
        return found

    def checked(self, x: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
        """Data as float32 and classes as int64, one for each sample."""
        x, labels = np.asarray(x, np.float32), np.asarray(y)
        low, high = self._limits
        if x.size and not (x.min() >= low - 1e-6 and x.max() <= high + 1e-6):
            raise DataError(
                f"attack: expected x within {low} and {high}, received values from "
                f"{x.min():.6g} to {x.max():.6g}; give limits=(least, largest)"
            )
        if labels.dtype.kind not in "iu":
            raise DataError(
                f"attack: expected classes as integers, received {labels.dtype}"
            )
        if labels.size not in (1, len(x)):
            raise ShapeError(
                f"attack: expected {len(x)} classes, one for each sample, received "
                f"shape {labels.shape}"
            )
        return x, np.broadcast_to(labels.reshape(-1), len(x)).astype(np.int64)


def _direction(model: Any, x: Tensor, y: Tensor) -> Tensor:
    """The sign of the gradient of the cross-entropy with respect to the pixels."""
    found = scores(model, x)
    if found.shape[-1] < 2:
        raise ShapeError(
            f"model {model.name!r}: expected scores (N, C) of two classes or more, "
            f"received shape {found.shape}"
        )
    return ops.sign(grad(ops.sum(ops.softmax_cross_entropy(found, y)), x))
