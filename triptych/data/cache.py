"""The folder in which downloads, decoded images and calibrations are kept."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return the folder of downloads: ``$TRIPTYCH_DATA``, or the user's cache folder."""
    set_by_user = os.environ.get("TRIPTYCH_DATA")
    if set_by_user:
        return Path(set_by_user)
    from platformdirs import user_cache_path

    return user_cache_path("triptych")
