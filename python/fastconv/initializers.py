"""First values of weights: small random numbers in proportion to the size of a layer.

An initializer is called with a shape and gives a float32 array. Layers take one, or its
name: ``Dense(10, kernel_initializer="he_normal")``. Numbers follow from the seed
(`fastconv.random.set_seed`) and the order in which weights are made; with a ``seed`` of
its own an initializer gives the same values at every call.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from math import prod, sqrt
from typing import Any

import numpy as np

from fastconv import custom_objects, seeds
from fastconv.errors import ArgumentError, unknown_name

__all__ = [
    "Constant", "GlorotNormal", "GlorotUniform", "HeNormal", "HeUniform", "Identity",
    "Initializer", "LecunNormal", "LecunUniform", "Ones", "Orthogonal", "RandomNormal",
    "RandomUniform", "TruncatedNormal", "VarianceScaling", "Zeros", "deserialize",
    "get", "serialize",
]  # fmt: skip

TRUNCATED_STDDEV = 0.87962566103423978  # of a standard normal cut at two


class Initializer:
    """Base class. A new one writes ``__call__(shape, dtype)``.

    >>> import fastconv as fc
    >>> class Twos(fc.initializers.Initializer):
    ...     def __call__(self, shape, dtype="float32"):
    ...         return np.full(shape, 2, dtype)
    >>> import numpy as np
    >>> fc.layers.Dense(1, kernel_initializer=Twos())([[1.0, 2.0]])
    array([[6.]], dtype=float32)
    """

    def __call__(self, shape: Sequence[int], dtype: Any = "float32") -> np.ndarray:
        """An array of this shape."""
        raise ArgumentError(
            f"initializer {type(self).__name__} has no __call__(shape, dtype)"
        )

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        names = inspect.signature(type(self)).parameters
        return {name: getattr(self, name) for name in names}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Initializer:
        """An initializer from what `get_config` returned."""
        return cls(**config)

    def __repr__(self) -> str:
        given = ", ".join(f"{k}={v!r}" for k, v in self.get_config().items())
        return f"{type(self).__name__}({given})"


class Constant(Initializer):
    """Every element is ``value``, a number or an array that broadcasts to the shape.

    >>> import fastconv as fc
    >>> fc.initializers.Constant(0.5)((2,))
    array([0.5, 0.5], dtype=float32)
    """

    def __init__(self, value: Any = 0.0) -> None:
        self.value = value

    def __call__(self, shape: Sequence[int], dtype: Any = "float32") -> np.ndarray:
        """An array of this shape."""
        return np.broadcast_to(np.asarray(self.value, dtype), tuple(shape)).copy()


class Zeros(Initializer):
    """Every element is 0.

    >>> import fastconv as fc
    >>> fc.initializers.Zeros()((2,))
    array([0., 0.], dtype=float32)
    """

    def __call__(self, shape: Sequence[int], dtype: Any = "float32") -> np.ndarray:
        """An array of this shape."""
        return np.zeros(tuple(shape), dtype)


class Ones(Initializer):
    """Every element is 1.

    >>> import fastconv as fc
    >>> fc.initializers.Ones()((2,))
    array([1., 1.], dtype=float32)
    """

    def __call__(self, shape: Sequence[int], dtype: Any = "float32") -> np.ndarray:
        """An array of this shape."""
        return np.ones(tuple(shape), dtype)


class _Random(Initializer):
    """An initializer that draws; ``draw(generator, shape)`` gives float64."""

    def __init__(self, seed: int | None = None) -> None:
        if seed is not None and (not hasattr(seed, "__index__") or int(seed) < 0):
            raise ArgumentError(
                f"{type(self).__name__}: expected a seed >= 0 or None, received "
                f"{seed!r}"
            )
        self.seed = seed

    def __call__(self, shape: Sequence[int], dtype: Any = "float32") -> np.ndarray:
        """An array of this shape."""
        if self.seed is None:
            generator = seeds.next_generator()
        else:
            generator = seeds.generator(self.seed)
        return self.draw(generator, tuple(shape)).astype(dtype)

    def draw(
        self, generator: np.random.Generator, shape: tuple[int, ...]
    ) -> np.ndarray:
        raise NotImplementedError(type(self).__name__)


class RandomNormal(_Random):
    """Normally distributed numbers.

    >>> import fastconv as fc
    >>> fc.initializers.RandomNormal(stddev=0.1)((2, 3)).shape
    (2, 3)
    """

    def __init__(
        self, mean: float = 0.0, stddev: float = 0.05, seed: int | None = None
    ) -> None:
        super().__init__(seed)
        self.mean, self.stddev = mean, stddev

    def draw(
        self, generator: np.random.Generator, shape: tuple[int, ...]
    ) -> np.ndarray:
        """Values in float64."""
        return generator.normal(self.mean, self.stddev, shape)


class RandomUniform(_Random):
    """Uniformly distributed numbers in [minval, maxval).

    >>> import fastconv as fc
    >>> bool(abs(fc.initializers.RandomUniform(-1, 1)((10,))).max() <= 1)
    True
    """

    def __init__(
        self, minval: float = -0.05, maxval: float = 0.05, seed: int | None = None
    ) -> None:
        super().__init__(seed)
        self.minval, self.maxval = minval, maxval

    def draw(
        self, generator: np.random.Generator, shape: tuple[int, ...]
    ) -> np.ndarray:
        """Values in float64."""
        return generator.uniform(self.minval, self.maxval, shape)


class TruncatedNormal(_Random):
    """Normally distributed numbers within two ``stddev`` of ``mean``.

    Those outside are drawn again, so that the result's deviation is 0.88 ``stddev``.

    >>> import fastconv as fc
    >>> bool(abs(fc.initializers.TruncatedNormal(stddev=1.0)((99,))).max() <= 2)
    True
    """

    def __init__(
        self, mean: float = 0.0, stddev: float = 0.05, seed: int | None = None
    ) -> None:
        super().__init__(seed)
        self.mean, self.stddev = mean, stddev

    def draw(
        self, generator: np.random.Generator, shape: tuple[int, ...]
    ) -> np.ndarray:
        """Values in float64."""
        return self.mean + self.stddev * _truncated(generator, shape)


class VarianceScaling(_Random):
    """Random numbers of variance ``scale / n``, so that signals keep their size.

    ``n`` is the number of inputs of a unit (mode "fan_in"), of the units that it feeds
    ("fan_out") or their mean ("fan_avg"); for a kernel [KD] [KH] KW Cin Cout these are
    ``window * Cin`` and ``window * Cout``. "uniform" draws within
    ``sqrt(3 scale / n)``, the other two distributions with deviation
    ``sqrt(scale / n)``. All named initializers below are cases of it.

    Parameters
    ----------
    scale: positive; default 1.
    mode: "fan_in" (default), "fan_out", "fan_avg".
    distribution: "truncated_normal" (default), "untruncated_normal", "uniform".

    >>> import fastconv as fc
    >>> he = fc.initializers.VarianceScaling(2.0, "fan_in", "uniform")
    >>> bool(abs(he((3, 3, 4, 8))).max() <= (6 / 36) ** 0.5)
    True
    """

    def __init__(
        self,
        scale: float = 1.0,
        mode: str = "fan_in",
        distribution: str = "truncated_normal",
        seed: int | None = None,
    ) -> None:
        super().__init__(seed)
        if not scale > 0:
            raise ArgumentError(
                f"VarianceScaling: expected scale > 0, received {scale!r}"
            )
        distribution = "truncated_normal" if distribution == "normal" else distribution
        known = ("truncated_normal", "untruncated_normal", "uniform")
        if distribution not in known:
            raise unknown_name("distribution", distribution, known)
        if mode not in ("fan_in", "fan_out", "fan_avg"):
            raise unknown_name("mode", mode, ("fan_in", "fan_out", "fan_avg"))
        self.scale, self.mode, self.distribution = scale, mode, distribution

    def draw(
        self, generator: np.random.Generator, shape: tuple[int, ...]
    ) -> np.ndarray:
        """Values in float64."""
        fan_in, fan_out = fans(shape)
        average = (fan_in + fan_out) / 2
        n = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": average}[self.mode]
        stddev = sqrt(self.scale / max(1.0, n))
        if self.distribution == "uniform":
            return generator.uniform(-sqrt(3) * stddev, sqrt(3) * stddev, shape)
        if self.distribution == "untruncated_normal":
            return generator.normal(0, stddev, shape)
        return stddev / TRUNCATED_STDDEV * _truncated(generator, shape)


class _Named(VarianceScaling):
    """A case of VarianceScaling with a name; its only argument is the seed."""

    case: tuple[float, str, str]

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(*self.case, seed)


class GlorotUniform(_Named):
    """Uniform within sqrt(6 / (inputs + outputs)); the default of layers.

    Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural
    networks", AISTATS 2010, eq. 16.

    >>> import fastconv as fc
    >>> bool(abs(fc.initializers.GlorotUniform()((2, 4))).max() <= 1)
    True
    """

    case = (1.0, "fan_avg", "uniform")


class GlorotNormal(_Named):
    """Truncated normal of variance 2 / (inputs + outputs); see `GlorotUniform`.

    >>> import fastconv as fc
    >>> fc.initializers.GlorotNormal(seed=1)((2, 4)).shape
    (2, 4)
    """

    case = (1.0, "fan_avg", "truncated_normal")


class HeUniform(_Named):
    """Uniform within sqrt(6 / inputs), for layers with ReLU.

    He, Zhang, Ren, Sun, "Delving deep into rectifiers", ICCV 2015, section 2.2.

    >>> import fastconv as fc
    >>> bool(abs(fc.initializers.HeUniform()((6, 4))).max() <= 1)
    True
    """

    case = (2.0, "fan_in", "uniform")


class HeNormal(_Named):
    """Truncated normal of variance 2 / inputs; see `HeUniform`.

    >>> import fastconv as fc
    >>> fc.initializers.HeNormal(seed=1)((6, 4)).shape
    (6, 4)
    """

    case = (2.0, "fan_in", "truncated_normal")


class LecunUniform(_Named):
    """Uniform within sqrt(3 / inputs).

    LeCun, Bottou, Orr, Mueller, "Efficient BackProp", 1998, section 4.6.

    >>> import fastconv as fc
    >>> bool(abs(fc.initializers.LecunUniform()((3, 4))).max() <= 1)
    True
    """

    case = (1.0, "fan_in", "uniform")


class LecunNormal(_Named):
    """Truncated normal of variance 1 / inputs; see `LecunUniform`.

    >>> import fastconv as fc
    >>> fc.initializers.LecunNormal(seed=1)((3, 4)).shape
    (3, 4)
    """

    case = (1.0, "fan_in", "truncated_normal")


class Orthogonal(_Random):
    """Rows or columns at right angles: signals keep their length through many layers.

    The kernel as a matrix (product of all axes but the last, last axis) is the Q of a
    QR decomposition of normally distributed numbers, with the signs that make the
    diagonal of R positive; transposed where it has fewer rows than columns. Saxe,
    McClelland, Ganguli, "Exact solutions to the nonlinear dynamics of learning", ICLR
    2014.

    gain: factor of all values; default 1. The decomposition is NumPy's in float64, so
        that another LAPACK may change the last bit.

    Raises
    ------
    ArgumentError for a shape of fewer than two axes.

    >>> import fastconv as fc
    >>> import numpy as np
    >>> q = fc.initializers.Orthogonal(seed=1)((4, 3))
    >>> bool(abs(q.T @ q - np.eye(3)).max() < 1e-6)
    True
    """

    def __init__(self, gain: float = 1.0, seed: int | None = None) -> None:
        super().__init__(seed)
        self.gain = gain

    def draw(
        self, generator: np.random.Generator, shape: tuple[int, ...]
    ) -> np.ndarray:
        """Values in float64."""
        if len(shape) < 2:
            raise ArgumentError(
                f"Orthogonal: expected a shape of two or more axes, received {shape}"
            )
        rows, columns = prod(shape[:-1]), shape[-1]
        flat = (max(rows, columns), min(rows, columns))
        q, r = np.linalg.qr(generator.standard_normal(flat))
        q = q * np.where(np.diag(r) < 0, -1.0, 1.0)
        return self.gain * (q.T if rows < columns else q).reshape(shape)


class Identity(Initializer):
    """``gain`` on the diagonal of a matrix, else 0.

    gain: default 1.

    Raises
    ------
    ArgumentError for a shape of other than two axes.

    >>> import fastconv as fc
    >>> fc.initializers.Identity()((2, 3))
    array([[1., 0., 0.],
           [0., 1., 0.]], dtype=float32)
    """

    def __init__(self, gain: float = 1.0) -> None:
        self.gain = gain

    def __call__(self, shape: Sequence[int], dtype: Any = "float32") -> np.ndarray:
        """An array of this shape."""
        if len(shape) != 2:
            raise ArgumentError(
                f"Identity: expected a shape of two axes, received {tuple(shape)}"
            )
        return (self.gain * np.eye(shape[0], shape[1])).astype(dtype)


def fans(shape: Sequence[int]) -> tuple[int, int]:
    """Inputs and outputs of one unit whose weights have this shape.

    >>> fans((5, 5, 6, 16))
    (150, 400)
    """
    if len(shape) < 2:
        return prod(shape), prod(shape)
    window = prod(shape[:-2])
    return window * shape[-2], window * shape[-1]


def _truncated(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    values = generator.standard_normal(shape)
    flat = values.reshape(-1)
    while (outside := np.flatnonzero(np.abs(flat) > 2)).size:
        flat[outside] = generator.standard_normal(outside.size)
    return flat.reshape(shape)


_CLASSES: tuple[type[Initializer], ...] = (
    Constant, GlorotNormal, GlorotUniform, HeNormal, HeUniform, Identity, LecunNormal,
    LecunUniform, Ones, Orthogonal, RandomNormal, RandomUniform, TruncatedNormal,
    VarianceScaling, Zeros,
)  # fmt: skip
_OLD_NAMES = {
    "zero": Zeros,
    "one": Ones,
    "uniform": RandomUniform,
    "normal": RandomNormal,
    "IdentityInitializer": Identity,
    "OrthogonalInitializer": Orthogonal,
}


def _snake(cls: type[Initializer]) -> str:
    name = cls.__name__
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")


_NAMES: dict[str, type[Initializer]] = {
    **{_snake(c): c for c in _CLASSES},
    **{c.__name__: c for c in _CLASSES},
    **_OLD_NAMES,
}


def __getattr__(name: str) -> type[Initializer]:
    """The classes under Keras's other names: ``initializers.glorot_uniform()``."""
    if name in _NAMES:
        return _NAMES[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def get(identifier: Any) -> Callable[..., Any]:
    """The initializer for a name, a class, a config, or any function of a shape.

    Raises
    ------
    UnknownNameError for an unknown name, ArgumentError for anything else.

    >>> import fastconv as fc
    >>> fc.initializers.get("he_normal")
    HeNormal(seed=None)
    """
    return custom_objects.lookup("initializer", identifier, _NAMES)


def serialize(initializer: Any) -> dict[str, Any]:
    """What a file holds of an initializer; `get` takes it back.

    >>> import fastconv as fc
    >>> fc.initializers.serialize(fc.initializers.Zeros())
    {'class_name': 'Zeros', 'config': {}}
    """
    return {
        "class_name": type(initializer).__name__,
        "config": initializer.get_config(),
    }


deserialize = get
