import os
from collections.abc import Callable
from pathlib import Path

import pytest

from activities import distributions
from activities.distributions import list_distributions
from loom_core.errors import InvalidError

type Install = Callable[..., Path]


def only(path: Path) -> distributions.Package:
    [package] = list_distributions(path=str(path))["packages"]
    return package


@pytest.mark.parametrize("where", ["env", "env/lib/python3.13/site-packages", "."])
def test_an_environment_a_prefix_and_a_site_directory_are_found(tmp_path: Path, install: Install, where: str):
    install("thing")
    (tmp_path / "env").rename(tmp_path / ".venv") if where == "." else None
    listing = list_distributions(path=str(tmp_path / where))
    assert [package["name"] for package in listing["packages"]] == ["thing"]
    assert listing["python"] == "3.13"
    assert not listing["truncated"]


def test_by_default_the_environment_of_the_process_is_listed():
    names = {package["name"] for package in list_distributions()["packages"]}
    assert {"pytest", "wasmtime"} <= names


def test_packages_come_by_name_and_once(tmp_path: Path, install: Install):
    for name in ("b", "A", "c_d", "c-c"):
        install(name)
    install("b", version="2.0")
    listing = list_distributions(path=str(tmp_path / "env"))
    assert [(p["name"], p["version"]) for p in listing["packages"]] == [
        ("A", "1.0"),
        ("b", "1.0"),
        ("c-c", "1.0"),
        ("c_d", "1.0"),
    ]


def test_metadata_is_given_as_it_is_stated(tmp_path: Path, install: Install):
    install(
        "thing",
        "License-Expression: MIT OR Apache-2.0",
        "License: MIT",
        "Classifier: License :: OSI Approved :: MIT License",
        "Classifier: Programming Language :: Python",
    )
    package = only(tmp_path / "env")
    assert package["metadata"] == {
        "expression": "MIT OR Apache-2.0",
        "license": "MIT",
        "classifiers": ["License :: OSI Approved :: MIT License"],
    }
    assert (package["hasText"], package["text"], package["files"]) == (False, "", [])


def test_licence_texts_are_joined_wherever_metadata_keeps_them(tmp_path: Path, install: Install):
    files = {"licenses/a/LICENSE": "one", "COPYING.txt": "two", "terms.md": "three", "NOTICE": "four"}
    install(
        "thing", "License-File: terms.md", **files, **{"AUTHORS": "Ada", "RECORD": "", "sboms/LICENSE": "no"}
    )
    package = only(tmp_path / "env")
    assert package["files"] == ["COPYING.txt", "NOTICE", "licenses/a/LICENSE", "terms.md"]
    assert package["text"] == "two\n\nfour\n\none\n\nthree"
    assert package["hasText"]
    assert not package["truncated"]


def test_a_text_in_the_licence_field_counts_where_there_is_no_file(tmp_path: Path, install: Install):
    install("thing", "License: MIT License", "        ", "        Permission is granted.")
    package = only(tmp_path / "env")
    assert package["metadata"]["license"] == "MIT License"
    assert "Permission is granted." in package["text"]
    assert package["files"] == ["METADATA"]


def test_a_long_text_is_cut_and_says_so(tmp_path: Path, install: Install):
    install("thing", LICENSE=b"x" * (distributions.MAX_PACKAGE_BYTES + 1), NOTICE="more")
    package = only(tmp_path / "env")
    assert len(package["text"]) == distributions.MAX_PACKAGE_BYTES
    assert package["truncated"]


def test_the_texts_of_all_packages_are_bounded_together(
    tmp_path: Path, install: Install, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(distributions, "MAX_TOTAL_BYTES", 10)
    for name in ("a", "b", "c"):
        install(name, LICENSE="x" * 6)
    packages = list_distributions(path=str(tmp_path / "env"))["packages"]
    assert [(len(p["text"]), p["hasText"], p["truncated"]) for p in packages] == [
        (6, True, False),
        (4, True, True),
        (0, False, True),
    ]


def test_more_packages_than_a_listing_holds_are_told(
    tmp_path: Path, install: Install, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(distributions, "MAX_PACKAGES", 2)
    for name in ("a", "b", "c"):
        install(name)
    listing = list_distributions(path=str(tmp_path / "env"))
    assert (len(listing["packages"]), listing["truncated"]) == (2, True)


def test_nothing_outside_of_the_environment_is_read(tmp_path: Path, install: Install):
    secret = tmp_path / "secret"
    secret.write_text("a secret")
    climb = "../" * 5
    folder = install(
        "thing", f"License-File: {climb}secret", f"License-File: {secret}", **{"licenses/LICENSE": "text"}
    )
    (folder / "LICENSE").symlink_to(secret)
    (folder / "licenses/COPYING").symlink_to(secret)
    (folder / "licenses/more").symlink_to(tmp_path, target_is_directory=True)
    os.mkfifo(folder / "NOTICE")
    package = only(tmp_path / "env")
    assert package["text"] == "text"
    assert package["files"] == ["licenses/LICENSE"]


def test_links_within_the_environment_are_followed(tmp_path: Path, install: Install):
    (tmp_path / "env").mkdir()
    (tmp_path / "env/LICENSE").write_text("text")
    (install("thing") / "LICENSE").symlink_to(tmp_path / "env/LICENSE")
    assert only(tmp_path / "env")["text"] == "text"


def test_broken_metadata_is_told_and_does_not_hide_the_rest(tmp_path: Path, install: Install):
    install("good")
    (install("nameless") / "METADATA").write_text("Version: 1\n")
    (install("binary") / "METADATA").write_bytes(b"Name: x\nVersion: 1\nLicense: \xff\n")
    (install("empty") / "METADATA").unlink()
    outside = tmp_path / "outside"
    outside.write_text("Name: outside\nVersion: 1\n")
    linked = install("linked") / "METADATA"
    linked.unlink()
    linked.symlink_to(outside)
    (tmp_path / "env/lib/python3.13/site-packages" / os.fsdecode(b"odd\xff.dist-info")).mkdir()
    listing = list_distributions(path=str(tmp_path / "env"))
    assert [package["name"] for package in listing["packages"]] == ["good"]
    names = [unreadable["name"].partition("-")[0] for unreadable in listing["unreadable"]]
    assert names == ["binary", "empty", "linked", "nameless", "odd\ufffd.dist"]


@pytest.mark.parametrize("path", ["nowhere", "file", "empty", "a\0b"])
def test_a_path_without_packages_is_invalid(tmp_path: Path, path: str):
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidError) as raised:
        list_distributions(path=str(tmp_path / path))
    [problem] = raised.value.problems
    assert problem.path == "$.path"
    assert path in problem.message
