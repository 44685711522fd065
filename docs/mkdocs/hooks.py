"""What building the site does beside MkDocs: files from outside docs/, and equations as MathML."""

import html
import posixpath
import re
from pathlib import Path

from latex2mathml.converter import convert
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File
from mkdocs.structure.toc import get_toc

ROOT = Path(__file__).parents[2]
# Files beside docs/ that are pages too, or pictures on them.
OUTSIDE = ("CHANGELOG.md", "CONTRIBUTING.md", "notebooks/*.ipynb", "benchmarks/results/*.md")
PICTURES = ("benchmarks/results/*.png",)
TEX = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)
MARKDOWN_CELL = re.compile(r'<div class="[^"]*jp-MarkdownOutput.*?</div>', re.DOTALL)
HEADING = re.compile(r'<h(\d) id="([^"]+)">(.*?)<a class="anchor-link"', re.DOTALL)
LINK = re.compile(r"\]\(([^():\s]+\.\w+(?:#[^()\s]*)?)\)")
HREF = re.compile(r'href="([^":#]+\.\w+(?:#[^"]*)?)"')
DOLLARS = re.compile(r"<(pre|code)\b.*?</\1>|\$\$(.+?)\$\$|\$([^$\n]+?)\$", re.DOTALL)


def on_config(config):
    """Puts a folder's pages where `nav` names it; a folder without pages is left out."""
    config.nav = _unfolded(config.nav)
    return config


def _unfolded(entries):
    kept = []
    for entry in entries:
        ((title, value),) = entry.items()
        if isinstance(value, list):
            kept.append({title: _unfolded(value)})
        elif value.endswith(".md"):
            kept.append(entry)
        else:
            pages = [found for found in _found(OUTSIDE) if found.startswith(f"{value}/")]
            kept += [{title: pages}] if pages else []
    return kept


def _found(patterns):
    return sorted(p.relative_to(ROOT).as_posix() for one in patterns for p in ROOT.glob(one))


@event_priority(100)  # before mkdocs-jupyter, which takes the notebooks among the files
def on_files(files, config):
    """Adds the files from outside docs/ under their own paths."""
    for path in _found(OUTSIDE + PICTURES):
        files.append(File(path, str(ROOT), config.site_dir, config.use_directory_urls))
    return files


def on_page_markdown(markdown, page, **_):
    """Makes links of the repository links of the site."""
    if page.file.src_uri.endswith(".md") and not re.search("^(##|:::) ", markdown, re.MULTILINE):
        page.meta.setdefault("hide", ["toc"])  # room for a wide table
    return LINK.sub(lambda link: f"]({_on_site(link[1], page)})", markdown)


def _on_site(link, page):
    """Returns a link between files of the repository as one between pages: docs/ is their top.

    README.md is not on the site, but a home of its own.
    """
    path, mark, fragment = link.partition("#")
    here = page.file.src_uri
    source = here if page.file.src_dir == str(ROOT) else f"docs/{here}"
    target = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
    if target == "README.md":
        target, mark, fragment = "docs/index.md", "", ""
    start = posixpath.dirname(here) or "."
    return posixpath.relpath(target.removeprefix("docs/"), start) + mark + fragment


def on_page_content(content, page, **_):
    """Turns TeX into MathML, which browsers draw themselves."""
    content = TEX.sub(lambda found: _mathml(found[2], block=found[1] == "div"), content)
    if not page.file.src_uri.endswith(".ipynb"):
        return content
    page.toc = get_toc(_headings(content))
    content = HREF.sub(lambda link: f'href="{_page(_on_site(link[1], page))}"', content)
    return MARKDOWN_CELL.sub(lambda cell: DOLLARS.sub(_of_dollars, cell[0]), content)


def _headings(content):
    """Returns a notebook's table of contents, whose code mkdocs-jupyter would leave out."""
    found = [
        {"level": int(level), "id": place, "name": re.sub("<.*?>", "", name), "children": []}
        for level, place, name in HEADING.findall(content)
    ]
    title, *parts = found or [{"children": []}]
    title["children"] = [part for part in parts if part["level"] == 2]
    return [title] if found else []


def _page(link):
    return re.sub(r"\.(md|ipynb)(?=#|$)", ".html", link)


def _of_dollars(found):
    if found[1]:
        return found[0]  # code
    return _mathml(found[2] or found[3], block=bool(found[2]))


def _mathml(tex, *, block):
    """Raises ValueError for TeX that the converter does not know: it would put it out as it is."""
    made = convert(html.unescape(tex.strip()), display="block" if block else "inline")
    if "\\" in made or "&amp;" in made or "<mi>&</mi>" in made:
        raise ValueError(f"an equation has TeX that latex2mathml does not know: {tex}")
    return f'<div class="equation">{made}</div>' if block else made
