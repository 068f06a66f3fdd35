"""`setup_logging`: the library's messages into a log file, and those that aren't printed anyway to stderr."""

from __future__ import annotations

import logging
from pathlib import Path

from ser.runtime.errors import UserError
from ser.runtime.progress import SAID

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def setup_logging(log_level: str = "INFO", log_file: str | Path | None = None) -> logging.Logger:
    """Keep what this library tells in a file, where one is given: what training prints (each fold, what was made, warnings) and files that
    can't be used. What isn't printed anyway goes to stderr, too. Returns the library's logger.

    Call it before what is to be kept. Called again it replaces what it set up before. log_level: DEBUG, INFO, WARNING, ERROR or CRITICAL,
    in any case.
    """
    if str(log_level).upper() not in LEVELS:
        raise UserError(f"log_level: given {log_level!r}; allowed are {', '.join(LEVELS)}.")
    logger = logging.getLogger("ser")
    handlers: list[logging.Handler] = [logging.StreamHandler()]
    if log_file is not None:
        try:
            Path(log_file).parent.mkdir(parents=True, exist_ok=True)
            handlers.append(logging.FileHandler(log_file, encoding="utf-8", errors="backslashreplace"))
        except OSError as error:
            raise UserError(f"log_file: {log_file} can't be written ({error.strerror}). What was set up before stays.") from None
    for handler in logger.handlers[:]:
        logger.removeHandler(handler)
        SAID.removeHandler(handler)
        handler.close()
    for handler in handlers[1:]:
        SAID.addHandler(handler)
    for handler in handlers:
        handler.setFormatter(logging.Formatter(FORMAT))
        logger.addHandler(handler)
    logger.setLevel(str(log_level).upper())
    logger.propagate = False
    return logger
