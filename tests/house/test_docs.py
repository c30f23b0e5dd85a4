"""Documents that cannot lie: what exists is named in them, and what they name exists."""

import importlib
import re
import tomllib

import click

LINK = re.compile(r"\]\((?!https?://|#)([^)#]+)")


def documents(root):
    return [
        root / "README.md",
        root / "CHANGELOG.md",
        root / "CONTRIBUTING.md",
        *(root / "docs").rglob("*.md"),
    ]


def text_of(root):
    return "\n".join(document.read_text(encoding="utf-8") for document in documents(root))


def commands(command, context=None, prefix="loom"):
    context = context or click.Context(command)
    if not isinstance(command, click.Group):
        yield prefix, command
        return
    for name in command.list_commands(context):
        yield from commands(command.get_command(context, name), context, f"{prefix} {name}")


def test_every_command_and_every_option_is_in_the_reference(root):
    main = importlib.import_module("loom_local.cli.main")
    reference = (root / "docs" / "reference.md").read_text(encoding="utf-8")

    missing = [
        name
        for prefix, command in commands(main.main)
        for name in [prefix, *(option for parameter in command.params for option in options(parameter))]
        if f"`{name}`" not in reference and f"`{name} " not in reference
    ]

    assert missing == []


def options(parameter):
    return (
        [max(parameter.opts, key=len)] if isinstance(parameter, click.Option) and not parameter.hidden else []
    )


def test_every_setting_is_in_the_reference(root):
    reference = (root / "docs" / "reference.md").read_text(encoding="utf-8")
    sources = [file for room in ("loom_core", "loom_local") for file in (root / room).rglob("*.py")]
    named = {
        name
        for file in sources
        for name in re.findall(r"\bLOOM_[A-Z][A-Z_]*[A-Z]\b", file.read_text(encoding="utf-8"))
    }

    assert {name for name in named if f"`{name}`" not in reference} == set()


def test_every_link_leads_somewhere(root):
    broken = [
        (str(document.relative_to(root)), target)
        for document in documents(root)
        for target in LINK.findall(document.read_text(encoding="utf-8"))
        if not (document.parent / target).exists()
    ]

    assert broken == []


def test_every_page_is_in_the_index(root):
    index = (root / "docs" / "README.md").read_text(encoding="utf-8")
    pages = {page.relative_to(root / "docs").as_posix() for page in (root / "docs").rglob("*.md")} - {
        "README.md"
    }

    assert {page for page in pages if f"({page})" not in index} == set()


def test_every_make_target_that_is_named_exists(root):
    makefile = (root / "Makefile").read_text(encoding="utf-8")
    named = set(re.findall(r"`make ([a-z]+)", text_of(root))) | set(
        re.findall(r"^make ([a-z]+)", text_of(root), re.MULTILINE)
    )

    assert {name for name in named if not re.search(rf"^{name}:", makefile, re.MULTILINE)} == set()
    assert {"demo", "test"} <= named


def test_decisions_are_numbered_without_gaps_and_say_what_holds_them(root):
    decisions = sorted(file for file in (root / "docs" / "decisions").glob("[0-9]*.md"))

    assert [file.name[:4] for file in decisions] == [
        f"{number:04}" for number in range(1, len(decisions) + 1)
    ]
    for file in decisions:
        assert "\n## Validation\n" in file.read_text(encoding="utf-8"), file.name


def test_what_a_decision_names_as_its_guard_exists(root):
    for file in (root / "docs" / "decisions").glob("[0-9]*.md"):
        validation = file.read_text(encoding="utf-8").partition("\n## Validation\n")[2]
        guards = re.findall(r"`(tests/[^`]+|loom_[^`]+/[^`]+)`", validation)

        assert guards, file.name
        assert [guard for guard in guards if not (root / guard).exists()] == [], file.name


def test_the_changelog_knows_the_version(root):
    version = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]

    assert f"## [{version}]" in (root / "CHANGELOG.md").read_text(encoding="utf-8")
