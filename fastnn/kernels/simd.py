"""Explicit vectors for the kernels: a small Numba type and its instructions, with plain twins.

A :class:`Vector` holds 64-byte registers, or halves of them, in LLVM's own vector type; each target
splits it into what it has (AVX-512, AVX2, SSE, NEON). Its lanes never mix unless :func:`sum_rows` says so, and
:func:`fma` rounds once on every machine, so the results are the same bits everywhere. Why not leave it to LLVM's loop
vectoriser: it keeps accumulators in memory in loops like ours, and turns short fixed loops into slow scalar code
(measured in benchmarks/PERFORMANCE.md).

With ``NUMBA_DISABLE_JIT=1`` the same names are plain functions on NumPy arrays, for coverage and for reading; a vector
is then an array of shape (registers, lanes).

Every function that makes a vector takes `width`, a tuple whose length says how many registers; only the length counts,
since a tuple's length is part of its type and so known when the kernel is compiled. An empty one stands for half a
register: see `NATIVE`.

``load_four``, ``store_four`` and ``splat_four`` are for four rows of a matrix at once, a register (`width` of one, or
empty) of each: fewer words than a name for each row, and a fraction of the time to compile. Beside several registers a
single one counts as often.
"""

import numba
import numpy as np
from numba.core.registry import cpu_target

REGISTER = 64
"""Bytes of one register."""


def _large_registers():
    """Return whether code is compiled for 32 registers of 64 bytes; Numba's cache has code apart for each answer."""
    if numba.config.DISABLE_JIT:
        return False
    _, _, features = cpu_target.target_context.codegen().magic_tuple()
    return "+avx512f" in features.split(",")


LARGE = _large_registers()
"""Whether the processor has 32 registers of 64 bytes; others have 16 of 32 bytes, or of 16, or 32 of 16."""

NATIVE = (0,) if LARGE else ()
"""Width for loops in which many registers are at work: two halves of one would not find room beside the others."""

