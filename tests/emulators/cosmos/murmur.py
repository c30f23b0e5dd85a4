"""MurmurHash3, x64, 128 bits, seed 0: the hash that places partition keys. Public domain (Austin Appleby)."""

MASK = 0xFFFFFFFFFFFFFFFF
C1, C2 = 0x87C37B91114253D5, 0x4CF5AD432745937F


def murmur3_128(data):
    """16 bytes, the most significant first."""
    h1 = h2 = 0
    blocks = len(data) // 16 * 16
    for at in range(0, blocks, 16):
        h1 ^= _first(int.from_bytes(data[at : at + 8], "little"))
        h1 = ((_turned(h1, 27) + h2) * 5 + 0x52DCE729) & MASK
        h2 ^= _second(int.from_bytes(data[at + 8 : at + 16], "little"))
        h2 = ((_turned(h2, 31) + h1) * 5 + 0x38495AB5) & MASK
    rest = data[blocks:]
    h2 ^= _second(int.from_bytes(rest[8:], "little"))
    h1 ^= _first(int.from_bytes(rest[:8], "little"))
    h1 ^= len(data)
    h2 ^= len(data)
    h1 = (h1 + h2) & MASK
    h2 = (h2 + h1) & MASK
    h1, h2 = _mixed(h1), _mixed(h2)
    h1 = (h1 + h2) & MASK
    h2 = (h2 + h1) & MASK
    return (h2 << 64 | h1).to_bytes(16, "big")


def _first(word):
    return _turned(word * C1 & MASK, 31) * C2 & MASK


def _second(word):
    return _turned(word * C2 & MASK, 33) * C1 & MASK


def _turned(word, bits):
    return (word << bits | word >> (64 - bits)) & MASK


def _mixed(word):
    word = (word ^ word >> 33) * 0xFF51AFD7ED558CCD & MASK
    word = (word ^ word >> 33) * 0xC4CEB9FE1A85EC53 & MASK
    return word ^ word >> 33
