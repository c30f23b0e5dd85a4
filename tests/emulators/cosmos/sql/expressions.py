"""Reads expressions, by precedence."""

import inspect
import math

from tests.emulators.cosmos.errors import bad_request
from tests.emulators.cosmos.sql import nodes
from tests.emulators.cosmos.sql.functions import FUNCTIONS
from tests.emulators.cosmos.sql.lexer import syntax_error, unquoted
from tests.emulators.cosmos.sql.values import UNDEFINED

LEVELS = (
    ("??",),
    ("OR",),
    ("AND",),
    ("=", "!=", "<>", "<", "<=", ">", ">=", "IN", "NOT", "BETWEEN", "LIKE"),
    ("||",),
    ("+", "-"),
    ("*", "/", "%"),
)
COMPARISON = 3
LONGEST_NUMBER = 300
CONSTANTS = {"TRUE": True, "FALSE": False, "NULL": None, "UNDEFINED": UNDEFINED}


class ExpressionParser:
    """A cursor over the words of a query; `subquery` reads a whole query at the cursor."""

    def __init__(self, found, subquery):
        self.tokens = found
        self.at = 0
        self.aggregates = []
        self._subquery = subquery

    @property
    def token(self):
        return self.tokens[self.at]

    def next_is(self, *words):
        token = self.token
        return token.kind in ("word", "sign") and token.text.upper() in words

    def take(self, *words):
        """The next word if it is one of these, in capitals; else None and nothing taken."""
        if not self.next_is(*words):
            return None
        self.at += 1
        return self.tokens[self.at - 1].text.upper()

    def need(self, *words):
        taken = self.take(*words)
        if taken is None:
            raise syntax_error(self.token.text)
        return taken

    def name(self):
        if self.token.kind != "word":
            raise syntax_error(self.token.text)
        self.at += 1
        return self.tokens[self.at - 1].text

    def many(self, read, end=None):
        """What `read` reads, between commas; with `end`, up to it and maybe nothing."""
        if end and self.take(end):
            return ()
        found = [read()]
        while self.take(","):
            found.append(read())
        if end:
            self.need(end)
        return tuple(found)

    def expression(self):
        condition = self._level(0)
        if not self.take("?"):
            return condition
        then = self.expression()
        self.need(":")
        return nodes.Conditional(condition, then, self.expression())

    def _level(self, level):
        if level == len(LEVELS):
            return self._unary()
        left = self._level(level + 1)
        while operator := self.take(*LEVELS[level]):
            left = self._operation(operator, left, level)
        return left

    def _operation(self, operator, left, level):
        match operator:
            case "NOT":
                return nodes.Unary("NOT", self._operation(self.need("IN", "BETWEEN", "LIKE"), left, level))
            case "IN":
                self.need("(")
                return nodes.In(left, self.many(self.expression, ")"))
            case "BETWEEN":
                low = self._level(level + 1)
                self.need("AND")
                return nodes.Between(left, low, self._level(level + 1))
            case "LIKE":
                return nodes.Like(left, self._level(level + 1), self._escape())
        return nodes.Binary("!=" if operator == "<>" else operator, left, self._level(level + 1))

    def _escape(self):
        if not self.take("ESCAPE"):
            return None
        if self.token.kind != "string":
            raise syntax_error(self.token.text)
        self.at += 1
        return unquoted(self.tokens[self.at - 1].text)

    def _unary(self):
        if self.take("NOT"):
            return nodes.Unary("NOT", self._level(COMPARISON))
        if sign := self.take("-", "+"):
            return nodes.Unary(sign, self._unary())
        value = self.primary()
        while sign := self.take(".", "["):
            if sign == ".":
                value = nodes.Member(value, nodes.Literal(self.name()))
            else:
                value = nodes.Member(value, self.expression())
                self.need("]")
        return value

    def primary(self):
        token = self.token
        self.at += 1
        if token.kind == "sign":
            return self._bracket(token)
        match token.kind:
            case "number":
                return nodes.Literal(_number(token.text))
            case "string":
                return nodes.Literal(unquoted(token.text))
            case "parameter":
                return nodes.Parameter(token.text)
            case "word":
                return self._word(token.text)
        raise syntax_error(token.text)

    def _bracket(self, token):
        match token.text:
            case "(":
                return self._parenthesis()
            case "[":
                return nodes.ArrayOf(self.many(self.expression, "]"))
            case "{":
                return nodes.ObjectOf(self.many(self._pair, "}"))
        raise syntax_error(token.text)

    def _parenthesis(self):
        alone = self.next_is("SELECT")
        inner = nodes.Subquery("VALUE", self._subquery(self)) if alone else self.expression()
        self.need(")")
        return inner

    def _pair(self):
        token = self.token
        self.at += 1
        if token.kind not in ("string", "word"):
            raise syntax_error(token.text)
        self.need(":")
        return (unquoted(token.text) if token.kind == "string" else token.text, self.expression())

    def _word(self, text):
        word = text.upper()
        if word in CONSTANTS:
            return nodes.Literal(CONSTANTS[word])
        if not self.take("("):
            return nodes.Name(text)
        if word in ("EXISTS", "ARRAY") and self.next_is("SELECT"):
            inner = nodes.Subquery(word, self._subquery(self))
            self.need(")")
            return inner
        return self._call(text, word, self.many(self.expression, ")"))

    def _call(self, text, word, arguments):
        call = nodes.Call(word, arguments)
        if word in nodes.AGGREGATES:
            if len(arguments) != 1:
                raise bad_request(f"The {word} function requires 1 argument(s).")
            self.aggregates.append(call)
            return call
        if word not in FUNCTIONS:
            raise bad_request(f"'{text}' is not a recognized built-in function name.")
        try:
            inspect.signature(FUNCTIONS[word]).bind(*arguments)
        except TypeError:
            raise bad_request(f"The {word} function cannot take {len(arguments)} argument(s).") from None
        return call


def _number(text):
    if len(text) > LONGEST_NUMBER or not math.isfinite(number := float(text)):
        raise syntax_error(text[:20])
    return int(text) if text.isdigit() else number
