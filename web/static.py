"""Our own files, under an address that changes when they do: a browser asks for each once."""

import hashlib
import re
from pathlib import Path

from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

FOLDER = Path(__file__).parents[1] / "static"


def _edition() -> str:
    """What is in all of them: modules name one another without it, and stay of one edition."""
    hashed = hashlib.sha256()
    for path in sorted(path for path in FOLDER.rglob("*") if path.is_file()):
        content = path.read_bytes()
        hashed.update(f"{path.relative_to(FOLDER).as_posix()} {len(content)}\n".encode() + content)
    return hashed.hexdigest()[:12]


EDITION = _edition()
ADDRESS = f"/static/{EDITION}"

OF_AN_EDITION = re.compile(r"([0-9a-f]{12})/")
SVG = "image/svg+xml"
FOREVER, ASK_AGAIN = "public, max-age=31536000, immutable", "no-cache"


class Files(StaticFiles):
    """They hold nothing of anybody's, so they may be kept; what is private is `no-store`.

    Under another edition's address, as a page of another version of the relay names it, there are
    ours, and none is kept under it.
    """

    def __init__(self) -> None:
        super().__init__(directory=FOLDER)

    async def get_response(self, path: str, scope: Scope) -> Response:
        found = OF_AN_EDITION.match(path)
        answer = await super().get_response(path[found.end() :] if found else path, scope)
        ours = found is not None and found[1] == EDITION
        answer.headers["cache-control"] = FOREVER if ours else ASK_AGAIN
        if answer.headers.get("content-type") == SVG:
            answer.headers["content-type"] = f"{SVG}; charset=utf-8"
        return answer
