"""Which versions of the SDK Loom replays on, and how they are set up, before anything of them is used."""

import os
from importlib.metadata import version

from azure.functions import _durable_functions as codec  # pyright: ignore[reportPrivateUsage]

SUPPORTED = {"durabletask": "1.12.0", "azure-functions-durable": "2.0.0rc3"}

# In its loose mode the SDK's codec builds objects of any loaded class that a payload names. It looks for
# the mode several times a call, which costs as much as the coding.
os.environ["AZURE_FUNCTIONS_DURABLE_STRICT_TYPING"] = "1"
if codec._is_strict_mode():  # pyright: ignore[reportPrivateUsage]  # noqa: SLF001
    codec._is_strict_mode = lambda: True  # pyright: ignore[reportPrivateUsage]  # noqa: SLF001


def check(installed: dict[str, str] | None = None) -> None:
    """Raise RuntimeError, saying what is supported, unless exactly these versions are installed."""
    found = installed or {name: version(name) for name in SUPPORTED}
    wrong = [f"{name}=={found.get(name)}" for name in SUPPORTED if found.get(name) != SUPPORTED[name]]
    if wrong:
        wanted = " and ".join(f"{name}=={number}" for name, number in SUPPORTED.items())
        raise RuntimeError(f"Loom replays only on {wanted}; installed: {', '.join(wrong)}")
