"""Values as queries know them: JSON, and `undefined` for what is not there."""

import json


class Undefined:
    def __repr__(self):
        return "undefined"


UNDEFINED = Undefined()
RANKS = {Undefined: 0, type(None): 1, bool: 2, int: 3, float: 3, str: 4, list: 5, dict: 6}


def rank(value):
    """The order of the types: undefined, null, booleans, numbers, strings, arrays, objects."""
    return RANKS[type(value)]


def order(value):
    """A key that sorts values of any type."""
    if isinstance(value, bool | int | float | str):
        return (rank(value), value)
    return (rank(value), "" if value is None or value is UNDEFINED else canonical(value))


def canonical(value):
    """The same text for equal values."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def compact(value):
    """Raises ValueError for numbers that are none."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def is_number(value):
    return isinstance(value, int | float) and not isinstance(value, bool)


def equal(left, right):
    if left is UNDEFINED or right is UNDEFINED:
        return UNDEFINED
    return rank(left) == rank(right) and left == right
