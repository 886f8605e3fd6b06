"""Pooling layers: maximum, average and Lp norm, over windows or whole maps.

Two classes hold all there is; the rest are their cases by operation and number of axes.
"""

from __future__ import annotations

from typing import Any, ClassVar

from fastconv import ops
from fastconv.layers import check
from fastconv.layers.compat import WINDOW, renamed
from fastconv.layers.spatial import Spatial

__all__ = [
    "AveragePooling1D", "AveragePooling2D", "AveragePooling3D",
    "GlobalAveragePooling1D", "GlobalAveragePooling2D", "GlobalAveragePooling3D",
    "GlobalLpPooling1D", "GlobalLpPooling2D", "GlobalLpPooling3D",
    "GlobalMaxPooling1D", "GlobalMaxPooling2D", "GlobalMaxPooling3D",
    "LpPooling1D", "LpPooling2D", "LpPooling3D",
    "MaxPooling1D", "MaxPooling2D", "MaxPooling3D",
]  # fmt: skip


class _Pooling(Spatial):
    """A window that slides over each channel; described in `MaxPooling2D`."""

    operation: ClassVar[str]

    @renamed(pool_length="pool_size", stride="strides", **WINDOW)
    def __init__(
        self,
        pool_size: Any = 2,
        strides: Any = None,
        padding: Any = "valid",
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(data_format, **kwargs)
        strides = pool_size if strides is None else strides
        self.pool_size = check.integers(self, "pool_size", pool_size, self.axes)
        self.strides = check.integers(self, "strides", strides, self.axes)
        self.padding = check.padding(self, padding, ("valid", "same"), self.axes)

    def call(self, x: Any) -> Any:
        """Pools an input."""
        return self.from_last(self.pool(self.to_last(x)))

    def pool(self, x: Any) -> Any:
        """Pools an input with its channels last."""
        pool = getattr(ops, self.operation)
        return pool(x, self.pool_size, self.strides, self.padding)


class _MaxPooling(_Pooling):
    operation = "max_pool"


class _AveragePooling(_Pooling):
    operation = "average_pool"


class _LpPooling(_Pooling):
    @renamed(pool_length="pool_size", stride="strides", **WINDOW)
    def __init__(
        self,
        pool_size: Any = 2,
        strides: Any = None,
        padding: Any = "valid",
        data_format: str | None = None,
        p: float = 2.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(pool_size, strides, padding, data_format, **kwargs)
        self.p = check.number(self, "p", p, 1)

    def pool(self, x: Any) -> Any:
        """Pools an input with its channels last."""
        return ops.lp_pool(x, self.pool_size, self.strides, self.padding, p=self.p)


class _GlobalPooling(Spatial):
    """One value a channel; described in `GlobalAveragePooling2D`."""

    operation: ClassVar[str]

    @renamed(dim_ordering="data_format")
    def __init__(
        self, data_format: str | None = None, keepdims: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(data_format, **kwargs)
        self.keepdims = bool(keepdims)

    def call(self, x: Any) -> Any:
        """Pools an input."""
        return self.from_last(self.pool(self.to_last(x)))

    def pool(self, x: Any) -> Any:
        """Pools an input with its channels last."""
        return getattr(ops, self.operation)(x, keepdims=self.keepdims)


class _GlobalMaxPooling(_GlobalPooling):
    operation = "global_max_pool"


class _GlobalAveragePooling(_GlobalPooling):
    operation = "global_average_pool"


class _GlobalLpPooling(_GlobalPooling):
    def __init__(
        self,
        data_format: str | None = None,
        keepdims: bool = False,
        p: float = 2.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(data_format, keepdims, **kwargs)
        self.p = check.number(self, "p", p, 1)

    def pool(self, x: Any) -> Any:
        """Pools an input with its channels last."""
        return ops.global_lp_pool(x, keepdims=self.keepdims, p=self.p)


class MaxPooling1D(_MaxPooling, axes=1):
    """Largest element of windows of sequences; parameters in `MaxPooling2D`.

    >>> import fastconv as fc
    >>> fc.layers.MaxPooling1D()([[[1.0], [3.0]]])
    array([[[3.]]], dtype=float32)
    """


class MaxPooling2D(_MaxPooling, axes=2):
    """Largest element of each window, channel by channel.

    Formula: `fastconv.ops.max_pool`. Ranzato, Huang, Boureau, LeCun, CVPR 2007.

    Input (N, H, W, C), floating; output (N, P, Q, C) with
    P = floor((H - pool) / stride) + 1 for "valid", ceil(H / stride) for "same".

    Parameters
    ----------
    pool_size: size of the window, a number or one an axis; default 2.
    strides: default ``pool_size``.
    padding: "valid" (default), "same", or numbers as for `Conv2D`; padding is never
        chosen.
    data_format: "channels_last" or "channels_first"; None: `image_data_format()`.

    Raises
    ------
    ArgumentError or UnknownNameError for arguments that make no sense; ShapeError for
    an input of another rank, or smaller than the window.

    >>> import numpy as np
    >>> import fastconv as fc
    >>> fc.layers.MaxPooling2D(3, strides=2)(np.zeros((1, 7, 7, 2))).shape
    (1, 3, 3, 2)
    """


class MaxPooling3D(_MaxPooling, axes=3):
    """Largest element of windows of volumes; parameters in `MaxPooling2D`.

    >>> import numpy as np
    >>> import fastconv as fc
    >>> fc.layers.MaxPooling3D()(np.zeros((1, 4, 4, 4, 2))).shape
    (1, 2, 2, 2, 2)
    """


class AveragePooling1D(_AveragePooling, axes=1):
    """Mean of windows of sequences; parameters in `AveragePooling2D`.

    >>> import fastconv as fc
    >>> fc.layers.AveragePooling1D()([[[1.0], [3.0]]])
    array([[[2.]]], dtype=float32)
    """


class AveragePooling2D(_AveragePooling, axes=2):
    """Mean of each window, channel by channel, over the elements inside the input.

    Formula: `fastconv.ops.average_pool`. LeCun et al., Proc. IEEE 86 (1998), section
    II.A. Input, output, parameters and errors as for `MaxPooling2D`.

    >>> import numpy as np
    >>> import fastconv as fc
    >>> fc.layers.AveragePooling2D(2, padding="same")(np.ones((1, 3, 3, 1))).max()
    np.float32(1.0)
    """


class AveragePooling3D(_AveragePooling, axes=3):
    """Mean of windows of volumes; parameters in `AveragePooling2D`.

    >>> import numpy as np
    >>> import fastconv as fc
    >>> fc.layers.AveragePooling3D()(np.zeros((1, 4, 4, 4, 2))).shape
    (1, 2, 2, 2, 2)
    """


class LpPooling1D(_LpPooling, axes=1):
    """Lp norm of windows of sequences; parameters in `LpPooling2D`.

    >>> import fastconv as fc
    >>> fc.layers.LpPooling1D()([[[3.0], [4.0]]])
    array([[[5.]]], dtype=float32)
    """


class LpPooling2D(_LpPooling, axes=2):
    """Lp norm of each window, channel by channel; padding counts as 0.

    Formula: `fastconv.ops.lp_pool`. Sermanet, Chintala, LeCun, ICPR 2012, section 2.2.
    Input, output, errors and the other parameters as for `MaxPooling2D`.

    Parameters
    ----------
    p: exponent >= 1; default 2.

    >>> import numpy as np
    >>> import fastconv as fc
    >>> fc.layers.LpPooling2D(2, p=1.0)(np.ones((1, 2, 2, 1)))
    array([[[[4.]]]], dtype=float32)
    """


class LpPooling3D(_LpPooling, axes=3):
    """Lp norm of windows of volumes; parameters in `LpPooling2D`.

    >>> import numpy as np
    >>> import fastconv as fc
    >>> fc.layers.LpPooling3D()(np.zeros((1, 4, 4, 4, 2))).shape
    (1, 2, 2, 2, 2)
    """


class GlobalMaxPooling1D(_GlobalMaxPooling, axes=1):
    """Largest element of sequences; parameters in `GlobalAveragePooling2D`.

    >>> import fastconv as fc
    >>> fc.layers.GlobalMaxPooling1D()([[[1.0], [3.0]]])
    array([[3.]], dtype=float32)
    """


class GlobalMaxPooling2D(_GlobalMaxPooling, axes=2):
    """Largest element of each map; parameters in `GlobalAveragePooling2D`.

    >>> import numpy as np
    >>> import fastconv as fc
    >>> fc.layers.GlobalMaxPooling2D()(np.zeros((1, 7, 7, 8))).shape
    (1, 8)
    """


class GlobalMaxPooling3D(_GlobalMaxPooling, axes=3):
    """Largest element of volumes; parameters in `GlobalAveragePooling2D`.

    >>> import numpy as np
    >>> import fastconv as fc
    >>> fc.layers.GlobalMaxPooling3D()(np.zeros((1, 4, 4, 4, 2))).shape
    (1, 2)
    """


class GlobalAveragePooling1D(_GlobalAveragePooling, axes=1):
    """Mean of sequences; parameters in `GlobalAveragePooling2D`.

    >>> import fastconv as fc
    >>> fc.layers.GlobalAveragePooling1D()([[[1.0], [3.0]]])
    array([[2.]], dtype=float32)
    """


class GlobalAveragePooling2D(_GlobalAveragePooling, axes=2):
    """Mean of each map: what stands between convolutions and classes since 2014.

    Formula: ``y[n, c] = mean over h, w of x[n, h, w, c]``. Lin, Chen, Yan, "Network in
    network", ICLR 2014, section 3.2.

    Input (N, H, W, C); output (N, C), or (N, 1, 1, C) with ``keepdims``.

    Parameters
    ----------
    data_format: "channels_last" or "channels_first"; None: `image_data_format()`.
    keepdims: keep the spatial axes with size 1; default False.

    Raises
    ------
    ShapeError for an input of another rank, or an empty one.

    >>> import numpy as np
    >>> import fastconv as fc
    >>> fc.layers.GlobalAveragePooling2D(keepdims=True)(np.zeros((1, 7, 7, 8))).shape
    (1, 1, 1, 8)
    """


class GlobalAveragePooling3D(_GlobalAveragePooling, axes=3):
    """Mean of volumes; parameters in `GlobalAveragePooling2D`.

    >>> import numpy as np
    >>> import fastconv as fc
    >>> fc.layers.GlobalAveragePooling3D()(np.zeros((1, 4, 4, 4, 2))).shape
    (1, 2)
    """


class GlobalLpPooling1D(_GlobalLpPooling, axes=1):
    """Lp norm of sequences; ``p`` is 2 by default.

    >>> import fastconv as fc
    >>> fc.layers.GlobalLpPooling1D()([[[3.0], [4.0]]])
    array([[5.]], dtype=float32)
    """


class GlobalLpPooling2D(_GlobalLpPooling, axes=2):
    """Lp norm of each map; ``p`` is 2 by default, else as `GlobalAveragePooling2D`.

    >>> import numpy as np
    >>> import fastconv as fc
    >>> fc.layers.GlobalLpPooling2D(p=1.0)(np.ones((1, 2, 2, 1)))
    array([[4.]], dtype=float32)
    """


class GlobalLpPooling3D(_GlobalLpPooling, axes=3):
    """Lp norm of volumes; ``p`` is 2 by default.

    >>> import numpy as np
    >>> import fastconv as fc
    >>> fc.layers.GlobalLpPooling3D()(np.zeros((1, 4, 4, 4, 2))).shape
    (1, 2)
    """
