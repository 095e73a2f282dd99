"""One way of logging for every process: to standard error, with the stage's name; the journal adds its own time."""
import logging
import os
import sys
from collections.abc import Iterable

_JOURNAL_PRIORITY = {logging.CRITICAL: 2, logging.ERROR: 3, logging.WARNING: 4, logging.INFO: 6, logging.DEBUG: 7}


class _JournalFormatter(logging.Formatter):
    """Lines that journald reads the priority of (sd-daemon(3)); every line of a traceback gets it."""

    def format(self, record: logging.LogRecord) -> str:
        prefix = f"<{_JOURNAL_PRIORITY.get(record.levelno, 6)}>"
        return "\n".join(prefix + line for line in super().format(record).splitlines())


def start(level: int = logging.INFO) -> None:
    """Sets up the root logger of this process."""
    output = logging.StreamHandler(sys.stderr)
    if os.environ.get("JOURNAL_STREAM"):
        output.setFormatter(_JournalFormatter("%(name)s: %(message)s"))
    else:
        output.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    logging.basicConfig(level=level, handlers=[output])


class GoodNews(str):
    """A remark after which there is less to mend than before."""


def tell(log: logging.Logger, remarks: Iterable[str]) -> None:
    """Logs what a person should read: good news as information, all else as warnings."""
    for remark in remarks:
        log.log(logging.INFO if isinstance(remark, GoodNews) else logging.WARNING, "%s", remark)
