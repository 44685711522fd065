"""What stands among the arguments of a call, in the forms of Keras 1, 2 and 3."""

from collections.abc import Iterator
from typing import Any

# Options of a call to an attention layer, and the field of the typed layer that stands for each.
ATTENDING_OPTIONS = {"use_causal_mask": "causal", "return_attention_scores": "returns_scores"}

# What may follow a layer's inputs without a keyword.
_LATER = {
    "AdditiveAttention": ("mask",),
    "Attention": ("mask",),
    **dict.fromkeys(
        ("BatchNormalization", "Functional", "Sequential", "TimeDistributed"), ("training", "mask")
    ),
    "GlobalAveragePooling1D": ("mask",),
    "Softmax": ("mask",),
    "loop": ("initial_state", "mask"),
}


def with_inputs_first(args: list, kwargs: dict) -> tuple[list, dict]:
    """Returns a call of Keras 3 with its inputs in the first place, where it has them by name."""
    names = [] if args else [name for name in ("inputs", "sequences") if name in kwargs]
    rest = {name: value for name, value in kwargs.items() if name not in names}
    return args or [kwargs[name] for name in names], rest


def later_arguments(kind: str, args: list) -> dict[str, Any]:
    """Returns by name what follows the inputs in a call of Keras 3."""
    names = _LATER.get(kind, ())
    unnamed = [f"argument {k}" for k in range(len(names) + 1, len(args))]
    return dict(zip((*names, *unnamed), args[1:], strict=False))


def attending_options(call: Any) -> dict[str, bool]:
    """Returns the fields that a call to an attention layer makes true."""
    true = _true_keywords(call)
    return {field: True for key, field in ATTENDING_OPTIONS.items() if key in true}


def _true_keywords(value: Any) -> set[str]:
    """Returns the keywords of a call that are true."""
    if isinstance(value, list):
        return {key for item in value for key in _true_keywords(item)}
    keywords = value.get("kwargs", value) if isinstance(value, dict) else {}
    return (
        {key for key, one in keywords.items() if one is True}
        if isinstance(keywords, dict)
        else set()
    )


def histories(value: Any) -> Iterator[Any]:
    """Yields where each tensor among the arguments of calls comes from."""
    if isinstance(value, dict) and value.get("class_name") == "__keras_tensor__":
        inner = value.get("config")
        yield inner.get("keras_history") if isinstance(inner, dict) else None
    elif isinstance(value, dict | list):
        ordered = [value[key] for key in sorted(value)] if isinstance(value, dict) else value
        for one in ordered:  # as Keras flattens arguments
            yield from histories(one)


def is_ref(value: Any) -> bool:
    """Whether a list says where a tensor comes from: [layer, node, tensor, ...]."""
    return isinstance(value, list) and len(value) >= 3 and isinstance(value[0], str)


def flat(value: Any) -> list:
    """Flattens lists of lists, as far as JSON nests them; [layer, node, tensor] stays whole."""
    if not isinstance(value, list) or is_ref(value):
        return [value]
    return [leaf for item in value for leaf in flat(item)]


def called_on(calls: list) -> str:
    """Returns what a layer is called on: "one" tensor, a "list", "several"; "" for anything else.

    Before Keras 3 that was one or a list.
    """
    if not isinstance(calls[0], dict):
        return "one" if all(len(flat(call)) == 1 for call in calls) else "list"
    forms = {_form(call.get("args") if isinstance(call, dict) else None) for call in calls}
    return forms.pop() if len(forms) == 1 else ""


def _form(args: Any) -> str:
    if not isinstance(args, list) or not args:
        return ""
    deep = [isinstance(arg, list) for arg in args]
    if len(args) == 1:
        return "list" if deep[0] else "one"
    return "" if any(deep) else "several"
