"""Which Python packages an environment has installed, and what they say of their licences."""

import os
import re
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution
from itertools import islice
from pathlib import Path
from typing import TypedDict

from activities._files import open_within
from loom_core.activities import activity
from loom_core.errors import InvalidError, Problem

MAX_PACKAGES = 5_000
MAX_FILES = 200
MAX_METADATA_BYTES = 4 << 20
MAX_PACKAGE_BYTES = 512 << 10
MAX_TOTAL_BYTES = 16 << 20
MAX_FIELD = 200
MAX_EXPRESSION = 1_000
MAX_CLASSIFIERS = 50

SITES = (
    "lib/python3*/site-packages",
    "lib64/python3*/site-packages",
    "Lib/site-packages",
    "lib/python3*/dist-packages",
)
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
VERSION = re.compile(r"[A-Za-z0-9.!+_-]{1,128}")
LICENCE_FILE = re.compile(r"(un)?licen[cs]e|copying|copyright|notice", re.IGNORECASE)
NO_LICENCE_FILE = re.compile(r"authors|contributors|maintainers", re.IGNORECASE)


class Metadata(TypedDict):
    expression: str | None
    license: str | None
    """The first line of the free-form field, at most 200 characters."""
    classifiers: list[str]


class Package(TypedDict):
    name: str
    version: str
    metadata: Metadata
    hasText: bool
    text: str
    files: list[str]
    truncated: bool


class Unreadable(TypedDict):
    name: str
    reason: str


class Listing(TypedDict):
    path: str
    python: str | None
    packages: list[Package]
    unreadable: list[Unreadable]
    truncated: bool
    """Whether there are more packages than the listing may hold."""


@activity("list-distributions")
def list_distributions(*, path: str | None = None) -> Listing:
    """List the packages of an environment by name, each with its licence texts joined.

    `path` is a virtual environment, a prefix or a site-packages directory; by default it is everything that
    this process imports from. Only files within it are read, wherever links and names point. Limits: 5,000
    packages, 512 KB of text a package (`truncated` says where text was cut), 16 MB in all.

    Raises InvalidError for a path that does not exist or has no packages.
    """
    root = _root(path) if path else None
    sites = _sites(root) if root else _imported()
    if not sites:
        raise InvalidError([Problem("$.path", f"{path} has no Python packages, nor has its {SITES[0]}")])
    packages: dict[str, Package] = {}
    unreadable: list[Unreadable] = []
    budget = MAX_TOTAL_BYTES
    installed = ((root or site, folder) for site in sites for folder in _installed(site))
    for bounds, folder in islice(installed, MAX_PACKAGES):
        try:
            package = _package(folder, bounds, max(0, min(budget, MAX_PACKAGE_BYTES)))
        except (OSError, ValueError) as error:
            unreadable.append(
                {"name": _plain(folder.name), "reason": _plain(f"{type(error).__name__}: {error}")}
            )
            continue
        budget -= len(package["text"].encode())
        # The first on the path is the one that is imported.
        packages.setdefault(_canonical(package["name"]), package)
    return {
        "path": path or sys.prefix,
        "python": _python(sites[0]),
        "packages": [packages[name] for name in sorted(packages)],
        "unreadable": unreadable,
        "truncated": next(installed, None) is not None,
    }


def _root(path: str) -> Path:
    try:
        root = Path(path).expanduser().resolve(strict=True)
    except (OSError, RuntimeError, ValueError) as error:
        raise InvalidError([Problem("$.path", f"{path} cannot be opened: {error}")]) from None
    if not root.is_dir():
        raise InvalidError([Problem("$.path", f"{path} is not a directory")])
    return root


def _sites(root: Path) -> list[Path]:
    """Find the directories within `root`, or in its `.venv`, that packages are installed in."""
    found = {
        site.resolve(): None
        for base in (root, root / ".venv")
        for site in (base, *(site for pattern in SITES for site in sorted(base.glob(pattern))))
        if next(_installed(site), None)
    }
    return [site for site in found if site.is_relative_to(root)]


