"""The first layer for a block of samples at once: loops over pixels sorted by which samples have ink on them.

Of four samples a pixel is inked by one of fifteen sets of them, its case: bit t of the case's number says whether
sample t is among them. The pixels of a case stand in a list of their own. A list's loop holds the sums (steps) of its
samples in registers and touches each row of weights once, without a test and without multiplying by zeros. Fifteen
loops for each width are built here as LLVM code: written out in Python they would take Numba's compiler seconds.

With ``NUMBA_DISABLE_JIT=1`` the same names are plain functions on NumPy arrays. Everything said in
``fastnn.kernels.simd`` holds here.
"""

import numba
import numpy as np

from fastnn.kernels.layout import BLOCK, CASES, PAIRS
from fastnn.kernels.simd import lanes

PAPER = 255


def members_of(case):
    """Return the samples of a case."""
    return [t for t in range(BLOCK) if case >> t & 1]


if numba.config.DISABLE_JIT:

    def open_block(m, v, far, products, images, starts, cases, unions, pixels, shift, present):
        """Read the pixels of a block; see the compiled twin."""
        register = lanes(m.dtype, (0,))
        rows = np.array([images[starts[t] : starts[t] + pixels] for t in range(BLOCK)])
        values = (rows.astype(np.int32) - shift).astype(m.dtype)
        for t in range(BLOCK):
            m[v + t * far :][:pixels] = values[t]
        for e, (s, t) in enumerate(PAIRS):
            m[products + e * register :][:register] = (values[s] * values[t]).reshape(-1, register).sum(axis=0)
        bits = (1 << np.arange(BLOCK))[:, None]
        cases[:pixels] = (bits * (rows != PAPER)).sum(axis=0) & present
        packed = np.packbits(cases[:pixels] != 0, bitorder="little")
        unions.view(np.uint8)[: len(packed)] = packed

    def gather_block(m, target, apart, w, stride, lists, span, ends, v, far, width):
        """Find the sums of a strip; see the compiled twin."""
        n = lanes(m.dtype, width)
        for t in range(BLOCK):
            m[target + t * apart :][:n] = 0
        for case in range(1, CASES):
            for p in lists[case * span : ends[case]]:
                for t in members_of(case):
                    m[target + t * apart :][:n] += m[v + t * far + p] * m[w + p * stride :][:n]

    def update_block(m, w, stride, steps, apart, lists, span, ends, v, far, width):
        """Update the weights of a strip; see the compiled twin."""
        n = lanes(m.dtype, width)
        for case in range(1, CASES):
            for p in lists[case * span : ends[case]]:
                for t in members_of(case):
                    m[w + p * stride :][:n] += m[v + t * far + p] * m[steps + t * apart :][:n]

