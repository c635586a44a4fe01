"""The untyped syntax tree: what the parser makes and only the checker reads.

`start` and `end` are the half-open range of characters, parentheses around it included. `depth` is
the nesting: 1 for a leaf; a chain of left-associative operators, of `&&`, of `||` or of member
selections counts as one level.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.compiler.nodes import Span


@dataclass(slots=True)
class _Base:
    start: int
    end: int
    depth: int

    @property
    def span(self) -> Span:
        return Span(self.start, self.end)


@dataclass(slots=True)
class Literal(_Base):
    """`kind` is int, uint, double, text, bytes, bool or null. `minus`: written with one (so -0 is known)."""

    kind: str
    value: int | float | str | bytes | bool | None
    minus: bool = False


@dataclass(slots=True)
class Ident(_Base):
    name: str


@dataclass(slots=True)
class Select(_Base):
    operand: Tree
    field: str


@dataclass(slots=True)
class Index(_Base):
    operand: Tree
    index: Tree


@dataclass(slots=True)
class Call(_Base):
    """`f(args)`, or `target.f(args)`."""

    function: str
    target: Tree | None
    args: list[Tree]


@dataclass(slots=True)
class Unary(_Base):
    """One `!` or `-`."""

    op: str
    operand: Tree


@dataclass(slots=True)
class Binary(_Base):
    """Arithmetic, comparison or `in`. `length` counts the operands of its left-associative chain."""

    op: str
    left: Tree
    right: Tree
    length: int


@dataclass(slots=True)
class Chain(_Base):
    """Two or more operands of `&&` or of `||`."""

    op: str
    operands: list[Tree]


@dataclass(slots=True)
class Ternary(_Base):
    condition: Tree
    then: Tree
    otherwise: Tree


@dataclass(slots=True)
class ListTree(_Base):
    items: list[Tree]


@dataclass(slots=True)
class MapTree(_Base):
    entries: list[tuple[Tree, Tree]]


@dataclass(slots=True)
class MessageTree(_Base):
    name: str
    fields: list[tuple[str, Tree]]


def children(tree: Tree) -> list[Tree]:
    """The trees directly inside, in order."""
    match tree:
        case Select():
            return [tree.operand]
        case Index():
            return [tree.operand, tree.index]
        case Call():
            return [*([tree.target] if tree.target else []), *tree.args]
        case Unary():
            return [tree.operand]
        case Binary():
            return [tree.left, tree.right]
        case Chain():
            return tree.operands
        case Ternary():
            return [tree.condition, tree.then, tree.otherwise]
        case ListTree():
            return tree.items
        case MapTree():
            return [part for entry in tree.entries for part in entry]
        case MessageTree():
            return [value for _, value in tree.fields]
    return []


Tree = Literal | Ident | Select | Index | Call | Unary | Binary | Chain | Ternary | ListTree | MapTree | MessageTree
