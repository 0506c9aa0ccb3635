"""Weight decay and dropout: what changes in the forward and backward pass of ``fastnn.kernels.sgd``.

Weight decay (L2) multiplies all weights by 1 - learning rate * alpha at each sample. That would cost as much as a dense
layer. Each layer has a scale s instead: its weights are s V, the decay multiplies s, and an update by g·x' changes V by
g·x' / s. This is the same in exact arithmetic, at a cost that does not grow with the layer. When s is small, V is
multiplied by it and s becomes 1 again.

Dropout sets each hidden unit to 0 with a probability p in training, and divides the others by 1 - p (Srivastava et al.
2014). Whether a unit is dropped is a hash of the key, the number of the sample in training, the layer and the unit: the
same on every machine, and without a state.

Above the first layer both change what a layer reads: s m h instead of the activations h below, where m is 0 or
1 / (1 - p).
"""

from numba import int64, uint64

from fastnn.kernels import vector as simd
from fastnn.kernels.inputs import layer_at
from fastnn.kernels.vector import ONE, device, float_pointer
from fastnn.kernels.workspace import SMALLEST_SCALE

_UNITS_PER_HASH = 4
"""A hash of 64 bits decides about four units, by 16 bits each."""


@device
def _multiply(numbers, length, factor):
    """Multiply contiguous numbers by a factor; `length` is a multiple of the lanes of a vector."""
    simd.small_code()
    factors = simd.splat(factor, ONE)
    for r in range(0, length, simd.floats_per_vector(numbers)):
        simd.store(numbers, r, simd.mul(factors, simd.load(numbers, r, ONE)))


@device
def _as_float(ws, value):
    """Return a number rounded to the network's type."""
    scratch = float_pointer(ws, ws.lane_sums)
    scratch[0] = value
    return scratch[0]


@device
def first_scale(ws):
    """Return s of the first layer."""
    return _as_float(ws, layer_at(ws, 0).scale)


@device
def inverse_first_scale(ws):
    """Return 1 / s of the first layer."""
    return _as_float(ws, 1.0 / layer_at(ws, 0).scale)


@device
def mix(key):
    """Return the finaliser of SplitMix64 (Steele, Lea and Flood 2014) of 64 bits."""
    key = (key ^ (key >> uint64(30))) * uint64(0xBF58476D1CE4E5B9)
    key = (key ^ (key >> uint64(27))) * uint64(0x94D049BB133111EB)
    return key ^ (key >> uint64(31))


@device
def rescale(ws):
    """Multiply V of layers whose scale is small by it; their scale becomes 1."""
    simd.small_code()
    for depth in range(ws.n_layers):
        layer = layer_at(ws, depth)
        if layer.scale < SMALLEST_SCALE:
            scale = _as_float(ws, layer.scale)
            _multiply(float_pointer(ws, layer.weights), layer.n_rows * layer.stride, scale)
            if depth == 0:
                offset = float_pointer(ws, ws.column_offset)
                _multiply(offset, layer.n_vectors * simd.floats_per_vector(offset), scale)
            layer.scale = 1.0


@device
def scale_inputs(ws, args, depth, position, learns):
    """Write what the layer at `depth` >= 1 reads: s m h; draw m first if training drops units."""
    simd.small_code()
    layer, below = layer_at(ws, depth), layer_at(ws, depth - 1)
    units, inputs = float_pointer(ws, below.activations), float_pointer(ws, layer.inputs)
    kept, lanes = float_pointer(ws, below.kept), simd.floats_per_vector(units)
    scale, length = simd.splat(_as_float(ws, layer.scale), ONE), below.n_vectors * lanes
    drops = learns and args.drop_below > 0
    if drops:
        key = mix(uint64(args.dropout_key) + uint64(position) * uint64(0x9E3779B97F4A7C15))
        key = key ^ (uint64(depth) << uint64(56))
        for start in range(0, length, _UNITS_PER_HASH):
            bits = mix(key + uint64(start) * uint64(0x9E3779B97F4A7C15))
            for k in range(start, start + _UNITS_PER_HASH):
                dropped = int64(bits & uint64(0xFFFF)) < args.drop_below
                kept[k] = args.keep_scale * (1 - int64(dropped))
                bits = bits >> uint64(16)
    for r in range(0, length, lanes):
        value = simd.mul(scale, simd.load(units, r, ONE))
        if drops:
            value = simd.mul(simd.load(kept, r, ONE), value)
        simd.store(inputs, r, value)


@device
def before_update(ws, args, depth):
    """Decay a layer's scale, and turn its scaled deltas into those of V; dropped units of a hidden layer get none.

    Called when the layer's deltas are known, and before its biases are updated.
    """
    simd.small_code()
    layer = layer_at(ws, depth)
    scaled_deltas, deltas = float_pointer(ws, layer.scaled_deltas), float_pointer(ws, layer.deltas)
    lanes, kept = simd.floats_per_vector(deltas), float_pointer(ws, layer.kept)
    if depth < ws.n_layers - 1 and args.drop_below > 0:
        for r in range(0, layer.n_vectors * lanes, lanes):
            mask = simd.load(kept, r, ONE)
            simd.store(deltas, r, simd.mul(mask, simd.load(deltas, r, ONE)))
            simd.store(scaled_deltas, r, simd.mul(mask, simd.load(scaled_deltas, r, ONE)))
    if depth == 0 and args.decay > 0:
        # a = b + W'·mu: the part of the weights decays with them.
        layer.scale *= 1.0 - args.decay
        folded, biases = float_pointer(ws, ws.folded_bias), float_pointer(ws, layer.biases)
        remaining = simd.splat(_as_float(ws, 1.0 - args.decay), ONE)
        for r in range(0, layer.n_vectors * lanes, lanes):
            bias = simd.load(biases, r, ONE)
            part = simd.sub(simd.load(folded, r, ONE), bias)
            simd.store(folded, r, simd.fma(remaining, part, bias))


@device
def scale_update(ws, args, depth):
    """Divide the scaled deltas of a layer above the first by its old and its new scale: the layer's inputs hold s."""
    layer = layer_at(ws, depth)
    scaled_deltas = float_pointer(ws, layer.scaled_deltas)
    factor = 1.0 / (layer.scale * layer.scale * (1.0 - args.decay))
    _multiply(scaled_deltas, layer.n_vectors * simd.floats_per_vector(scaled_deltas), _as_float(ws, factor))


@device
def after_update(ws, args, depth):
    """Multiply the deltas of the layer below by the old scale, since they came through V; decay the scale."""
    layer, below = layer_at(ws, depth), layer_at(ws, depth - 1)
    deltas = float_pointer(ws, below.deltas)
    _multiply(deltas, layer.n_input_vectors * simd.floats_per_vector(deltas), _as_float(ws, layer.scale))
    layer.scale *= 1.0 - args.decay
