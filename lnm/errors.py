"""What goes wrong by the user's hand or the machine's, and only that, each in one line that says what to do."""

from __future__ import annotations

import errno
import os
import re

REMEDIES = {
    errno.ENOSPC: "make room on the disk and run the same command again",
    errno.EDQUOT: "make room within your quota and run the same command again",
    errno.EFBIG: "it is larger than this machine lets a file be (ulimit -f)",
    errno.EACCES: "not allowed; change its permissions or choose another place",
    errno.EPERM: "not allowed; change its permissions or choose another place",
    errno.EROFS: "nothing can be written there; choose another place",
    errno.EISDIR: "this is a folder; name a file",
    errno.ENOTDIR: "a part of this path is a file and no folder; choose another place",
    errno.EEXIST: "a part of this path is a file and no folder; choose another place",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
    errno.ELOOP: "links that lead to one another; give the file itself",
    errno.ENOENT: "no such file or folder; check the name",
    errno.EIO: "the disk could not be read or written; look at the system's messages",
    errno.EMFILE: "too many files are open (ulimit -n)",
}
OUT_OF_MEMORY = ("memory ran out: take a smaller size or fewer frames, on a CPU also one job at a time (JOBS=1), on a "
                 "GPU finetune.gradient_checkpointing: true and finetune.mixed_precision: bf16")
PLAIN = {errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOENT, errno.ENAMETOOLONG}  # whose remedy says it all


class UserError(Exception):
    """Input that only the user can put right: one line that names the input and the fix."""


def shortened(text: object, most: int = 120) -> str:
    """A text in one line of at most so many characters, its middle left out; controls become a space."""
    line = re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+", " ", str(text))
    return line if len(line) <= most else f"{line[:most // 2]}...{line[-(most // 2 - 3):]}"


def system_reason(error: Exception) -> str | None:
    """What the system refused and what to do, without the file's name; None where that is not known.

    error: an OSError, or a library's own that ends in "(os error 28)", as those written in Rust have it.
    """
    code = getattr(error, "errno", None)
    if code is None and (said := re.search(r"\(os error (\d+)\)", str(error))):
        code = int(said[1])
    if code not in REMEDIES:
        return None
    return REMEDIES[code] if code in PLAIN else f"{os.strerror(code).lower()}: {REMEDIES[code]}"


def refused(said: str) -> str | None:
    """The line for what the system refused in another process, of which an OSError's message is known, such as
    "[Errno 28] No space left on device: 'FILE'"; None for what may be a bug: a file that is not there, another code."""
    found = re.fullmatch(r"\[Errno (\d+)\] ([^:]*)(?:: '([^']*)')?", said.strip())
    if not found or int(found[1]) not in REMEDIES or int(found[1]) in PLAIN:
        return None
    line = f"{found[2].lower()}: {REMEDIES[int(found[1])]}"
    return f"{shortened(found[3])}: {line}" if found[3] else line


def out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, numpy's, Python's, or torch's on a CPU or a GPU."""
    kind = "RuntimeError" if isinstance(error, RuntimeError) else type(error).__name__
    return isinstance(error, MemoryError) or memory_ran_out(kind, str(error))


def memory_ran_out(kind: str, said: str) -> bool:
    """`out_of_memory` of an error in another process, of which the class's name and the message are known."""
    if kind in ("MemoryError", "_ArrayMemoryError", "OutOfMemoryError"):
        return True
    # torch's own on a CPU, and those of a GPU's library
    return kind in ("RuntimeError", "AcceleratorError") and ("can't allocate memory" in said or "out of memory" in said)
