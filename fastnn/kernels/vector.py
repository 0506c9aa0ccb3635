"""Explicit SIMD for the kernels: vectors of fixed length, pointers and records as Numba types and intrinsics.

A :class:`Vector` is a number of 64-byte vectors (or halves of one) in LLVM's own vector type; each target splits them
into what it has (AVX-512, AVX2, SSE, NEON). Lanes are combined only where a function says so, and :func:`fma` rounds
once on every machine: the results are the same bits everywhere. LLVM's loop vectoriser is no substitute: it keeps
accumulators of loops like ours in memory, and turns short loops into slow scalar code (benchmarks/PERFORMANCE.md).

A kernel is given the address of a record (``fastnn.kernels.workspace``). :func:`record_at` reads such a record,
:func:`pointer` and :func:`float_pointer` turn an address into a pointer. Pointers are indexed as arrays are, without
bounds and without negative indices.

`width` arguments are constants: HALF a vector, or ONE, TWO, THREE or FOUR. An operand of one vector is used with each
vector of a longer one. Intrinsics name the types of what they load: pointers of LLVM have none.
"""

import contextlib

import numba
import numpy as np
from llvmlite import binding, ir
from numba import types
from numba.extending import intrinsic, models, register_model

VECTOR_BYTES = 64

HALF, ONE, TWO, THREE, FOUR = 0, 1, 2, 3, 4


def device(function):
    """Compile a function that other compiled functions call; Python cannot call it.

    No ``fastmath``: it lets NaN checks be removed and makes weights differ between processors. ``error_model="numpy"``
    drops the checks for division by zero.
    """
    options = {"nogil": True, "error_model": "numpy", "boundscheck": False}
    return numba.njit(no_cpython_wrapper=True, no_cfunc_wrapper=True, **options)(function)


def _has_avx512():
    features = numba.config.CPU_FEATURES
    if features is None:
        features = binding.get_host_cpu_features().flatten()
    return "+avx512f" in features.split(",")


NATIVE = ONE if _has_avx512() else HALF
"""Width for loops that keep many vectors in registers: AVX-512 has 32 registers of 64 bytes, others 16 of 32 or less."""

NATIVE_PER_VECTOR = 1 if NATIVE == ONE else 2

# exp(x) = 2**n * exp(r), n = round(x / log 2), r = x - n * log 2 in two steps (Cody and Waite 1980). float32: the
# polynomial of Cephes' expf (Moshier 1992); float64: Taylor's, whose remainder is below 5e-18 for |r| <= log(2) / 2.
# Adding and subtracting `magic` rounds to a whole number, which then stands in the lowest bits.
EXP_CONSTANTS = {
    "float": {
        "bits": 32,
        "low": -87.0,
        "high": 88.0,
        "magic": 1.5 * 2.0**23,
        "shift": 23,
        "log2e": 1.44269504088896341,
        "hi": 0.693359375,
        "lo": -2.12194440e-4,
        "poly": (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1),
    },
    "double": {
        "bits": 64,
        "low": -708.0,
        "high": 709.0,
        "magic": 1.5 * 2.0**52,
        "shift": 52,
        "log2e": 1.44269504088896341,
        "hi": 6.93145751953125e-1,
        "lo": 1.42860682030941723212e-6,
        "poly": tuple(1.0 / float(np.prod(np.arange(1.0, k + 1.0))) for k in range(13, 1, -1)),
    },
}


