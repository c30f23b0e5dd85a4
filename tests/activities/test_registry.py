import sys

import pytest

from loom_core.activities import Activities, activity
from loom_core.activities.native import Native
from loom_core.adapters.memory import MemoryBlobStore
from loom_core.catalogue.folders import load_folder
from loom_core.errors import InvalidError
from tests.sandbox import guests

FILE = """
from loom_core.activities import activity

@activity("{name}")
def work(value):
    return "{name}"
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of activities whose modules are forgotten afterwards."""
    folder = tmp_path / "found"
    folder.mkdir()
    yield folder
    for name in [name for name in sys.modules if name.startswith("found.")]:
        del sys.modules[name]


def test_a_folder_gives_the_activities_its_files_define(folder):
    (folder / "one.py").write_text(FILE.format(name="one"))
    (folder / "two.py").write_text(FILE.format(name="two") + "alias = work\n")
    (folder / "_shared.py").write_text("raise RuntimeError('never imported')")
    (folder / "reader.py").write_text("import sys\nwork = sys.modules['found.one'].work\n")

    functions = load_folder(folder)

    assert sorted(Native(function).name for function in functions) == ["one", "two"]
    assert load_folder(folder) == functions


def test_every_file_that_fails_to_import_is_named_with_the_reason(folder):
    (folder / "good.py").write_text(FILE.format(name="good"))
    (folder / "syntax.py").write_text("def f(:\n")
    (folder / "missing.py").write_text("import not_a_package_anywhere\n")
    (folder / "named.py").write_text(FILE.format(name="not a name"))

    with pytest.raises(InvalidError) as raised:
        load_folder(folder)

    told = {problem.path.rsplit("/", 1)[-1]: problem.message for problem in raised.value.problems}
    assert set(told) == {"syntax.py", "missing.py", "named.py"}
    assert told["missing.py"] == "ModuleNotFoundError: No module named 'not_a_package_anywhere'"
    assert "SyntaxError" in told["syntax.py"]
    assert "not a name" in told["named.py"]
    assert "found.missing" not in sys.modules


def test_two_files_with_the_same_name_are_both_named(folder):
    (folder / "a.py").write_text(FILE.format(name="same"))
    (folder / "b.py").write_text(FILE.format(name="same"))

    with pytest.raises(InvalidError, match=r"b\.py:4: .*a\.py:4 also defines the activity same"):
        Activities(load_folder(folder), blobs=MemoryBlobStore())


def test_a_function_and_a_module_with_the_same_name_are_both_named(folder):
    (folder / "a.py").write_text(FILE.format(name="same"))
    module = guests.define(guests.build(guests.ECHO), name="same", source="wasm/same/same.wasm")

    with pytest.raises(InvalidError, match=r"same\.wasm: .*a\.py:4 also"):
        Activities(load_folder(folder), [module], blobs=MemoryBlobStore())


@pytest.mark.parametrize("name", ["", "1st", "a b", "a/b", "ä", "x" * 65, "a\n", "-a"])
def test_a_name_is_a_letter_and_plain_characters(name):
    with pytest.raises(InvalidError):
        activity(name)


def test_functions_that_json_cannot_call_are_refused():
    @activity("stars")
    def stars(*args):
        pass

    @activity("generator")
    def generator(value):
        yield value

    def unnamed(value):
        pass

    for thing in (int, object(), len):
        with pytest.raises(InvalidError, match="is not a function"):
            activity("thing")(thing)
    for function in (stars, generator, unnamed):
        with pytest.raises(InvalidError, match=r"test_registry\.py"):
            Activities([function], blobs=MemoryBlobStore())


def test_the_decorated_function_stays_a_plain_function():
    @activity("double")
    def double(n: int) -> int:
        """Twice n."""
        return 2 * n

    assert double(2) == 4
    assert double.__doc__ == "Twice n."
