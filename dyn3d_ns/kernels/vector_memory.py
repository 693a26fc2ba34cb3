"""Memory for the vectors of vector.py: loads and stores, gathers and scatters, transposes and packed bytes.

No index is checked: arrays must be long enough for the whole vector unless a mask says otherwise.
"""

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.core.errors import TypingError
from numba.core.typing.templates import signature
from numba.extending import intrinsic as numba_intrinsic

from dyn3d_ns.kernels.types import Builder, Context, Kind, Lowered, Signature, Value
from dyn3d_ns.kernels.vector import (
    I16,
    I32,
    I64,
    LANES,
    VF,
    VI,
    address_of,
    call,
    f32x16,
    repeat,
    splat_scalar,
)

# Numba's decorators change what a function takes, which type checkers cannot follow.
intrinsic: Any = numba_intrinsic

_V64 = ir.VectorType(I64, LANES)
_BYTE = ir.IntType(8).as_pointer()


def load_vector(builder: Builder, address: Value, vector: Kind = VF) -> Value:
    """Emit the load of a vector that need not be aligned to more than its floats."""
    loaded = builder.load(builder.bitcast(address, vector.as_pointer()))
    loaded.align = 4
    return loaded


def store_vector(builder: Builder, value: Value, address: Value) -> None:
    """Emit the store of a vector that need not be aligned to more than its floats."""
    stored = builder.store(value, builder.bitcast(address, value.type.as_pointer()))
    stored.align = 4


def float_array(kind: Kind) -> Kind:
    """Return the type of a contiguous float32 array; another one does not compile."""
    if not (isinstance(kind, types.Array) and kind.dtype == types.float32 and kind.layout == "C"):
        raise TypingError(f"expected a contiguous float32 array, got {kind}")
    return kind


@intrinsic
def load(typingctx: Context, array: Kind, index: Kind) -> Lowered:
    """Load array[index:index + 16] of a flat float32 array; the index is not checked."""

    def lower(context: Context, builder: Builder, sig: Signature, args: Sequence[Value]) -> Value:
        return load_vector(builder, address_of(context, builder, sig.args[0], args[0], args[1]))

    return signature(f32x16, float_array(array), types.int64), lower


@intrinsic
def store(typingctx: Context, array: Kind, index: Kind, value: Kind) -> Lowered:
    """Store the vector into array[index:index + 16]."""

    def lower(context: Context, builder: Builder, sig: Signature, args: Sequence[Value]) -> Value:
        store_vector(builder, args[2], address_of(context, builder, sig.args[0], args[0], args[1]))
        return context.get_dummy_value()

    return signature(types.void, float_array(array), types.int64, value), lower


@intrinsic
def prefetch(typingctx: Context, array: Kind, index: Kind) -> Lowered:
    """Ask for the cache line of array[index], which is about to be used; the index may lie outside."""

    def lower(context: Context, builder: Builder, sig: Signature, args: Sequence[Value]) -> Value:
        address = builder.bitcast(address_of(context, builder, sig.args[0], args[0], args[1]), _BYTE)
        read, nearest, data = ir.Constant(I32, 0), ir.Constant(I32, 3), ir.Constant(I32, 1)
        call(builder, "llvm.prefetch.p0", ir.VoidType(), address, read, nearest, data)
        return context.get_dummy_value()

    return signature(types.void, float_array(array), types.int64), lower


@intrinsic
def spread(typingctx: Context, array: Kind, index: Kind) -> Lowered:
    """Load one float and copy it to all lanes; the index is not checked."""

    def lower(context: Context, builder: Builder, sig: Signature, args: Sequence[Value]) -> Value:
        return splat_scalar(
            builder, builder.load(address_of(context, builder, sig.args[0], args[0], args[1]))
        )

    return signature(f32x16, float_array(array), types.int64), lower


def _pointers(builder: Builder, base: Value, offsets: Value) -> Value:
    """Return the addresses base + 4 * offsets, offsets being 16 int64."""
    four = ir.Constant(_V64, [4] * LANES)
    start = splat_scalar(builder, builder.ptrtoint(base, I64), _V64)
    return builder.inttoptr(builder.add(start, builder.mul(offsets, four)), ir.VectorType(base.type, LANES))


