"""The site, built once for all test processes, and what its files hold."""

import contextlib
import fcntl
import functools
import http.server
import os
import subprocess
import sys
import threading
import zlib
from html.parser import HTMLParser
from pathlib import Path

from tests.docs.pages import DOCS


def build(folder: Path) -> Path:
    """Builds the site below a folder, unless another process has, and returns where it is."""
    with (folder / "site.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        site = folder / "site"
        if not site.exists():
            command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet"]
            config = ["--config-file", DOCS / "mkdocs" / "mkdocs.yml", "--site-dir", folder / "new"]
            quiet = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
            done = subprocess.run([*command, *config], capture_output=True, text=True, env=quiet)
            assert done.returncode == 0, done.stdout + done.stderr
            (folder / "new").rename(site)
        return site


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


class _Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *_):
        """Says nothing: a browser that moves on closes its connections."""


@contextlib.contextmanager
def served(site: Path):
    """The address at which a folder is served, at a port that was free."""
    handler = functools.partial(_Quiet, directory=str(site))
    with _Server(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class Page(HTMLParser):
    """The links of a page, and the places on it that a link may name."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links, self.anchors = set(), set()
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.anchors |= {given[name] for name in ("id", "name") if given.get(name)}
        self.links |= {given[name] for name in ("href", "src") if given.get(name)}


def pages_of(site: Path) -> list[str]:
    """Every page, as its path in the site."""
    return sorted(path.relative_to(site).as_posix() for path in site.rglob("*.html"))


def inventory(site: Path) -> dict[str, str]:
    """The role of each name in `objects.inv`: below four lines, compressed, `name role ...`."""
    packed = (site / "objects.inv").read_bytes().split(b"\n", 4)[4]
    lines = zlib.decompress(packed).decode().splitlines()
    return {line.split(" ")[0]: line.split(" ")[1] for line in lines}
