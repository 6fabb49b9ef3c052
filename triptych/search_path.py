"""Where Python looks for modules: not in the working directory.

A folder of downloaded data may hold a file named ``torch.py``. It must never run in place of
PyTorch. At the top of this file only modules are imported that every interpreter has loaded before
its first line of code.
"""

import os
import sys

PACKAGE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(PACKAGE)
INSTALLED = ("site-packages", "dist-packages", os.path.basename(os.path.dirname(os.__file__)))


def leave_out(folder: str = os.curdir) -> None:
    """Remove a folder from ``sys.path``, unless this package or installed packages are in it.

    ``python -m`` puts the working directory first, and so does an empty entry of PYTHONPATH.

    Parameters
    ----------
    folder : str
        The working directory by default.
    """
    sys.path[:] = without(folder, sys.path)


def without(folder: str, entries: list[str]) -> list[str]:
    """Return entries of a search path without a folder, unless the folder may be searched.

    Parameters
    ----------
    folder : str
        It may be searched if this package or installed packages are in it.
    entries : list of str
        Folders; an empty text is the working directory.
    """
    return [entry for entry in entries if not _untrusted(entry, folder)]


def load_matplotlib() -> None:
    """Import matplotlib without the file ``matplotlibrc`` of the working directory.

    Matplotlib reads it at its import, and such a file may start LaTeX. The user's own settings are
    read.
    """
    if "matplotlib" in sys.modules:
        return
    from contextlib import ExitStack, chdir, suppress

    with ExitStack() as stack:
        # A working directory that was deleted cannot be returned to, and holds no such file.
        with suppress(FileNotFoundError):
            stack.enter_context(chdir(PACKAGE))
        import matplotlib  # noqa: F401  # pyright: ignore[reportUnusedImport]


def require_packages() -> None:
    """End a script with one line if this Python lacks the packages that Triptych needs."""
    from importlib.util import find_spec

    if all(find_spec(name) for name in ("numpy", "typer", "threadpoolctl")):
        return
    script = os.path.basename(sys.argv[0])
    activate = r".venv\Scripts\activate" if os.name == "nt" else "source .venv/bin/activate"
    sys.stderr.write(
        f"{script}: this Python ({sys.executable}) lacks the packages that are needed; "
        f"set them up with make setup (README.md, Install), then: {activate}\n"
    )
    sys.exit(2)


def for_children() -> dict[str, str]:
    """Return the environment variables with which a child process finds this package.

    Returns
    -------
    dict of str to str
        ``PYTHONPATH``: the folder of this package, then the inherited entries except the working
        directory. ``PYTHONSAFEPATH``: the child does not add its working directory.
    """
    inherited = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    trusted = without(os.curdir, [entry for entry in inherited if entry])
    folders = [ROOT, *map(os.path.abspath, trusted)]
    return {"PYTHONPATH": os.pathsep.join(folders), "PYTHONSAFEPATH": "1"}


def _untrusted(entry: str, folder: str) -> bool:
    if not _same(entry or os.curdir, folder):
        return False
    return os.path.basename(os.path.realpath(folder)) not in INSTALLED and not _same(folder, ROOT)


def _same(one: str, other: str) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:  # one of them does not exist, or may not be read
        return False
