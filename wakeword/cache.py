"""Where things are kept that can be made or fetched again."""

from __future__ import annotations

import os
from pathlib import Path


def cache_dir() -> Path:
    """Folder of downloads and the like: $WAKEWORD_CACHE, or `wakeword` in the user's cache folder."""
    if own := os.environ.get("WAKEWORD_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "wakeword"
