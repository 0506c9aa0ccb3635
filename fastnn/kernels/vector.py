"""Explicit SIMD for the kernels: vectors of fixed length, pointers and records as Numba types and intrinsics.

A :class:`Vector` is one or more 64-byte vectors (or one of 32 bytes) of LLVM's vector type; LLVM splits them into the
registers of the processor (AVX-512, AVX2, SSE, NEON). Lanes are combined only where a function says so, and :func:`fma`
rounds once: the results are the same bits on every machine. LLVM's loop vectoriser is no substitute: it keeps the
accumulators of such loops in memory, and turns short loops into slow scalar code (benchmarks/PERFORMANCE.md).

A kernel is called with the address of a record (``fastnn.kernels.workspace``), which :func:`record_at` reads;
:func:`pointer` and :func:`float_pointer` turn addresses into pointers. Pointers are indexed like arrays, without bounds
checks and negative indices. LLVM's pointers have no type, so each load names the type that it reads.

`width` arguments are constants: HALF a vector, ONE, TWO, THREE or FOUR. One vector is broadcast against several.
"""

import contextlib

import numba
import numpy as np
from llvmlite import binding, ir
from numba import types
from numba.extending import intrinsic, models, register_model

from fastnn.network import LINE as VECTOR_BYTES

HALF, ONE, TWO, THREE, FOUR = 0, 1, 2, 3, 4

INT1, INT8, INT32, INT64 = (ir.IntType(bits) for bits in (1, 8, 32, 64))


