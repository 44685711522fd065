"""Docstrings as Markdown: what `help()` shows as it stands, a page shows as it is meant."""

import re

import griffe

CODE = re.compile(r"(``.*?``|`[^`\n]*`)", re.DOTALL)
SHAPE = re.compile(r"(?<![\w`\])])(\[(?:[A-Z0-9.*np][^\[\]\n]*)\])(?![\[(`])")

NAME = re.compile(r"jrnn(\.\w+)+")


class Docstrings(griffe.Extension):
    """Sets shapes as code, and lists the fields of a NamedTuple with the comments they have.

    A shape such as [B, T, F] would be a link in Markdown, and its stars emphasis.
    """

    def on_class_members(self, *, cls: griffe.Class, **_) -> None:
        if cls.path.startswith("jrnn.flax_wrappers.linen."):
            _init_of_fields(cls)
        if not cls.docstring or "NamedTuple" not in map(str, cls.bases):
            return
        fields = {name: _comment(field) for name, field in cls.attributes.items()}
        lines = [f"    {name}: {comment}" for name, comment in fields.items() if comment]
        if lines and "Attributes:" not in cls.docstring.value:
            cls.docstring.value += "\n\nAttributes:\n" + "\n".join(lines)

    def on_package(self, *, pkg: griffe.Module, **_) -> None:
        _rewrite(pkg)
        _put_functions_first(pkg)


def _init_of_fields(module: griffe.Class) -> None:
    """Gives a module of Linen the `__init__` that Flax makes of its fields."""
    fields = [one for one in module.attributes.values() if "property" not in one.labels]
    named = griffe.ParameterKind.positional_or_keyword
    parameters = [griffe.Parameter("self", kind=named)]
    for one in fields:
        given = {"annotation": one.annotation, "default": one.value}
        parameters.append(griffe.Parameter(one.name, kind=named, **given))
    if fields:
        made = griffe.Function("__init__", parameters=griffe.Parameters(*parameters))
        module.set_member("__init__", made)


def _comment(field: griffe.Attribute) -> str:
    return field.lines[-1].partition("  # ")[2] if field.lines else ""


def _rewrite(found: griffe.Object | griffe.Alias) -> None:
    """Makes Markdown of the docstrings of an object and of all that it holds."""
    if found.is_alias:
        return
    if found.docstring:
        found.docstring.value = as_markdown(found.docstring.value)
    for member in found.members.values():
        _rewrite(member)


def _put_functions_first(package: griffe.Object) -> None:
    """Lets a name that is a function and the module it comes from be the function, as in Python."""
    members = package.members
    modules = {name: one for name, one in members.items() if not one.is_alias and one.is_module}
    for module in modules.values():
        _put_functions_first(module)
    shared = set(map(str, package.exports or ())) & set(modules)
    functions = {name: modules[name][name] for name in shared if name in modules[name].members}
    for alias in members.values():
        if functions and alias.is_alias:
            alias.resolve_target()  # now, while the module that it lies in can be found
    for name, function in functions.items():
        members[name] = griffe.Alias(name, function, parent=package)


def as_markdown(text: str) -> str:
    """Returns a docstring as Markdown that shows what it says; literal blocks end in one colon."""
    parts = CODE.split(re.sub(r"(?<=\S)::$", ":", text, flags=re.MULTILINE))
    return "".join(
        _code(part) if k % 2 else SHAPE.sub(r"`\1`", part) for k, part in enumerate(parts)
    )


def _code(span: str) -> str:
    """Returns a span of code, as a link if it is one of jrnn's names and that name has a place."""
    name = span.strip("`")
    if not NAME.fullmatch(name):
        return span
    return f'<autoref identifier="{name}" optional><code>{name}</code></autoref>'
