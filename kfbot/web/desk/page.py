"""The desk's page and its files."""

from __future__ import annotations

from pathlib import Path

from aiohttp import web

STATIC = Path(__file__).parents[1] / "static" / "desk"
#: Only what the server itself serves runs; nobody may frame the page.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
    " img-src 'self' data:; media-src 'self' data:; manifest-src 'self'; base-uri 'none';"
    " form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
_PAGE_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
#: On every answer under /desk that has none of its own: nobody keeps or frames it.
PRIVATE = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_KINDS = (".js", ".css", ".svg", ".woff2", ".mp3", ".txt")


class Page:
    """Serves them; who is signed in asks the JSON."""

    def routes(self) -> list[web.RouteDef]:
        """The page and its files."""
        return [
            web.get("/desk", self.page),
            web.get("/desk/", self.page),
            web.get("/desk/static/{name:.+}", self.file),
        ]

    async def page(self, request: web.Request) -> web.StreamResponse:
        """The page, the same for everybody."""
        return web.FileResponse(STATIC / "desk.html", headers=_PAGE_HEADERS)

    async def file(self, request: web.Request) -> web.StreamResponse:
        """A script or style of the page."""
        known = {
            file.relative_to(STATIC).as_posix(): file
            for pattern in ("*", "vendor/*")
            for file in STATIC.glob(pattern)
            if file.suffix in _KINDS
        }
        found = known.get(request.match_info["name"])
        if found is None:
            raise web.HTTPNotFound
        return web.FileResponse(found, headers={"Cache-Control": "no-cache"})
