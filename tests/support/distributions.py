"""Installed packages, as pip leaves them: modules with a folder of metadata."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from triptych import plugins


def write_metadata(site: Path, name: str, groups: Mapping[str, Mapping[str, str]]) -> None:
    """Write the metadata of a package into a folder like ``site-packages``.

    Parameters
    ----------
    site : Path
        The folder.
    name : str
        The name of the package.
    groups : mapping of str to mapping
        By group, the names and values of its entry points, as in a ``pyproject.toml``.
    """
    metadata = site / f"{name}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines: list[str] = []
    for group, points in groups.items():
        lines.append(f"[{group}]")
        lines += [f"{point} = {value}" for point, value in points.items()]
    (metadata / "entry_points.txt").write_text("\n".join(lines))


def search(patch: pytest.MonkeyPatch, site: Path) -> None:
    """Let this process find what is installed in a folder, as if it had just started."""
    patch.syspath_prepend(site)
    patch.setattr(plugins, "_loaded", set())
    patch.setattr(plugins, "left_out", [])
