"""The import ladder of docs/architecture.md, and who alone may import or call what."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "jrnn"

# A rung imports only what stands on an earlier one, or lies in its own folder.
LADDER = [
    {"names", "exported"},
    {"activations", "constraints", "initializers", "regularizers"},
    {"cells"},
    {"scan"},
    {"layers"},
    {"nd4j", "model"},
    {"jrnn"},  # jrnn/__init__.py: the public names
    {"keras_loader", "flax_wrappers"},
    {"demo"},
    {"examples"},
    {"cli"},
    {"__main__"},
]
RUNG = {name: rung for rung, names in enumerate(LADDER) for name in names}
OWNERS = {
    "flax": {"flax_wrappers", "examples"},
    "optax": {"examples"},
    "orbax": {"examples"},
    "h5py": {"keras_loader"},
    "zipfile": {"keras_loader"},
    "rich": {"cli", "demo", "examples"},
    "matplotlib": {"cli", "demo"},
}
FILES = sorted(path for path in ROOT.rglob("*.py") if path.parent != ROOT / "data")


def place(dotted: str) -> str:
    """Where a dotted path stands on the ladder: jrnn.cells.lstm at `cells`, jrnn.lstm at `jrnn`."""
    return next((name for name in dotted.split(".")[1:2] if name in RUNG), "jrnn")


def imports(path: Path, nodes) -> set[str]:
    """Every module the nodes import, dotted and absolute; `from m import n` counts as m.n."""
    package = ("jrnn", *path.parent.relative_to(ROOT).parts)
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else ()
            module = ".".join([*base, *filter(None, [node.module])])
            found |= {f"{module}.{alias.name}" for alias in node.names}
    return found


def calls_scan(node: ast.AST) -> bool:
    if isinstance(node, ast.ImportFrom):
        return node.module == "jax.lax" and any(alias.name == "scan" for alias in node.names)
    return isinstance(node, ast.Attribute) and ast.unparse(node) in {"lax.scan", "jax.lax.scan"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_file_keeps_to_its_place(path):
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    here = path.relative_to(ROOT).parts[0].removesuffix(".py").replace("__init__", "jrnn")
    assert here in RUNG, f"{here} has no rung: give it one here and in docs/architecture.md"

    # The public names may be fetched from above when first used: what counts is import time.
    found = imports(path, tree.body if here == "jrnn" else ast.walk(tree))
    for dotted in found:
        top = dotted.split(".")[0]
        assert here in OWNERS.get(top, {here}), f"only {OWNERS[top]} may import {top}"
        if top == "jrnn" and (there := place(dotted)) != here:
            assert RUNG[there] < RUNG[here], f"{here} may not import {there}"

    assert here == "scan" or not any(map(calls_scan, ast.walk(tree))), "lax.scan is for scan.py"
    assert len(text.splitlines()) < 300, "one topic a file: split it"
