"""Data: sets, files, and the batches that training reads."""

from fastconv.data.arrays import load_arrays
from fastconv.data.augmented import AugmentedBatches, augment
from fastconv.data.batches import ArrayBatches, Batches, as_batches
from fastconv.data.checks import check_arrays, check_nan
from fastconv.data.folder import ImageBatches, image_dataset_from_directory
from fastconv.data.idx import read_idx
from fastconv.data.iterables import IterableBatches
from fastconv.data.labels import to_categorical
from fastconv.data.prefetch import prefetch
from fastconv.data.split import (
    k_fold,
    permutation,
    split_validation,
    stratified_split,
    train_test_split,
)

__all__ = [
    "ArrayBatches",
    "AugmentedBatches",
    "Batches",
    "ImageBatches",
    "IterableBatches",
    "as_batches",
    "augment",
    "check_arrays",
    "check_nan",
    "image_dataset_from_directory",
    "k_fold",
    "load_arrays",
    "permutation",
    "prefetch",
    "read_idx",
    "split_validation",
    "stratified_split",
    "to_categorical",
    "train_test_split",
]