def device(function):
    """Compile a function for calls from other compiled functions only.

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
"""Width for loops with many vectors in registers: AVX-512 has 32 registers of 64 bytes, others 16 of 32 or less."""

NATIVE_PER_VECTOR = 1 if NATIVE == ONE else 2

# exp(x) = 2**n * exp(r), n = round(x / log 2), r = x - n * log 2 in two steps (Cody and Waite 1980). float32: the
# polynomial of Cephes' expf (Moshier 1992); float64: Taylor's, whose remainder is below 5e-18 for |r| <= log(2) / 2.
# Adding `magic` rounds to a whole number, which is then in the lowest bits.
_CEPHES = (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1)
_TAYLOR = tuple(1.0 / float(np.prod(np.arange(1.0, k + 1.0))) for k in range(13, 1, -1))
_LOG2E = 1.44269504088896341
_EXP = {
    "float": ((-87.0, 88.0, 1.5 * 2.0**23), (0.693359375, -2.12194440e-4), _CEPHES, 23),
    "double": ((-708.0, 709.0, 1.5 * 2.0**52), (6.93145751953125e-1, 1.42860682030941723212e-6), _TAYLOR, 52),
}


class Vector(types.Type):
    """`n_vectors` vectors of `lanes` numbers each, of the scalar Numba type `dtype`."""

    def __init__(self, dtype, lanes, n_vectors):
        self.dtype, self.lanes, self.n_vectors = dtype, lanes, n_vectors
        super().__init__(name=f"Vector({dtype}, {lanes}, {n_vectors})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    # An array of vectors: LLVM would split one long vector into single numbers if its length is no power of two.
    def __init__(self, dmm, fe_type):
        one = ir.VectorType(dmm.lookup(fe_type.dtype).get_value_type(), fe_type.lanes)
        super().__init__(dmm, fe_type, ir.ArrayType(one, fe_type.n_vectors))


def lanes_of(dtype, width):
    """Return the number of lanes of one vector of this width, for a scalar Numba type."""
    return VECTOR_BYTES * 8 // dtype.bitwidth // (2 if width == HALF else 1)


def _vector(dtype, width, n_vectors=None):
    """Return the type of vectors of a width, which must be a constant: Numba passes a literal type for it."""
    if not isinstance(width, types.IntegerLiteral):
        raise TypeError("a width must be a constant")
    return Vector(dtype, lanes_of(dtype, width.literal_value), n_vectors or max(1, width.literal_value))


# ---- building LLVM code ----


class Emitter:
    """Builds the LLVM code of intrinsics."""

    def __init__(self, context, builder):
        self.context, self.builder = context, builder

    def kind(self, numba_type):
        """Return the LLVM type of a Numba type."""
        return self.context.get_value_type(numba_type)

    def place(self, start, index, kind, result=None):
        """Return a pointer to element `index` of an array of `kind`, cast to a pointer to `result` if given."""
        place = self.builder.gep(start, [index], source_etype=kind)
        return place if result is None else self.builder.bitcast(place, result.as_pointer())

    def number(self, start, index, kind):
        """Load element `index` of an array of `kind`."""
        return self.builder.load(self.place(start, index, kind), typ=kind)

    def field(self, kind, record, name):
        """Load the int64 field `name` of a record of the Numba type `kind`."""
        place = self.place(record, INT64(0), ir.ArrayType(INT8, kind.size), INT8)
        return self.builder.load(self.place(place, INT64(kind.offset(name)), INT8, INT64), align=8, typ=INT64)

    def places(self, vector, start, stride=None):
        """Yield a pointer to each vector; they are `stride` numbers apart, by default contiguous."""
        kind = self.kind(vector).element
        for index in range(vector.n_vectors):
            step = self.builder.mul(stride, INT64(index)) if stride else INT64(index * vector.lanes)
            yield self.place(start, step, kind.element, kind)

    def loads(self, vector, start, stride=None):
        """Load a :class:`Vector`; see :meth:`places`."""
        kind, align = self.kind(vector), vector.dtype.bitwidth // 8
        places = self.places(vector, start, stride)
        return self.pack(kind, [self.builder.load(place, align=align, typ=kind.element) for place in places])

    def stores(self, vector, value, start, stride=None):
        """Store a :class:`Vector`; see :meth:`places`."""
        for index, place in enumerate(self.places(vector, start, stride)):
            part = self.builder.extract_value(value, index)
            self.builder.store(part, place, align=vector.dtype.bitwidth // 8)

    def pack(self, kind, parts):
        """Combine LLVM vectors into a :class:`Vector` of the LLVM type `kind`."""
        result = ir.Constant(kind, ir.Undefined)
        for index, part in enumerate(parts):
            result = self.builder.insert_value(result, part, index)
        return result

    def splat(self, value, kind):
        """Return an LLVM vector of type `kind` with `value` in each lane."""
        undefined = ir.Constant(kind, ir.Undefined)
        one = self.builder.insert_element(undefined, value, INT32(0))
        mask = ir.Constant(ir.VectorType(INT32, kind.count), [0] * kind.count)
        return self.builder.shuffle_vector(one, undefined, mask)

    def fma(self, a, b, c):
        """Return a * b + c of LLVM vectors, rounded once."""
        suffix = {"float": "f32", "double": "f64"}[str(a.type.element)]
        signature = ir.FunctionType(a.type, [a.type] * 3)
        function = self.builder.module.declare_intrinsic(f"llvm.fma.v{a.type.count}{suffix}", (), signature)
        return self.builder.call(function, [a, b, c])

    def compress(self, vector, mask):
        """Return a vector that begins with the lanes of another where the mask is set; its other lanes are any."""
        kind = ir.FunctionType(vector.type, [vector.type, mask.type, vector.type])
        suffix = {"i32": "i32", "float": "f32", "double": "f64"}[str(vector.type.element)]
        name = f"llvm.experimental.vector.compress.v{vector.type.count}{suffix}"
        function = self.builder.module.declare_intrinsic(name, (), kind)
        return self.builder.call(function, [vector, mask, ir.Constant(vector.type, ir.Undefined)])

    def prefetch(self, place):
        """Prefetch the cache line of a pointer to bytes."""
        kind = ir.FunctionType(ir.VoidType(), [place.type, INT32, INT32, INT32])
        function = self.builder.module.declare_intrinsic("llvm.prefetch", [place.type], kind)
        # For reading, into all cache levels, as data.
        self.builder.call(function, [place, INT32(0), INT32(3), INT32(1)])

    def variable(self, kind, value):
        """Allocate a variable on the stack, store `value` in it, and return a pointer to it."""
        with self.builder.goto_entry_block():
            place = self.builder.alloca(kind)
        self.builder.store(value, place)
        return place

    @contextlib.contextmanager
    def range(self, start, stop, step):
        """Emit a loop over ``range(start, stop, step)`` of int64, with the context as its body; yields the index."""
        builder, index = self.builder, self.variable(INT64, start)
        head, body, done = (builder.append_basic_block(name) for name in ("head", "body", "done"))
        builder.branch(head)
        builder.position_at_end(head)
        value = builder.load(index, typ=INT64)
        builder.cbranch(builder.icmp_signed("<", value, stop), body, done)
        builder.position_at_end(body)
        yield value
        builder.store(builder.add(value, step), index)
        builder.branch(head)
        builder.position_at_end(done)


class ArrayEmitter(Emitter):
    """Emits loads and stores of numbers and vectors in the arrays whose addresses a record holds."""

    def __init__(self, e, ws_type, width):
        super().__init__(e.context, e.builder)
        dtype = ws_type.typeof("one")
        self.float, self.align = self.kind(dtype), dtype.bitwidth // 8
        self.vector = ir.VectorType(self.float, lanes_of(dtype, width))
        self.zero = ir.Constant(self.vector, [0.0] * self.vector.count)
        self.whole_lanes = lanes_of(dtype, ONE)

    def array(self, kind, record, name, element=None):
        """Return the address in a record's field as a pointer to floats, or to `element`s if given."""
        return self.builder.inttoptr(self.field(kind, record, name), (element or self.float).as_pointer())

    def load(self, base, index):
        """Load the vector that begins at element `index` of an array."""
        place = self.place(base, index, self.float, self.vector)
        return self.builder.load(place, align=self.align, typ=self.vector)

    def store(self, value, base, index):
        """Store a vector from element `index` of an array on."""
        self.builder.store(value, self.place(base, index, self.float, value.type), align=self.align)