# exp(x) = 2**n * exp(r), n = round(x / log 2), r = x - n * log 2 in two steps (Cody and Waite 1980). float32: the
# polynomial of Cephes' expf (Moshier 1992); float64: Taylor's, whose remainder is below 5e-18 for |r| <= log(2) / 2.
# `magic` added and taken away again rounds to a whole number, which then stands in the lowest bits.
_EXP = {
    "float32": {
        "low": -87.0,
        "high": 88.0,
        "magic": 1.5 * 2.0**23,
        "shift": 23,
        "log2e": 1.44269504088896341,
        "hi": 0.693359375,
        "lo": -2.12194440e-4,
        "poly": (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1),
    },
    "float64": {
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


def lanes(dtype, width):
    """Return how many numbers of `dtype` stand in a vector of `width`."""
    register = REGISTER // np.dtype(dtype).itemsize
    return register * len(width) if width else register // 2


if numba.config.DISABLE_JIT:

    def out_of_line():
        """Do nothing."""

    def rolled():
        """Do nothing."""

    def data(array):
        """Return the array, all in one row."""
        return array.reshape(-1)

    def peek(array, index):
        """Return ``array[index]``."""
        return array[index]

    def poke(array, index, value):
        """Set ``array[index]``."""
        array[index] = value

    def prefetch(array, index):
        """Do nothing."""

    def lowest_bit(bits):
        """Return the number of the lowest bit that is set."""
        return (int(bits) & -int(bits)).bit_length() - 1

    def load(array, offset, width):
        """Return the vector that begins at ``array[offset]``."""
        return array[offset : offset + lanes(array.dtype, width)].reshape(max(1, len(width)), -1).copy()

    def store(array, offset, vector):
        """Write a vector to where ``array[offset]`` begins."""
        array[offset : offset + vector.size] = vector.reshape(-1)

    def splat(value, width):
        """Return a vector with `value` in each lane."""
        return np.full(lanes(value.dtype, width), value).reshape(max(1, len(width)), -1)

    def load_four(array, offset, stride, width):
        """Return four registers, of which the first begins at ``array[offset]`` and each next `stride` later."""
        return np.concatenate([load(array, offset + row * stride, width) for row in range(4)])

    def store_four(array, offset, stride, vector):
        """Write four registers, as :func:`load_four` reads them."""
        for row, register in enumerate(vector):
            store(array, offset + row * stride, register)

    def splat_four(array, offset, width):
        """Return four registers, with ``array[offset]`` in each lane of the first, the next number in the next's."""
        return np.concatenate([splat(array[offset + row], width) for row in range(4)])

    def add(a, b):
        """Return a + b."""
        return a + b

    def sub(a, b):
        """Return a - b."""
        return a - b

    def mul(a, b):
        """Return a * b."""
        return a * b

    def div(a, b):
        """Return a / b."""
        return a / b

    def fma(a, b, c):
        """Return a * b + c (rounded twice here, once when compiled)."""
        return a * b + c

    def dot(a, b, c):
        """Return c + a * b summed over the registers of a and b, as one register."""
        return c + (a * b).sum(axis=0, keepdims=True)

    def total(a):
        """Return the sum of the lanes of one register."""
        return a.sum(dtype=a.dtype)

    def relu(a):
        """Return the greater of a and 0; NaN stays NaN."""
        return np.where(a < 0, a.dtype.type(0), a)

    def where_positive(a, b, c):
        """Return b where a > 0, else c."""
        return np.where(a > 0, b, c)

    def maximum(a, b):
        """Return the greater of a and b; a where it is NaN."""
        return np.where(a < b, b, a)

    def count_greater(a, b):
        """Return in how many lanes of one register a > b."""
        return np.count_nonzero(a > b)

    def greatest(a):
        """Return the greatest lane of one register."""
        return a.max()

    def exp(a):
        """Return e to the power of a, within 2 units in the last place; see the compiled twin."""
        k = _EXP[a.dtype.name]
        t = a.dtype.type
        x = np.clip(a, t(k["low"]), t(k["high"]))
        n = np.rint(x * t(k["log2e"]))
        r = x - n * t(k["hi"]) - n * t(k["lo"])
        p = np.zeros_like(r)
        for coefficient in k["poly"]:
            p = p * r + t(coefficient)
        return np.ldexp(p * (r * r) + r + t(1), n.astype(np.int32)).astype(a.dtype)

    def sum_rows(array, offset):
        """Return the sums of as many registers as one has lanes, one after the other from ``array[offset]`` on."""
        n = REGISTER // array.dtype.itemsize
        return array[offset : offset + n * n].reshape(n, n).sum(axis=1)[None]

else:
    from llvmlite import ir
    from numba.core import types
    from numba.extending import intrinsic, models, register_model

    def lanes_of(dtype, width):
        """Return how many numbers of a scalar Numba type stand in one register of a vector of `width`."""
        return REGISTER * 8 // dtype.bitwidth // (1 if len(width) else 2)

    class Vector(types.Type):
        """`registers` registers of `lanes` numbers each, of the scalar Numba type `dtype`."""

        def __init__(self, dtype, lanes, registers):
            self.dtype, self.lanes, self.registers = dtype, lanes, registers
            super().__init__(name=f"Vector({dtype}, {lanes}, {registers})")

    def _vector(dtype, width):
        return Vector(dtype, lanes_of(dtype, width), max(1, len(width)))

    def _four(dtype, width):
        return Vector(dtype, lanes_of(dtype, width), 4)

    @register_model(Vector)
    class _VectorModel(models.PrimitiveModel):
        # An array of registers rather than one long vector: LLVM takes a vector apart into single numbers when its
        # length is no power of two.
        def __init__(self, dmm, fe_type):
            register = ir.VectorType(dmm.lookup(fe_type.dtype).get_value_type(), fe_type.lanes)
            super().__init__(dmm, fe_type, ir.ArrayType(register, fe_type.registers))

    def _pointer(context, builder, array_type, array, index):
        """Return the address of ``array[index]``, without the check for negative indices."""
        if not isinstance(array_type, types.CPointer):
            array = context.make_array(array_type)(context, builder, array).data
        return builder.gep(array, [index])

    def emit_rolled(builder):
        """Emit what :func:`rolled` stands for."""
        kind = ir.FunctionType(ir.VoidType(), [])
        builder.call(ir.InlineAsm(kind, "", "", side_effect=True), [], attrs=("convergent", "nounwind"))

    @intrinsic
    def rolled(typingctx):
        """Keep the loop whose body calls this from being unrolled.

        LLVM would copy the body of every loop eight times over and add a ninth for the rest: three times the machine
        code, which takes as much longer to compile and no longer fits the caches for instructions. An empty piece of
        assembly that must not be moved into other control flow ("convergent") forbids the rest, and so the copies.
        """

        def codegen(context, builder, signature, args):
            emit_rolled(builder)
            return context.get_dummy_value()

        return types.void(), codegen

    @intrinsic
    def data(typingctx, array):
        """Return the address of an array's first number, which the others take for an array.

        An array is seven values to a compiled function, its address one: calls between kernels are many and short.
        The array must outlive the address.
        """

        def codegen(context, builder, signature, args):
            return context.make_array(signature.args[0])(context, builder, args[0]).data

        return types.CPointer(array.dtype)(array), codegen

    def _register_pointers(context, builder, array_type, array, offset, vector, stride=None):
        """Find the address of each of a vector's registers; without a `stride` they lie one behind the other."""
        start = _pointer(context, builder, array_type, array, offset)
        kind = context.get_value_type(vector).element.as_pointer()
        for register in range(vector.registers):
            number = ir.IntType(64)(register)
            step = builder.mul(stride, number) if stride else ir.IntType(64)(register * vector.lanes)
            yield builder.bitcast(builder.gep(start, [step]), kind)

    def _load_registers(context, builder, vector, pointers):
        result = ir.Constant(context.get_value_type(vector), ir.Undefined)
        for register, pointer in enumerate(pointers):
            value = builder.load(pointer, align=vector.dtype.bitwidth // 8)
            result = builder.insert_value(result, value, register)
        return result

    def _store_registers(builder, vector, value, pointers):
        for register, pointer in enumerate(pointers):
            builder.store(builder.extract_value(value, register), pointer, align=vector.dtype.bitwidth // 8)

    def _constant(register, value):
        return ir.Constant(register, [value] * register.count)

    def emit_splat(builder, value, register):
        """Emit a register of this LLVM type with `value` in each lane."""
        one = builder.insert_element(ir.Constant(register, ir.Undefined), value, ir.IntType(32)(0))
        mask = ir.Constant(ir.VectorType(ir.IntType(32), register.count), [0] * register.count)
        return builder.shuffle_vector(one, ir.Constant(register, ir.Undefined), mask)

    def emit_fma(builder, a, b, c):
        """Emit a * b + c of registers, rounded once."""
        kind = {"float": "f32", "double": "f64"}[str(a.type.element)]
        signature = ir.FunctionType(a.type, [a.type] * 3)
        function = builder.module.declare_intrinsic(f"llvm.fma.v{a.type.count}{kind}", (), signature)
        return builder.call(function, [a, b, c])

    def _lanewise(name, arity, doc, emit):
        """Make an intrinsic of a function that acts on one register of each argument."""

        def codegen(context, builder, signature, args):
            result = ir.Constant(context.get_value_type(signature.return_type), ir.Undefined)
            for register in range(signature.return_type.registers):
                parts = [builder.extract_value(arg, register % arg.type.count) for arg in args]
                result = builder.insert_value(result, emit(builder, *parts), register)
            return result

        def typed(*vectors):
            result = max(vectors, key=lambda vector: vector.registers)
            # None is no type, which Numba tells the kernel's author.
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

    @intrinsic
    def out_of_line(typingctx):
        """Keep the function that calls this from being copied into its callers, which would be compiled for longer."""

        def codegen(context, builder, signature, args):
            builder.function.attributes.add("noinline")
            return context.get_dummy_value()

        return types.void(), codegen

    @intrinsic
    def peek(typingctx, array, index):
        """Return ``array[index]``; negative indices are not looked for, which spares four instructions a time."""

        def codegen(context, builder, signature, args):
            return builder.load(_pointer(context, builder, signature.args[0], *args))

        return array.dtype(array, types.intp), codegen

    @intrinsic
    def poke(typingctx, array, index, value):
        """Set ``array[index]``, as :func:`peek` gets it."""

        def codegen(context, builder, signature, args):
            number = context.cast(builder, args[2], signature.args[2], signature.args[0].dtype)
            builder.store(number, _pointer(context, builder, signature.args[0], args[0], args[1]))
            return context.get_dummy_value()

        return types.void(array, types.intp, value), codegen

    @intrinsic
    def prefetch(typingctx, array, index):
        """Ask for the cache line of ``array[index]``, which may lie outside of the array."""

        def codegen(context, builder, signature, args):
            pointer = _pointer(context, builder, signature.args[0], *args)
            pointer = builder.bitcast(pointer, ir.IntType(8).as_pointer())
            kind = ir.FunctionType(ir.VoidType(), [pointer.type] + [ir.IntType(32)] * 3)
            function = builder.module.declare_intrinsic("llvm.prefetch", [pointer.type], kind)
            # To be read, kept in all levels, data.
            builder.call(function, [pointer, ir.IntType(32)(0), ir.IntType(32)(3), ir.IntType(32)(1)])
            return context.get_dummy_value()

        return types.void(array, types.intp), codegen

    @intrinsic
    def lowest_bit(typingctx, bits):
        """Return the number of the lowest bit that is set; one must be."""

        def codegen(context, builder, signature, args):
            return builder.cttz(args[0], ir.IntType(1)(1))

        return types.int64(bits), codegen

    @intrinsic
    def load(typingctx, array, offset, width):
        """Return the vector that begins at ``array[offset]``."""
        vector = _vector(array.dtype, width)

        def codegen(context, builder, signature, args):
            pointers = _register_pointers(context, builder, signature.args[0], args[0], args[1], vector)
            return _load_registers(context, builder, vector, pointers)

        return vector(array, types.intp, width), codegen

    @intrinsic
    def store(typingctx, array, offset, vector):
        """Write a vector to where ``array[offset]`` begins."""

        def codegen(context, builder, signature, args):
            pointers = _register_pointers(context, builder, signature.args[0], args[0], args[1], vector)
            _store_registers(builder, vector, args[2], pointers)
            return context.get_dummy_value()

        return types.void(array, types.intp, vector), codegen

    @intrinsic
    def load_four(typingctx, array, offset, stride, width):
        """Return four registers, of which the first begins at ``array[offset]`` and each next `stride` later."""
        if len(width) > 1:
            return None
        vector = _four(array.dtype, width)

        def codegen(context, builder, signature, args):
            pointers = _register_pointers(context, builder, signature.args[0], *args[:2], vector, args[2])
            return _load_registers(context, builder, vector, pointers)

        return vector(array, types.intp, types.intp, width), codegen

    @intrinsic
    def store_four(typingctx, array, offset, stride, vector):
        """Write four registers, as :func:`load_four` reads them."""

        def codegen(context, builder, signature, args):
            pointers = _register_pointers(context, builder, signature.args[0], *args[:2], vector, args[2])
            _store_registers(builder, vector, args[3], pointers)
            return context.get_dummy_value()

        return types.void(array, types.intp, types.intp, vector), codegen

    @intrinsic
    def splat_four(typingctx, array, offset, width):
        """Return four registers, with ``array[offset]`` in each lane of the first, the next number in the next's."""
        if len(width) > 1:
            return None
        vector = _four(array.dtype, width)

        def codegen(context, builder, signature, args):
            kind = context.get_value_type(vector)
            start = _pointer(context, builder, signature.args[0], *args[:2])
            result = ir.Constant(kind, ir.Undefined)
            for row in range(4):
                number = builder.load(builder.gep(start, [ir.IntType(64)(row)]))
                result = builder.insert_value(result, emit_splat(builder, number, kind.element), row)
            return result

        return vector(array, types.intp, width), codegen

    @intrinsic
    def splat(typingctx, value, width):
        """Return a vector with `value` in each lane."""
        vector = _vector(value, width)

        def codegen(context, builder, signature, args):
            kind = context.get_value_type(vector)
            register = emit_splat(builder, args[0], kind.element)
            result = ir.Constant(kind, ir.Undefined)
            for k in range(vector.registers):
                result = builder.insert_value(result, register, k)
            return result

        return vector(value, width), codegen

    @intrinsic
    def dot(typingctx, a, b, c):
        """Return c + a * b summed over the registers of a and b, as one register."""

        def codegen(context, builder, signature, args):
            total = builder.extract_value(args[2], 0)
            for register in range(a.registers):
                parts = [builder.extract_value(arg, register) for arg in args[:2]]
                total = emit_fma(builder, *parts, total)
            return builder.insert_value(args[2], total, 0)

        return c(a, b, c), codegen

    def _over_lanes(name, doc, emit):
        """Make an intrinsic that folds the lanes of one register with `emit`, halves first."""

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

    @intrinsic
    def count_greater(typingctx, a, b):
        """Return in how many lanes of one register a > b."""

        def codegen(context, builder, signature, args):
            a, b = (builder.extract_value(arg, 0) for arg in args)
            greater = builder.bitcast(builder.fcmp_ordered(">", a, b), ir.IntType(a.type.count))
            return builder.zext(builder.ctpop(greater), ir.IntType(64))

        return types.int64(a, b), codegen

    def _emit_relu(builder, a):
        zero = _constant(a.type, 0.0)
        return builder.select(builder.fcmp_ordered("<", a, zero), zero, a)

    def _emit_where_positive(builder, a, b, c):
        return builder.select(builder.fcmp_ordered(">", a, _constant(a.type, 0.0)), b, c)

    def _emit_maximum(builder, a, b):
        return builder.select(builder.fcmp_ordered("<", a, b), b, a)

    def _emit_exp(builder, x):
        bits = {"float": 32, "double": 64}[str(x.type.element)]
        k = _EXP[f"float{bits}"]
        whole = ir.VectorType(ir.IntType(bits), x.type.count)
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
        "Return e to the power of a, within 1 unit in the last place; a is held to [-87, 88] ([-708, 709] in float64).",
        _emit_exp,
    )

    total = _over_lanes(
        "total", "Return the sum of the lanes of one register.", lambda builder, a, b: builder.fadd(a, b)
    )
    greatest = _over_lanes("greatest", "Return the greatest lane of one register.", _emit_maximum)

    @intrinsic
    def sum_rows(typingctx, array, offset):
        """Return the sums of as many registers as one has lanes, one after the other from ``array[offset]`` on.

        A tree that halves the registers and keeps their number of lanes: two shuffles and one addition for each pair.
        """
        vector = _vector(array.dtype, (0,))

        def codegen(context, builder, signature, args):
            n = vector.lanes
            many = Vector(array.dtype, n, n)
            pointers = _register_pointers(context, builder, signature.args[0], args[0], args[1], many)
            rows = [builder.load(pointer, align=array.dtype.bitwidth // 8) for pointer in pointers]
            index = ir.VectorType(ir.IntType(32), n)
            block = n
            while block > 1:
                half = block // 2
                first = [lane for lane in range(2 * n) if lane % block < half]
                second = [lane for lane in range(2 * n) if lane % block >= half]
                rows = [
                    builder.fadd(
                        builder.shuffle_vector(a, b, ir.Constant(index, first)),
                        builder.shuffle_vector(a, b, ir.Constant(index, second)),
                    )
                    for a, b in zip(rows[::2], rows[1::2], strict=True)
                ]
                block = half
            return builder.insert_value(ir.Constant(context.get_value_type(vector), ir.Undefined), rows[0], 0)

        return vector(array, types.intp), codegen
