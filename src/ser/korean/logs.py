"""`setup_logging`: the library's messages to stderr and into a log file."""

from __future__ import annotations

import logging
from pathlib import Path

from ser.runtime.errors import UserError

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def setup_logging(log_level: str = "INFO", log_file: str | Path | None = None) -> logging.Logger:
    """Send the messages of this library to stderr and, where given, to a file too; returns its logger.

    Called again it replaces what it set up before. log_level: DEBUG, INFO, WARNING, ERROR or CRITICAL, in any case.
    """
    if str(log_level).upper() not in LEVELS:
        raise UserError(f"log_level: given {log_level!r}; allowed are {', '.join(LEVELS)}.")
    logger = logging.getLogger("ser")
    for handler in logger.handlers[:]:
        logger.removeHandler(handler)
        handler.close()
    handlers: list[logging.Handler] = [logging.StreamHandler()]
    if log_file is not None:
        Path(log_file).parent.mkdir(parents=True, exist_ok=True)
        handlers.append(logging.FileHandler(log_file, encoding="utf-8"))
    for handler in handlers:
        handler.setFormatter(logging.Formatter(FORMAT))
        logger.addHandler(handler)
    logger.setLevel(str(log_level).upper())
    logger.propagate = False
    return logger
