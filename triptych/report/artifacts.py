"""What is drawn from a run folder: TensorBoard logs, figures and the report."""

from importlib.util import find_spec
from pathlib import Path

PACKAGES = ("jinja2", "matplotlib", "tensorboardX")
INSTALL = "No figures and no report: pip install 'triptych[report]', then: triptych report"


def illustrate(folder: Path) -> str | None:
    """Write TensorBoard logs, figures and report.html from the files of a run folder.

    Parameters
    ----------
    folder : Path
        The folder of a comparison.

    Returns
    -------
    str or None
        What to install, if a package is missing; then nothing is written.
    """
    if not all(map(find_spec, PACKAGES)):
        return INSTALL
    from . import figures, page, tensorboard

    tensorboard.write(folder)
    figures.write(folder)
    page.write(folder)
    return None
