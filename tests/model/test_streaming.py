"""A model's stream answers each sample as the whole model does for all samples so far."""

import itertools
import json
from pathlib import Path

import jax
import numpy as np
import pytest

import jrnn
from jrnn.model import Model

DATA = Path(__file__).parents[1] / "data"
OPTIONS = {"--weights": "weights", "--config": "config", "--backend": "backend"}
FILES = {
    f"{case['writer']}/{case['case']}": case["commands"][0]
    for case in json.loads((DATA / "manifest.json").read_text())
    if case["commands"]
}
# Sequences, last outputs, masks, initial zeros repeated, stacks, images, several inputs, states.
FEWER = (
    "keras-1.2.2-tf/lstm_cpu",
    "keras-2.2.4/stacked_cells_state",
    "keras-3.15-jax/dict_inputs_outputs",
    "keras-3.15-jax/embed_mask_lstm_dense",
    "keras-3.15-jax/seq2seq_masked",
    "keras-3.15-jax/stateful",
    "tf_keras-2.21/conv_bilstm_classifier",
)


def opened(name: str) -> tuple[Model, dict, list[np.ndarray]]:
    command = FILES[name]
    given = dict(itertools.pairwise(command))
    where = {
        ours: given[theirs] if ours == "backend" else DATA / given[theirs]
        for theirs, ours in OPTIONS.items()
        if theirs in given
    }
    model, params = jrnn.load_keras(DATA / command[1], **where)
    with np.load(DATA / given["--data"]) as record:
        xs = [record[f"x{k}"] for k in range(len(model.inputs))]
    return model, params, [x[0] for x in xs] if "--calls" in command else xs


def taken(xs, *part):
    """Some steps of every input; one of them if a number is given."""
    index = part[0] if len(part) == 1 else slice(*part)
    return tuple(x[:, index] for x in xs) if len(xs) > 1 else xs[0][:, index]


def joined(parts):
    return [np.concatenate(one, 1) for one in zip(*map(jax.tree.leaves, parts), strict=True)]


def same(ours, wanted, atol=1e-6):
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(
            np.asarray(a, np.float64), np.asarray(b, np.float64), rtol=1e-5, atol=atol
        )


def check_law(model, params, xs):
    """Steps, chunks and the whole answer alike, and as the model does for each beginning."""
    one, steps = jrnn.stream(model), xs[0].shape[1]

    apply = jax.jit(model.apply)

    final, ys = one.chunk(params, None, taken(xs, 0, steps))
    state = one.initial_state(params, taken(xs, 0))
    answers = []
    for t in range(steps):
        state, y = one.step(params, state, taken(xs, t))
        answers.append(jax.tree.map(lambda a: np.asarray(a)[:, None], y))
    same(joined(answers), ys)
    same(state, final)
    for t in {max(steps // 2, 1), steps}:
        whole = jax.tree.leaves(apply(params, *[x[:, :t] for x in xs]))
        for y, wanted in zip(map(np.asarray, jax.tree.leaves(ys)), whole, strict=True):
            sequence = y.ndim == wanted.ndim  # or what the model has once
            same(y[:, :t] if sequence else y[:, t - 1], wanted)


@pytest.mark.parametrize(
    "name",
    [one if one in FEWER else pytest.param(one, marks=pytest.mark.slow) for one in FILES],
)
def test_files_of_keras_stream_or_are_refused(name):
    model, params, xs = opened(name)
    try:
        jrnn.stream(model)
    except ValueError as error:
        assert str(error).startswith("jrnn.stream: layer ")  # noqa: PT017
        return
    check_law(model, params, xs)


def test_refuses_a_state_that_is_not_its_own():
    """Or it would start again, or one row would go on in all."""
    model, params, xs = opened("keras-2.2.4/lstm_last")
    one, x = jrnn.stream(model), taken(xs, 0)
    state, _ = one.step(params, None, x)
    [(name, held)] = state.items()
    rows = [jax.tree.map(lambda leaf, row=row: leaf[row], state) for row in (slice(1), 0)]
    others = [{"typo": held}, {}, {**state, "typo": held}, held, {name: tuple(held)}, *rows]
    for other in others:
        with pytest.raises(ValueError, match=r"^jrnn\.stream: state of model .* is needed"):
            one.step(params, other, x)
        with pytest.raises(ValueError, match=r"^jrnn\.stream: state of model .* is needed"):
            one.chunk(params, other, taken(xs, 0, 2))


def test_refuses_a_mask_of_another_shape_and_a_list():
    model, params, xs = opened("keras-2.2.4/lstm_last")
    one, [x] = jrnn.stream(model), xs
    rows, steps = x.shape[:2]
    with pytest.raises(ValueError, match=rf"mask has shape \({steps},\).* \({rows}, {steps}\)"):
        one.chunk(params, None, x, mask=np.ones(steps, bool))
    with pytest.raises(ValueError, match=rf"mask has shape \(1,\).* needs \({rows},\)"):
        one.step(params, None, x[:, 0], mask=np.ones(1, bool))
    with pytest.raises(ValueError, match="x is a list, but one array is needed"):
        one.step(params, None, x[0, 0].tolist())


def test_refuses_what_sees_later_steps():
    told = {
        "keras-2.3.1/bidir_state": "is bidirectional",
        "keras-2.3.1/gru_reset_after": "goes backwards",
        "keras-2.2.4/conv_bilstm_classifier": "padding is 'same'",
        "keras-2.2.4/seq2seq_lstm": "known after the last one alone",
        "tf.keras-2.2/time_major_bidir": "is bidirectional",
        "tf.keras-2.3/mask_initial_state": "takes states or constants from other layers",
        "tf.keras-2.14/locally_connected": "sees the whole sequence at once",
    }
    for name, why in told.items():
        with pytest.raises(ValueError, match=rf"^jrnn\.stream: layer '.*{why}"):
            jrnn.stream(opened(name)[0])
    with pytest.raises(ValueError, match="the model alone is needed"):
        jrnn.stream(opened("keras-2.2.4/lstm_last")[:2])  # pyright: ignore[reportArgumentType]
