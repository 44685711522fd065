"""Which Keras wrote a file, and what follows from that for the numbers."""

import dataclasses
import re
from collections.abc import Iterator
from typing import Any, Literal

from jrnn.keras_loader.errors import KerasFileError


@dataclasses.dataclass(frozen=True)
class Writer:
    """The Keras that wrote a file.

    Attributes:
        version: As in the file, ``(2, 2, 4)``.
        tf: Whether it was tf.keras or tf_keras rather than multi-backend Keras.
        backend: What Keras ran on ("tensorflow", "jax", ...); None if the file does not say.
    """

    version: tuple[int, int, int]
    tf: bool = False
    backend: str | None = None

    def __str__(self) -> str:
        name = "tf.keras" if self.tf else "Keras"
        on = f" on {self.backend}" if self.backend and not self.tf else ""
        return f"{name} {'.'.join(map(str, self.version))}{on}"

    @property
    def major(self) -> int:
        """Returns 1, 2 or 3."""
        return self.version[0]

    @property
    def gate_activation(self) -> str:
        """Default gate activation where a config has none: hard_sigmoid until Keras 2.3."""
        if self.tf:
            return "hard_sigmoid" if self.version < (2, 2, 5) else "sigmoid"
        return "hard_sigmoid" if self.version < (2, 3, 0) else "sigmoid"

    @property
    def conv_gate_activation(self) -> str:
        """Default gate activation of ConvLSTM layers where a config has none."""
        return "sigmoid" if self.major >= 3 else "hard_sigmoid"

    @property
    def reset_after(self) -> bool:
        """Default of GRU's ``reset_after`` where a config has none."""
        return self.major >= 3 or (self.tf and self.version >= (2, 2, 5))

    @property
    def implementation(self) -> int:
        """Default of ``implementation`` where a config has none."""
        newer = self.version >= ((2, 2, 5) if self.tf else (2, 3, 0))
        return 2 if newer else 1

    @property
    def recurrent_dropout_is_per_gate(self) -> bool:
        """Whether dropout of the state sets ``implementation`` to 1."""
        return self.major >= 3 or self.fuses_loops

    @property
    def has_masks_per_gate(self) -> bool:
        """Whether ``implementation=1`` draws for each gate what is dropped."""
        return not (3, 0, 0) <= self.version < (3, 8, 0)

    @property
    def conv_lstm_drops(self) -> bool:
        """Whether a ConvLSTM does what its config says of dropout."""
        return not (3, 0, 0) <= self.version < (3, 5, 0)

    @property
    def gru_drops_state(self) -> bool:
        """Whether a GRU with one mask for all gates has dropped its state in all that it does."""
        return (2, 0, 9) <= self.version < (3, 8, 0)

    @property
    def fuses_loops(self) -> bool:
        """Whether standard LSTM and GRU layers run as fused loops of their own (TensorFlow 2)."""
        return self.tf and self.version >= (2, 2, 5)

    @property
    def reverses_stacked_states(self) -> bool:
        """Whether the states of stacked cells come and go with the highest cell's first."""
        return not self.tf and self.version < (2, 2, 3)

    @property
    def has_reverse_state_order(self) -> bool:
        """Whether a stack of cells can be told to."""
        return not self.tf and (2, 2, 3) <= self.version < (3, 0, 0)

    @property
    def backward_is_negated(self) -> bool:
        """Whether Bidirectional's backward layer negates ``go_backwards`` or sets it to True."""
        return self.major < 3

    @property
    def bidirectional_zeroes_masked(self) -> bool:
        """Whether Bidirectional(return_sequences=True) puts out zeros at masked steps."""
        return self.major >= 3 or self.tf

    @property
    def flips_axis_1(self) -> bool:
        """Whether Bidirectional flips axis 1 back even where, with time_major, it is the batch."""
        return self.version < (2, 4, 0)

    @property
    def numbers_all_calls(self) -> bool:
        """Whether calls count from the first in any model, not from the first in their own."""
        return (3, 0, 0) <= self.version < (3, 2, 0)

    def masked_start(self, unroll: bool) -> Literal["zeros", "state"]:
        """Returns what masked steps put out before any step has counted: "zeros" or "state"."""
        if unroll or self.tf:
            return "zeros"
        if self.major >= 3:
            return "state" if self.backend in ("jax", "numpy") else "zeros"
        return "state" if self.version < (2, 2, 5) and self.backend != "theano" else "zeros"

    def zeroes_mirrored_steps(self, unroll: bool, go_backwards: bool) -> bool:
        """Whether zeros at masked steps are put in before the output is reversed to match."""
        return unroll and go_backwards and self.honours_zero_output(unroll)

    @property
    def mask_enters_time_distributed(self) -> bool:
        """Whether TimeDistributed hands a mask of more axes than [B, T] to its layer."""
        return self.tf or self.version >= (2, 2, 0)

    @property
    def mask_leaves_time_distributed(self) -> bool:
        """Whether the mask of TimeDistributed's layer goes on, or else the incoming one."""
        return self.mask_enters_time_distributed and self.major < 3

    @property
    def mask_rule(self) -> Literal["all", "any", "none"]:
        """Whether merged steps count where all masks say so, or any does; "none" drops them."""
        if self.major < 3:
            return "all"
        return "any" if self.mask_leaves_list else "none"

    @property
    def mask_leaves_list(self) -> bool:
        """Whether layers called on a list of tensors put out a mask."""
        return not (3, 0, 0) <= self.version < (3, 4, 0)

    @property
    def given_mask_leaves(self) -> bool:
        """Whether a loop's or a Softmax's output has the mask it was given, not its input's own."""
        return not (3, 0, 0) <= self.version < (3, 11, 0)

    @property
    def mask_enters_average(self) -> bool:
        """Whether GlobalAveragePooling1D leaves masked steps out."""
        return self.version >= (2, 2, 3)

    @property
    def mask_enters_multi_head(self) -> bool:
        """Whether MultiHeadAttention regards and passes its inputs' masks (from TF 2.10)."""
        return self.version >= (2, 10, 0)

    @property
    def mask_ends_at_multi_head(self) -> bool:
        """Whether MultiHeadAttention takes the masks off its inputs, for later layers, too."""
        return self.version >= (3, 8, 0)

    @property
    def cast_ends_mask(self) -> bool:
        """Whether a layer that casts an input to its own dtype does not see the input's mask."""
        return (3, 0, 0) <= self.version < (3, 14, 0)

    @property
    def mask_leaves_relu(self) -> bool:
        """Whether the ReLU layer passes the mask; the other activations as layers always do."""
        return not self.tf or self.version >= (2, 5, 0)

    @property
    def softmax_mask_rule(self) -> Literal["none", "fitting", "add", "zero"]:
        """What the Softmax layer does with masked elements: nothing, make them small or zero.

        TF 2.3 does nothing, TF 2.4 makes them small, and both write version 2.4.0; but a mask of
        fewer axes than the input is an error in TF 2.4, and one of as many never reaches TF 2.3.
        """
        if self.version < (2, 4, 0) or (self.major < 3 and not self.tf):
            return "none"
        if self.version < (2, 5, 0):
            return "fitting"
        return "zero" if self.version >= (3, 10, 0) else "add"

    @property
    def divides_activity(self) -> bool:
        """Whether the penalty on a layer's output is divided by the size of the batch."""
        if self.tf:
            return self.version >= (2, 2, 4)
        return self.version < (1, 2, 0) or self.version >= (3, 14, 0)

    @property
    def same_array_keeps_mask(self) -> bool:
        """Whether Reshape and Permute that change nothing pass the mask: JAX returns x itself."""
        return self.major >= 3 and self.backend == "jax"

    def smallest_length(self, of_keras3: float) -> float:
        """Returns the length below which a vector is not made one of length 1."""
        return of_keras3 if self.major >= 3 else 1e-6

    def honours_zero_output(self, unroll: bool) -> bool:
        """Whether ``zero_output_for_mask`` acts (Keras 3 on JAX ignores it when unrolled)."""
        return not (self.major >= 3 and unroll and self.backend in ("jax", "numpy"))


