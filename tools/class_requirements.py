"""Lists of packages for a class room without a network, and a check of the collected wheels.

    python tools/class_requirements.py                        writes docs/in-class/SYSTEM.txt
    python tools/class_requirements.py windows wheels/windows checks a folder of wheels

pip evaluates the markers of requirements.txt for the machine on which it runs, so wheels for
another system need a list without markers, and ``--no-deps``. Such a list must name every package
itself; the check reads the wheels' own requirements and prints what is missing. Exit status: 0
complete, 1 something is missing, 2 a wrong command line.
"""

import argparse
import email
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
LISTS = ROOT / "docs" / "in-class"
# The values with which markers are evaluated, in place of those of this machine.
SYSTEMS = {
    "linux": {
        "os_name": "posix",
        "platform_machine": "x86_64",
        "platform_system": "Linux",
        "sys_platform": "linux",
    },
    "macos": {
        "os_name": "posix",
        "platform_machine": "arm64",
        "platform_system": "Darwin",
        "sys_platform": "darwin",
    },
    "windows": {
        "os_name": "nt",
        "platform_machine": "AMD64",
        "platform_system": "Windows",
        "sys_platform": "win32",
    },
}


def environment(system: str, python: str = "3.12") -> dict[str, str]:
    """Return the markers' environment of a system, for a version of Python such as ``3.12``."""
    return {
        **SYSTEMS[system],
        "extra": "",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "platform_release": "",
        "platform_version": "",
        "python_full_version": f"{python}.0",
        "python_version": python,
    }


def applies(requirement: Requirement, system: str, python: str = "3.12") -> bool:
    """Tell whether a requirement holds on a system."""
    return requirement.marker is None or requirement.marker.evaluate(environment(system, python))


def without_markers(text: str, system: str) -> str:
    """Return the lines of a requirements file that hold on a system, without their markers."""
    lines = [f"# For {system}, from requirements.txt by tools/class_requirements.py; do not edit."]
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        requirement = Requirement(line)
        if applies(requirement, system):
            lines.append(f"{requirement.name}{requirement.specifier}")
    return "\n".join(lines) + "\n"


def missing(folder: Path, system: str, python: str = "3.12") -> Iterator[str]:
    """Yield a line for each requirement that no wheel of a folder meets."""
    wheels = sorted(folder.glob("*.whl"))
    versions: dict[str, Version] = {}
    for wheel in wheels:
        name, version, _, _ = parse_wheel_filename(wheel.name)
        versions[name] = version
    for line in (LISTS / f"{system}.txt").read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            yield from _unmet(f"{system}.txt", Requirement(line), versions)
    for wheel in wheels:
        for requirement in _requirements(wheel):
            if applies(requirement, system, python):
                yield from _unmet(wheel.name, requirement, versions)


def _requirements(wheel: Path) -> list[Requirement]:
    with zipfile.ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        metadata = email.message_from_bytes(archive.read(name))
    return [Requirement(line) for line in metadata.get_all("Requires-Dist") or []]


def _unmet(by: str, requirement: Requirement, versions: dict[str, Version]) -> Iterator[str]:
    version = versions.get(canonicalize_name(requirement.name))
    wanted = f"{requirement.name}{requirement.specifier}"
    if version is None:
        yield f"{by} needs {wanted}, and no wheel has it"
    elif not requirement.specifier.contains(version, prereleases=True):
        yield f"{by} needs {wanted}, and the wheel is {version}"


def main(arguments: list[str] | None = None) -> int:
    """Write the lists, or check a folder; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("system", nargs="?", choices=SYSTEMS)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--python", default="3.12", metavar="VERSION")
    chosen = parser.parse_args(arguments)
    if chosen.system is None:
        LISTS.mkdir(exist_ok=True)
        requirements = (ROOT / "requirements.txt").read_text(encoding="utf-8")
        for system in SYSTEMS:
            text = without_markers(requirements, system)
            (LISTS / f"{system}.txt").write_text(text, encoding="utf-8")
            print(f"wrote docs/in-class/{system}.txt")
        return 0
    if chosen.folder is None or not chosen.folder.is_dir():
        parser.error("give the folder with the wheels as the second argument")
    lines = list(missing(chosen.folder, chosen.system, chosen.python))
    print("\n".join(lines) or f"{chosen.folder}: every requirement is met")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
