"""The README runs: its files are written into a copy of the app, its commands are run there, in order."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys

BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
APP = ("function_app.py", "host.json", "Makefile", "activities", "pipelines", "wasm")
LOOM = f"{shlex.quote(sys.executable)} -m loom_local.cli.main"


def test_the_readme_runs(root, tmp_path):
    for name in APP:
        copy = shutil.copytree if (root / name).is_dir() else shutil.copy
        copy(root / name, tmp_path / name)
    (tmp_path / ".venv").symlink_to(sys.prefix)

    printed = ""
    for language, name, content in BLOCK.findall((root / "README.md").read_text(encoding="utf-8")):
        if language == "sh":
            for command in content.splitlines():
                printed = run(command, root, tmp_path)
                if command == "make demo":
                    assert printed.startswith("# Licence audit\n")
                    assert json.loads((tmp_path / "build/licence-audit.json").read_text(encoding="utf-8"))[
                        "packages"
                    ]
        elif name == "output":
            assert json.loads(printed) == json.loads(content)
        else:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(content, encoding="utf-8")


def run(command, root, directory):
    """Run a line of the README with this interpreter; of make's targets, what they do after the set-up."""
    if command == "make test":
        return ""
    if command.startswith("make "):
        command = shell(
            f"make -n -o .venv/.loom -o .venv/.dev {command.removeprefix('make ')}", root, directory
        )
    command = command.replace(".venv/bin/loom", "loom").replace(
        ".venv/bin/python", shlex.quote(sys.executable)
    )
    own = "" if "--scratch" in command else " --app ."
    return shell(re.sub(r"(?m)^loom run(.*)", rf"{LOOM} run\1{own}", command), root, directory)


def shell(command, root, directory):
    # Under `make test` a make of our own would take itself for that one's child, and talk of folders.
    ours = ("LOOM_", "MAKE", "MFLAGS")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    done = subprocess.run(
        ["/bin/sh", "-ec", command],
        cwd=directory,
        env=environment | {"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout
