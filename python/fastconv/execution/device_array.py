"""Arrays in the memory of a GPU, from and for other libraries (DLPack), not copied."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv import _core
from fastconv.errors import DeviceError
from fastconv.execution.devices import backend_of, resolve_device

ON_GPUS = (2, 13)  # kDLCUDA, kDLCUDAManaged
ALIGNMENT = 16  # bytes that kernels move at once


class Resident(np.ndarray):
    """Place, shape and dtype of such an array: the host may not read its values."""


class DeviceArray:
    """An array in the memory of a GPU.

    A function of fastconv that is given such arrays, or those of PyTorch or CuPy, on
    the GPU where it runs, reads them where they are, and returns some: without a copy
    to the host. ``torch.from_dlpack`` and ``cupy.from_dlpack`` take them as they are,
    `from_dlpack` makes them, and ``numpy`` copies the values to the host.

    Attributes
    ----------
    shape, dtype, ndim, size, nbytes: as those of a NumPy array.
    device: the name of the GPU, "cuda" or "cuda:1".

    >>> import fastconv as fc
    >>> import numpy as np
    >>> isinstance(fc.from_dlpack(np.arange(3)), fc.DeviceArray)  # it is on the host
    False
    """

    def __init__(self, array: np.ndarray, device: str) -> None:
        self.array = array.view(Resident)
        self.device = device
        self.shape, self.dtype, self.ndim = array.shape, array.dtype, array.ndim
        self.size, self.nbytes = array.size, array.nbytes

    def numpy(self) -> np.ndarray:
        """A copy of the values, in memory of the host."""
        return _core.device_values(backend_of(self.device), self.array)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("the values are on a GPU: NumPy needs a copy of them")
        return np.asarray(self.numpy(), dtype)

    def __dlpack_device__(self) -> tuple[int, int]:
        return ON_GPUS[0], _index(self.device)

    def __dlpack__(
        self,
        *,
        stream: Any = None,
        max_version: Any = None,
        dl_device: Any = None,
        copy: bool | None = None,
    ) -> Any:
        """A capsule of DLPack. Whatever the stream: the values are there already."""
        if dl_device not in (None, self.__dlpack_device__()):
            raise BufferError(f"the array is on {self.device}, and stays there")
        array: np.ndarray = self.array
        if copy:
            array = _core.device_copy(backend_of(self.device), array)
        return _core.give_dlpack(array, _index(self.device))

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"<DeviceArray {self.dtype} {self.shape} on {self.device}>"


def from_dlpack(x: Any) -> np.ndarray | DeviceArray:
    """The array of another library, where it is: on a GPU a `DeviceArray`.

    On the host it is one of NumPy.

    It shares the memory of ``x``, unless that begins at no multiple of 16 bytes on a
    GPU, where kernels need it: then it is copied there. What ``x``'s library is still
    computing is waited for by the device, not by the host.

    Parameters
    ----------
    x: whatever has ``__dlpack__`` and ``__dlpack_device__``, such as a tensor of
        PyTorch or an array of CuPy; contiguous.

    Raises
    ------
    DeviceError for a GPU that cannot be used; DataError for a dtype that fastconv has
    not, or strides.

    >>> import fastconv as fc
    >>> import numpy as np
    >>> fc.from_dlpack(np.arange(3))
    array([0, 1, 2])
    """
    if not is_on_gpu(x):
        return np.from_dlpack(x)
    if isinstance(x, DeviceArray):
        return x
    index = x.__dlpack_device__()[1]
    device = resolve_device(f"cuda:{index}")
    backend = backend_of(device)
    stream = _core.device_stream(backend)
    array, _ = _core.take_dlpack(x.__dlpack__(stream=stream))
    if array.ctypes.data % ALIGNMENT:
        array = _core.device_copy(backend, array)
    return DeviceArray(array, device)


def is_on_gpu(x: Any) -> bool:
    """Whether an object is an array in the memory of a GPU."""
    place = getattr(x, "__dlpack_device__", None)
    return place is not None and not isinstance(x, type) and place()[0] in ON_GPUS


def as_input(x: Any, device: str) -> np.ndarray:
    """The array for a plan on ``device``.

    Raises
    ------
    DeviceError if it is elsewhere.
    """
    found = from_dlpack(x)
    assert isinstance(found, DeviceArray)
    if found.device != device:
        raise DeviceError(
            f"expected arrays on {device!r}, where the function runs, or NumPy arrays; "
            f"received one on {found.device!r}"
        )
    return found.array


def result(plan: Any, arena: _core.Arena, slot: int, like: tuple[Any, str]) -> Any:
    """A copy, on the device, of what a run left in a slot."""
    shape, dtype = like
    array = _core.device_empty(arena.backend, np.dtype(dtype), list(shape))
    plan.read(slot, arena, array)
    return DeviceArray(array, arena.backend.name)


def _index(device: str) -> int:
    return int(device.partition(":")[2] or 0)
