"""Partition keys: their definition, their values in a document, and the place of a value on the hash ring."""

import json
import struct
from dataclasses import dataclass
from functools import lru_cache

from tests.emulators.cosmos.errors import bad_request
from tests.emulators.cosmos.murmur import murmur3_128

# On the wire this stands for "the document has no value at this path".
UNDEFINED = {}
EVERYTHING = ("", "FF")


@dataclass(frozen=True, slots=True)
class PartitionKeyDefinition:
    paths: tuple[tuple[str, ...], ...]

    @classmethod
    def parse(cls, definition):
        """Of a container's `partitionKey`; refused as the service refuses it."""
        if not isinstance(definition, dict) or not definition.get("paths"):
            raise bad_request("The partition key definition must have at least one path.")
        paths, kind = definition["paths"], definition.get("kind", "Hash")
        if kind not in ("Hash", "MultiHash") or definition.get("version", 2) != 2:
            raise bad_request(f"Partition keys of kind {kind} and other versions than 2 are not supported.")
        if len(paths) > (1 if kind == "Hash" else 3):
            raise bad_request(f"Too many partition key paths for kind {kind}: {len(paths)}")
        if not all(isinstance(path, str) and path.startswith("/") and len(path) > 1 for path in paths):
            raise bad_request(f"The partition key paths are invalid: {paths}")
        return cls(tuple(tuple(part.strip('"') for part in path[1:].split("/")) for path in paths))

    def of(self, document):
        """The values in a document, as the header would say them."""
        return [_value_at(document, path) for path in self.paths]

    def header(self, text):
        """The values in `x-ms-documentdb-partitionkey`: all of them, or for a hierarchical key a prefix."""
        try:
            values = json.loads(text)
        except ValueError:
            raise bad_request(f"Partition key {text} is invalid.") from None
        if not isinstance(values, list) or len(values) > len(self.paths):
            raise bad_request(f"Partition key {text} is invalid.", 1001)
        if any(isinstance(value, list) or (isinstance(value, dict) and value) for value in values):
            raise bad_request(f"Partition key {text} is invalid.", 1001)
        return values or [UNDEFINED] * len(self.paths)


def _value_at(document, path):
    value = document
    for part in path:
        value = value.get(part, UNDEFINED) if isinstance(value, dict) else UNDEFINED
    if isinstance(value, list) or (isinstance(value, dict) and value):
        raise bad_request(f"The partition key at /{'/'.join(path)} must be a scalar.", 1001)
    return value


def stored(values):
    """A key's values as the database has them, the same for equal keys."""
    try:
        return json.dumps([float(v) if type(v) is int else v for v in values], separators=(",", ":"))
    except OverflowError:
        raise bad_request("The partition key is too large a number.") from None


@lru_cache(10_000)
def effective(text):
    """The place of a stored key on the hash ring, in hex: 32 digits for each of its values."""
    return "".join(_hashed(value) for value in json.loads(text))


def _hashed(value):
    digest = bytearray(murmur3_128(_hashable(value)))
    digest[0] &= 0x3F
    return digest.hex().upper()


def _hashable(value):
    match value:
        case None:
            return b"\x01"
        case False:
            return b"\x02"
        case True:
            return b"\x03"
        case int() | float():
            return b"\x05" + struct.pack("<d", value)
        case str():
            return b"\x08" + value.encode(errors="surrogatepass") + b"\xff"
        case _:
            return b"\x00"


def ranges(count):
    """The bounds of `count` physical partitions; the ring ends at 3F, as two bits are always zero."""
    cuts = [f"{0x40 * index // count:02X}" + "0" * 30 for index in range(1, count)]
    return list(zip(["", *cuts], [*cuts, "FF"], strict=True))
