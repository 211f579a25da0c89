"""H2: secrets are compared by the digest or in constant time, never letter by letter."""

import ast
import re
from collections.abc import Iterator

from tests.architecture.test_house import PRODUCT, named, parsed

SECRET = re.compile(
    r"(?:^|[_-])(?:tokens?|secrets?|signatures?|passwords?|proof|digest|id_hash|hmac|mac)$",
    re.IGNORECASE,
)
ALLOWED = {
    "now - proved_at < self.proof": "a span of time",
    "sha256(event.line).digest()[:16] != entry.digest": "the chain of events, which is no secret",
    "holder.digest in live": "a set: found by its hash, not letter by letter",
    "name in secret": "names of headers",
    "given.digest != name": "of a file that was shown, and is no secret",
    "wanted.secrets != kept.secrets": "both are the operator's own, who is signed in",
    "secret in self._told": "what the log must not say; nobody outside asks",
    "secret in self._settings": "the same",
    "auth != self.token": "the made-up Finviz of the demo",
}
"""What is compared, and why that tells nobody anything."""


def secret_names(node: ast.expr) -> Iterator[str]:
    """The names of secrets that a side of a comparison is."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name) | ast.Constant(value=str(name)):
            if SECRET.search(name) and not name.isupper():  # a constant holds names of fields
                yield name
        case ast.Call(func=ast.Attribute(attr="get_secret_value")):
            yield "get_secret_value()"
        case ast.Call(func=called):
            yield from secret_names(called)
        case ast.Subscript(slice=inner):
            yield from secret_names(inner)
        case _:
            return


def comparisons(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Compare):
            continue
        sides = [node.left, *node.comparators]
        for operator, left, right in zip(node.ops, sides, sides[1:], strict=False):
            if isinstance(operator, ast.Is | ast.IsNot):
                continue
            if any(isinstance(one, ast.Constant) and not one.value for one in (left, right)):
                continue  # whether there is one at all
            names = [*secret_names(left), *secret_names(right)]
            if isinstance(operator, ast.In | ast.NotIn) and isinstance(left, ast.Constant):
                continue  # whether a field is there, by its name
            if names:
                yield node.lineno, ast.unparse(node)


def test_no_secret_is_compared_by_its_letters() -> None:
    """Use `hmac.compare_digest`, or look the digest up (`domain.access.grant_of`)."""
    found = {
        text: f"{named(path)}:{line}"
        for path in PRODUCT
        for line, text in comparisons(parsed(path))
    }
    assert {text: place for text, place in found.items() if text not in ALLOWED} == {}
    assert set(found) == set(ALLOWED), "what is not there any more is not allowed any more"


def test_such_a_comparison_is_seen() -> None:
    for text in (
        "token == given",
        "given != self.webhook_token",
        "settings.admin_token.get_secret_value() == text",
        "row.signature in found",
        "headers['webhook-signature'] == expected",
        "api_secret < other",
    ):
        assert list(comparisons(ast.parse(text))), text
    for text in ("token is None", "token == ''", "'token' in fields", "status == 401"):
        assert not list(comparisons(ast.parse(text))), text
