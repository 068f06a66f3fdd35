"""The folder `data.cache`, where it can't be used: on a disk mounted to be read only, somebody else's, or a file of that name."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ser.runtime.errors import UserError

FORBIDDEN = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST)


@contextmanager
def in_cache(folder: Path) -> Iterator[None]:
    """Around what is read and written in a folder of the cache: raises UserError with what to do where that isn't allowed."""
    try:
        yield
    except OSError as error:
        place = Path(os.fsdecode(error.filename)) if error.filename is not None else folder
        within = place.is_relative_to(folder.parent) or folder.parent.is_relative_to(place)
        if error.errno not in FORBIDDEN or not within:
            raise
        raise UserError(
            f"the cache {folder.parent} can't be used ({os.strerror(error.errno)}: {place}). Decoded clips and what is computed of them "
            "are written there. Choose another folder with --data.cache DIR, or make this one a folder that you may write to."
        ) from error
