"""Fashion-MNIST: 60,000 + 10,000 images of clothes, 28x28 pixels.

Xiao, Rasul, Vollgraf (2017), https://github.com/zalandoresearch/fashion-mnist, MIT.
"""

import os

from fastconv.data.idx import Split
from fastconv.data.mnist import load_idx_set

__all__ = ["CLASS_NAMES", "load_data"]

CLASS_NAMES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)

_URL = "https://fashion-mnist.s3.eu-central-1.amazonaws.com/"
_SHA256 = (
    "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
)


def load_data(
    path: str | os.PathLike[str] | None = None, *, download: bool = False
) -> Split:
    """``(x_train, y_train), (x_test, y_test)`` of Fashion-MNIST.

    Arguments, shapes, dtypes and errors are those of
    :func:`fastconv.data.mnist.load_data`, with the folder name ``fashion_mnist`` and
    30 MB to download; labels index ``CLASS_NAMES``.

    >>> load_data("no/such/folder")
    Traceback (most recent call last):
    fastconv.errors.DataError: no/such/folder: found no train-images-idx3-ubyte, ...
    """
    return load_idx_set("fashion_mnist", path, download, _URL, _SHA256)