def _imported() -> list[Path]:
    sites = dict.fromkeys(Path(entry).resolve() for entry in sys.path)
    return [site for site in sites if next(_installed(site), None)]


def _installed(site: Path) -> Iterator[Path]:
    for folder in sorted(site.glob("*.dist-info")) + sorted(site.glob("*.egg-info")):
        if not folder.is_symlink():
            yield folder


def _package(folder: Path, root: Path, budget: int) -> Package:
    """Read a package and at most `budget` bytes of text. Raises OSError or ValueError for broken metadata."""
    sources = (folder, folder / "METADATA", folder / "PKG-INFO")
    source = next((source for source in sources if source.is_file()), folder / "METADATA")
    if len(_read(source, root, MAX_METADATA_BYTES + 1)) > MAX_METADATA_BYTES:
        raise ValueError("the metadata is too large")
    headers = Distribution.at(folder).metadata
    name, version = headers.get("Name") or "", headers.get("Version") or ""
    if not NAME.fullmatch(name) or not VERSION.fullmatch(version):
        raise ValueError("the metadata has no usable name or version")
    field = (headers.get("License") or "").strip()
    text, files, truncated = _texts(folder, root, headers.get_all("License-File") or [], budget)
    if not text and "\n" in field:
        text, files, truncated = field[:budget], [source.name], len(field) > budget
    return {
        "name": name,
        "version": version,
        "metadata": {
            "expression": (headers.get("License-Expression") or "")[:MAX_EXPRESSION] or None,
            "license": field.partition("\n")[0][:MAX_FIELD] or None,
            "classifiers": [c for c in headers.get_all("Classifier") or [] if c.startswith("License ::")][
                :MAX_CLASSIFIERS
            ],
        },
        "hasText": bool(text.strip()),
        "text": text,
        "files": files,
        "truncated": truncated,
    }


def _texts(folder: Path, root: Path, named: list[str], budget: int) -> tuple[str, list[str], bool]:
    """Join the licence texts of a package: the text, the files it is from, and whether it was cut."""
    texts: list[str] = []
    files: list[str] = []
    for file in _licence_files(folder, named):
        try:
            content = _read(file, root, budget + 1)
        except OSError:
            # A link that leads out of the environment, or a file that metadata names and nobody installed.
            continue
        texts.append(content[:budget].decode("utf-8", "replace"))
        files.append(_plain(file.relative_to(folder).as_posix()))
        if len(content) > budget:
            return "\n\n".join(texts), files, True
        budget -= len(content)
    return "\n\n".join(texts), files, False


def _licence_files(folder: Path, named: list[str]) -> list[Path]:
    """What may hold a licence: the `licenses` directory of PEP 639, files so called, and files named."""
    beside = (file for file in folder.glob("*") if LICENCE_FILE.match(file.name))
    stated = (
        folder / name for name in named if ".." not in Path(name).parts and not Path(name).is_absolute()
    )
    found = {
        file
        for files in ((folder / "licenses").rglob("*"), beside, stated)
        for file in islice(files, MAX_FILES)
        if file.is_file() and not NO_LICENCE_FILE.match(file.name)
    }
    return sorted(found)


def _read(file: Path, root: Path, limit: int) -> bytes:
    """Read at most `limit` bytes. Raises OSError unless it is a regular file within `root`."""
    with open_within(root, file) as stream:
        return stream.read(limit)


def _plain(name: str) -> str:
    """A file name as text: its bytes need not be UTF-8, but JSON's are."""
    return os.fsencode(name).decode("utf-8", "replace")


def _python(site: Path) -> str | None:
    """Tell the Python version from the directory's name, as in `lib/python3.13/site-packages`."""
    version = re.fullmatch(r"python(3\.\d+)t?", site.parent.name)
    return version[1] if version else None


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
