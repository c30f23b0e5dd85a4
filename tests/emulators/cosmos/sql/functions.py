"""The built-in functions. What gets a value of a type it does not know is undefined."""

import math
import re

from tests.emulators.cosmos.sql.values import UNDEFINED, compact, equal, is_number

NUMBER = re.compile(r"\s*-?[0-9]{1,300}(\.[0-9]*)?([eE][+-]?[0-9]{1,2})?\s*")


def _of(*types):
    """A function that is undefined unless its arguments are of these types (the last holds for the rest)."""

    def fits(arguments):
        kinds = [*types, *[types[-1]] * len(arguments)]
        return all(
            is_number(value) if kind is float else isinstance(value, kind)
            for value, kind in zip(arguments, kinds, strict=False)
        )

    def decorated(function):
        def checked(*arguments):
            return function(*arguments) if fits(arguments) else UNDEFINED

        checked.__wrapped__ = function
        return checked

    return decorated


def _search(found):
    @_of(str, str, bool)
    def function(text, searched, ignore_case=False):
        return found(text.lower(), searched.lower()) if ignore_case else found(text, searched)

    return function


def _number(calculate):
    @_of(float)
    def function(value):
        return calculate(value)

    return function


def _text(change):
    @_of(str)
    def function(value):
        return change(value)

    return function


@_of(str)
def _concat(first, second, *others):
    return "".join((first, second, *others))


@_of(str, float, float)
def _substring(text, start, length):
    return text[int(start) : int(start) + max(0, int(length))] if start >= 0 else ""


@_of(str, str, float)
def _index_of(text, searched, start=0):
    return text.find(searched, int(start))


@_of(str, float)
def _left(text, count):
    return text[: max(0, int(count))]


@_of(str, float)
def _right(text, count):
    return text[-int(count) :] if count >= 1 else ""


@_of(str, float)
def _replicate(text, count):
    return text * int(count) if 0 <= len(text) * count <= 10_000 else UNDEFINED


@_of(str)
def _replace(text, searched, replacement):
    return text.replace(searched, replacement)


@_of(str)
def _regex_match(text, pattern, modifiers=""):
    flags = {"i": re.IGNORECASE, "m": re.MULTILINE, "s": re.DOTALL, "x": re.VERBOSE}
    try:
        return bool(re.search(pattern, text, sum(flags[letter] for letter in set(modifiers))))
    except (re.error, KeyError):
        return UNDEFINED


def _to_string(value):
    if value is UNDEFINED:
        return UNDEFINED
    return value if isinstance(value, str) else compact(value)


@_of(str)
def _string_to_number(text):
    return float(text) if NUMBER.fullmatch(text) else UNDEFINED


def _array_contains(array, searched, partial=False):
    if not isinstance(array, list):
        return UNDEFINED
    return any(equal(item, searched) is True or (partial and _covers(item, searched)) for item in array)


def _covers(item, part):
    if not isinstance(item, dict) or not isinstance(part, dict):
        return False
    return all(equal(item.get(key, UNDEFINED), value) is True for key, value in part.items())


@_of(list)
def _array_length(array):
    return len(array)


@_of(list, float, float)
def _array_slice(array, start, length=None):
    rest = array[int(start) :]
    return rest if length is None else rest[: max(0, int(length))]


@_of(list)
def _array_concat(first, second, *others):
    return [item for array in (first, second, *others) for item in array]


@_of(float)
def _power(base, exponent):
    try:
        return math.pow(base, exponent)
    except (OverflowError, ValueError):
        return UNDEFINED


def _iif(condition, then, otherwise):
    return then if condition is True else otherwise


def _whole(value):
    return is_number(value) and float(value).is_integer()


FUNCTIONS = {
    "IS_DEFINED": lambda value: value is not UNDEFINED,
    "IS_NULL": lambda value: value is None,
    "IS_STRING": lambda value: isinstance(value, str),
    "IS_NUMBER": is_number,
    "IS_INTEGER": _whole,
    "IS_BOOL": lambda value: isinstance(value, bool),
    "IS_ARRAY": lambda value: isinstance(value, list),
    "IS_OBJECT": lambda value: isinstance(value, dict),
    "IS_PRIMITIVE": lambda value: value is None or isinstance(value, bool | int | float | str),
    "STARTSWITH": _search(str.startswith),
    "ENDSWITH": _search(str.endswith),
    "CONTAINS": _search(str.__contains__),
    "STRINGEQUALS": _search(str.__eq__),
    "REGEXMATCH": _regex_match,
    "LOWER": _text(str.lower),
    "UPPER": _text(str.upper),
    "TRIM": _text(str.strip),
    "LTRIM": _text(str.lstrip),
    "RTRIM": _text(str.rstrip),
    "REVERSE": _text(lambda text: text[::-1]),
    "LENGTH": _text(len),
    "CONCAT": _concat,
    "SUBSTRING": _substring,
    "INDEX_OF": _index_of,
    "LEFT": _left,
    "RIGHT": _right,
    "REPLICATE": _replicate,
    "REPLACE": _replace,
    "TOSTRING": _to_string,
    "STRINGTONUMBER": _string_to_number,
    "ARRAY_LENGTH": _array_length,
    "ARRAY_CONTAINS": _array_contains,
    "ARRAY_SLICE": _array_slice,
    "ARRAY_CONCAT": _array_concat,
    "ABS": _number(abs),
    "FLOOR": _number(math.floor),
    "CEILING": _number(math.ceil),
    "TRUNC": _number(math.trunc),
    "ROUND": _number(lambda value: math.floor(abs(value) + 0.5) * (1 if value >= 0 else -1)),
    "SIGN": _number(lambda value: (value > 0) - (value < 0)),
    "SQRT": _number(lambda value: math.sqrt(value) if value >= 0 else UNDEFINED),
    "POWER": _power,
    "IIF": _iif,
}
