"""Features in two dimensions: PCA and t-SNE."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.errors import ArgumentError, MissingExtraError, ShapeError

__all__ = ["pca", "tsne"]


def pca(features: Any, components: int = 2) -> np.ndarray:
    """The coordinates along the directions of largest variance.

    Formula: ``(X - mean) V`` with the first right singular vectors V of ``X - mean``;
    the largest entry of each vector is positive, so that the signs are settled.
    Pearson, "On lines and planes of closest fit", Phil. Mag. 2 (1901).

    Parameters
    ----------
    features: (N, ...); axes behind the first are taken as one.
    components: columns of the result.

    Returns
    -------
    Array (N, components), float64.

    Raises
    ------
    ArgumentError: more components than samples or features.

    >>> import fastconv as fc
    >>> fc.explain.pca([[0.0, 0.0], [2.0, 0.1], [4.0, 0.0]]).shape
    (3, 2)
    """
    x = _rows(features)
    if not 1 <= components <= min(x.shape):
        raise ArgumentError(
            f"pca: expected 1 to {min(x.shape)} components of {x.shape[0]} samples "
            f"with {x.shape[1]} features, received {components}"
        )
    x = x - x.mean(0)
    vectors = np.linalg.svd(x, full_matrices=False)[2][:components]
    largest = np.abs(vectors).argmax(1)
    signs = np.sign(vectors[np.arange(components), largest])
    return x @ (vectors * signs[:, None]).T


def tsne(features: Any, *, perplexity: float = 30.0, seed: int = 0) -> np.ndarray:
    """Points in the plane whose near neighbours are those of the features.

    By scikit-learn (``pip install fastconv[plot]``), started from PCA. Van der Maaten
    and Hinton, "Visualizing data using t-SNE", JMLR 9 (2008).

    Parameters
    ----------
    features: (N, ...); axes behind the first are taken as one.
    perplexity: about how many neighbours count; less than N.
    seed: of scikit-learn's random numbers.

    Returns
    -------
    Array (N, 2), float64.

    Raises
    ------
    MissingExtraError: scikit-learn is not installed; ArgumentError: a perplexity that
    is not below N.

    >>> import fastconv as fc
    >>> fc.explain.tsne([[0.0, 1.0], [1.0, 0.0]], perplexity=2)
    Traceback (most recent call last):
    fastconv.errors.ArgumentError: tsne: expected a perplexity ...
    """
    x = _rows(features)
    if not 0 < perplexity < len(x):
        raise ArgumentError(
            f"tsne: expected a perplexity above 0 and below the number of samples, "
            f"{len(x)}, received {perplexity}"
        )
    try:
        from sklearn.manifold import TSNE
    except ImportError as error:
        raise MissingExtraError(
            "t-SNE needs scikit-learn: pip install fastconv[plot]"
        ) from error
    method = TSNE(perplexity=perplexity, init="pca", random_state=seed)
    return method.fit_transform(x.astype(np.float32)).astype(np.float64)


def _rows(features: Any) -> np.ndarray:
    x = np.asarray(features, np.float64)
    if x.ndim < 2 or not x.size:
        raise ShapeError(f"expected features (N, ...), received shape {x.shape}")
    return x.reshape(len(x), -1)
