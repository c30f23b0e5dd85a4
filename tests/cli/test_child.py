import os
import subprocess
import sys
from pathlib import Path

import pytest

from loom_local.cli.api import UnreachableError
from loom_local.cli.child import child_host


def python(script):
    return (sys.executable, "-c", script)


def test_the_address_is_read_from_the_line_that_says_ready():
    script = "print('GET /api/health'); print('Loom is ready at http://127.0.0.1:5'); input()"

    with child_host([], command=python(f"try:\n {script}\nexcept EOFError: pass")) as address:
        assert address == "http://127.0.0.1:5"


def test_the_host_ends_when_the_block_ends(tmp_path):
    script = f"""
import os, pathlib, sys
pathlib.Path({str(tmp_path / "pid")!r}).write_text(str(os.getpid()))
print("Loom is ready at http://127.0.0.1:5")
sys.stdin.read()
"""
    with child_host([], command=python(script)):
        pid = int((tmp_path / "pid").read_text())

    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_host_that_dies_says_what_it_wrote_last():
    with (
        pytest.raises(UnreachableError, match=r"(?s)ended before it was ready.*no function_app.py"),
        child_host([], command=python("import sys; sys.exit('no function_app.py here')")),
    ):
        pass


def test_a_host_that_is_never_ready_is_given_up():
    script = "import sys; print('indexing'); sys.stdin.read()"

    with (
        pytest.raises(UnreachableError, match=r"(?s)not ready within 1 seconds.*indexing"),
        child_host([], command=python(script), timeout=1),
    ):
        pass


def test_a_host_that_writes_much_does_not_stand_still():
    script = """
import sys
for _ in range(3000): print("x" * 1000)
print("Loom is ready at http://127.0.0.1:5")
for _ in range(3000): print("x" * 1000)
sys.stdin.read()
"""
    with child_host([], command=python(script)) as address:
        assert address


def test_the_host_ends_when_its_parent_is_killed(tmp_path):
    host = """
import sys
print("Loom is ready at http://127.0.0.1:5", flush=True)
sys.stdin.read()
open(sys.argv[1], "w").write("gone")
"""
    parent = f"""
import sys
from loom_local.cli.child import child_host
with child_host([{str(tmp_path / "fifo")!r}], command=(sys.executable, "-c", {host!r})) as address:
    print(address, flush=True)
    sys.stdin.read()
"""
    os.mkfifo(tmp_path / "fifo")
    root = str(Path(__file__).parents[2])

    with subprocess.Popen(
        python(parent), stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": root}
    ) as process:
        assert process.stdout.readline()
        process.kill()

        assert (tmp_path / "fifo").read_text() == "gone"
