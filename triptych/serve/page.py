"""The page that lists the models and lets a visitor draw a digit."""

from importlib.resources import files

from starlette.responses import Response

from .errors import RequestError

SERVED = "triptych.serve"
EXPORTED = "triptych.exporting"  # whose pages have these files, too
# Each file of the page: the package in whose assets it is, and its media type.
FILES = {
    "index.html": (SERVED, "text/html"),
    "base.css": (EXPORTED, "text/css"),
    "style.css": (SERVED, "text/css"),
    "page.js": (SERVED, "text/javascript"),
    "drawing.js": (EXPORTED, "text/javascript"),
}
# The page loads files of this server alone, and runs no code but theirs.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def asset(name: str) -> Response:
    """Return a file of the page; raise `RequestError` 404 if it is none."""
    if name not in FILES:
        raise RequestError(404, f"the page has no file {name!r}")
    package, media_type = FILES[name]
    content = (files(package) / "assets" / name).read_bytes()
    return Response(content, media_type=media_type, headers=HEADERS)