class Vector(types.Type):
    """`n_vectors` vectors of `lanes` numbers each, of the scalar Numba type `dtype`."""

    def __init__(self, dtype, lanes, n_vectors):
        self.dtype, self.lanes, self.n_vectors = dtype, lanes, n_vectors
        super().__init__(name=f"Vector({dtype}, {lanes}, {n_vectors})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    # An array of vectors, not one long vector: LLVM splits a vector whose length is no power of two into single numbers.
    def __init__(self, dmm, fe_type):
        one = ir.VectorType(dmm.lookup(fe_type.dtype).get_value_type(), fe_type.lanes)
        super().__init__(dmm, fe_type, ir.ArrayType(one, fe_type.n_vectors))


def lanes_of(dtype, width):
    """Return how many numbers of a scalar Numba type one vector of this width holds."""
    return VECTOR_BYTES * 8 // dtype.bitwidth // (2 if width == HALF else 1)


def _vector(dtype, width, n_vectors=None):
    """Return the type of vectors of a constant width; Numba passes literal types for constants."""
    if not isinstance(width, types.IntegerLiteral):
        raise TypeError("a width must be a constant")
    value = width.literal_value
    return Vector(dtype, lanes_of(dtype, value), n_vectors or max(1, value))


# ---- building LLVM code ----


def emit_splat(builder, value, kind):
    """Emit a vector of this LLVM type with `value` in each lane."""
    undefined = ir.Constant(kind, ir.Undefined)
    one = builder.insert_element(undefined, value, ir.IntType(32)(0))
    mask = ir.Constant(ir.VectorType(ir.IntType(32), kind.count), [0] * kind.count)
    return builder.shuffle_vector(one, undefined, mask)


def emit_fma(builder, a, b, c):
    """Emit a * b + c of vectors, rounded once."""
    suffix = {"float": "f32", "double": "f64"}[str(a.type.element)]
    signature = ir.FunctionType(a.type, [a.type] * 3)
    function = builder.module.declare_intrinsic(f"llvm.fma.v{a.type.count}{suffix}", (), signature)
    return builder.call(function, [a, b, c])


def emit_no_unroll(builder):
    """Emit what :func:`no_unroll` stands for."""
    kind = ir.FunctionType(ir.VoidType(), [])
    builder.call(ir.InlineAsm(kind, "", "", side_effect=True), [], attrs=("convergent", "nounwind"))


@contextlib.contextmanager
def emit_range(builder, start, stop, step):
    """Emit a loop over ``range(start, stop, step)`` of int64 that is not unrolled; gives the index."""
    with builder.goto_entry_block():
        index = builder.alloca(start.type)
    builder.store(start, index)
    head, body, done = (builder.append_basic_block(name) for name in ("head", "body", "done"))
    builder.branch(head)
    builder.position_at_end(head)
    value = builder.load(index, typ=start.type)
    builder.cbranch(builder.icmp_signed("<", value, stop), body, done)
    builder.position_at_end(body)
    emit_no_unroll(builder)
    yield value
    builder.store(builder.add(value, step), index)
    builder.branch(head)
    builder.position_at_end(done)


def emit_field(builder, kind, record, name):
    """Emit the int64 field `name` of a record of the Numba type `kind`."""
    byte, word = ir.IntType(8), ir.IntType(64)
    place = builder.gep(record, [word(0), word(kind.offset(name))], source_etype=ir.ArrayType(byte, kind.size))
    return builder.load(builder.bitcast(place, word.as_pointer()), align=8, typ=word)


def _vector_pointers(context, builder, vector, start, stride=None):
    """Yield the address of each vector; without `stride` (in numbers) they lie one behind the other."""
    kind = context.get_value_type(vector).element
    for index in range(vector.n_vectors):
        number = ir.IntType(64)(index)
        step = builder.mul(stride, number) if stride else ir.IntType(64)(index * vector.lanes)
        place = builder.gep(start, [step], source_etype=kind.element)
        yield builder.bitcast(place, kind.as_pointer())


def _emit_loads(context, builder, vector, pointers):
    kind = context.get_value_type(vector)
    result = ir.Constant(kind, ir.Undefined)
    for index, place in enumerate(pointers):
        value = builder.load(place, align=vector.dtype.bitwidth // 8, typ=kind.element)
        result = builder.insert_value(result, value, index)
    return result


def _emit_stores(builder, vector, value, pointers):
    for index, place in enumerate(pointers):
        builder.store(builder.extract_value(value, index), place, align=vector.dtype.bitwidth // 8)


def _at(context, builder, kind, pointer, offset):
    """Emit the address of ``pointer[offset]``."""
    return builder.gep(pointer, [offset], source_etype=context.get_value_type(kind.dtype))


def _constant(kind, value):
    return ir.Constant(kind, [value] * kind.count)


# ---- control of the compiler ----


@intrinsic
def no_unroll(typingctx):
    """Keep the loop whose body calls this from being unrolled.

    LLVM would copy the body of every loop eight times and add a ninth for the rest: three times the machine code, which
    takes as much longer to compile and no longer fits the instruction cache. An empty piece of assembly that must not
    move into other control flow ("convergent") prevents the ninth copy, and so all of them.
    """

    def codegen(context, builder, signature, args):
        emit_no_unroll(builder)
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def noinline(typingctx):
    """Keep the function that calls this from being copied into its callers, which would take longer to compile."""

    def codegen(context, builder, signature, args):
        builder.function.attributes.add("noinline")
        return context.get_dummy_value()

    return types.void(), codegen


# ---- records and pointers ----


@intrinsic
def record_at(typingctx, address, dtype):
    """Return the record of a NumPy dtype (a constant) at an address."""
    record = dtype.dtype

    def codegen(context, builder, signature, args):
        return builder.inttoptr(args[0], context.get_value_type(record))

    return record(types.int64, dtype), codegen


def _address_as(kind):
    def codegen(context, builder, signature, args):
        number = args[0] if len(signature.args) == 2 and signature.args[0] == types.int64 else args[1]
        return builder.inttoptr(number, context.get_value_type(kind))

    return codegen


@intrinsic
def pointer(typingctx, address, kind):
    """Return an address as a pointer to numbers of a Numba type (a constant such as ``int64``)."""
    result = types.CPointer(kind.instance_type)
    return result(types.int64, kind), _address_as(result)


@intrinsic
def float_pointer(typingctx, record, address):
    """Return an address as a pointer to numbers of the type that the record's field `one` has."""
    result = types.CPointer(record.typeof("one"))
    return result(record, types.int64), _address_as(result)


@intrinsic
def advance(typingctx, start, count):
    """Return the pointer that is `count` numbers further."""

    def codegen(context, builder, signature, args):
        return _at(context, builder, start, *args)

    return start(start, types.intp), codegen


@intrinsic
def floats_per_vector(typingctx, start):
    """Return how many numbers of a pointer's type one vector holds; known when the kernel is compiled."""

    def codegen(context, builder, signature, args):
        return ir.IntType(64)(lanes_of(start.dtype, ONE))

    return types.intp(start), codegen


@intrinsic
def prefetch(typingctx, start, offset):
    """Ask for the cache line of ``start[offset]``, which may lie outside of the array."""

    def codegen(context, builder, signature, args):
        place = builder.bitcast(_at(context, builder, start, *args), ir.IntType(8).as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [place.type] + [ir.IntType(32)] * 3)
        function = builder.module.declare_intrinsic("llvm.prefetch", [place.type], kind)
        # To be read, kept in all levels, data.
        builder.call(function, [place, ir.IntType(32)(0), ir.IntType(32)(3), ir.IntType(32)(1)])
        return context.get_dummy_value()

    return types.void(start, types.intp), codegen


@intrinsic
def lowest_bit(typingctx, bits):
    """Return the number of the lowest bit that is set; one must be."""

    def codegen(context, builder, signature, args):
        return builder.cttz(args[0], ir.IntType(1)(1))

    return types.int64(bits), codegen


# ---- loading and storing ----


@intrinsic(prefer_literal=True)
def load(typingctx, start, offset, width):
    """Return the vector that begins at ``start[offset]``."""
    vector = _vector(start.dtype, width)

    def codegen(context, builder, signature, args):
        places = _vector_pointers(context, builder, vector, _at(context, builder, start, *args[:2]))
        return _emit_loads(context, builder, vector, places)

    return vector(start, types.intp, width), codegen


@intrinsic
def store(typingctx, start, offset, vector):
    """Write a vector to where ``start[offset]`` begins."""

    def codegen(context, builder, signature, args):
        places = _vector_pointers(context, builder, vector, _at(context, builder, start, *args[:2]))
        _emit_stores(builder, vector, args[2], places)
        return context.get_dummy_value()

    return types.void(start, types.intp, vector), codegen


@intrinsic(prefer_literal=True)
def load_rows(typingctx, start, stride, width):
    """Return four vectors (each ONE or HALF) that begin at ``start[0]``, ``start[stride]``, ``start[2 * stride]``, ..."""
    vector = _vector(start.dtype, width, 4)

    def codegen(context, builder, signature, args):
        places = _vector_pointers(context, builder, vector, args[0], args[1])
        return _emit_loads(context, builder, vector, places)

    return vector(start, types.intp, width), codegen


@intrinsic
def store_rows(typingctx, start, stride, vector):
    """Write four vectors, as :func:`load_rows` reads them."""

    def codegen(context, builder, signature, args):
        places = _vector_pointers(context, builder, vector, args[0], args[1])
        _emit_stores(builder, vector, args[2], places)
        return context.get_dummy_value()

    return types.void(start, types.intp, vector), codegen


@intrinsic(prefer_literal=True)
def splat_rows(typingctx, start, offset, width):
    """Return four vectors (ONE or HALF), with ``start[offset + k]`` in each lane of vector k."""
    vector = _vector(start.dtype, width, 4)

    def codegen(context, builder, signature, args):
        kind = context.get_value_type(vector)
        result = ir.Constant(kind, ir.Undefined)
        for row in range(4):
            index = builder.add(args[1], ir.IntType(64)(row))
            number = builder.load(_at(context, builder, start, args[0], index), typ=kind.element.element)
            result = builder.insert_value(result, emit_splat(builder, number, kind.element), row)
        return result

    return vector(start, types.intp, width), codegen


@intrinsic(prefer_literal=True)
def splat(typingctx, value, width):
    """Return a vector with `value` in each lane."""
    vector = _vector(value, width)

    def codegen(context, builder, signature, args):
        kind = context.get_value_type(vector)
        one = emit_splat(builder, args[0], kind.element)
        result = ir.Constant(kind, ir.Undefined)
        for index in range(vector.n_vectors):
            result = builder.insert_value(result, one, index)
        return result

    return vector(value, width), codegen


@intrinsic(prefer_literal=True)
def zeros(typingctx, start, width):
    """Return a vector of zeros of the pointer's type."""
    vector = _vector(start.dtype, width)

    def codegen(context, builder, signature, args):
        kind = context.get_value_type(vector)
        return ir.Constant(kind, [[0.0] * kind.element.count] * vector.n_vectors)

    return vector(start, width), codegen


# ---- arithmetic ----


def _lanewise(name, arity, doc, emit):
    """Make an intrinsic of a function that acts on one vector of each argument."""

    def codegen(context, builder, signature, args):
        result = ir.Constant(context.get_value_type(signature.return_type), ir.Undefined)
        for index in range(signature.return_type.n_vectors):
            parts = [builder.extract_value(arg, index % arg.type.count) for arg in args]
            result = builder.insert_value(result, emit(builder, *parts), index)
        return result

    def typed(*vectors):
        result = max(vectors, key=lambda vector: vector.n_vectors)
        # Numba turns None into a typing error.
        if any(each not in (result, Vector(result.dtype, result.lanes, 1)) for each in vectors):
            return None
        return result(*vectors), codegen

    def unary(typingctx, a):
        return typed(a)

    def binary(typingctx, a, b):
        return typed(a, b)

    def ternary(typingctx, a, b, c):
        return typed(a, b, c)

    typing = (unary, binary, ternary)[arity - 1]
    typing.__name__ = typing.__qualname__ = name
    typing.__doc__ = doc
    return intrinsic(typing)


def _emit_relu(builder, a):
    zero = _constant(a.type, 0.0)
    return builder.select(builder.fcmp_ordered("<", a, zero), zero, a)


def _emit_where_positive(builder, a, b, c):
    return builder.select(builder.fcmp_ordered(">", a, _constant(a.type, 0.0)), b, c)


def _emit_maximum(builder, a, b):
    return builder.select(builder.fcmp_ordered("<", a, b), b, a)


def _emit_exp(builder, x):
    k = EXP_CONSTANTS[str(x.type.element)]
    whole = ir.VectorType(ir.IntType(k["bits"]), x.type.count)
    low, high, magic = (_constant(x.type, k[name]) for name in ("low", "high", "magic"))
    x = builder.select(builder.fcmp_ordered("<", x, low), low, x)
    x = builder.select(builder.fcmp_ordered(">", x, high), high, x)
    rounded = emit_fma(builder, x, _constant(x.type, k["log2e"]), magic)
    n = builder.fsub(rounded, magic)
    r = emit_fma(builder, n, _constant(x.type, -k["hi"]), x)
    r = emit_fma(builder, n, _constant(x.type, -k["lo"]), r)
    p = _constant(x.type, k["poly"][0])
    for coefficient in k["poly"][1:]:
        p = emit_fma(builder, p, r, _constant(x.type, coefficient))
    y = builder.fadd(emit_fma(builder, p, builder.fmul(r, r), r), _constant(x.type, 1.0))
    # y lies in [0.7, 1.42]: adding n to its exponent bits multiplies it by 2**n.
    shifted = builder.shl(builder.bitcast(rounded, whole), _constant(whole, k["shift"]))
    return builder.bitcast(builder.add(builder.bitcast(y, whole), shifted), x.type)


add = _lanewise("add", 2, "Return a + b.", lambda builder, a, b: builder.fadd(a, b))
sub = _lanewise("sub", 2, "Return a - b.", lambda builder, a, b: builder.fsub(a, b))
mul = _lanewise("mul", 2, "Return a * b.", lambda builder, a, b: builder.fmul(a, b))
div = _lanewise("div", 2, "Return a / b.", lambda builder, a, b: builder.fdiv(a, b))
fma = _lanewise("fma", 3, "Return a * b + c, rounded once.", emit_fma)
relu = _lanewise("relu", 1, "Return the greater of a and 0; NaN stays NaN.", _emit_relu)
where_positive = _lanewise("where_positive", 3, "Return b where a > 0, else c.", _emit_where_positive)
maximum = _lanewise("maximum", 2, "Return the greater of a and b; a where it is NaN.", _emit_maximum)
exp = _lanewise(
    "exp",
    1,
    "Return e to the power of a, within 1 unit in the last place; a is clipped to [-87, 88] ([-708, 709] in float64).",
    _emit_exp,
)


@intrinsic
def dot(typingctx, a, b, c):
    """Return c + a * b summed over the vectors of a and b, as one vector."""

    def codegen(context, builder, signature, args):
        total = builder.extract_value(args[2], 0)
        for index in range(a.n_vectors):
            total = emit_fma(builder, *(builder.extract_value(arg, index) for arg in args[:2]), total)
        return builder.insert_value(args[2], total, 0)

    return c(a, b, c), codegen


def _over_lanes(name, doc, emit):
    """Make an intrinsic that folds the lanes of one vector with `emit`, halves first."""

    def codegen(context, builder, signature, args):
        value = builder.extract_value(args[0], 0)
        lanes, block = value.type.count, value.type.count
        while block > 1:
            block //= 2
            index = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [k % block + block for k in range(lanes)])
            value = emit(builder, value, builder.shuffle_vector(value, value, index))
        return builder.extract_element(value, ir.IntType(32)(0))

    def typing(typingctx, a):
        return a.dtype(a), codegen

    typing.__name__ = typing.__qualname__ = name
    typing.__doc__ = doc
    return intrinsic(typing)


sum_lanes = _over_lanes("sum_lanes", "Return the sum of one vector's lanes.", lambda b, x, y: b.fadd(x, y))
max_lanes = _over_lanes("max_lanes", "Return the greatest lane of one vector.", _emit_maximum)


@intrinsic
def count_greater(typingctx, a, b):
    """Return in how many lanes of one vector a > b."""

    def codegen(context, builder, signature, args):
        a, b = (builder.extract_value(arg, 0) for arg in args)
        greater = builder.bitcast(builder.fcmp_ordered(">", a, b), ir.IntType(a.type.count))
        return builder.zext(builder.ctpop(greater), ir.IntType(64))

    return types.int64(a, b), codegen


@intrinsic
def sum_each(typingctx, start, offset):
    """Return one vector with the sums of as many vectors as it has lanes, which follow each other from offset on.

    A tree that halves the number of vectors and keeps their length: two shuffles and one addition for each pair.
    """
    lanes = lanes_of(start.dtype, ONE)
    vector, many = Vector(start.dtype, lanes, 1), Vector(start.dtype, lanes, lanes)

    def codegen(context, builder, signature, args):
        rows = _emit_loads(
            context, builder, many, _vector_pointers(context, builder, many, _at(context, builder, start, *args))
        )
        rows = [builder.extract_value(rows, row) for row in range(lanes)]
        index = ir.VectorType(ir.IntType(32), lanes)
        block = lanes
        while block > 1:
            half = block // 2
            first = ir.Constant(index, [lane for lane in range(2 * lanes) if lane % block < half])
            second = ir.Constant(index, [lane for lane in range(2 * lanes) if lane % block >= half])
            pairs = zip(rows[::2], rows[1::2], strict=True)
            rows = [
                builder.fadd(builder.shuffle_vector(a, b, first), builder.shuffle_vector(a, b, second))
                for a, b in pairs
            ]
            block = half
        return builder.insert_value(ir.Constant(context.get_value_type(vector), ir.Undefined), rows[0], 0)

    return vector(start, types.intp), codegen
