"""Build the WASM activities from source: `python -m wasm.build [NAME...]`.

An activity is a folder with C sources and a manifest.json. A build writes the module the manifest names and
the module's sha256 into the manifest. It is reproducible: the same sources and the same `ziglang` give the
same bytes, in whatever folder.
"""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent

FLAGS = (
    *("-target", "wasm32-freestanding", "-std=c23", "-ffreestanding", "-nostdlib", "-Os", "-s"),
    *("-Wall", "-Wextra", "-Werror", "-Wconversion", "-Wno-sign-conversion"),
    *("-Wl,--no-entry", "-Wl,-z,stack-size=65536"),
)


def compile_module(folder: Path, module: Path) -> str:
    """Compile the C sources of `folder` into the file `module` and return its sha256.

    Raises subprocess.CalledProcessError when the compiler refuses; it has then said why on standard error.
    """
    sources = sorted(source.name for source in folder.glob("*.c"))
    command = [sys.executable, "-m", "ziglang", "cc", *FLAGS, *sources, "-o", str(module.resolve())]
    subprocess.run(command, cwd=folder, check=True)
    module.chmod(0o644)
    return hashlib.sha256(module.read_bytes()).hexdigest()


def build(folder: Path) -> str:
    """Build the activity in `folder`, pin its digest in the manifest, and return the digest."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text("utf-8"))
    manifest["sha256"] = compile_module(folder, folder / manifest["module"])
    path.write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", "utf-8")
    return manifest["sha256"]


def main(names: list[str]) -> None:
    folders = [ROOT / name for name in names] or sorted(path.parent for path in ROOT.glob("*/manifest.json"))
    for folder in folders:
        print(build(folder), folder.name)


if __name__ == "__main__":
    main(sys.argv[1:])