def _strided(
    context: Context, builder: Builder, array_type: Kind, array: Value, index: Value, stride: Value
) -> Value:
    base = address_of(context, builder, array_type, array, index)
    lanes = ir.Constant(_V64, list(range(LANES)))
    return _pointers(builder, base, builder.mul(lanes, splat_scalar(builder, stride, _V64)))


def _listed(
    context: Context,
    builder: Builder,
    array_type: Kind,
    array: Value,
    index: Value,
    ids_type: Kind,
    ids: Value,
    at: Value,
    scale: Value,
) -> Value:
    base = address_of(context, builder, array_type, array, index)
    loaded = load_vector(builder, address_of(context, builder, ids_type, ids, at), VI)
    wide = builder.sext(loaded, _V64)
    return _pointers(builder, base, builder.mul(wide, splat_scalar(builder, scale, _V64)))


def _gather(builder: Builder, pointers: Value, mask: Value) -> Value:
    align = ir.Constant(I32, 4)
    return call(builder, "llvm.masked.gather.v16f32.v16p0", VF, pointers, align, mask, repeat(0.0))


def _scatter(context: Context, builder: Builder, pointers: Value, mask: Value, value: Value) -> Value:
    align = ir.Constant(I32, 4)
    call(builder, "llvm.masked.scatter.v16f32.v16p0", ir.VoidType(), value, pointers, align, mask)
    return context.get_dummy_value()


@intrinsic
def gather(typingctx: Context, array: Kind, index: Kind, stride: Kind, mask: Kind) -> Lowered:
    """Load array[index + lane * stride] into the lanes of the mask, zero into the others."""

    def lower(context: Context, builder: Builder, sig: Signature, args: Sequence[Value]) -> Value:
        return _gather(builder, _strided(context, builder, sig.args[0], *args[:3]), args[3])

    return signature(f32x16, float_array(array), types.int64, types.int64, mask), lower


@intrinsic
def scatter(typingctx: Context, array: Kind, index: Kind, stride: Kind, mask: Kind, value: Kind) -> Lowered:
    """Store the lanes of the mask into array[index + lane * stride]."""

    def lower(context: Context, builder: Builder, sig: Signature, args: Sequence[Value]) -> Value:
        return _scatter(context, builder, _strided(context, builder, sig.args[0], *args[:3]), *args[3:])

    return signature(types.void, float_array(array), types.int64, types.int64, mask, value), lower


@intrinsic
def gather_at(
    typingctx: Context, array: Kind, index: Kind, ids: Kind, at: Kind, scale: Kind, mask: Kind
) -> Lowered:
    """Load array[index + scale * ids[at + lane]] into the lanes of the mask, zero into the others."""

    def lower(context: Context, builder: Builder, sig: Signature, args: Sequence[Value]) -> Value:
        pointers = _listed(context, builder, sig.args[0], args[0], args[1], sig.args[2], *args[2:5])
        return _gather(builder, pointers, args[5])

    return signature(f32x16, float_array(array), types.int64, ids, types.int64, types.int64, mask), lower


@intrinsic
def scatter_at(
    typingctx: Context, array: Kind, index: Kind, ids: Kind, at: Kind, scale: Kind, mask: Kind, value: Kind
) -> Lowered:
    """Store the lanes of the mask into array[index + scale * ids[at + lane]]."""

    def lower(context: Context, builder: Builder, sig: Signature, args: Sequence[Value]) -> Value:
        pointers = _listed(context, builder, sig.args[0], args[0], args[1], sig.args[2], *args[2:5])
        return _scatter(context, builder, pointers, *args[5:])

    kinds = (float_array(array), types.int64, ids, types.int64, types.int64, mask, value)
    return signature(types.void, *kinds), lower


