"""Maps the folders of the checkout to the packages of the distribution; all other metadata is in pyproject.toml.

`plans`, `executors` and `engine` lie at the top of the repository and are imported as `mxtrainer.plans` and so on. The
links of the same names inside `mxtrainer/` make an uninstalled checkout work; the distribution holds no link.
"""

from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).parent
ROOM_FOLDERS = ("plans", "executors", "engine")


def find_subpackages(folder: Path, package: str) -> dict[str, str]:
    """Finds a package and all packages inside it.

    Args:
        folder: The package's real folder.
        package: Its dotted name.

    Returns:
        The folder of each package, relative to this file, by dotted name.
    """
    found = {package: folder.relative_to(ROOT).as_posix()}
    for inner in sorted(folder.iterdir()):
        if (inner / "__init__.py").is_file() and not inner.is_symlink():
            found.update(find_subpackages(inner, f"{package}.{inner.name}"))
    return found


package_dir = find_subpackages(ROOT / "mxtrainer", "mxtrainer")
for room in ROOM_FOLDERS:
    package_dir.update(find_subpackages(ROOT / room, f"mxtrainer.{room}"))

setup(packages=list(package_dir), package_dir=package_dir)
