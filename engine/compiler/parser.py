"""Syntax of CEL: text to untyped tree, within limits.

Precedence climbing on explicit stacks. The only recursion is through `_expression`, which counts its
level, so no input can exhaust the stack. One problem per text.
"""

from __future__ import annotations

from typing import NoReturn

from engine.compiler import slips
from engine.compiler.ast import (
    Binary,
    Call,
    Chain,
    Ident,
    Index,
    ListTree,
    Literal,
    MapTree,
    MessageTree,
    Select,
    Ternary,
    Tree,
    Unary,
)
from engine.compiler.lexer import (
    INT_MAX,
    INT_MIN,
    Refused,
    Token,
    integer_value,
    number_value,
    split,
    text_value,
    tokenize,
    tokens_of,
)
from engine.compiler.nodes import Span
from engine.compiler.source import Problem

DEPTH_MAX = 64
CHAIN_MAX = 250
NODES_MAX = 2_000

_PRECEDENCE = {"||": 1, "&&": 2, "+": 4, "-": 4, "*": 5, "/": 5, "%": 5} | dict.fromkeys(
    ("<", "<=", ">", ">=", "==", "!=", "in"), 3
)
_CONTROL = ("break", "const", "continue", "else", "for", "function", "if", "return", "var", "void", "while")
_RESERVED = frozenset(("as", "import", "let", "loop", "package", "namespace", *_CONTROL))
_WORDS = {"true": True, "false": False, "null": None}
_LITERALS = frozenset(("int", "uint", "float", "text"))
_LEAVES = _LITERALS | {"path"}
_GOES_ON = frozenset((".", "[", "{", "("))  # after an operand: it is not the whole of it


def parse(text: str) -> tuple[Tree, int]:
    """The tree of `text` and its number of nodes. Raises `Refused`."""
    parser = _Parser(text)
    return parser.whole(), parser.nodes


