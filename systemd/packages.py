"""Copies the built appliance and every Python package it needs from this environment into another one. Called by install.sh.

What was tested is what gets installed, to the file; nothing is downloaded or compiled.
"""
import shutil
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path

from pip._vendor.packaging.requirements import Requirement

APPLIANCE = "dicom-rtv-appliance"
TREE = Path(__file__).resolve().parent.parent
LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.pyx", "*.pxd", "*.pyi", "*.c", "kernels", "viewer")


def needed(name: str, extra: str = "", seen: frozenset = frozenset()) -> Iterator[Distribution]:
    """The distributions that one requires, and those that they require; some more than once."""
    for text in distribution(name).requires or ():
        requirement = Requirement(text)
        if requirement.name in seen or requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        yield distribution(requirement.name)
        for wanted in ("", *requirement.extras):
            yield from needed(requirement.name, wanted, seen | {name})


def copy_distribution(source: Distribution, target: Path) -> None:
    """Every file of an installed distribution but its scripts, which name another Python."""
    home = Path(source.locate_file(""))
    for file in source.files:
        if ".." not in file.parts and "__pycache__" not in file.parts:
            place = target / file
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(home / file, place)


def copy_appliance(target: Path) -> None:
    """The appliance's own packages from the tree, with the metadata that says its version."""
    for package in ("appliance", "cext"):
        shutil.copytree(TREE / package, target / package, ignore=LEFT_OUT)
    shutil.copytree(TREE / "appliance/viewer/dist", target / "appliance/viewer/dist")
    own = distribution(APPLIANCE)
    folder = target / f"{APPLIANCE.replace('-', '_')}-{own.version}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(own.read_text("METADATA"))


def main(target: Path) -> None:
    """Fills a new environment's site-packages."""
    for found in {found.name: found for found in needed(APPLIANCE)}.values():
        copy_distribution(found, target)
    copy_appliance(target)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
