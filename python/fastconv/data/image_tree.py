"""Images sorted into one folder a class: CLASS/*.png, in a folder or a tar file."""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from fastconv.data.images import SUFFIXES, decode_image
from fastconv.errors import DataError, FormatError

__all__ = ["ImageFile", "list_images", "read_image_tree", "tar_members"]

ImageFile = tuple[str, str, Path | bytes]  # class, name, where it is or what it holds
_MAX_MEMBER = 64 << 20  # bytes of one file in an archive


def tar_members(
    path: Path, wanted: Callable[[PurePosixPath], bool]
) -> Iterator[tuple[PurePosixPath, bytes]]:
    """Names and contents of the wanted regular files of a tar file, in its order.

    Nothing is unpacked. Links are passed over.

    Raises:
        FormatError: a damaged or truncated archive, a name that leaves it, or a wanted
            file above 64 MiB.
    """
    import tarfile
    import zlib

    try:
        with tarfile.open(path, "r|*") as archive:
            for member in archive:
                name = PurePosixPath(member.name)
                if name.is_absolute() or ".." in name.parts:
                    raise FormatError(f"{path}: {member.name!r} leads out of the file")
                if not member.isfile() or not wanted(name):
                    continue
                if member.size > _MAX_MEMBER:
                    raise FormatError(
                        f"{path}: {name}: expected at most {_MAX_MEMBER} bytes, "
                        f"got {member.size}"
                    )
                file = archive.extractfile(member)
                yield name, file.read() if file else b""
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise FormatError(f"{path}: damaged or truncated archive: {error}") from error


def list_images(
    source: str | os.PathLike[str], classed: bool = True
) -> list[ImageFile]:
    """The image files of a folder CLASS/..., or of a tar file with such folders.

    Args:
        source: the folder or tar file.
        classed: whether only images inside class folders count.

    Returns:
        (class, name, path or content), sorted by class and name; the class of an image
        beside the class folders is "".

    Raises:
        DataError: there is no such folder or file, or no image in it.
        FormatError: a link leads out of the folder, or the archive is damaged.
    """
    root = Path(source)

    def wanted(name: PurePosixPath) -> bool:
        return name.suffix.lower() in SUFFIXES and bool(name.parent.name or not classed)

    if root.is_dir():
        found = _walk(root, classed)
    elif root.is_file():
        found = [
            (name.parent.name, name.name, content)
            for name, content in tar_members(root, wanted)
        ]
    else:
        raise DataError(f"{root}: no such folder or archive")
    if not found:
        raise DataError(
            f"{root}: found no images; looked for CLASS/*.{{{','.join(SUFFIXES)}}}"
        )
    return sorted(found, key=lambda item: item[:2])


def _walk(root: Path, classed: bool) -> list[ImageFile]:
    real_root = root.resolve()
    found: list[ImageFile] = []
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            _refuse_outside(Path(folder, name), real_root)
        inside = Path(folder).relative_to(root)
        if classed and not inside.parts:
            continue
        for name in files:
            if Path(name).suffix.lower() in SUFFIXES:
                below = str(PurePosixPath(*inside.parts[1:], name))
                top = inside.parts[0] if inside.parts else ""
                found.append((top, below, Path(folder, name)))
    return found


def _refuse_outside(path: Path, real_root: Path) -> None:
    if path.is_symlink() and not path.resolve().is_relative_to(real_root):
        raise FormatError(f"{path}: a link that leads out of {real_root}: refused")


def read_image_tree(
    source: str | os.PathLike[str],
    class_names: Sequence[str] | None = None,
    image_size: tuple[int, int] | None = None,
    color_mode: str | None = None,
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """All images of a folder CLASS/... (or a tar file of it), read at once.

    Args:
        source: the folder or tar file.
        class_names: the classes, in the order of their labels; None is all, sorted.
        image_size: (H, W) to scale to; None demands that all are as the first.
        color_mode: "grayscale", "rgb", "rgba"; None is what the first image has.

    Returns:
        x (N, H, W, C) uint8; y (N,) int64; the names of the classes.

    Raises:
        DataError: no images.
        FormatError: a class that ``class_names`` lacks, images of several sizes without
            ``image_size``, a damaged image, a link that leads out of the folder.
        MissingExtraError: Pillow is not installed.
    """
    files = list_images(source)
    names = tuple(class_names or sorted({file[0] for file in files}))
    label_of = {name: label for label, name in enumerate(names)}
    mode = color_mode
    x = np.empty(0, dtype=np.uint8)
    y = np.empty(len(files), dtype=np.int64)
    for i, (folder, name, content) in enumerate(files):
        where = f"{source}: {folder}/{name}"
        if folder not in label_of:
            raise FormatError(f"{where}: expected a class of {', '.join(names)}")
        image = decode_image(content, mode, image_size, where=where)
        if i == 0:
            mode = mode or ("grayscale" if image.shape[2] == 1 else "rgb")
            x = np.empty((len(files), *image.shape), dtype=np.uint8)
        if image.shape != x.shape[1:]:
            raise FormatError(
                f"{where}: expected the shape of the first image, {x.shape[1:]}, got "
                f"{image.shape}; give image_size to scale them all"
            )
        x[i], y[i] = image, label_of[folder]
    return x, y, names
