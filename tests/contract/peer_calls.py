"""How each library is called: ``(run, step)`` of a kind of cell, with weights in Keras's layout.

``run(params, state or None, xs, lengths or None)`` is the layer, ``step(params, state, x)`` the
cell.
"""

import functools

import jax
import jax.numpy as jnp

import jrnn


def one_bias(bias):
    """The one bias and the candidate's inner one that equal Keras's two."""
    n = bias.shape[-1] // 3
    return bias[0] + jnp.concatenate([bias[1, : 2 * n], jnp.zeros_like(bias[1, 2 * n :])]), bias[
        1, 2 * n :
    ]


def blocks(array, names):
    return dict(zip(names, jnp.split(array, len(names), -1), strict=True))


def reordered(array, given, wanted):
    own = blocks(array, given)
    return jnp.concatenate([own[name] for name in wanted], -1)


def carry_of(state):
    """The state as Flax has it: an LSTM's cell before its output."""
    if state is None:
        return None
    return (state.cell, state.hidden) if isinstance(state, jrnn.LSTMState) else state.hidden


def state_of(carry):
    return jrnn.LSTMState(*carry[::-1]) if isinstance(carry, tuple) else jrnn.GRUState(carry)


def jrnn_run(kind):
    cell = {"LSTM": jrnn.LSTMCell(), "GRU": jrnn.GRUCell()}[kind]

    def run(p, state, xs, lengths):
        return jrnn.rnn(cell, p, xs, initial_state=state, lengths=lengths)

    return run, cell


def linen(kind):
    """``flax.linen.RNN`` over ``OptimizedLSTMCell`` or ``GRUCell``."""
    import flax.linen as nn

    def own(p):
        if kind == "LSTM":
            of_x, of_h, bias = (blocks(array, "ifgo") for array in p[:3])
            params = {f"i{gate}": {"kernel": of_x[gate]} for gate in "ifgo"}
            return params | {f"h{g}": {"kernel": of_h[g], "bias": bias[g]} for g in "ifgo"}
        outer, candidate = one_bias(p.bias)
        of_x, of_h, bias = (blocks(array, "zrn") for array in (*p[:2], outer))
        params = {f"i{gate}": {"kernel": of_x[gate], "bias": bias[gate]} for gate in "zrn"}
        params |= {f"h{gate}": {"kernel": of_h[gate]} for gate in "zrn"}
        params["hn"]["bias"] = candidate
        return params

    def cell(p):
        made = nn.OptimizedLSTMCell if kind == "LSTM" else nn.GRUCell
        return made(p.recurrent_kernel.shape[0], param_dtype=p.kernel.dtype)

    def run(p, state, xs, lengths):
        variables = {"params": {"cell": own(p)}}
        module = nn.RNN(cell(p), return_carry=True)
        given = {"initial_carry": carry_of(state), "seq_lengths": lengths}
        carry, ys = module.apply(variables, xs, **given)
        return state_of(carry), ys

    def step(p, state, x):
        carry, y = cell(p).apply({"params": own(p)}, carry_of(state), x)
        return state_of(carry), y

    return run, step


def nnx(kind):
    """``flax.nnx.RNN`` over ``OptimizedLSTMCell`` or ``GRUCell``, whose GRU has one bias."""
    from flax import nnx

    def cell(p):
        made = nnx.OptimizedLSTMCell if kind == "LSTM" else nnx.GRUCell
        sizes = p.kernel.shape[0], p.recurrent_kernel.shape[0]

        def new():
            return made(*sizes, param_dtype=p.kernel.dtype, rngs=nnx.Rngs(0))

        graph, shapes = nnx.split(nnx.eval_shape(new))
        order = ("ifgo", "ifgo") if kind == "LSTM" else ("zrn", "rzn")
        biased = "dense_h" if kind == "LSTM" else "dense_i"
        arrays = {
            ("dense_i", "kernel"): p.kernel,
            ("dense_h", "kernel"): p.recurrent_kernel,
            (biased, "bias"): p.bias,
        }
        given = {}
        for path, leaf in nnx.to_flat_state(shapes):
            if path in arrays:
                given[path] = leaf.replace(reordered(arrays[path], *order))
            else:  # the generator of the carry's initializer
                given[path] = leaf.replace(
                    jax.random.key(0) if "key" in path else jnp.zeros((), jnp.uint32)
                )
        return nnx.merge(graph, nnx.from_flat_state(given))

    def run(p, state, xs, lengths):
        given = {"initial_carry": carry_of(state), "seq_lengths": lengths}
        carry, ys = nnx.RNN(cell(p))(xs, return_carry=True, **given)
        return state_of(carry), ys

    def step(p, state, x):
        carry, y = cell(p)(carry_of(state), x)
        return state_of(carry), y

    return run, step


def keras(kind, activation=jnp.tanh):
    """``keras.layers.LSTM`` or ``GRU`` through ``stateless_call``; lengths as a mask.

    With JAX's tanh, since its own computes float64 in float32.
    """
    import keras

    @functools.cache
    def built(name, units, features, dtype, **options):
        with jax.ensure_compile_time_eval():
            given = {"activation": activation, "dtype": dtype}
            given["recurrent_initializer"] = "zeros"  # its own has no bfloat16
            layer = getattr(keras.layers, name)(units, **given, **options)
            layer.build((None, None, features)[-3 if options else -2 :])
            return layer, [v.value for v in layer.non_trainable_variables]

    def sizes(p):
        return p.recurrent_kernel.shape[0], p.kernel.shape[0], p.kernel.dtype.name

    def run(p, state, xs, lengths):
        options = {"return_sequences": True, "return_state": True}
        layer, fixed = built(kind, *sizes(p), **options)
        mask = None if lengths is None else jnp.arange(xs.shape[1]) < lengths[:, None]
        start = None if state is None else list(state)
        (ys, *state), _ = layer.stateless_call(
            list(p[:3]), fixed, xs, initial_state=start, mask=mask
        )
        return (jrnn.LSTMState if kind == "LSTM" else jrnn.GRUState)(*state), ys

    def step(p, state, x):
        cell, fixed = built(f"{kind}Cell", *sizes(p))
        (y, new), _ = cell.stateless_call(list(p[:3]), fixed, x, list(state))
        return type(state)(*new), y

    return run, step


