"""The one way a command says "this cannot be done": a message a person can act on, no traceback; and the exit codes."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path

from ser.runtime.progress import never_silent
from ser.runtime.startup import EXIT_KEYBOARD, INTERRUPTED, begin_command

EXIT_WRONG_INPUT = 2
EXIT_INTERRUPTED = 75  # EX_TEMPFAIL of sysexits.h: run the same command again and it goes on


class UserError(Exception):
    """Something the user gave is wrong. The text says what was given, what is allowed, and what to do."""


class Interrupted(BaseException):
    """The run stopped early on purpose (a signal, a time budget) and can be continued. No error, so that no `except` mends it."""


def run_command(main: Callable[[list[str]], None], argv: list[str] | None = None, waits: bool = False) -> None:
    """Run a command's `main` and turn expected failures into one message and an exit code.

    waits: it waits for people, as a server does; any other says without a terminal, too, that it is at work.

    Exit codes: 0 done, 2 wrong input or a full or read-only disk, 75 interrupted (run again to go on).
    """
    begin_command()
    try:
        with nullcontext() if waits else never_silent(_name()):
            main(sys.argv[1:] if argv is None else argv)
    except UserError as error:
        _stop(f"error: {error}", EXIT_WRONG_INPUT)
    except Interrupted as stopped:
        _stop(f"stopped: {stopped}", EXIT_INTERRUPTED)
    except KeyboardInterrupt:
        _stop(INTERRUPTED, EXIT_KEYBOARD)
    except BrokenPipeError:  # `… | head` has read enough
        sys.stdout = None
        raise SystemExit(0) from None
    except OSError as error:
        _stop(f"error: {_explain(error)}", EXIT_WRONG_INPUT)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        _stop(f"error: out of memory ({_first_line(error)}). Close what else uses it, or take a smaller model or batch.", EXIT_WRONG_INPUT)


def _name() -> str:
    """The command as it is typed: the folder of a __main__.py, or the module."""
    path = Path(sys.argv[0])
    return path.parent.name if path.stem == "__main__" else path.stem


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory was too small: Python's MemoryError, torch.OutOfMemoryError (a GPU), or torch's RuntimeError on a CPU."""
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error)


def _stop(message: str, code: int) -> None:
    with suppress(OSError):  # the terminal may be gone, or the log on a full disk
        print(message, file=sys.stderr, flush=True)
    raise SystemExit(code)


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _explain(error: OSError) -> str:
    where = f" ({error.filename})" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"no space left on the disk{where}. Free some and run the same command again: it goes on where it stopped."
    if error.errno == errno.EFBIG:
        return f"the file became larger than the file system or `ulimit -f` allows{where}. Raise it and run the same command again."
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"no permission to read or write{where}. Check who owns the folder, or choose another one."
    if isinstance(error, FileNotFoundError):
        return f"no such file or folder{where}."
    if error.filename:
        return f"{error.strerror}{where}."
    raise error