def writer_of(version: str | None, backend: str | None) -> Writer:
    """Returns the writer for a version string as files hold it; None stands for Keras 1."""
    if version is None:
        return Writer((1, 0, 0), backend=backend)
    found = re.match(r"([1-3])\.([0-9]{1,4})(?:\.([0-9]{1,4}))?", version)
    if found is None:
        raise KerasFileError(
            f"keras_version is {version[:40]!r}, but a version of Keras 1, 2 or 3 is needed"
        )
    numbers = (int(found[1]), int(found[2]), int(found[3] or 0))
    # Multi-backend Keras ended with 2.3.1; "-tf" marks tf.keras until 2.3.0-tf.
    tf = numbers[0] == 2 and ("-tf" in version or numbers > (2, 3, 1))
    return Writer(numbers, tf, backend)


def version_of_keras3(config: Any) -> str:
    """Returns a version for a config of Keras 3 that names none: the newest that writes such.

    What ``to_json`` returns is one. Keys that versions added tell them apart.
    """
    keys = {key for kind, values in _objects(config) if kind == "InputLayer" for key in values}
    if "optional" in keys:
        return "3.15.0"  # from 3.13
    if "ragged" in keys:
        return "3.12.0"  # from 3.9
    policies = any(isinstance(values.get("dtype"), dict) for _, values in _objects(config))
    if policies:
        return "3.8.0" if keys else "3.15.0"  # from 3.4
    return "3.0.0"


def _objects(config: Any) -> Iterator[tuple[Any, dict]]:
    """Yields the class and the choices of every object inside a config."""
    if isinstance(config, dict):
        values = config.get("config")
        if isinstance(values, dict):
            yield config.get("class_name"), values
    items = config.values() if isinstance(config, dict) else config
    for item in items if isinstance(config, dict | list) else ():
        yield from _objects(item)