def emits(signature, emit):
    """Return signature and code generator of an intrinsic; `emit` takes an Emitter and the arguments' LLVM values."""

    def codegen(context, builder, _signature, args):
        result = emit(Emitter(context, builder), *args)
        return context.get_dummy_value() if result is None else result

    return signature, codegen


def _constant(kind, value):
    return ir.Constant(kind, [value] * kind.count)


# ---- control of the compiler ----


@intrinsic
def small_code(typingctx):
    """Ask LLVM not to unroll the caller's loops: that triples the code, which compiles longer and overflows caches."""
    return emits(types.void(), lambda e: e.builder.function.attributes.add("optsize"))


@intrinsic
def noinline(typingctx):
    """Ask LLVM not to inline the function that calls this, which would take longer to compile."""
    return emits(types.void(), lambda e: e.builder.function.attributes.add("noinline"))


# ---- records and pointers ----


@intrinsic
def record_at(typingctx, address, dtype):
    """Return the record of a NumPy dtype (a constant) at an address."""
    kind = dtype.dtype
    return emits(kind(types.int64, dtype), lambda e, address, _: e.builder.inttoptr(address, e.kind(kind)))


@intrinsic
def pointer(typingctx, address, kind):
    """Return an address as a pointer to numbers of a Numba type (a constant such as ``int64``)."""
    result = types.CPointer(kind.instance_type)
    return emits(result(types.int64, kind), lambda e, address, _: e.builder.inttoptr(address, e.kind(result)))


@intrinsic
def float_pointer(typingctx, record, address):
    """Return an address as a pointer to numbers of the type that the record's field `one` has."""
    result = types.CPointer(record.typeof("one"))
    return emits(result(record, types.int64), lambda e, _, address: e.builder.inttoptr(address, e.kind(result)))


@intrinsic
def advance(typingctx, start, count):
    """Return the pointer that is `count` numbers further."""
    return emits(start(start, types.intp), lambda e, at, count: e.place(at, count, e.kind(start.dtype)))


