"""The app's identity in Azure: one credential a process, and no key anywhere."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from azure.identity.aio import DefaultAzureCredential

_made: "list[DefaultAzureCredential]" = []


def credential() -> "DefaultAzureCredential":
    """The one credential of this process: the managed identity in Azure, who is signed in on a laptop.

    `AZURE_CLIENT_ID` names a user-assigned identity.
    """
    if not _made:
        from azure.identity.aio import DefaultAzureCredential  # noqa: PLC0415 - cold start

        _made.append(DefaultAzureCredential())
    return _made[0]


async def close_credential() -> None:
    """Close it, after all that use it; whoever asks later gets a new one."""
    while _made:
        await _made.pop().close()