@intrinsic
def store_bytes(typingctx: Context, array: Kind, index: Kind, a: Kind, b: Kind, c: Kind, d: Kind) -> Lowered:
    """Store four vectors of whole numbers from 0 to 255 as the bytes of array[index:index + 16] (int32)."""

    def lower(context: Context, builder: Builder, sig: Signature, args: Sequence[Value]) -> Value:
        word = builder.fptosi(args[2], VI)
        for shift, part in zip((8, 16, 24), args[3:], strict=True):
            moved = builder.shl(builder.fptosi(part, VI), ir.Constant(VI, [shift] * LANES))
            word = builder.or_(word, moved)
        store_vector(builder, word, address_of(context, builder, sig.args[0], args[0], args[1]))
        return context.get_dummy_value()

    return signature(types.void, array, types.int64, a, b, c, d), lower


@intrinsic
def bytes_within(typingctx: Context, array: Kind, index: Kind, limit: Kind) -> Lowered:
    """Return as bits which of the 16 int32 at array[index:] have no byte above that byte of `limit`."""

    def lower(context: Context, builder: Builder, sig: Signature, args: Sequence[Value]) -> Value:
        octets = ir.VectorType(ir.IntType(8), 4 * LANES)
        words = load_vector(builder, address_of(context, builder, sig.args[0], args[0], args[1]), VI)
        limits = splat_scalar(builder, builder.trunc(args[2], I32), VI)
        left, right = builder.bitcast(words, octets), builder.bitcast(limits, octets)
        least = builder.select(builder.icmp_unsigned("<", left, right), left, right)
        same = builder.icmp_signed("==", builder.bitcast(least, VI), words)
        return builder.zext(builder.bitcast(same, I16), I64)

    return signature(types.int64, array, types.int64, types.int64), lower


def _interleave(builder: Builder, a: Value, b: Value, group: int, upper: bool) -> Value:
    """Shuffle two vectors: `group` floats of a, then of b, from the lower or upper half of each 2*group
    run."""
    order = []
    for start in range(0, LANES, 2 * group):
        offset = start + (group if upper else 0)
        order += [offset + i for i in range(group)] + [LANES + offset + i for i in range(group)]
    return builder.shuffle_vector(a, b, ir.Constant(VI, order))


@intrinsic
def transpose(
    typingctx: Context, source: Kind, source_index: Kind, target: Kind, target_index: Kind
) -> Lowered:
    """Transpose the 16 x 16 floats at source[source_index:] into target[target_index:]."""

    def lower(context: Context, builder: Builder, sig: Signature, args: Sequence[Value]) -> Value:
        start = address_of(context, builder, sig.args[0], args[0], args[1])
        rows = [load_vector(builder, builder.gep(start, [ir.Constant(I64, 16 * r)])) for r in range(LANES)]
        for group in (1, 2, 4, 8):  # exchange off-diagonal blocks of growing size
            for r in range(LANES):
                if r & group == 0:
                    low, high = rows[r], rows[r | group]
                    rows[r] = _interleave(builder, low, high, group, False)
                    rows[r | group] = _interleave(builder, low, high, group, True)
        end = address_of(context, builder, sig.args[2], args[2], args[3])
        for r in range(LANES):
            store_vector(builder, rows[r], builder.gep(end, [ir.Constant(I64, 16 * r)]))
        return context.get_dummy_value()

    return signature(types.void, float_array(source), types.int64, float_array(target), types.int64), lower


@intrinsic
def bit_column(typingctx: Context, words: Kind, index: Kind, column: Kind) -> Lowered:
    """Gather bit `column` of the 64 int32 at words[index:] into one integer, first word lowest."""

    def lower(context: Context, builder: Builder, sig: Signature, args: Sequence[Value]) -> Value:
        start = address_of(context, builder, sig.args[0], args[0], args[1])
        bit = splat_scalar(builder, builder.shl(ir.Constant(I32, 1), builder.trunc(args[2], I32)), VI)
        total = ir.Constant(I64, 0)
        for part in range(4):
            loaded = load_vector(builder, builder.gep(start, [ir.Constant(I64, LANES * part)]), VI)
            hit = builder.icmp_signed("!=", builder.and_(loaded, bit), ir.Constant(VI, [0] * LANES))
            word = builder.zext(builder.bitcast(hit, I16), I64)
            total = builder.or_(total, builder.shl(word, ir.Constant(I64, LANES * part)))
        return total

    return signature(types.int64, words, types.int64, types.int64), lower
