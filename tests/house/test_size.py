"""How large the house may grow. A line counts when it holds code: not blank, no comment, no docstring."""

import ast
import io
import tokenize

import pytest

SILENT = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
KERNEL = ("wire", "ports", "resilience", "pipelines", "actors", "activities", "durable")
BUDGETS = {
    "loom_core/actors/actor.py": 150,
    "loom_core/sandbox": 250,
}


def code_lines(source):
    docstrings = {
        line
        for node in ast.walk(ast.parse(source))
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node) is not None
        for line in range(node.body[0].lineno, node.body[0].end_lineno + 1)
    }
    lines = {
        line
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type not in SILENT
        for line in range(token.start[0], token.end[0] + 1)
    }
    return len(lines - docstrings)


def test_only_code_counts():
    source = '''"""Two
lines."""

# why
def f():  # and more
    """Contract."""
    return """kept
kept"""
'''
    assert code_lines(source) == 3


def lines_of(place):
    """The code lines of a file, or of all files of a room."""
    files = place.rglob("*.py") if place.is_dir() else [place]
    return sum(code_lines(file.read_text(encoding="utf-8")) for file in files)


def test_the_kernel_stays_under_3000_lines(root):
    assert (
        0
        < sum(lines_of(root / "loom_core" / room) for room in KERNEL if (root / "loom_core" / room).exists())
        < 3000
    )


@pytest.mark.parametrize("path", BUDGETS)
def test_what_has_a_budget_keeps_it(root, path):
    assert not (root / path).exists() or 0 < lines_of(root / path) < BUDGETS[path]
