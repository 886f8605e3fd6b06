"""Images as arrays, under Keras's old module name."""

from fastconv.utils import image_dataset_from_directory

__all__ = ["image_dataset_from_directory"]