@intrinsic
def floats_per_vector(typingctx, start):
    """Return the number of lanes of one vector of the pointer's type, a constant of the compiled code."""
    return emits(types.intp(start), lambda e, _: INT64(lanes_of(start.dtype, ONE)))


@intrinsic
def prefetch(typingctx, start, offset):
    """Prefetch the cache line of ``start[offset]``, which may be outside the array."""

    def emit(e, at, offset):
        e.prefetch(e.place(at, offset, e.kind(start.dtype), INT8))

    return emits(types.void(start, types.intp), emit)


@intrinsic
def lowest_bit(typingctx, bits):
    """Return the number of the lowest bit that is set; one must be."""
    return emits(types.int64(bits), lambda e, bits: e.builder.cttz(bits, INT1(1)))


# ---- loading and storing ----


@intrinsic(prefer_literal=True)
def load(typingctx, start, offset, width):
    """Load the vector that begins at ``start[offset]``."""
    vector = _vector(start.dtype, width)

    def emit(e, at, offset, _):
        return e.loads(vector, e.place(at, offset, e.kind(start.dtype)))

    return emits(vector(start, types.intp, width), emit)


@intrinsic
def store(typingctx, start, offset, vector):
    """Store a vector from ``start[offset]`` on."""

    def emit(e, at, offset, value):
        e.stores(vector, value, e.place(at, offset, e.kind(start.dtype)))

    return emits(types.void(start, types.intp, vector), emit)


@intrinsic(prefer_literal=True)
def load_rows(typingctx, start, stride, width):
    """Load four vectors (ONE or HALF each), from ``start[0]``, ``start[stride]``, ... on."""
    vector = _vector(start.dtype, width, 4)
    return emits(vector(start, types.intp, width), lambda e, at, stride, _: e.loads(vector, at, stride))


@intrinsic
def store_rows(typingctx, start, stride, vector):
    """Store four vectors where :func:`load_rows` reads them."""
    return emits(
        types.void(start, types.intp, vector), lambda e, at, stride, value: e.stores(vector, value, at, stride)
    )


@intrinsic(prefer_literal=True)
def splat_rows(typingctx, start, offset, width):
    """Return four vectors (ONE or HALF), with ``start[offset + k]`` in each lane of vector k."""
    vector = _vector(start.dtype, width, 4)

    def emit(e, at, offset, _):
        kind = e.kind(vector)
        numbers = [e.number(at, e.builder.add(offset, INT64(row)), kind.element.element) for row in range(4)]
        return e.pack(kind, [e.splat(number, kind.element) for number in numbers])

    return emits(vector(start, types.intp, width), emit)


@intrinsic(prefer_literal=True)
def splat(typingctx, value, width):
    """Return a vector with `value` in each lane."""
    vector = _vector(value, width)

    def emit(e, value, _):
        return e.pack(e.kind(vector), [e.splat(value, e.kind(vector).element)] * vector.n_vectors)

    return emits(vector(value, width), emit)


@intrinsic(prefer_literal=True)
def zeros(typingctx, start, width):
    """Return a vector of zeros of the pointer's type."""
    vector = _vector(start.dtype, width)

    values = [[0.0] * vector.lanes] * vector.n_vectors
    return emits(vector(start, width), lambda e, *_: ir.Constant(e.kind(vector), values))


# ---- arithmetic ----


def _lanewise(name, doc, emit_one):
    """Make an elementwise intrinsic; `emit_one` takes an Emitter and one LLVM vector of each argument."""

    def definition(typingctx, *vectors):
        result = max(vectors, key=lambda vector: vector.n_vectors)
        # Numba turns None into a typing error.
        if any(each not in (result, Vector(result.dtype, result.lanes, 1)) for each in vectors):
            return None

        def emit(e, args):
            parts = [e.builder.extract_value(args, index) for index in range(len(vectors))]
            rows = range(result.n_vectors)
            ones = [[e.builder.extract_value(part, row % part.type.count) for part in parts] for row in rows]
            return e.pack(e.kind(result), [emit_one(e, *one) for one in ones])

        return emits(result(types.StarArgTuple.from_types(vectors)), emit)

    definition.__name__ = definition.__qualname__ = name
    definition.__doc__ = doc
    return intrinsic(definition)


