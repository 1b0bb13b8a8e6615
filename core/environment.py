"""Failures of the machine (disk full, no permission) as one clear error with exit status 4."""

from __future__ import annotations

import errno

from fraudloom.errors import EnvironmentFault

_FULL = (errno.ENOSPC, errno.EDQUOT)
_DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)


def as_fault(error: BaseException) -> EnvironmentFault | None:
    """EnvironmentFault for an error that the machine caused, else None."""
    if isinstance(error, MemoryError):
        return EnvironmentFault(
            "RUN", "MEMORY", what="out of memory", action="use fewer --workers; finished parts are kept"
        )
    if not isinstance(error, OSError):
        return None
    where = error.filename
    text = error.strerror or str(error)
    if error.errno in _FULL or "No space left" in str(error):
        return EnvironmentFault(
            "RUN",
            "DISK_FULL",
            what=f"the disk is full ({text})",
            where=where,
            action="free space, or name another --runs-root; the same command resumes the run",
        )
    if error.errno in _DENIED:
        return EnvironmentFault(
            "RUN",
            "NO_PERMISSION",
            what=f"no permission ({text})",
            where=where,
            action="give this user the permission, or name another folder",
        )
    if error.errno in (errno.EIO, errno.ENFILE, errno.EMFILE, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EEXIST):
        return EnvironmentFault("RUN", "FILE_SYSTEM", what=text, where=where, action="check the folder and its disk")
    return None
