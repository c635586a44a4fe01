"""Macros over lists as trees: variables made inputs, bodies unrolled over lists of known length.

`bound` gives every variable a path of its own, `$` and its depth, and writes a macro as

    Op("#exists", (list, variable, body..))

so that from there on no tree depends on what is around it. A `Fact` is closed: it reads no variable.
Unrolled, `listed` and `collected` stand for `list` and `collect` without the limit on what is made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from engine.compiler.nodes import Const, Fact, Node, Op, Ref, Span, Type, Var

MACROS = ("all", "exists", "exists_one", "filter", "map")
ELEMENT = "#"  # path of the element in a body for lanes
NOWHERE = Span(0, 0)


def stripped(node: Node) -> Node:
    """The tree of a fact, or the node itself."""
    while isinstance(node, Fact):
        node = node.node
    return node


def bound(node: Node, variables: tuple[Ref, ...] = ()) -> Node:
    """The tree with macros as above; the very node where it has none."""
    if isinstance(node, Var):
        return variables[node.level]
    if not isinstance(node, Op):
        return node
    if node.op in MACROS:
        source = bound(node.args[0], variables)
        element = node.args[0].type.element
        assert element
        variable = Ref(element, f"${len(variables)}", node.span)
        bodies = [bound(arg, (*variables, variable)) for arg in node.args[1:]]
        return Op(node.type, "#" + node.op, (source, variable, *bodies), node.span)
    return _with(node, [bound(arg, variables) for arg in node.args])


def _with(node: Op, args: Sequence[Node]) -> Op:
    same = all(new is old for new, old in zip(args, node.args, strict=True))
    return node if same else Op(node.type, node.op, tuple(args), node.span)


def free(node: Node) -> frozenset[str]:
    """Paths of the variables that a bound tree reads and does not bind."""
    if isinstance(node, Ref):
        return frozenset((node.path,)) if node.path.startswith("$") else frozenset()
    if not isinstance(node, Op):
        return frozenset()
    if node.op.startswith("#"):
        source, variable, *bodies = node.args
        assert isinstance(variable, Ref)
        return free(source) | (frozenset[str]().union(*map(free, bodies)) - {variable.path})
    return frozenset[str]().union(*map(free, node.args))


def _replaced(node: Node, path: str, value: Node) -> Node:
    """The bound tree with another in place of a variable."""
    if isinstance(node, Ref):
        return value if node.path == path else node
    if not isinstance(node, Op):
        return node
    if node.op.startswith("#"):
        source, variable, *bodies = node.args
        assert isinstance(variable, Ref)
        if variable.path != path:
            bodies = [_replaced(body, path, value) for body in bodies]
        return _with(node, [_replaced(source, path, value), variable, *bodies])
    return _with(node, [_replaced(arg, path, value) for arg in node.args])


def for_lanes(node: Node, variable: str, capture: Callable[[Node], Ref]) -> Node:
    """The body with the variable as `ELEMENT`, and what does not depend on it captured."""
    if isinstance(node, Const):
        return node
    if not free(node):
        return capture(node)
    if isinstance(node, Ref):
        return Ref(node.type, ELEMENT, node.span) if node.path == variable else node
    assert isinstance(node, Op)
    if node.op.startswith("#"):
        source, own, *bodies = node.args
        made = [for_lanes(body, variable, capture) for body in bodies]
        return _with(node, [for_lanes(source, variable, capture), own, *made])
    return _with(node, [for_lanes(arg, variable, capture) for arg in node.args])


def reads_now(node: Node) -> bool:
    """Whether the body of a macro needs `now` to count days."""
    return isinstance(node, Op) and (node.op in ("days_since", "days_until") or any(map(reads_now, node.args)))


def items_of(source: Node) -> list[Node] | None:
    """The elements of a list whose length is known, else None."""
    source = stripped(source)
    if isinstance(source, Const):
        assert isinstance(source.value, tuple)
        element = source.type.element
        assert element
        return [Const(element, value, source.span) for value in source.value]
    return list(source.args) if isinstance(source, Op) and source.op == "list" else None


def unrolled(macro: Op, items: Sequence[Node]) -> Node:
    """A bound macro over these elements, without the macro."""
    _, variable, *bodies = macro.args
    assert isinstance(variable, Ref)
    made = [[_replaced(body, variable.path, item) for body in bodies] for item in items]
    return _guarded(_unrolled(macro, items, made), items)


def _unrolled(macro: Op, items: Sequence[Node], made: Sequence[Sequence[Node]]) -> Node:
    if macro.op in ("#all", "#exists"):
        return _chain("and" if macro.op == "#all" else "or", [bodies[0] for bodies in made])
    if macro.op == "#exists_one":
        zero, one = Const(Type.INTEGER, 0, NOWHERE), Const(Type.INTEGER, 1, NOWHERE)
        counts: list[Node] = [Op(Type.INTEGER, "cond", (bodies[0], one, zero), NOWHERE) for bodies in made]
        return Op(Type.BOOL, "eq", (_sum(counts), one), NOWHERE)
    if not items:
        return Const(macro.type, (), NOWHERE)
    if macro.op == "#map" and len(made[0]) == 1:
        return Op(macro.type, "listed", tuple(bodies[0] for bodies in made), NOWHERE)
    values = items if macro.op == "#filter" else [bodies[1] for bodies in made]
    parts = [part for bodies, value in zip(made, values, strict=True) for part in (bodies[0], value)]
    return Op(macro.type, "collected", tuple(parts), NOWHERE)


def among(left: Node, items: Sequence[Node]) -> Node:
    """`left in [items]`, where they are not all constants."""
    return _guarded(_chain("or", [Op(Type.BOOL, "eq", (left, item), NOWHERE) for item in items]), items)


def _guarded(node: Node, items: Sequence[Node]) -> Node:
    """A list is an error where one of its elements is."""
    tests: list[Node] = [Op(Type.BOOL, "fails", (item,), NOWHERE) for item in items if not isinstance(item, Const)]
    if not tests:
        return node
    cause = Const(Type.TEXT, "an element of the list is an error", NOWHERE)
    return Op(node.type, "cond", (_chain("or", tests), Op(node.type, "fail", (cause,), NOWHERE), node), NOWHERE)


def _chain(op: str, parts: Sequence[Node]) -> Node:
    if not parts:
        return Const(Type.BOOL, op == "and", NOWHERE)
    return parts[0] if len(parts) == 1 else Op(Type.BOOL, op, tuple(parts), NOWHERE)


def _sum(parts: list[Node]) -> Node:
    """Pairs of pairs, so that the tree is not deep."""
    if not parts:
        return Const(Type.INTEGER, 0, NOWHERE)
    while len(parts) > 1:
        pairs: list[Node] = [
            Op(Type.INTEGER, "add", (a, b), NOWHERE) for a, b in zip(parts[::2], parts[1::2], strict=False)
        ]
        parts = pairs + (parts[-1:] if len(parts) % 2 else [])
    return parts[0]
