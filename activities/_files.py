"""Files that must lie within a folder, wherever names and links point."""

import os
import stat
from pathlib import Path
from typing import BinaryIO


def open_within(root: Path, file: Path) -> BinaryIO:
    """Open a regular file within `root` (a real path) to read it. Raises OSError for any other."""
    real = file.resolve(strict=True)
    if not real.is_relative_to(root):
        raise PermissionError(f"{file.name} leads out of {root.name}")
    # A link put in its place meanwhile is refused, and a pipe does not make us wait.
    flags = os.O_RDONLY | sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY"))
    opened = os.open(real, flags)
    if not stat.S_ISREG(os.fstat(opened).st_mode):
        os.close(opened)
        raise PermissionError(f"{file.name} is not a regular file")
    return os.fdopen(opened, "rb")
