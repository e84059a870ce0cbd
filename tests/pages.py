# SPDX-License-Identifier: Apache-2.0
"""Runs the Python blocks of a page, and compares what they print with its comments."""

import ast
import doctest
import io
import re
import sys
import tokenize

import jax

BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHAPE = re.compile(r"\([^()]*\)")


def blocks(text):
    """Return the blocks of a page, each below as many empty lines as it has there."""
    return [
        "\n" * text.count("\n", 0, match.start(1)) + match.group(1)
        for match in BLOCK.finditer(text)
    ]


def run(code, path, namespace):
    """Run a block, and return what its comments promise beside what it gave."""
    comments, tree, printed = _comments(code), ast.parse(code), {}
    calls = {n.lineno: n.end_lineno for n in ast.walk(tree) if _is_print(n)}

    def record(*words, **_):
        line = sys._getframe(1).f_lineno
        printed.setdefault(line, []).append(" ".join(map(str, words)))

    namespace["print"] = record
    shapes = []
    for statement in tree.body:
        value = _run(statement, path, namespace)
        promise = comments.get(statement.end_lineno, ("", False))[0]
        if promise.startswith("("):
            shapes += _shapes(statement.end_lineno, promise, value, namespace)
    outputs = [
        (line, promise, "\n".join(printed.get(line, ["nothing"])))
        for line, end in calls.items()
        if (promise := _after(comments, end))
    ]
    return outputs, shapes


def same_output(promise, output):
    """Say whether a comment is what was printed, lines and blanks apart."""
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    return doctest.OutputChecker().check_output(promise, output, options)


def _is_print(node):
    return isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print"


def _comments(code):
    """Return the comment of each line, and whether it stands alone there."""
    tokens = tokenize.generate_tokens(io.StringIO(code).readline)
    return {
        token.start[0]: (token.string[1:].strip(), token.line.strip()[0] == "#")
        for token in tokens
        if token.type == tokenize.COMMENT
    }


def _after(comments, line):
    """Return the comment beside a line, or those alone on the lines below it."""
    if line in comments:
        return comments[line][0]
    below = []
    while comments.get(line + 1, ("", False))[1]:
        line += 1
        below.append(comments[line][0])
    return "\n".join(below)


def _run(statement, path, namespace):
    """Run a statement, and return its value if it is an expression or assigns one."""
    module = ast.Module([statement], [])
    if isinstance(statement, ast.Expr):
        module = ast.Expression(statement.value)
        return eval(compile(module, path, "eval"), namespace)
    exec(compile(module, path, "exec"), namespace)
    if isinstance(statement, ast.Assign):
        (target,) = statement.targets
        found = ast.Expression(ast.parse(ast.unparse(target), mode="eval").body)
        return eval(compile(found, path, "eval"), namespace)
    return None


def _shapes(line, promise, value, namespace):
    """Return promised shapes beside those of a value; a free name fits any number."""
    leading = re.match(r"\([^()]*\)(, \([^()]*\))*", promise)[0]
    promised = SHAPE.findall(leading)
    leaves = [a for a in jax.tree.leaves(value) if hasattr(a, "shape")]
    if len(promised) == 1:
        promised = promised * len(leaves)
    found = []
    for text, leaf in zip(promised, leaves, strict=True):
        names = [a.strip() for a in text.strip("()").split(",") if a.strip()]
        sizes = tuple(
            eval(name, namespace) if name.isdigit() or name in namespace else size
            for name, size in zip(names, leaf.shape, strict=True)
        )
        found.append((line, sizes, tuple(leaf.shape)))
    return found
