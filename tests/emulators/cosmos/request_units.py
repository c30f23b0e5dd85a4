"""What requests cost, estimated by Microsoft's published rules of thumb (see the README)."""

KB = 1024
# A read of 1 KB is 1 RU and of 100 KB 10; a write 5 and 50: straight lines between and beyond.
READ_BASE, READ_PER_KB = 1.0, 9 / 99
WRITE_BASE, WRITE_PER_KB = 5.0, 45 / 99
PER_TERM = 0.2
QUERY_BASE, QUERY_PER_RESULT, QUERY_PER_KB = 2.3, 0.02, 0.03
METADATA_READ, METADATA_WRITE = 2.0, 5.0
# What was looked for and found to be missing, or not as it should be.
REFUSED = 1.0


def point_read(size):
    """Of a document of `size` bytes."""
    return READ_BASE + READ_PER_KB * max(0.0, size / KB - 1)


def write(size, terms):
    """Of a new document with so many values in the index; a deletion costs the same."""
    return WRITE_BASE + WRITE_PER_KB * max(0.0, size / KB - 1) + PER_TERM * terms


def rewrite(old_size, old_terms, size, terms):
    """Of a document over another one: the old one is taken out, of the index too."""
    return write(old_size, old_terms) + write(size, terms)


def query(results, loaded):
    """Of one page: how many results, and the bytes of the documents that had to be looked at."""
    return QUERY_BASE + QUERY_PER_RESULT * results + QUERY_PER_KB * loaded / KB
