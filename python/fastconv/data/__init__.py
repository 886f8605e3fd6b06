"""Data: sets, files, and the batches that training reads."""

from fastconv.data.arrays import load_arrays
from fastconv.data.augmented import AugmentedBatches, augment
from fastconv.data.batches import ArrayBatches, Batches, as_batches
from fastconv.data.checks import check_arrays, check_nan
from fastconv.data.folder import ImageBatches, image_dataset_from_directory
from fastconv.data.idx import read_idx
from fastconv.data.iterables import IterableBatches
from fastconv.data.labels import to_categorical
from fastconv.data.split import permutation, split_validation, stratified_split

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
    "load_arrays",
    "permutation",
    "read_idx",
    "split_validation",
    "stratified_split",
    "to_categorical",
]
