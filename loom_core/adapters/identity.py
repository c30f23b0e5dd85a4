"""The app's identity in Azure: one credential a process, and no key anywhere."""

from functools import partial
from typing import TYPE_CHECKING

from loom_core.adapters.lifetime import close_with_loop

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from azure.identity.aio import DefaultAzureCredential

_made: "list[tuple[DefaultAzureCredential, AsyncGenerator[None]]]" = []


def credential() -> "DefaultAzureCredential":
    """The one credential of this process: the managed identity in Azure, who is signed in on a laptop.

    `AZURE_CLIENT_ID` names a user-assigned identity.
    """
    if not _made:
        from azure.identity.aio import DefaultAzureCredential  # noqa: PLC0415 - cold start

        made = DefaultAzureCredential()
        _made.append((made, close_with_loop(partial(_close, made))))
    return _made[0][0]


async def close_credential() -> None:
    """Close it, after all that use it; whoever asks later gets a new one."""
    if _made:
        await _close(_made[0][0])


async def _close(made: "DefaultAzureCredential") -> None:
    """Close this one, once: by the time its loop ends, there may be another."""
    if _made and _made[0][0] is made:
        _made.clear()
        await made.close()
