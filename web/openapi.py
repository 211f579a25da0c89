"""The description of the interface: what FastAPI knows, who may call, and what it cannot know."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

from fastapi import APIRouter, FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from domain.access import Scope
from web.dependencies import SCOPES, SESSION_COOKIES

INGEST_PATH = "/webhook/in"
IN_BODY = {("POST", "/finviz/config"): Scope.CONFIG} | {
    ("POST", f"/sell/{which}"): Scope.TRADE for which in ("individual", "all", "list")
}
"""Calls that take their token in the body too, and so look at it themselves."""

Document = dict[str, Any]

SCHEMES: Document = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "A token with the scope of the call; the scope `admin` includes all.",
    },
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": SESSION_COOKIES[0],
        "description": "The session of a signed-in browser. Changes must come from its own pages.",
    },
    "path": {
        "type": "http",
        "scheme": "bearer",
        "description": "Alerts alone: the token is the last part of the path.",
    },
}
PROBLEM: Document = {
    "type": "object",
    "title": "Problem",
    "description": "A refusal (RFC 9457). `code` is stable and for programs, `detail` for people.",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string"},
        "detail": {"type": "string"},
    },
    "required": ["type", "title", "status", "code", "detail"],
}
RECEIPT: Document = {
    "type": "object",
    "title": "Receipt",
    "properties": {
        "signal_id": {"type": "string", "format": "uuid"},
        "status": {"type": "string"},
        "ticker": {"type": ["string", "null"]},
        "duplicate": {"type": "boolean"},
    },
    "required": ["signal_id", "status", "ticker", "duplicate"],
}
REFUSAL: Document = {
    "type": "object",
    "title": "Refusal",
    "description": "What was posted is no alert. With a `signal_id` it is kept all the same.",
    "properties": {
        "error": {"type": "string"},
        "code": {"type": "string"},
        "detail": {"type": "string"},
        "signal_id": {"type": "string", "format": "uuid"},
        "status": {"type": "string"},
        "duplicate": {"type": "boolean"},
        "retry_after": {"type": "string"},
    },
    "required": ["error", "code", "detail"],
}
EXAMPLES: Mapping[str, tuple[str, str, str]] = {
    "400": ("Bad Request", "invalid_field", "limit: Input should be a valid integer"),
    "401": ("Unauthorized", "unauthorized", "A token with the scope of this call is needed."),
    "404": ("Not Found", "not_found", "Not Found"),
    "503": (
        "Service Unavailable",
        "database_unavailable",
        "The database does not answer just now.",
    ),
}
SIGNAL_ID = "01a1fc1f-537e-78ef-a699-c5d9b4210879"
ALERT = {"ticker": "NYSE:BRK.B", "action": "buy", "price": "471.20"}
ANSWERS: Mapping[str, tuple[str, str]] = {
    "400": ("invalid_json", "The body could not be read."),
    "401": ("unauthorized", "A token for alerts is needed. All wrong ones look the same."),
    "405": ("method_not_allowed", "Alerts are posted."),
    "413": ("too_large", "The body is larger than 65536 bytes."),
    "415": ("content_encoding", "The body is compressed."),
    "422": ("no_ticker", "The body can be read, and can never be a signal."),
    "429": ("too_many_wrong_tokens", "Too many wrong tokens came from this address."),
    "503": ("unavailable", "It is not stored: send it again after `Retry-After` seconds."),
}


def described(app: FastAPI, routers: Iterable[APIRouter]) -> Document:
    """The OpenAPI document of an application, made once."""
    if app.openapi_schema is None:
        document = app.openapi()
        parts = document.setdefault("components", {})
        parts["securitySchemes"] = SCHEMES
        parts["schemas"] |= {"Problem": PROBLEM, "Receipt": RECEIPT, "Refusal": REFUSAL}
        scopes = dict(_scopes(routers)) | IN_BODY
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                _complete(operation, scopes.get((method.upper(), path)))
        document["paths"] |= _webhook()
    return cast("Document", app.openapi_schema)


def _scopes(routers: Iterable[APIRouter]) -> Iterator[tuple[tuple[str, str], Scope]]:
    for route in (one for router in routers for one in router.routes):
        if isinstance(route, APIRoute) and (scope := _scope(route.dependant)):
            yield from (((method, route.path), scope) for method in route.methods or ())


def _scope(needed: Dependant) -> Scope | None:
    """What a caller needs: of all that a route depends on, whatever asks for a scope."""
    found = SCOPES.get(needed.call) if needed.call else None
    return found or next((one for one in map(_scope, needed.dependencies) if one), None)


def _complete(operation: Document, scope: Scope | None) -> None:
    """Say who may call, and how a call is refused: FastAPI believes with a 422 of its own."""
    answers = operation["responses"]
    answers.pop("422", None)
    names = ["400", "404", "503"] if operation.get("parameters") else ["400", "503"]
    if scope:
        operation["security"] = [{"bearer": [scope]}, {"session": [scope]}]
        names.append("401")
    answers |= {name: _problem(name) for name in sorted(names)}
    answers["4XX"] = {
        "description": "Refused; `code` says why.",
        "content": {"application/problem+json": {"schema": _ref("Problem")}},
    }


def _problem(status: str) -> Document:
    title, code, detail = EXAMPLES[status]
    told = {"type": "about:blank", "title": title, "status": int(status), "code": code}
    content = {"schema": _ref("Problem"), "example": told | {"detail": detail}}
    return {"description": title, "content": {"application/problem+json": content}}


def _ref(name: str) -> Document:
    return {"$ref": f"#/components/schemas/{name}"}


# ── The webhook, which FastAPI does not see ─────────────────────────────────────────────────


def _webhook() -> Document:
    in_path = {
        "name": "token",
        "in": "path",
        "required": True,
        "description": "A token with the scope `ingest`. Prefer a header: addresses are logged.",
        "schema": {"type": "string", "format": "password"},
    }
    return {
        INGEST_PATH: {"post": _posting("post_alert", [], [{"bearer": ["ingest"]}, {}])},
        f"{INGEST_PATH}/{{token}}": {
            "post": _posting("post_alert_by_path", [in_path], [{"path": ["ingest"]}])
        },
    }


def _posting(name: str, parameters: list[Document], security: list[Document]) -> Document:
    key = {
        "name": "Idempotency-Key",
        "in": "header",
        "description": "Names the alert: another one with this key within 24 hours repeats it.",
        "schema": {"type": "string"},
    }
    return {
        "operationId": name,
        "tags": ["alerts"],
        "summary": "Post an alert",
        "description": "Answered when it is committed. Without a token in header or path, one is"
        " looked for in the body: `token` or `secret`, at its top level.",
        "parameters": [*parameters, key],
        "security": security,
        "requestBody": {"required": True, "content": _bodies()},
        "responses": _receipts() | {one: _refused(one) for one in ANSWERS},
    }


def _bodies() -> Document:
    """An object in JSON; what it has to hold goes by many names, and is told in words."""
    words = "Has a ticker (`ticker`, `symbol`) and an action (`action`, `side`): buy or sell."
    text = "My strategy: order buy @ 1 filled on AAPL. New strategy position is 1"
    return {
        "application/json": {
            "schema": {"type": "object", "description": words},
            "examples": {
                "buy": {"value": ALERT},
                "token in the body": {"value": {"secret": "…"} | ALERT},
            },
        },
        "application/x-www-form-urlencoded": {
            "schema": {"type": "object", "description": words},
            "example": {"ticker": "AAPL", "action": "sell"},
        },
        "text/plain": {"schema": {"type": "string"}, "example": text},
    }


def _receipts() -> Document:
    receipt = {"signal_id": SIGNAL_ID, "status": "received", "ticker": "BRK-B"}
    words = {"200": "A repeat: the first one's id, and how it stands.", "202": "Committed."}
    return {
        status: {
            "description": told,
            "content": {
                "application/json": {
                    "schema": _ref("Receipt"),
                    "example": receipt | {"duplicate": status == "200"},
                }
            },
        }
        for status, told in words.items()
    }


def _refused(status: str) -> Document:
    code, words = ANSWERS[status]
    example = {"error": words, "code": code, "detail": words}
    content = {"application/json": {"schema": _ref("Refusal"), "example": example}}
    return {"description": words, "content": content}
