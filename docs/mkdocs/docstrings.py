"""Docstrings as Markdown: what `help()` shows as it stands, a page shows as it is meant."""

import re

import griffe

CODE = re.compile(r"(``.*?``|`[^`\n]*`)", re.DOTALL)
SHAPE = re.compile(r"(?<![\w`\])])(\[(?:[A-Z0-9.*n][^\[\]\n]*)\])(?![\[(`])")


class Docstrings(griffe.Extension):
    """Ends paragraphs with one colon, sets shapes as code, and takes a field's comment as its text.

    A shape such as [B, T, F] would be a link in Markdown, and its stars emphasis.
    """

    def on_instance(self, *, obj: griffe.Object, **_) -> None:
        if obj.docstring:
            obj.docstring.value = as_markdown(obj.docstring.value)

    def on_attribute_instance(self, *, attr: griffe.Attribute, **_) -> None:
        of_class = attr.parent is not None and attr.parent.is_class
        if of_class and attr.docstring is None and attr.lineno and attr.lines:
            _, mark, comment = attr.lines[-1].partition("  # ")
            if mark:
                attr.docstring = griffe.Docstring(as_markdown(comment), parent=attr)


def as_markdown(text: str) -> str:
    """Returns the docstring with its literal blocks, which are indented already, left alone."""
    lines = []
    for line in re.sub(r"(?<=\S)::$", ":", text, flags=re.MULTILINE).split("\n"):
        lines.append(line)
    parts = CODE.split("\n".join(lines))
    return "".join(part if k % 2 else SHAPE.sub(r"`\1`", part) for k, part in enumerate(parts))
