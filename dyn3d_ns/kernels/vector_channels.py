"""`Channels`: a compile-time number of vectors that stay in registers, the colours of 16 pixels.

A kernel gets the number as the length of a tuple (`tag`), so Numba compiles one version for each.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.core.datamodel import models
from numba.core.typing.templates import signature
from numba.extending import intrinsic as numba_intrinsic
from numba.extending import register_model

from dyn3d_ns.kernels.types import Builder, Context, Kind, Lowered, Signature, Value
from dyn3d_ns.kernels.vector import I64, LANES, VF, address_of, f32x16, fused, repeat, splat_scalar
from dyn3d_ns.kernels.vector_memory import float_array, load_vector, store_vector

# Numba's decorators change what a function takes, which type checkers cannot follow.
intrinsic: Any = numba_intrinsic


class ChannelsType(types.Type):
    """The Numba type of ``count`` vectors, one a colour channel."""

    def __init__(self, count: int):
        self.count = count
        super().__init__(name=f"channels{count}")

    @property
    def key(self) -> int:
        """What tells one such type from another."""
        return self.count


@register_model(ChannelsType)
class _ChannelsModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Kind):
        super().__init__(dmm, fe_type, ir.ArrayType(VF, fe_type.count))


def _each(builder: Builder, channels_type: Kind, base: Value, step: int = 1) -> Iterator[tuple[int, Value]]:
    for d in range(channels_type.count):
        yield d, builder.gep(base, [ir.Constant(I64, d * step)])


@intrinsic
def channels_zero(typingctx: Context, tag: Kind) -> Lowered:
    """Return one zero vector a channel; `tag` is a tuple as long as the number of channels."""

    def lower(context: Context, builder: Builder, sig: Signature, args: Sequence[Value]) -> Value:
        return ir.Constant(ir.ArrayType(VF, sig.return_type.count), [repeat(0.0)] * sig.return_type.count)

    return signature(ChannelsType(len(tag)), tag), lower


@intrinsic
def channels_load(typingctx: Context, tag: Kind, array: Kind, index: Kind) -> Lowered:
    """Load one vector a channel from consecutive floats at array[index:]."""

    def lower(context: Context, builder: Builder, sig: Signature, args: Sequence[Value]) -> Value:
        base = address_of(context, builder, sig.args[1], args[1], args[2])
        count = sig.return_type.count
        result = ir.Constant(ir.ArrayType(VF, count), ir.Undefined)
        for d in range(count):
            vector = load_vector(builder, builder.gep(base, [ir.Constant(I64, LANES * d)]))
            result = builder.insert_value(result, vector, d)
        return result

    return signature(ChannelsType(len(tag)), tag, float_array(array), types.int64), lower


@intrinsic
def channels_store(typingctx: Context, channels: Kind, array: Kind, index: Kind) -> Lowered:
    """Store the channels as consecutive vectors at array[index:]."""

    def lower(context: Context, builder: Builder, sig: Signature, args: Sequence[Value]) -> Value:
        base = address_of(context, builder, sig.args[1], args[1], args[2])
        for d in range(sig.args[0].count):
            address = builder.gep(base, [ir.Constant(I64, LANES * d)])
            store_vector(builder, builder.extract_value(args[0], d), address)
        return context.get_dummy_value()

    return signature(types.void, channels, float_array(array), types.int64), lower


def _add_products(
    context: Context, builder: Builder, sig: Signature, args: Sequence[Value], step: int
) -> Value:
    base = address_of(context, builder, sig.args[2], args[2], args[3])
    result = args[0]
    for d, address in _each(builder, sig.args[0], base, step):
        value = splat_scalar(builder, builder.load(address))
        total = fused(builder, args[1], value, builder.extract_value(args[0], d))
        result = builder.insert_value(result, total, d)
    return result


@intrinsic
def channels_fma(typingctx: Context, channels: Kind, weight: Kind, array: Kind, index: Kind) -> Lowered:
    """Add weight * array[index + d] to channel d."""

    def lower(context: Context, builder: Builder, sig: Signature, args: Sequence[Value]) -> Value:
        return _add_products(context, builder, sig, args, 1)

    return signature(channels, channels, weight, float_array(array), types.int64), lower


@intrinsic
def channels_fma_planes(
    typingctx: Context, channels: Kind, weight: Kind, array: Kind, index: Kind
) -> Lowered:
    """Add weight * array[index + 16 d] to channel d."""

    def lower(context: Context, builder: Builder, sig: Signature, args: Sequence[Value]) -> Value:
        return _add_products(context, builder, sig, args, LANES)

    return signature(channels, channels, weight, float_array(array), types.int64), lower


@intrinsic
def channels_dot(typingctx: Context, channels: Kind, array: Kind, index: Kind, start: Kind) -> Lowered:
    """Return start + the sum over d of channel d times array[index + d]."""

    def lower(context: Context, builder: Builder, sig: Signature, args: Sequence[Value]) -> Value:
        base = address_of(context, builder, sig.args[1], args[1], args[2])
        total = args[3]
        for d, address in _each(builder, sig.args[0], base):
            value = splat_scalar(builder, builder.load(address))
            total = fused(builder, builder.extract_value(args[0], d), value, total)
        return total

    return signature(f32x16, channels, float_array(array), types.int64, start), lower
