"""What the pages of docs/ hold: their Python and their tables."""

import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"


def python_of(page: str) -> list[str]:
    """The blocks of Python on a page, in order."""
    text = (DOCS / page).read_text("utf-8")
    return re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def run_python(page: str, **names) -> dict:
    """Runs a page's Python as one program that starts with some names, and returns all it has."""
    exec(compile("\n".join(python_of(page)), page, "exec"), names)
    return names


def table(page: str, heading: str) -> list[dict[str, str]]:
    """The first table under a heading: a dict from column to cell for each row."""
    text = (DOCS / page).read_text("utf-8")
    section = re.split(rf"^## {heading}$", text, flags=re.MULTILINE)[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [dict(zip(cells[0], row, strict=True)) for row in cells[2:]]