class _Parser:
    __slots__ = ("kind", "level", "nodes", "place", "text", "token", "tokens")

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = tokens_of(text)
        self.place = 0
        self.token = self.tokens[0]
        self.kind = self.token.kind
        self.level = 0
        self.nodes = 0

    # tokens

    def _next(self) -> Token:
        token = self.token
        self.place += 1
        self.token = self.tokens[self.place]
        self.kind = self.token.kind
        return token

    def _apart(self) -> None:
        """A path that stands here in its parts."""
        if self.kind == "path":
            self.tokens[self.place : self.place + 1] = split(self.token)
            self.token = self.tokens[self.place]
            self.kind = "name"

    def _take(self, kind: str, what: str) -> Token:
        if self.kind != kind:
            self._unexpected(what)
        return self._next()

    def _unexpected(self, expected: str) -> NoReturn:
        tokens = tokenize(self.text)
        place = next(i for i, token in enumerate(tokens) if token.start == self.token.start)
        token, hint = slips.unexpected(tokens, place)
        early = token.kind == "end"
        message = "the expression ends too early" if early else f"'{token.text}' is not expected here"
        found = "the end" if early else f"'{token.text}'"
        raise Refused(Problem("syntax", Span(token.start, token.end), message, found, expected, hint))

    # limits

    def _count(self, node: Tree) -> Tree:
        self.nodes += 1
        if self.nodes > NODES_MAX:
            self._limit("too-many-nodes", node, "the expression has too many parts", f"at most {NODES_MAX} parts")
        if node.depth > DEPTH_MAX:
            self._too_deep(node.start, node.end)
        return node

    def _too_deep(self, start: int, end: int) -> NoReturn:
        raise Refused(
            Problem(
                "too-deep",
                Span(start, end),
                "the expression is nested too deeply",
                f"more than {DEPTH_MAX} levels",
                f"at most {DEPTH_MAX} levels",
                "give parts of it a name under `facts`",
            )
        )

    def _limit(self, code: str, node: Tree, message: str, expected: str) -> NoReturn:
        raise Refused(
            Problem(code, node.span, message, "more than that", expected, "give parts of it a name under `facts`")
        )

    # grammar

    def whole(self) -> Tree:
        if self.kind == "end":
            span = Span(0, len(self.text))
            raise Refused(Problem("syntax", span, "the expression is empty", "nothing", "an expression"))
        tree = self._expression()
        if self.kind != "end":
            self._unexpected("an operator or the end")
        return tree

    def _expression(self) -> Tree:
        self.level += 1
        if self.level > DEPTH_MAX:
            self._too_deep(self.token.start, self.token.end)
        node = self._binary()
        if self.kind == "?":
            self._next()
            then = self._expression()
            self._take(":", "`:` and what holds otherwise")
            otherwise = self._expression()
            depth = 1 + max(node.depth, then.depth, otherwise.depth)
            node = self._count(Ternary(node.start, otherwise.end, depth, node, then, otherwise))
        self.level -= 1
        return node

    def _binary(self) -> Tree:
        first = self._operand()
        if self.kind not in _PRECEDENCE:
            return first
        operands = [first]
        operators: list[tuple[int, str]] = []
        while (precedence := _PRECEDENCE.get(self.kind)) is not None:
            while operators and operators[-1][0] >= precedence:
                self._reduce(operands, operators)
            operators.append((precedence, self._next().kind))
            operands.append(self._operand())
        while operators:
            self._reduce(operands, operators)
        return operands[0]

    def _reduce(self, operands: list[Tree], operators: list[tuple[int, str]]) -> None:
        precedence, op = operators.pop()
        right = operands.pop()
        left = operands[-1]
        if precedence <= 2:
            if type(left) is Chain and left.op == op:  # (a && b) && c is the same chain
                left.operands.append(right)
                left.end = right.end
                left.depth = max(left.depth, right.depth + 1)
                if left.depth > DEPTH_MAX:
                    self._too_deep(left.start, left.end)
                return
            depth = 1 + max(left.depth, right.depth)
            operands[-1] = self._count(Chain(left.start, right.end, depth, op, [left, right]))
            return
        if type(left) is Binary and _PRECEDENCE[left.op] == precedence:
            depth, length = max(left.depth, right.depth + 1), left.length + 1
        else:
            depth, length = 1 + max(left.depth, right.depth), 2
        node = self._count(Binary(left.start, right.end, depth, op, left, right, length))
        if length > CHAIN_MAX:
            message = "too many operators in one chain"
            self._limit("chain-too-long", node, message, f"at most {CHAIN_MAX} operands in one chain")
        operands[-1] = node

    def _operand(self) -> Tree:
        """Member, or a run of `!` or of `-` before one (the grammar does not mix them)."""
        kind = self.kind
        if kind in _LEAVES and self.nodes < NODES_MAX - 1 and self.tokens[self.place + 1].kind not in _GOES_ON:
            return self._leaf()
        if kind != "!" and kind != "-":
            return self._member(False)
        signs = [self._next().start]
        while self.kind == kind:
            signs.append(self._next().start)
        if len(signs) > DEPTH_MAX:
            self._too_deep(signs[0], signs[-1] + 1)
        if kind == "-" and self.kind == "int":  # the sign belongs to the literal: -9223372036854775808
            node = self._member(True)
            if type(node) is Literal:
                node.start = signs.pop()
        else:
            node = self._member(False)
        for start in reversed(signs):
            if kind == "-" and type(node) is Literal and _negate(node):
                node.start = start
            else:
                node = self._count(Unary(start, node.end, node.depth + 1, kind, node))
        return node

    def _leaf(self) -> Tree:
        """A path or a literal that is the whole operand, as most are: `_member` without its choices."""
        token = self._next()
        kind, word, start, end = token
        if kind != "path":
            self.nodes += 1
            return _literal(token, False)
        self.nodes += 2
        root, _, name = word.partition(".")
        return Select(start, end, 1, Ident(start, start + len(root), 1, root), name)

    def _member(self, negative: bool) -> Tree:
        self._apart()
        node = self._primary(negative)
        length = 1
        while self.kind in (".", "[", "{"):
            if self.kind == "{":
                name = _qualified(node)
                if name is None:
                    break
                node = self._message(node, name)
                continue
            length += 1
            if self.kind == "[":
                self._next()
                index = self._expression()
                end = self._take("]", "`]`").end
                node = self._count(Index(node.start, end, max(node.depth, index.depth + 1), node, index))
            else:
                node = self._selection(node)
            if length > CHAIN_MAX:
                message = "too many selections in one chain"
                self._limit("chain-too-long", node, message, f"at most {CHAIN_MAX} selections in one chain")
        return node

    def _selection(self, node: Tree) -> Tree:
        self._next()
        self._apart()
        if self.kind == "quoted":
            field = self._next()
            return self._count(Select(node.start, field.end, node.depth, node, field.text[1:-1]))
        if self.kind != "name" or self.token.text in _WORDS:
            self._unexpected("a name after `.`")
        field = self._next()
        if self.kind != "(":
            return self._count(Select(node.start, field.end, node.depth, node, field.text))
        args, end = self._arguments(")", "`,` or `)`")
        return self._count(Call(node.start, end, _depth([node, *args]), field.text, node, args))

    def _primary(self, negative: bool) -> Tree:
        kind, token = self.kind, self.token
        if kind == "name":
            return self._name(token)
        if kind in _LITERALS:
            self._next()
            return self._count(_literal(token, negative))
        if kind == "(":
            self._next()
            node = self._expression()
            node.start, node.end = token.start, self._take(")", "`)`").end
            return node
        if kind == "[":
            items, end = self._arguments("]", "`,` or `]`")
            return self._count(ListTree(token.start, end, _depth(items), items))
        if kind == "{":
            return self._map()
        if kind == ".":
            self._next()
            self._apart()
            if self.kind != "name":
                self._unexpected("a name after `.`")
            node = self._name(self.token)
            node.start = token.start
            return node
        return self._unexpected("a value, a name or `(`")

    def _name(self, token: Token) -> Tree:
        if token.text in _WORDS:
            self._next()
            value = _WORDS[token.text]
            return self._count(Literal(token.start, token.end, 1, "null" if value is None else "bool", value))
        if token.text in _RESERVED:
            span = Span(token.start, token.end)
            message = f"'{token.text}' is a reserved word of CEL"
            hint = "write `condition ? value : other value`" if token.text == "if" else ""
            raise Refused(Problem("reserved-word", span, message, token.text, "another name", hint))
        self._next()
        if self.kind != "(":
            return self._count(Ident(token.start, token.end, 1, token.text))
        args, end = self._arguments(")", "`,` or `)`")
        return self._count(Call(token.start, end, _depth(args), token.text, None, args))

    def _arguments(self, close: str, expected: str) -> tuple[list[Tree], int]:
        """Expressions up to `close`, and where that ends; a list may end with a comma."""
        self._next()
        items: list[Tree] = []
        while self.kind != close:
            items.append(self._expression())
            if self.kind != ",":
                break
            self._next()
            if self.kind == close and close == ")":
                self._unexpected("another argument")
        return items, self._take(close, expected).end

    def _map(self) -> Tree:
        start = self._next().start
        entries: list[tuple[Tree, Tree]] = []
        while self.kind != "}":
            key = self._expression()
            self._take(":", "`:` and a value")
            entries.append((key, self._expression()))
            if self.kind != ",":
                break
            self._next()
        end = self._take("}", "`,` or `}`").end
        return self._count(MapTree(start, end, _depth([part for entry in entries for part in entry]), entries))

    def _message(self, node: Tree, name: str) -> Tree:
        self._next()
        fields: list[tuple[str, Tree]] = []
        while self.kind != "}":
            self._apart()
            field = self._next() if self.kind == "quoted" else self._take("name", "a field name")
            self._take(":", "`:` and a value")
            fields.append((field.text, self._expression()))
            if self.kind != ",":
                break
            self._next()
        end = self._take("}", "`,` or `}`").end
        return self._count(MessageTree(node.start, end, _depth([value for _, value in fields]), name, fields))


def _literal(token: Token, negative: bool) -> Literal:
    """The literal of a token, with the minus before an integer."""
    kind, _, start, end = token
    if kind == "float":
        return Literal(start, end, 1, "double", number_value(token))
    if kind == "text":
        content = text_value(token)
        return Literal(start, end, 1, "text" if isinstance(content, str) else "bytes", content)
    return Literal(start, end, 1, kind, integer_value(token, negative), negative)


def _depth(parts: list[Tree]) -> int:
    return 1 + max([part.depth for part in parts], default=0)


def _negate(node: Literal) -> bool:
    """Take one minus into a number literal; False where that is not a literal any more."""
    value = node.value
    fits = isinstance(value, int) and INT_MIN < value <= INT_MAX if node.kind == "int" else node.kind == "double"
    if not fits or not isinstance(value, int | float):
        return False
    node.value = -value
    node.minus = not node.minus
    return True


def _qualified(node: Tree) -> str | None:
    """`a.b.C` as text where the tree is nothing but names, else None."""
    parts: list[str] = []
    while type(node) is Select:
        parts.append(node.field)
        node = node.operand
    return ".".join(reversed([*parts, node.name])) if type(node) is Ident else None
