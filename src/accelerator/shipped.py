"""Files that ship beside the code: the generic images and the examples.

In a checkout they are the repository's own folders; an installed package carries copies of them.
"""

from __future__ import annotations

from pathlib import Path

from accelerator.errors import AcceleratorError

_PACKAGE = Path(__file__).resolve().parent


def folder(name: str) -> Path:
    """A shipped folder, such as `images` or `examples/flights`.

    Raises:
        AcceleratorError: The installation is not whole.
    """
    for base in (_PACKAGE.parent.parent, _PACKAGE / "shipped_files"):
        if (base / name).is_dir():
            return base / name
    raise AcceleratorError(
        f"The folder {name} is missing from this installation",
        place=str(_PACKAGE),
        next_step="install the package again, or work from a checkout of the repository",
    )


def package() -> Path:
    """The source of the package `accelerator`, which goes into the generic images."""
    return _PACKAGE
