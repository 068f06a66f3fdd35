"""The one way a command says "this cannot be done": a message a person can act on, no traceback."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable

EXIT_WRONG_INPUT = 2
EXIT_INTERRUPTED = 75  # EX_TEMPFAIL of sysexits.h: run the same command again and it goes on


class UserError(Exception):
    """Something the user gave is wrong. The text says what was given, what is allowed, and what to do."""


class Interrupted(Exception):
    """The run stopped early on purpose (a signal, a time budget) and can be continued."""


def run_command(main: Callable[[list[str]], None], argv: list[str] | None = None) -> None:
    """Run a command's `main` and turn expected failures into one message and an exit code.

    Exit codes: 0 done, 2 wrong input or a full or read-only disk, 75 interrupted (run again to go on).
    """
    try:
        main(sys.argv[1:] if argv is None else argv)
    except UserError as error:
        _stop(f"error: {error}", EXIT_WRONG_INPUT)
    except Interrupted as stopped:
        _stop(f"stopped: {stopped}", EXIT_INTERRUPTED)
    except KeyboardInterrupt:
        _stop("stopped: interrupted from the keyboard", 130)
    except BrokenPipeError:  # `… | head` has read enough
        sys.stdout = None
        raise SystemExit(0) from None
    except OSError as error:
        _stop(f"error: {_explain(error)}", EXIT_WRONG_INPUT)


def _stop(message: str, code: int) -> None:
    print(message, file=sys.stderr, flush=True)
    raise SystemExit(code)


def _explain(error: OSError) -> str:
    where = f" ({error.filename})" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"no space left on the disk{where}. Free some and run the same command again: it goes on where it stopped."
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"no permission to read or write{where}. Check who owns the folder, or choose another one."
    if isinstance(error, FileNotFoundError):
        return f"no such file or folder{where}."
    if error.filename:
        return f"{error.strerror}{where}."
    raise error
