"""The first layer for a block of samples at once: loops over pixels sorted by which samples have ink on them.

Of four samples a pixel is inked by one of fifteen sets of them, its case: bit t of the case's number says whether
sample t is among them. The pixels of a case stand in a list of their own. Its rows of weights are touched once each,
without a test and without multiplying by zeros: a few rows at once, whose pixels' values wait in registers while a loop
goes along the columns. That took less time than loops along the lists for a few columns at once, which have to hold
their sums in registers and begin anew for the next columns. The loops for each number of samples in a case, and of
rows, are built here as LLVM code: written out in Python they would take Numba's compiler seconds.

With ``NUMBA_DISABLE_JIT=1`` the same names are plain functions on NumPy arrays. Everything said in
``fastnn.kernels.simd`` holds here.
"""

import numba
import numpy as np

from fastnn.kernels.layout import BLOCK, CASES, PAIRS
from fastnn.kernels.simd import NATIVE, lanes

PAPER = 255

GROUP = 4
"""So many rows are taken at once: one loop along the columns for all of them. Three took as long, eight longer."""


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

    def gather_block(m, sums, apart, length, w, stride, lists, span, ends, v, far):
        """Find the sums; see the compiled twin."""
        m[sums : sums + BLOCK * apart] = 0
        for case in range(1, CASES):
            for p in lists[case * span : ends[case]]:
                for t in members_of(case):
                    m[sums + t * apart :][:length] += m[v + t * far + p] * m[w + p * stride :][:length]

    def update_block(m, steps, apart, length, w, stride, lists, span, ends, v, far):
        """Update the weights; see the compiled twin."""
        for case in range(1, CASES):
            for p in lists[case * span : ends[case]]:
                for t in members_of(case):
                    m[w + p * stride :][:length] += m[v + t * far + p] * m[steps + t * apart :][:length]

