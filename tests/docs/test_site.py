"""The built site: complete, whole, and right in a browser without a network."""

import inspect
import os
import pydoc
import re
import shutil
import urllib.parse
import urllib.request

import griffe
import pytest

from jrnn.cli import _parser
from tests.docs.built import Page, build, inventory, pages_of, served
from tests.docs.pages import DOCS

MODULES = [
    "jrnn",
    "jrnn.activations",
    "jrnn.constraints",
    "jrnn.flax_wrappers",
    "jrnn.flax_wrappers.linen",
    "jrnn.flax_wrappers.nnx",
    "jrnn.initializers",
    "jrnn.keras_loader",
    "jrnn.nd4j",
    "jrnn.regularizers",
]
PROBLEMS = """() => {
    const shown = element => { const box = element.getBoundingClientRect();
                               return box.width > 0 && box.height > 0; };
    const text = document.querySelector("article").cloneNode(true);
    text.querySelectorAll("pre, code, script").forEach(element => element.remove());
    return {
        broken: [...document.images].filter(i => !i.complete || !i.naturalWidth).map(i => i.src),
        flat: [...document.querySelectorAll("math")].filter(m => !shown(m)).map(m => m.textContent),
        raw: text.textContent.match(/\\\\\\(|\\\\\\[|\\$\\$|\\\\begin/g) || [],
        equations: document.querySelectorAll("math").length,
    };
}"""
TOO_WIDE = "document.documentElement.scrollWidth > window.innerWidth"
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 900}


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    own = tmp_path_factory.getbasetemp()
    return build(own.parent if "PYTEST_XDIST_WORKER" in os.environ else own)


@pytest.fixture(scope="session")
def address(site):
    with served(site) as address:
        yield address


@pytest.fixture(scope="module")
def browser():
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        reason = f"no browser: none of {', '.join(names)} is installed"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def public():
    """Every public name, as the sources define them."""
    extensions = griffe.load_extensions(DOCS / "mkdocs" / "docstrings.py")
    package = griffe.load("jrnn", search_paths=[DOCS.parent], extensions=extensions)
    names = {}
    for module in MODULES:
        found = package[module.removeprefix("jrnn").lstrip(".")] if "." in module else package
        own = [n for n, one in found.members.items() if n[0] != "_" and not one.is_alias]
        exported = own if found.exports is None else map(str, found.exports)
        names |= {f"{module}.{name}": found[name] for name in exported}
    return names


def test_every_public_name_is_in_the_reference(site, public):
    assert len(public) > 200
    found = inventory(site)
    assert sorted(set(public) - set(found)) == []
    modules = {name for name in public if inspect.ismodule(pydoc.locate(name))}
    assert modules == {name for name in public if found[name] == "py:module"}


def test_every_public_name_says_what_it_is(public):
    assert [n for n, one in public.items() if not one.docstring or not one.docstring.value] == []


def test_every_option_of_the_command_line_is_on_its_page():
    text = (DOCS / "api" / "cli.md").read_text("utf-8")
    (commands,) = (action for action in _parser()._actions if action.choices)
    for name, parser in commands.choices.items():
        assert f"## {name}\n" in text
        for action in parser._actions:
            if "-h" in action.option_strings:
                continue
            flag = action.option_strings[0] if action.option_strings else action.metavar
            assert re.search(rf"^\| `{flag}\b", text, re.MULTILINE), (name, flag)
            assert action.help in text, (name, flag)


def test_every_link_leads_somewhere(site, address):
    pages = {name: Page(site / name) for name in pages_of(site)}
    dead, targets = [], {}
    for name, page in pages.items():
        for link in page.links:
            target = urllib.parse.urlsplit(urllib.parse.urljoin(f"{address}/{name}", link))
            if target.netloc == address.removeprefix("http://"):
                targets.setdefault(target.path, []).append((name, target.fragment))
    for path, links in targets.items():
        try:
            status = urllib.request.urlopen(address + path).status
        except urllib.error.HTTPError as error:
            status = error.code
        place = pages.get(path.removeprefix("/") or "index.html")
        for name, fragment in links:
            anchored = not fragment or fragment.startswith("__") or place is None
            if status != 200 or not (anchored or fragment in place.anchors):
                dead.append((name, path, fragment, status))
    assert dead == []
    assert len(targets) > len(pages)


def test_every_page_in_a_browser(site, address, browser):
    """Pictures, equations, no errors, nothing from elsewhere, and nothing wider than the screen."""
    page = browser.new_page()
    errors, away = [], []
    page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda asked: asked.url.startswith(address) or away.append(asked.url))
    found, equations = {}, {}
    for name in pages_of(site):
        if name == "404.html":
            continue
        page.set_viewport_size(DESKTOP)
        page.goto(f"{address}/{name}", wait_until="load")
        seen = page.evaluate(PROBLEMS)
        seen["wide"] = page.evaluate(TOO_WIDE)
        page.set_viewport_size(PHONE)
        seen["wide on a phone"] = page.evaluate(TOO_WIDE)
        equations[name] = seen.pop("equations")
        if any(seen.values()):
            found[name] = seen
    page.close()
    assert found == {}
    assert errors == []
    assert [url for url in away if not url.startswith("data:")] == []
    assert equations["equations.html"] > 20


def test_search_finds_a_page_and_leads_there(address, browser):
    page = browser.new_page()
    page.goto(f"{address}/index.html")
    page.wait_for_function("window.component$ !== undefined")  # the theme's script has run
    page.click("input[name=query]")
    page.keyboard.type("lstm")
    results = page.locator(".md-search-result__link")
    results.first.wait_for(timeout=20_000)
    assert results.count() >= 5
    results.first.click()
    page.wait_for_url(lambda url: "index.html" not in url)
    assert "lstm" in page.locator("article").inner_text().lower()
    page.close()