def _emit_maximum(e, a, b):
    return e.builder.select(e.builder.fcmp_ordered("<", a, b), b, a)


def _emit_exp(e, x):
    builder, kind = e.builder, x.type
    (low, high, magic), (log2_high, log2_low), polynomial, exponent_shift = _EXP[str(kind.element)]
    whole = ir.VectorType(INT32 if exponent_shift == 23 else INT64, kind.count)
    x = builder.select(builder.fcmp_ordered("<", x, _constant(kind, low)), _constant(kind, low), x)
    x = builder.select(builder.fcmp_ordered(">", x, _constant(kind, high)), _constant(kind, high), x)
    rounded = e.fma(x, _constant(kind, _LOG2E), _constant(kind, magic))
    n = builder.fsub(rounded, _constant(kind, magic))
    r = e.fma(n, _constant(kind, -log2_high), x)
    r = e.fma(n, _constant(kind, -log2_low), r)
    p = _constant(kind, polynomial[0])
    for coefficient in polynomial[1:]:
        p = e.fma(p, r, _constant(kind, coefficient))
    y = builder.fadd(e.fma(p, builder.fmul(r, r), r), _constant(kind, 1.0))
    # y lies in [0.7, 1.42]: adding n to its exponent bits multiplies it by 2**n.
    shifted = builder.shl(builder.bitcast(rounded, whole), _constant(whole, exponent_shift))
    return builder.bitcast(builder.add(builder.bitcast(y, whole), shifted), kind)


add = _lanewise("add", "Return a + b.", lambda e, a, b: e.builder.fadd(a, b))
sub = _lanewise("sub", "Return a - b.", lambda e, a, b: e.builder.fsub(a, b))
mul = _lanewise("mul", "Return a * b.", lambda e, a, b: e.builder.fmul(a, b))
div = _lanewise("div", "Return a / b.", lambda e, a, b: e.builder.fdiv(a, b))
fma = _lanewise("fma", "Return a * b + c, rounded once.", lambda e, a, b, c: e.fma(a, b, c))
relu = _lanewise("relu", "Return max(a, 0); NaN stays NaN.", lambda e, a: _emit_maximum(e, a, _constant(a.type, 0.0)))
where_positive = _lanewise(
    "where_positive",
    "Return b where a > 0, else c.",
    lambda e, a, b, c: e.builder.select(e.builder.fcmp_ordered(">", a, _constant(a.type, 0.0)), b, c),
)
maximum = _lanewise("maximum", "Return max(a, b); a where it is NaN.", _emit_maximum)
exp = _lanewise(
    "exp",
    "Return e**a within 1.05 ulp; a is clipped to [-87, 88] (float64: [-708, 709]).",
    _emit_exp,
)


@intrinsic
def dot(typingctx, a, b, c):
    """Return one vector: c plus the elementwise products of the vectors of a and b, summed over these vectors."""

    def emit(e, x, y, start):
        total = e.builder.extract_value(start, 0)
        for row in range(a.n_vectors):
            total = e.fma(e.builder.extract_value(x, row), e.builder.extract_value(y, row), total)
        return e.pack(e.kind(c), [total])

    return emits(c(a, b, c), emit)


def _over_lanes(name, doc, emit_one, n=None):
    """Make an intrinsic that reduces the first n lanes of one vector, by default all, in a tree of halves."""

    def emit(e, a):
        value = e.builder.extract_value(a, 0)
        lanes, block = value.type.count, n or value.type.count
        while block > 1:
            block //= 2
            index = ir.Constant(ir.VectorType(INT32, lanes), [k % block + block for k in range(lanes)])
            value = emit_one(e, value, e.builder.shuffle_vector(value, value, index))
        return e.builder.extract_element(value, INT32(0))

    def definition(typingctx, a):
        return emits(a.dtype(a), emit)

    definition.__name__ = definition.__qualname__ = name
    definition.__doc__ = doc
    return intrinsic(definition)


