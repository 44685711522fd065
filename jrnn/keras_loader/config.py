"""Reading one layer's config: every key asked for by name, none left unread."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from jrnn import activations
from jrnn.activations import Activation
from jrnn.keras_loader.errors import KerasFileError
from jrnn.keras_loader.penalties import penalties
from jrnn.keras_loader.serialized import is_foreign
from jrnn.keras_loader.writer import Writer

# fmt: off
# Keys that do not change what a layer computes in inference.
HARMLESS = frozenset({
    "name", "trainable", "dtype", "batch_input_shape", "batch_shape", "input_dtype",
    "input_shape", "input_dim", "input_length", "input_spec", "sparse", "ragged", "optional",
    "seed", "weights", "autocast", "kernel_initializer", "recurrent_initializer",
    "bias_initializer", "embeddings_initializer", "unit_forget_bias", "init", "inner_init",
    "forget_bias_init", "kernel_regularizer", "recurrent_regularizer", "bias_regularizer",
    "activity_regularizer", "embeddings_regularizer", "W_regularizer", "U_regularizer",
    "b_regularizer", "kernel_constraint", "recurrent_constraint", "bias_constraint",
    "embeddings_constraint", "W_constraint", "U_constraint", "b_constraint", "dropout",
    "recurrent_dropout", "dropout_W", "dropout_U", "implementation", "consume_less",
    "lora_rank", "lora_alpha", "quantization_config", "stochastic", "noise_shape",
    "beta_init", "gamma_init", "fused", "virtual_batch_size", "synchronized",
    "renorm_clipping", "renorm_momentum", "moving_mean_initializer",
    "moving_variance_initializer",
    *(
        f"{array}_{kind}"
        for array in ("alpha", "beta", "depthwise", "gamma", "pointwise")
        for kind in ("constraint", "initializer", "regularizer")
    ),
})

# Without sparsemax, which Keras to 3.15 computes wrongly (its issue 23425), nor threshold, which
# takes arguments that a name cannot give.
KERAS_ACTIVATIONS = frozenset({
    "celu", "elu", "exponential", "gelu", "glu", "hard_shrink", "hard_sigmoid", "hard_silu",
    "hard_swish", "hard_tanh", "leaky_relu", "linear", "log_sigmoid", "log_softmax", "mish",
    "relu", "relu6", "selu", "sigmoid", "silu", "soft_shrink", "softmax", "softplus",
    "softsign", "sparse_plus", "sparse_sigmoid", "squareplus", "swish", "tanh",
    "tanh_shrink",
})
# fmt: on

LARGEST_SIZE = 2**31 - 1
LARGEST_NUMBER = 2**1000  # a JSON integer can be too large for a float
NOTHING: Mapping[str, Callable[..., Any]] = MappingProxyType({})


class Config:
    """One layer's config, read key by key; whatever is wrong is told with the layer's name.

    ``custom`` holds what the caller gives by name for what Keras does not have itself.
    """

    def __init__(self, entry: Any, writer: Writer, custom: Mapping[str, Any] = NOTHING) -> None:
        if not isinstance(entry, dict) or not isinstance(entry.get("class_name"), str):
            raise KerasFileError(
                f"the config has {_show(entry)} where a layer is needed: an object with class_name "
                "and config"
            )
        self.kind: str = entry["class_name"]
        self.entry = entry
        self.writer = writer
        self.custom = custom
        values = entry.get("config")
        if self.kind == "Sequential" and isinstance(values, list):  # Keras 1 and 2.0 to 2.2.2
            values = {"layers": values}
        if not isinstance(values, dict):
            raise KerasFileError(f"layer of class {_show(self.kind)} has no config object")
        self.values: dict[str, Any] = values
        name = values.get("name") or entry.get("name") or self.kind.lower()
        if not isinstance(name, str):
            raise KerasFileError(f"layer of class {_show(self.kind)} has the name {_show(name)}")
        self.name: str = name
        self._unread = set(self.values) - HARMLESS

    def inner(self, entry: Any) -> "Config":
        """Returns the config of something inside this one."""
        return Config(entry, self.writer, self.custom)

    def error(self, message: str) -> KerasFileError:
        """Returns the error to raise, with the layer's name in front."""
        return KerasFileError(f"layer {_show(self.name)} ({_show(self.kind)}): {message}")

    def is_foreign(self) -> bool:
        """Returns whether the class comes from elsewhere than Keras."""
        return is_foreign(self.entry, self.kind)

    def custom_class(self) -> Callable[..., Any] | None:
        """Returns what the caller gives for this class; None if Keras's own is certainly meant."""
        if isinstance(self.entry.get("module"), str) and not self.is_foreign():
            return None
        return self.custom_named(self.entry.get("registered_name"), self.kind)

    def custom_named(self, *names: Any) -> Callable[..., Any] | None:
        """Returns what the caller gives under one of several names, "package>name" or the name."""
        texts = [name for name in names if isinstance(name, str)]
        texts += [text.rsplit(">")[-1] for text in texts]
        return next((self.custom[text] for text in texts if text in self.custom), None)

    def get(self, *keys: str, default: Any = None) -> Any:
        """Returns the value of the first key that is there."""
        self._unread.difference_update(keys)
        return next((self.values[key] for key in keys if key in self.values), default)

    def size(self, *keys: str) -> int:
        """Returns a positive integer."""
        value = self.get(*keys)
        if type(value) is float and value.is_integer():
            value = int(value)
        if type(value) is not int or not 1 <= value <= LARGEST_SIZE:
            raise self.error(f"{keys[0]} is {_show(value)}, but a positive integer is needed")
        return value

    def flag(self, *keys: str, default: bool) -> bool:
        """Returns a truth value; null stands for the default."""
        value = self.get(*keys)
        if value is None:
            return default
        if value not in (True, False):
            raise self.error(f"{keys[0]} is {_show(value)}, but true or false is needed")
        return bool(value)

    def number(self, *keys: str, default: float) -> float:
        """Returns a float; null stands for the default."""
        value = self.get(*keys)
        if value is None:
            return default
        if type(value) not in (int, float) or abs(value) > LARGEST_NUMBER:
            raise self.error(f"{keys[0]} is {_show(value)}, but a number is needed")
        return float(value)

    def sizes(self, key: str, smallest: int) -> tuple[int, ...]:
        """Returns a list of integers as a tuple."""
        value = self.get(key)
        if isinstance(value, dict):  # tf.keras writes {"class_name": "__tuple__", "items": [..]}
            value = value.get("items")
        if not isinstance(value, list) or not all(
            type(size) is int and smallest <= size <= LARGEST_SIZE for size in value
        ):
            raise self.error(f"{key} is {_show(value)}, but a list of integers is needed")
        return tuple(value)

    def activation(self, *keys: str, default: str) -> str | Activation:
        """Returns the activation as this writer's Keras computes it."""
        value = self.get(*keys, default=default)
        if isinstance(value, dict) and value.get("class_name") != "function":
            return self._activation_object(keys[0], value)
        if isinstance(value, dict):  # Keras 3 writes a function of the user's so
            names = value.get("registered_name"), value.get("config")
            return self._custom_activation(keys[0], *names)
        name = "linear" if value is None else value
        known = isinstance(name, str) and name in KERAS_ACTIVATIONS
        if not known or (self.writer.major < 3 and name in self.custom):  # as Keras 1 and 2 have it
            return self._custom_activation(keys[0], name)
        if name == "hard_sigmoid" and self.writer.major < 3:
            return "hard_sigmoid_keras2"
        return name

    def _custom_activation(self, key: str, *names: Any) -> Activation:
        found = self.custom_named(*names)
        if found is None:
            raise self.error(
                f"{key} is {_show(names[-1])}, which is no activation of Keras; give "
                "jrnn.load_keras a function of one array for it: "
                f"custom_objects={{{_show(names[-1])}: function}}"
            )
        return found

    def _activation_object(self, key: str, value: dict) -> Activation | str:
        """An activation layer in the place of an activation's name."""
        inner = self.inner(value)
        if inner.is_foreign():
            raise self.error(f"{key} is a {_show(inner.kind)} that is not of Keras")
        if inner.kind == "LeakyReLU":
            slope = inner.number("negative_slope", "alpha", default=0.3)
            found = activations.get("leaky_relu", alpha=slope)
        elif inner.kind == "ELU":
            found = activations.get("elu", alpha=inner.number("alpha", default=1.0))
        elif inner.kind == "Pipeline":
            found = self._clipped_line(key, inner)
        else:
            raise self.error(f"{key} is a {_show(inner.kind)}, which jrnn does not know there")
        inner.finish()
        return found

    def _clipped_line(self, key: str, pipeline: "Config") -> str | Activation:
        """``clip(alpha x + beta, 0, 1)`` as ``save_keras`` writes it for Keras 3."""
        pipeline.get("name")
        entries = pipeline.get("layers")
        inside = [self.inner(one) for one in entries] if isinstance(entries, list) else []
        known = [one.kind for one in inside] == ["Rescaling", "ReLU"]
        if not known or any(one.is_foreign() for one in inside):
            raise self.error(f"{key} is a Pipeline, of which jrnn knows Rescaling and ReLU alone")
        line, clip = inside
        options = {
            "alpha": line.number("scale", default=1.0),
            "beta": line.number("offset", default=0.0),
        }
        if clip.get("max_value") != 1:
            raise self.error(f"{key} is a Pipeline that does not end in a ReLU up to 1")
        line.finish()
        clip.finish()
        if options == {"alpha": 0.2, "beta": 0.5}:
            return "hard_sigmoid_keras2"
        return activations.get("hard_sigmoid_keras2", **options)

    def dtype(self) -> str | None:
        """Returns what the layer computes in; None for float32, where nothing is cast."""
        policy = self.policy(self.values.get("dtype"))[0]
        if isinstance(policy, str):
            policy = policy.removeprefix("mixed_")
        if policy in ("float16", "bfloat16", "float64"):
            return policy
        if policy in (None, "float32", "int32", "int64"):  # Keras 2.0 writes Embedding's input's
            return None
        raise self.error(f"its dtype policy is {_show(policy)}, which jrnn does not know")

    def is_quantized(self) -> bool:
        """Returns whether the layer's kernel is one of 8-bit integers, if it has a kernel."""
        return self.policy(self.values.get("dtype"))[1]

    def policy(self, found: Any) -> tuple[Any, bool]:
        """Returns the name of a dtype policy, and whether kernels are 8-bit integers under it."""
        if not isinstance(found, dict):
            return found, False
        kind, inner = found.get("class_name"), found.get("config")
        options = inner if isinstance(inner, dict) else {}
        if kind == "DTypePolicyMap":  # of the layers inside this one, by their paths
            return self.policy(options.get("default_policy"))
        if kind in ("DTypePolicy", "Policy") and options:
            return options.get("name"), False
        if kind == "QuantizedDTypePolicy" and options.get("mode") == "int8":
            return options.get("source_name"), True
        raise self.error(
            f"its dtype policy is {_show(kind)} of mode {_show(options.get('mode'))}, but of "
            "quantised layers jrnn loads those of mode 'int8' alone; save it before quantising"
        )

    def base(self) -> dict[str, Any]:
        """Returns the arguments that every layer takes."""
        return {
            "name": self.name,
            "kind": self.kind,
            "dtype": self.dtype(),
            "trainable": self.values.get("trainable") is not False,
            "cast_ends_mask": self.writer.cast_ends_mask,
            **penalties(self.kind, self.values, self.writer),
        }

    def finish(self) -> None:
        """Raises ``KerasFileError`` if a key with a meaning was not read."""
        for key in sorted(self._unread):
            if self.values[key] not in (None, False, 0, "", [], {}):
                raise self.error(
                    f"{_show(key)} is {_show(self.values[key])}, an option jrnn does not know"
                )


def _show(value: Any) -> str:
    """Returns a short one-line form of anything found in a file."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