else:
    from llvmlite import ir
    from numba.core import cgutils, types
    from numba.extending import intrinsic

    from fastnn.kernels.simd import Vector, emit_fma, emit_rolled, emit_splat

    _I8, _I32, _I64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)

    def _at(builder, array, index, kind):
        """Return the address of ``array[index]`` as one of `kind`."""
        return builder.bitcast(builder.gep(array, [index]), kind.as_pointer())

    def _rows(context, builder, m, w, stride, lists, span, ends, v, far, dtype, emit):
        """Emit the loops over all cases.

        `emit` is called for each case with its samples, the place of the row in `m`, and for each sample its value,
        in every lane of a register.
        """
        register = ir.VectorType(context.get_value_type(dtype), Vector(dtype, 1).lanes)
        for case in range(1, CASES):
            first = builder.mul(span, _I64(case))
            last = builder.load(builder.gep(ends, [_I64(case)]))
            with cgutils.for_range_slice(builder, first, last, _I64(1)) as (index, _):
                emit_rolled(builder)
                p = builder.sext(builder.load(builder.gep(lists, [index])), _I64)
                row = builder.add(w, builder.mul(p, stride))
                values = []
                for t in members_of(case):
                    at = builder.add(builder.add(v, builder.mul(far, _I64(t))), p)
                    values.append(emit_splat(builder, builder.load(builder.gep(m, [at])), register))
                emit(members_of(case), row, values)

    @intrinsic
    def gather_block(typingctx, m, target, apart, w, stride, lists, span, ends, v, far, width):
        """Find the sums of a strip of the first layer for each sample of a block.

        Parameters
        ----------
        m : pointer
            All numbers; the following are places in it or distances.
        target, apart : int
            Where the first sample's sums go, and how far behind those of the next.
        w, stride : int
            Where the strip of the first row of weights begins, and the distance of two rows.
        lists, span, ends : pointer to int32, int, pointer to int64
            The pixels of case c stand in ``lists[c * span:ends[c]]``.
        v, far : int
            Where the values of the first sample's pixels begin, and how far behind those of the next.
        width : tuple
            As many entries as the strip has registers.
        """
        vector = Vector(m.dtype, len(width))

        def codegen(context, builder, signature, args):
            m, target, apart, w, stride, lists, span, ends, v, far, _ = args
            register = ir.VectorType(context.get_value_type(vector.dtype), vector.lanes)
            align = vector.dtype.bitwidth // 8
            zero = ir.Constant(register, [0.0] * vector.lanes)
            # LLVM turns these into registers.
            sums = [[cgutils.alloca_once_value(builder, zero) for _ in width] for _ in range(BLOCK)]

            def emit(members, row, values):
                for r in range(vector.registers):
                    at = _at(builder, m, builder.add(row, _I64(r * vector.lanes)), register)
                    weights = builder.load(at, align=align)
                    for t, value in zip(members, values, strict=True):
                        builder.store(emit_fma(builder, value, weights, builder.load(sums[t][r])), sums[t][r])

            _rows(context, builder, m, w, stride, lists, span, ends, v, far, vector.dtype, emit)
            for t in range(BLOCK):
                start = builder.add(target, builder.mul(apart, _I64(t)))
                for r in range(vector.registers):
                    at = _at(builder, m, builder.add(start, _I64(r * vector.lanes)), register)
                    builder.store(builder.load(sums[t][r]), at, align=align)
            return context.get_dummy_value()

        places = [types.intp] * 2
        return types.void(m, *places, *places, lists, types.intp, ends, *places, width), codegen

    @intrinsic
    def update_block(typingctx, m, w, stride, steps, apart, lists, span, ends, v, far, width):
        """Add to a strip of the first layer's weights the steps of each sample of a block times its pixels' values.

        `steps` and `apart` say where the strip of the first sample's steps begins, and how far behind that of the
        next; for the others see :func:`gather_block`.
        """
        vector = Vector(m.dtype, len(width))

        def codegen(context, builder, signature, args):
            m, w, stride, steps, apart, lists, span, ends, v, far, _ = args
            register = ir.VectorType(context.get_value_type(vector.dtype), vector.lanes)
            align = vector.dtype.bitwidth // 8
            held = []
            for t in range(BLOCK):
                start = builder.add(steps, builder.mul(apart, _I64(t)))
                places = [builder.add(start, _I64(r * vector.lanes)) for r in range(vector.registers)]
                held.append([builder.load(_at(builder, m, place, register), align=align) for place in places])

            def emit(members, row, values):
                for r in range(vector.registers):
                    at = _at(builder, m, builder.add(row, _I64(r * vector.lanes)), register)
                    weights = builder.load(at, align=align)
                    for t, value in zip(members, values, strict=True):
                        weights = emit_fma(builder, value, held[t][r], weights)
                    builder.store(weights, at, align=align)

            _rows(context, builder, m, w, stride, lists, span, ends, v, far, vector.dtype, emit)
            return context.get_dummy_value()

        places = [types.intp] * 2
        return types.void(m, *places, *places, lists, types.intp, ends, *places, width), codegen

    @intrinsic
    def open_block(typingctx, m, v, far, products, images, starts, cases, unions, pixels, shift, present):
        """Read the pixels of a block: their values, their cases, and the products of the samples with each other.

        Parameters
        ----------
        m : pointer
            All numbers.
        v, far : int
            Where in it the values of the first sample's pixels go, and how far behind those of the next. A value is
            the grey level less `shift`.
        products : int
            Where in it the sums of the products of the values go, a register for each of ``layout.PAIRS``, lanes not
            yet summed.
        images, starts : pointer to uint8, pointer to int64
            The grey levels, and where the image of each sample begins.
        cases : pointer to uint8
            Filled with the case of each pixel: which samples have ink on it.
        unions : pointer to uint64
            Filled: bit p % 64 of word p // 64 says whether the case of pixel p is not 0.
        pixels : int
            A multiple of ``layout.CHUNK``.
        shift, present : int
            See `v`; and the case in which only samples are that count.
        """
        dtype = m.dtype
        n = Vector(dtype, 1).lanes

        def codegen(context, builder, signature, args):
            m, v, far, products, images, starts, cases, unions, pixels, shift, present = args
            register = ir.VectorType(context.get_value_type(dtype), n)
            align = dtype.bitwidth // 8
            bytes_, wholes = ir.VectorType(_I8, n), ir.VectorType(_I32, n)
            shift = emit_splat(builder, builder.trunc(shift, _I32), wholes)
            present = emit_splat(builder, builder.trunc(present, _I8), bytes_)
            paper, blank = ir.Constant(bytes_, [PAPER] * n), ir.Constant(bytes_, [0] * n)
            zero = ir.Constant(register, [0.0] * n)
            sums = [cgutils.alloca_once_value(builder, zero) for _ in PAIRS]
            begins = [builder.load(builder.gep(starts, [_I64(t)])) for t in range(BLOCK)]
            with cgutils.for_range_slice(builder, _I64(0), pixels, _I64(n)) as (q, _):
                emit_rolled(builder)
                case, values = blank, []
                for t in range(BLOCK):
                    grey = builder.load(_at(builder, images, builder.add(begins[t], q), bytes_), align=1)
                    bit = ir.Constant(bytes_, [1 << t] * n)
                    case = builder.or_(case, builder.select(builder.icmp_unsigned("!=", grey, paper), bit, blank))
                    value = builder.sitofp(builder.sub(builder.zext(grey, wholes), shift), register)
                    at = builder.add(builder.add(v, builder.mul(far, _I64(t))), q)
                    builder.store(value, _at(builder, m, at, register), align=align)
                    values.append(value)
                for (s, t), total in zip(PAIRS, sums, strict=True):
                    builder.store(emit_fma(builder, values[s], values[t], builder.load(total)), total)
                case = builder.and_(case, present)
                builder.store(case, _at(builder, cases, q, bytes_), align=1)
                inked = builder.bitcast(builder.icmp_unsigned("!=", case, blank), ir.IntType(n))
                place = builder.gep(builder.bitcast(unions, _I8.as_pointer()), [builder.lshr(q, _I64(3))])
                builder.store(inked, builder.bitcast(place, inked.type.as_pointer()), align=1)
            for e, total in enumerate(sums):
                at = builder.add(products, _I64(e * n))
                builder.store(builder.load(total), _at(builder, m, at, register), align=align)
            return context.get_dummy_value()

        places = [types.intp] * 3
        return types.void(m, *places, images, starts, cases, unions, *places), codegen