def _emit_sum(e, a, b):
    return e.builder.fadd(a, b)


sum_lanes = _over_lanes("sum_lanes", "Return the sum of one vector's lanes.", _emit_sum)
sum_four = _over_lanes("sum_four", "Return the sum of one vector's first four lanes.", _emit_sum, 4)
max_lanes = _over_lanes("max_lanes", "Return the maximum of one vector's lanes.", _emit_maximum)
max_four = _over_lanes("max_four", "Return the maximum of one vector's first four lanes.", _emit_maximum, 4)


@intrinsic
def count_greater(typingctx, a, b):
    """Return the number of lanes of one vector where a > b."""

    def emit(e, x, y):
        greater = e.builder.fcmp_ordered(">", e.builder.extract_value(x, 0), e.builder.extract_value(y, 0))
        return e.builder.zext(e.builder.ctpop(e.builder.bitcast(greater, ir.IntType(a.lanes))), INT64)

    return emits(types.int64(a, b), emit)


def _emit_halves(e, rows, block):
    """Add the halves of the blocks of lanes of each row; return half as many rows, with the sums of two in each."""
    lanes = rows[0].type.count
    index = ir.VectorType(INT32, lanes)
    first = ir.Constant(index, [lane for lane in range(2 * lanes) if lane % block < block // 2])
    second = ir.Constant(index, [lane for lane in range(2 * lanes) if lane % block >= block // 2])
    pairs = zip(rows[::2], rows[1::2], strict=True)
    halves = [[e.builder.shuffle_vector(a, b, mask) for mask in (first, second)] for a, b in pairs]
    return [e.builder.fadd(*two) for two in halves]


@intrinsic
def sum_each(typingctx, start, offset):
    """Return a vector whose lane k is the sum of vector k, of one vector for each lane from ``start[offset]`` on."""
    # In a tree that halves the number of vectors and keeps their length: two shuffles and one addition for each pair.
    lanes = lanes_of(start.dtype, ONE)
    vector, many = Vector(start.dtype, lanes, 1), Vector(start.dtype, lanes, lanes)

    def emit(e, at, offset):
        loaded = e.loads(many, e.place(at, offset, e.kind(start.dtype)))
        rows, block = [e.builder.extract_value(loaded, row) for row in range(lanes)], lanes
        while block > 1:
            rows, block = _emit_halves(e, rows, block), block // 2
        return e.pack(e.kind(vector), rows)

    return emits(vector(start, types.intp), emit)


def emit_sums(e, rows):
    """Return a vector with the sums over the lanes of one or four LLVM vectors, and the lanes where it holds them.

    The sums are the same bits as those of :func:`sum_each`.
    """
    value, lanes = rows[0], rows[0].type.count
    index, block = ir.VectorType(INT32, lanes), lanes // len(rows)
    if len(rows) == 4:
        (value,) = _emit_halves(e, _emit_halves(e, rows, lanes), lanes // 2)
    starts = range(0, lanes, block)
    while block > 1:
        block //= 2
        other = ir.Constant(index, [lane ^ block for lane in range(lanes)])
        value = e.builder.fadd(value, e.builder.shuffle_vector(value, value, other))
    return value, starts


@intrinsic
def sum_rows(typingctx, rows):
    """Return a vector whose lane k is the sum of vector k of four vectors; its other lanes are 0."""
    lanes = rows.lanes
    vector = Vector(rows.dtype, lanes, 1)

    def emit(e, rows):
        value, starts = emit_sums(e, [e.builder.extract_value(rows, row) for row in range(4)])
        sums = ir.Constant(ir.VectorType(INT32, lanes), [*starts, *[lanes] * (lanes - 4)])
        return e.pack(e.kind(vector), [e.builder.shuffle_vector(value, _constant(value.type, 0.0), sums)])

    return emits(vector(rows), emit)
