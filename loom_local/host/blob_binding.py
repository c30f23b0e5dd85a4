"""What a blob trigger is given: which names its path is for, and the file as the SDK's InputStream."""

import json
import mimetypes
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from loom_core.errors import InvalidError
from loom_local.host.containers import Version

MAX_READ = 100 * 1024 * 1024
_CONTAINER = re.compile(r"[a-z0-9](?:-?[a-z0-9]){2,62}")
_TOKEN = re.compile(r"\{\{|\}\}|\{[A-Za-z_][\w.:-]*\}|[{}]|[^{}]+")


def split_path(path: str) -> tuple[str, re.Pattern[str]]:
    """Give the container of a trigger's path and the pattern of its blobs' names.

    `{name}` stands for anything, also for `/`; `{{` and `}}` are braces. Raises InvalidError.
    """
    container, _, blob = path.partition("/")
    if not _CONTAINER.fullmatch(container):
        raise InvalidError(f"{container!r} is no container: 3 to 63 of a-z, 0-9 and single hyphens")
    tokens = _TOKEN.findall(blob or "{name}")
    if not {"{", "}"}.isdisjoint(tokens):
        raise InvalidError(f"{path!r} has a brace that is not part of a {{name}}")
    return container, re.compile("".join(map(_regex, tokens)), re.DOTALL)


def _regex(token: str) -> str:
    if token in {"{{", "}}"}:
        return re.escape(token[0])
    return ".*" if token.startswith("{") else re.escape(token)


class Content:
    """The bytes of a file, read when they are asked for; at most MAX_READ at once."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._size = size

    def read(self, size: int | None = -1) -> bytes:
        """Raises ValueError if more would be read than fits."""
        left = self._size - self._file.tell()
        wanted = left if size is None or size < 0 else min(size, left)
        if wanted > MAX_READ:
            raise ValueError(
                f"the blob has {left} more bytes; read at most {MAX_READ} at a time: blob.read(size)"
            )
        return self._file.read(wanted)


def stream(container: str, name: str, path: Path, version: Version, content: Content) -> Any:
    """Make the InputStream that the worker would make of this blob."""
    from azure.functions.blob import BlobConverter  # noqa: PLC0415  the app has it
    from azure.functions.meta import Datum  # noqa: PLC0415  the app has it

    properties = {
        "ContentLength": version.size,
        "ContentType": mimetypes.guess_type(name)[0] or "application/octet-stream",
        "ETag": version.etag,
        "LastModified": datetime.fromtimestamp(version.modified / 1e9, UTC).isoformat(),
    }
    metadata: Mapping[str, Any] = {
        "BlobTrigger": Datum(f"{container}/{name}", "string"),
        "Uri": Datum(path.as_uri(), "string"),
        "Properties": Datum(json.dumps(properties), "json"),
        "Metadata": Datum("{}", "json"),
    }
    given = BlobConverter.decode(Datum(b"", "bytes"), trigger_metadata=metadata)
    given._io = content  # noqa: SLF001  it would take the whole blob, however large
    return given
