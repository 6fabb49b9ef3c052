"""Packages of npm for tests, which skip clearly where npm or the package cannot be had."""

import shutil
import subprocess
from pathlib import Path

import pytest

SECONDS_FOR_AN_INSTALLATION = 200


def install(package: str, folder: Path) -> Path:
    """Install a package of npm into a folder; return the folder, or skip the test."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("needs npm and Node.js (apt install npm)")
    ended = subprocess.run(
        [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", package],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=SECONDS_FOR_AN_INSTALLATION,
        check=False,
    )
    if ended.returncode:
        pytest.skip(f"npm cannot install {package}: {ended.stderr.strip().splitlines()[-1:]}")
    return folder
