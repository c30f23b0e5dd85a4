"""Turns expressions into functions of an environment: the names in scope, and `@` for parameters."""

import math
import operator
import re

from tests.emulators.cosmos.errors import bad_request
from tests.emulators.cosmos.sql import nodes
from tests.emulators.cosmos.sql.functions import FUNCTIONS
from tests.emulators.cosmos.sql.values import UNDEFINED, equal, is_number, rank

PARAMETERS, AGGREGATED = "@", "#"


def compiled(node):
    """`node` as a function of an environment."""
    return COMPILERS[type(node)](node)


def _literal(node):
    return lambda _: node.value


def _parameter(node):
    def value(environment):
        if node.name not in environment[PARAMETERS]:
            raise bad_request(f"The parameter {node.name} is not given.")
        return environment[PARAMETERS][node.name]

    return value


def _name(node):
    def value(environment):
        if node.name not in environment:
            raise bad_request(f"Identifier '{node.name}' could not be resolved.")
        return environment[node.name]

    return value


def _member(node):
    of, key = compiled(node.of), compiled(node.key)

    def value(environment):
        holder, at = of(environment), key(environment)
        if isinstance(holder, dict) and isinstance(at, str):
            return holder.get(at, UNDEFINED)
        if isinstance(holder, list) and is_number(at) and 0 <= at < len(holder) and at == int(at):
            return holder[int(at)]
        return UNDEFINED

    return value


def _call(node):
    if node.function in nodes.AGGREGATES:
        return lambda environment: _aggregated(environment, node)
    function, arguments = FUNCTIONS[node.function], [compiled(argument) for argument in node.arguments]
    return lambda environment: function(*[argument(environment) for argument in arguments])


def _aggregated(environment, call):
    if AGGREGATED not in environment:
        raise bad_request(f"The aggregate {call.function} can only be selected.")
    return environment[AGGREGATED][id(call)]


def _unary(node):
    operand = compiled(node.operand)

    def negated(environment):
        value = operand(environment)
        return not value if isinstance(value, bool) else UNDEFINED

    def signed(environment):
        value = operand(environment)
        if not is_number(value):
            return UNDEFINED
        return -value if node.operator == "-" else value

    return negated if node.operator == "NOT" else signed


def _ordered(compare):
    def compared(left, right):
        if rank(left) != rank(right) or rank(left) in (0, 5, 6):
            return UNDEFINED
        return compare(0, 0) if left is None else compare(left, right)

    return compared


def _calculated(calculate):
    def result(left, right):
        if not is_number(left) or not is_number(right):
            return UNDEFINED
        try:
            found = calculate(left, right)
            return found if math.isfinite(found) else UNDEFINED
        except (ZeroDivisionError, OverflowError, ValueError):
            return UNDEFINED

    return result


def _unequal(left, right):
    same = equal(left, right)
    return same if same is UNDEFINED else not same


def _joined(left, right):
    return left + right if isinstance(left, str) and isinstance(right, str) else UNDEFINED


def _and(left, right):
    if left is False or right is False:
        return False
    return True if left is True and right is True else UNDEFINED


def _or(left, right):
    if left is True or right is True:
        return True
    return False if left is False and right is False else UNDEFINED


BINARY = {
    "AND": _and,
    "OR": _or,
    "=": equal,
    "!=": _unequal,
    "<": _ordered(operator.lt),
    "<=": _ordered(operator.le),
    ">": _ordered(operator.gt),
    ">=": _ordered(operator.ge),
    "+": _calculated(operator.add),
    "-": _calculated(operator.sub),
    "*": _calculated(operator.mul),
    "/": _calculated(operator.truediv),
    "%": _calculated(math.fmod),
    "||": _joined,
    "??": lambda left, right: right if left is UNDEFINED else left,
}


def _binary(node):
    combine, left, right = BINARY[node.operator], compiled(node.left), compiled(node.right)
    return lambda environment: combine(left(environment), right(environment))


def _in(node):
    value, options = compiled(node.value), [compiled(option) for option in node.options]

    def found(environment):
        searched = value(environment)
        if searched is UNDEFINED:
            return UNDEFINED
        return any(equal(searched, option(environment)) is True for option in options)

    return found


def _between(node):
    low = nodes.Binary(">=", node.value, node.low)
    return compiled(nodes.Binary("AND", low, nodes.Binary("<=", node.value, node.high)))


def _like(node):
    value, pattern = compiled(node.value), compiled(node.pattern)

    def matches(environment):
        text, like = value(environment), pattern(environment)
        if not isinstance(text, str) or not isinstance(like, str):
            return UNDEFINED
        return re.fullmatch(_expression(like, node.escape), text, re.DOTALL) is not None

    return matches


def _expression(like, escape):
    found, letters = [], iter(like)
    for letter in letters:
        if letter == escape:
            found.append(re.escape(next(letters, "")))
        else:
            found.append({"%": ".*", "_": "."}.get(letter, re.escape(letter)))
    return "".join(found)


def _conditional(node):
    condition, then, otherwise = map(compiled, (node.condition, node.then, node.otherwise))
    return lambda environment: (then if condition(environment) is True else otherwise)(environment)


def _array(node):
    items = [compiled(item) for item in node.items]

    def value(environment):
        found = (item(environment) for item in items)
        return [item for item in found if item is not UNDEFINED]

    return value


def _object(node):
    pairs = [(name, compiled(expression)) for name, expression in node.pairs]

    def value(environment):
        found = ((name, expression(environment)) for name, expression in pairs)
        return {name: item for name, item in found if item is not UNDEFINED}

    return value


def _subquery(node):
    from tests.emulators.cosmos.sql.execution import subquery

    rows = subquery(node.query)
    match node.kind:
        case "EXISTS":
            return lambda environment: bool(rows(environment))
        case "ARRAY":
            return rows
    return lambda environment: next(iter(rows(environment)), UNDEFINED)


COMPILERS = {
    nodes.Literal: _literal,
    nodes.Parameter: _parameter,
    nodes.Name: _name,
    nodes.Member: _member,
    nodes.Call: _call,
    nodes.Unary: _unary,
    nodes.Binary: _binary,
    nodes.In: _in,
    nodes.Between: _between,
    nodes.Like: _like,
    nodes.Conditional: _conditional,
    nodes.ArrayOf: _array,
    nodes.ObjectOf: _object,
    nodes.Subquery: _subquery,
}