else:
    from llvmlite import ir
    from numba.core import cgutils, types
    from numba.extending import intrinsic

    from fastnn.kernels.simd import emit_fma, emit_rolled, emit_splat, lanes_of

    _I8, _I32, _I64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)

    def _at(builder, array, index, kind):
        """Return the address of ``array[index]`` as one of `kind`."""
        return builder.bitcast(builder.gep(array, [index]), kind.as_pointer())

    class _Block:
        """Where a block's rows and lists are, as the intrinsics below are told; emits the loops over them."""

        def __init__(self, context, builder, dtype, arguments):
            self.builder = builder
            self.register = ir.VectorType(context.get_value_type(dtype), lanes_of(dtype, NATIVE))
            self.align = dtype.bitwidth // 8
            self.m, self.data, self.apart, self.length, self.w, self.stride = arguments[:6]
            self.lists, self.span, self.ends, self.v, self.far = arguments[6:]

        def load(self, place):
            return self.builder.load(_at(self.builder, self.m, place, self.register), align=self.align)

        def store(self, value, place):
            self.builder.store(value, _at(self.builder, self.m, place, self.register), align=self.align)

        def columns(self, start, length):
            """Emit a loop over columns, a register a time; gives their place."""
            return cgutils.for_range_slice(
                self.builder, start, self.builder.add(start, length), _I64(self.register.count)
            )

        def each_group(self, emit):
            """Emit ``emit(data, rows, values)`` in a loop over the columns, for all rows of all cases.

            `data` are the places of the sums (steps) of a case's samples, `rows` those of a few rows, and
            ``values[i][t]`` is what row i's pixel is in sample t of the case, in every lane of a register.
            """
            builder = self.builder
            # Code for each number of members, 4 kinds, not for each of 15 cases: as fast, and compiled a second sooner.
            with cgutils.for_range_slice(builder, _I64(1), _I64(CASES), _I64(1)) as (case, _):
                emit_rolled(builder)
                first = builder.mul(self.span, case)
                last = builder.load(builder.gep(self.ends, [case]))
                rest = builder.sub(last, builder.urem(builder.sub(last, first), _I64(GROUP)))
                done = builder.append_basic_block("done")
                sizes = builder.switch(builder.ctpop(case), done)
                for size in range(1, BLOCK + 1):
                    sizes.add_case(_I64(size), builder.append_basic_block(f"members_{size}"))
                for size, block in sizes.cases:
                    builder.position_at_end(block)
                    members = self._members(case, size.constant)
                    for start, stop, rows in ((first, rest, GROUP), (rest, last, 1)):
                        with cgutils.for_range_slice(builder, start, stop, _I64(rows)) as (index, _):
                            emit_rolled(builder)
                            self._rows(members, index, rows, emit)
                    builder.branch(done)
                builder.position_at_end(done)

        def _members(self, case, size):
            """Return the numbers of a case's samples, of which there are `size`."""
            builder = self.builder
            members = []
            for _ in range(size):
                members.append(builder.cttz(case, ir.IntType(1)(1)))
                case = builder.and_(case, builder.sub(case, _I64(1)))
            return members

        def _rows(self, members, index, size, emit):
            builder = self.builder
            data = [builder.add(self.data, builder.mul(self.apart, t)) for t in members]
            begins = [builder.add(self.v, builder.mul(self.far, t)) for t in members]
            rows, values = [], []
            for i in range(size):
                p = builder.load(builder.gep(self.lists, [builder.add(index, _I64(i))]))
                p = builder.sext(p, _I64)
                rows.append(builder.add(self.w, builder.mul(p, self.stride)))
                numbers = [builder.load(builder.gep(self.m, [builder.add(begin, p)])) for begin in begins]
                values.append([emit_splat(builder, number, self.register) for number in numbers])
            with self.columns(_I64(0), self.length) as (column, _):
                emit_rolled(builder)
                emit([builder.add(place, column) for place in data], [builder.add(row, column) for row in rows], values)

    @intrinsic
    def gather_block(typingctx, m, sums, apart, length, w, stride, lists, span, ends, v, far):
        """Find the sums of the first layer for each sample of a block.

        Parameters
        ----------
        m : pointer
            All numbers; the following are places in it or distances.
        sums, apart : int
            Where the first sample's sums go, and how far behind those of the next.
        length : int
            How many columns there are: whole registers, of the length that ``simd.NATIVE`` says.
        w, stride : int
            Where the first row of weights begins, and the distance of two rows.
        lists, span, ends : pointer to int32, int, pointer to int64
            The pixels of case c stand in ``lists[c * span:ends[c]]``.
        v, far : int
            Where the values of the first sample's pixels begin, and how far behind those of the next.
        """

        def codegen(context, builder, signature, args):
            block = _Block(context, builder, m.dtype, args)
            zero = ir.Constant(block.register, [0.0] * block.register.count)
            with block.columns(block.data, builder.mul(block.apart, _I64(BLOCK))) as (place, _):
                emit_rolled(builder)
                block.store(zero, place)

            def emit(data, rows, values):
                sums = [block.load(place) for place in data]
                for row, numbers in zip(rows, values, strict=True):
                    weights = block.load(row)
                    sums = [
                        emit_fma(builder, value, weights, total) for value, total in zip(numbers, sums, strict=True)
                    ]
                for place, total in zip(data, sums, strict=True):
                    block.store(total, place)

            block.each_group(emit)
            return context.get_dummy_value()

        places = [types.intp] * 2
        return types.void(m, *places, types.intp, *places, lists, types.intp, ends, *places), codegen

    @intrinsic
    def update_block(typingctx, m, steps, apart, length, w, stride, lists, span, ends, v, far):
        """Add to the first layer's weights the steps of each sample of a block times its pixels' values.

        `steps` and `apart` say where the first sample's steps begin, and how far behind those of the next; for the
        others see :func:`gather_block`.
        """

        def codegen(context, builder, signature, args):
            block = _Block(context, builder, m.dtype, args)

            def emit(data, rows, values):
                steps = [block.load(place) for place in data]
                for row, numbers in zip(rows, values, strict=True):
                    weights = block.load(row)
                    for value, step in zip(numbers, steps, strict=True):
                        weights = emit_fma(builder, value, step, weights)
                    block.store(weights, row)

            block.each_group(emit)
            return context.get_dummy_value()

        places = [types.intp] * 2
        return types.void(m, *places, types.intp, *places, lists, types.intp, ends, *places), codegen

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
        n = lanes_of(dtype, (0,))

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
