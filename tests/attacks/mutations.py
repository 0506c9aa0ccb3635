"""Mutants of a module: copies of its source, each with one small change that a test should notice.

The changes are those of mutmut, and two that it lacks: a statement is left out, and a condition is negated. Not changed
are words of messages, type annotations without ranges, decorators, imports and calls that matter to type checkers only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import libcst as cst
import libcst.matchers as m
from libcst.metadata import MetadataWrapper, PositionProvider
from mutmut.mutation.mutators import mutation_operators, operator_arg_removal, operator_string

if TYPE_CHECKING:
    from collections.abc import Iterator

_STATEMENTS = (
    *(cst.SimpleStatementLine, cst.If, cst.While, cst.For, cst.With),
    *(cst.Match, cst.MatchCase, cst.FunctionDef, cst.ClassDef),
)
_SKIPPED = (cst.Decorator, cst.Import, cst.ImportFrom, cst.Global, cst.Nonlocal)
_CONDITIONS = (cst.If, cst.While, cst.CompIf)


@dataclass(frozen=True, eq=False)
class Mutant:
    """A copy of a module with one change.

    Attributes
    ----------
    path : str
        The module's path below the root of the project, with slashes.
    lines : range
        Numbers of the changed lines, from the beginning of their statement.
    in_function : bool
        Whether the change is in the body of a function, and not in code that an import runs.
    """

    path: str
    lines: range
    in_function: bool
    _module: cst.Module
    _node: cst.CSTNode
    _changed: cst.CSTNode

    @property
    def source(self) -> str:
        """The changed source of the module."""
        return self._module.deep_replace(self._node, self._changed).code  # type: ignore[union-attr]

    def diff(self) -> list[str]:
        """Return the lines that are removed, with "-" before them, and those that are added, with "+"."""
        before, after = self._module.code.splitlines(), self.source.splitlines()
        start = _n_equal(before, after)
        end = _n_equal(before[start:][::-1], after[start:][::-1])
        removed, added = (lines[start : len(lines) - end] for lines in (before, after))
        return [f"-{line}" for line in removed] + [f"+{line}" for line in added]


def _n_equal(some: list[str], others: list[str]) -> int:
    """Return the number of lines before the first one that differs."""
    pairs = enumerate(zip(some, others, strict=False))
    return next((number for number, (one, other) in pairs if one != other), min(len(some), len(others)))


def mutants_of(path: str, source: str) -> list[Mutant]:
    """Return all mutants of a module, in the order of the file.

    Parameters
    ----------
    path : str
        Its path below the root of the project, with slashes.
    source : str
    """
    wrapper = MetadataWrapper(cst.parse_module(source))
    collector = _Collector(path, wrapper.module)
    wrapper.visit(collector)
    return collector.found


class _Collector(cst.CSTVisitor):
    METADATA_DEPENDENCIES = (PositionProvider,)

    def __init__(self, path: str, module: cst.Module) -> None:
        super().__init__()
        self._path, self._module = path, module
        self._enclosing: list[cst.CSTNode] = []
        self.found: list[Mutant] = []

    def on_visit(self, node: cst.CSTNode) -> bool:
        if isinstance(node, _SKIPPED) or m.matches(node, m.If(test=m.Name("TYPE_CHECKING"))):
            return False
        # The ranges of a recipe's fields are calls in annotations.
        if isinstance(node, cst.Annotation) and not m.findall(node, m.Call()):
            return False
        if isinstance(node, _STATEMENTS):
            self._enclosing.append(node)
        for changed in _changes(node):
            self._add(node, changed)
        return True

    def on_leave(self, original_node: cst.CSTNode) -> None:
        if self._enclosing and self._enclosing[-1] is original_node:
            self._enclosing.pop()

    def _add(self, node: cst.CSTNode, changed: cst.CSTNode) -> None:
        first = self._lines(self._enclosing[-1]).start
        # A condition is the first lines of its statement.
        last = self._lines(node.test if isinstance(node, _CONDITIONS) else node)[-1]
        in_function = any(isinstance(outer, cst.FunctionDef) for outer in self._enclosing)
        self.found.append(Mutant(self._path, range(first, last + 1), in_function, self._module, node, changed))

    def _lines(self, node: cst.CSTNode) -> range:
        position = self.get_metadata(PositionProvider, node)
        return range(position.start.line, position.end.line + 1)


def _changes(node: cst.CSTNode) -> Iterator[cst.CSTNode]:
    """Yield the changed copies of a node."""
    for kind, operator in mutation_operators:
        if not isinstance(node, kind):
            continue
        if operator is operator_string and " " in getattr(node, "value", ""):  # words of a message
            continue
        if operator is operator_arg_removal and m.matches(node.func, m.Name("cast") | m.Name("len")):
            continue
        yield from operator(node)
    if isinstance(node, _CONDITIONS):
        inner = node.test.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])
        yield node.with_changes(test=cst.UnaryOperation(cst.Not(), inner))
    if isinstance(node, cst.SimpleStatementLine) and len(node.body) == 1 and _has_effect(node.body[0]):
        yield node.with_changes(body=[cst.Pass()])


def _has_effect(statement: cst.BaseSmallStatement) -> bool:
    """Return whether a statement can be left out without an error at its place or later in its function."""
    if isinstance(statement, cst.Assign):
        return not isinstance(statement.targets[0].target, cst.Name | cst.Tuple)
    if isinstance(statement, cst.Expr):
        return not isinstance(statement.value, cst.SimpleString)
    return isinstance(statement, cst.AugAssign | cst.Raise | cst.Continue | cst.Break)