def haiku(kind):
    """``haiku.dynamic_unroll`` over ``LSTM``, or ``GRU``, which resets before the product."""
    import haiku as hk

    def own(p):
        n = p.recurrent_kernel.shape[0]
        if kind == "LSTM":
            of_x, of_h, bias = (reordered(array, "ifgo", "igfo") for array in p[:3])
            bias = bias - jnp.repeat(jnp.array([0, 0, 1, 0], bias.dtype), n)  # which it adds
            return {"lstm/linear": {"w": jnp.concatenate([of_x, of_h]), "b": bias}}
        sign = jnp.repeat(jnp.array([-1, 1, 1], p.bias.dtype), n)  # its z is 1 - z
        return {
            "gru": {"w_i": p.kernel * sign, "w_h": p.recurrent_kernel * sign, "b": p.bias * sign}
        }

    def core(p):
        return (hk.LSTM if kind == "LSTM" else hk.GRU)(p.recurrent_kernel.shape[0])

    def start(state):
        return hk.LSTMState(*state) if kind == "LSTM" else state.hidden

    def done(state):
        return jrnn.LSTMState(*state) if kind == "LSTM" else jrnn.GRUState(state)

    def apply(function, p):
        return hk.without_apply_rng(hk.transform(function)).apply(own(p))

    def run(p, state, xs, lengths):
        del lengths

        def unroll():
            made = core(p)
            first = made.initial_state(xs.shape[0]) if state is None else start(state)
            return hk.dynamic_unroll(made, jnp.moveaxis(xs, -2, 0), first)

        ys, final = apply(unroll, p)
        return done(final), jnp.moveaxis(ys, 0, -2)

    def step(p, state, x):
        y, final = apply(lambda: core(p)(x, start(state)), p)
        return done(final), y

    return run, step


def equinox(kind):
    """``equinox.nn.LSTMCell`` or ``GRUCell`` in ``lax.scan``, ``jax.vmap`` over rows."""
    import equinox as eqx

    def cell(p):
        f, n = p.kernel.shape[0], p.recurrent_kernel.shape[0]
        made = eqx.nn.LSTMCell if kind == "LSTM" else eqx.nn.GRUCell
        shapes = jax.eval_shape(lambda: made(f, n, key=jax.random.key(0)))
        if kind == "LSTM":
            places = lambda c: (c.weight_ih, c.weight_hh, c.bias)  # noqa: E731
            return eqx.tree_at(places, shapes, (p.kernel.T, p.recurrent_kernel.T, p.bias))
        places = lambda c: (c.weight_ih, c.weight_hh, c.bias, c.bias_n)  # noqa: E731
        outer, candidate = one_bias(p.bias)
        of_x, of_h, outer = (reordered(a, "zrn", "rzn") for a in (*p[:2], outer))
        return eqx.tree_at(places, shapes, (of_x.T, of_h.T, outer, candidate))

    def own(state):
        return tuple(state) if kind == "LSTM" else state.hidden

    def done(state):
        return jrnn.LSTMState(*state) if kind == "LSTM" else jrnn.GRUState(state)

    def run(p, state, xs, lengths):
        del lengths
        made, n = cell(p), p.recurrent_kernel.shape[0]

        def row(start, xs):
            def body(carry, x):
                carry = made(x, carry)
                return carry, carry[0] if kind == "LSTM" else carry

            return jax.lax.scan(body, start, xs)

        if state is None:
            zero = jnp.zeros(n)
            start, axes = (zero, zero) if kind == "LSTM" else zero, (None, 0)
        else:
            start, axes = own(state), (0, 0)
        for _ in range(xs.ndim - 2):
            row = jax.vmap(row, axes)
        final, ys = row(start, xs)
        return done(final), ys

    def step(p, state, x):
        made = cell(p)
        for _ in range(x.ndim - 1):
            made = jax.vmap(made)
        final = made(x, own(state))
        return done(final), final[0] if kind == "LSTM" else final

    return run, step


def cudnn(kind):
    """``jax.experimental.rnn.lstm``, cuDNN's; it has no cell."""
    from jax.experimental import rnn

    assert kind == "LSTM"

    def run(p, state, xs, lengths):
        n, (batch, steps, f) = p.recurrent_kernel.shape[0], (xs.shape[0], *xs.shape[-2:])
        arrays = (p.kernel.T, p.recurrent_kernel.T, p.bias, jnp.zeros_like(p.bias))
        weights = jnp.concatenate([array.ravel() for array in arrays])
        h, c = (jnp.zeros((1, batch, n)),) * 2 if state is None else (one[None] for one in state)
        lengths = jnp.full(batch, steps, jnp.int32) if lengths is None else lengths
        ys, h, c = rnn.lstm(xs, h, c, weights, lengths, f, n, 1, 0.0, False)
        return jrnn.LSTMState(h[0], c[0]), ys

    return run, None
