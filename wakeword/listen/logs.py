"""What the listener says about itself: text for people, or one JSON object a line for collectors."""

from __future__ import annotations

import json
import logging
from datetime import datetime, timezone

from wakeword.listen.settings import LogSettings


def set_up(settings: LogSettings) -> None:
    """Log to standard error in the form and from the level of the settings."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if settings.format == "json" else logging.Formatter("%(message)s"))
    logging.basicConfig(handlers=[handler], level=settings.level.upper(), force=True)


class JsonLines(logging.Formatter):
    """One JSON object for each record: at, level, where, message."""

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        at = datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds")
        told = {
            "at": at.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "where": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            told["trace"] = self.formatException(record.exc_info)
        return json.dumps(told, ensure_ascii=False)
