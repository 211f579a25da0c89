"""Another site: pages that attack the relay with whatever cookie the browser adds."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import uvicorn
from starlette.types import Receive, Scope, Send

from demo.asgi import body_of
from tests.pages.conftest import Server
from tests.ports import free_port
from tests.web.stage import until

ATTACKS = """
window.readable = [];
window.opened = [];
const kinds = ["application/json", "text/plain", "application/x-www-form-urlencoded"];
const waiting = [];
const note = (what) => window.readable.push(what);

function fetches(path, body) {
  for (const mode of ["cors", "no-cors"]) {
    for (const kind of kinds) {
      for (const method of ["POST", "GET", "DELETE"]) {
        waiting.push((async () => {
          const given = { method, mode, credentials: "include", headers: { "content-type": kind } };
          if (method !== "GET") given.body = body;
          const answer = await fetch(target + path, given);
          const text = await answer.text();
          if (answer.type !== "opaque" || text) note(`fetch ${mode} ${path}: ${answer.status}`);
        })().catch(() => {}));
      }
    }
  }
}

function xhr(path, body) {
  waiting.push(new Promise((done) => {
    const request = new XMLHttpRequest();
    request.open("POST", target + path);
    request.withCredentials = true;
    request.onloadend = () => { if (request.responseText) note(`xhr ${path}`); done(); };
    request.send(body);
  }));
}

function form(path, body, kind, method) {
  const frame = document.createElement("iframe");
  frame.name = `frame${document.forms.length}`;
  const one = document.createElement("form");
  Object.assign(one, { action: target + path, method, enctype: kind, target: frame.name });
  const plain = { [body.slice(0, -1) + ', "x": "']: '"}' };
  const fields = kind === "text/plain" ? plain : JSON.parse(body);
  for (const [name, value] of Object.entries(fields)) {
    const input = document.createElement("input");
    Object.assign(input, { type: "hidden", name, value });
    one.append(input);
  }
  document.body.append(frame, one);
  waiting.push(new Promise((done) => {
    frame.onload = done;
    setTimeout(done, patience);
  }).then(() => {
    try {
      if (frame.contentDocument.body.textContent) note(`form ${path}`);
    } catch {}
  }));
  one.submit();
}

function embed(tag, name, path) {
  const one = document.createElement(tag);
  if (tag === "link") one.rel = "stylesheet";
  one[name] = target + path;
  waiting.push(new Promise((done) => {
    one.onload = () => {
      if (tag !== "iframe" && tag !== "object") note(`${tag} ${path}`);
      done();
    };
    one.onerror = done;
    setTimeout(done, patience);
  }).then(() => {
    try {
      if (one.contentDocument && one.contentDocument.body.textContent) note(`${tag} ${path} read`);
    } catch {}
  }));
  document.body.append(one);
}

function socket() {
  waiting.push(new Promise((done) => {
    const one = new WebSocket(target.replace("http", "ws") + "/ws/live");
    one.onopen = () => window.opened.push("open");
    one.onmessage = (event) => window.opened.push(event.data);
    one.onclose = done;
  }));
}

for (const [path, fields] of paths) {
  const body = JSON.stringify(fields);
  fetches(path, body);
  xhr(path, body);
  navigator.sendBeacon(target + path, body);
  navigator.sendBeacon(target + path, new Blob([body], { type: "text/plain" }));
  for (const kind of [...kinds.slice(1), "multipart/form-data"]) form(path, body, kind, "post");
}
for (const path of reads) {
  embed("img", "src", path);
  embed("script", "src", path);
  embed("link", "href", path);
  embed("iframe", "src", path);
  embed("object", "data", path);
}
socket();
Promise.all(waiting).then(() => { window.done = true; });
"""


@dataclass(slots=True)
class Elsewhere:
    """A server of pages; what came in is kept, with the `Origin` it came with."""

    port: int = field(default_factory=free_port)
    pages: dict[str, tuple[str, dict[str, str]]] = field(
        default_factory=dict[str, tuple[str, dict[str, str]]]
    )
    origins: list[str | None] = field(default_factory=list[str | None])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body, headers = self.pages.get(scope["path"], ("", {}))
        if scope["method"] == "POST":
            await body_of(receive)
            self.origins.append(dict(scope["headers"]).get(b"origin", b"").decode())
        given = {"content-type": "text/html; charset=utf-8"} | headers
        raw = [(name.encode(), value.encode()) for name, value in given.items()]
        await send({"type": "http.response.start", "status": 200, "headers": raw})
        await send({"type": "http.response.body", "body": body.encode()})

    def attack(
        self,
        target: str,
        paths: dict[str, dict[str, str]],
        reads: list[str],
        *,
        patience: float = 1.5,
    ) -> None:
        """Let ``/attack`` try everything against ``target``.

        What never says that it is there is waited for this many seconds.
        """
        given = f"const target = {json.dumps(target)}, reads = {json.dumps(reads)};"
        given += f"const patience = {patience * 1000};"
        listed = f"const paths = {json.dumps(list(paths.items()))};"
        self.pages["/attack"] = (f"<body><script>{given}{listed}{ATTACKS}</script></body>", {})


@asynccontextmanager
async def another_site() -> AsyncGenerator[Elsewhere]:
    site = Elsewhere()
    config = uvicorn.Config(
        site, port=site.port, lifespan="off", log_config=None, access_log=False, ws="none"
    )
    server = Server(config)
    serving = asyncio.create_task(server.serve())

    async def started() -> bool:
        return server.started

    await until(started, "another site")
    try:
        yield site
    finally:
        server.should_exit = True
        server.force_exit = True
        await serving
