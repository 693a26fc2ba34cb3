"""A vector of 16 floats for Numba kernels, lowered straight to LLVM's ``<16 x float>``.

Scalar loops leave it to the compiler to find the parallelism, and it mostly does not. Here a value of type
``f32x16`` is one AVX-512 register (two AVX registers, four SSE or NEON ones; LLVM splits it), comparisons
give an ``i1x16`` mask, and `+ - * /`, `<`, `>`, `&` work on them inside kernels. Products and sums may
contract to a fused multiply-add, nothing is ever reassociated.
"""

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.datamodel import models
from numba.core.errors import TypingError
from numba.core.typing import templates
from numba.core.typing.templates import AbstractTemplate, signature
from numba.extending import intrinsic as numba_intrinsic
from numba.extending import lower_builtin, register_model

from dyn3d_ns.kernels.types import Builder, Context, Kind, Lowered, Signature, Value

LANES = 16

# Numba's decorators change what a function takes, which type checkers cannot follow.
intrinsic: Any = numba_intrinsic
infer_global: Any = templates.infer_global

I1, I16, I32, I64 = ir.IntType(1), ir.IntType(16), ir.IntType(32), ir.IntType(64)
FLOAT = ir.FloatType()
VF = ir.VectorType(FLOAT, LANES)
VI = ir.VectorType(I32, LANES)
VM = ir.VectorType(I1, LANES)
_CONTRACT = ("contract",)


class _VectorType(types.Type):
    """The Numba type of 16 floats."""

    def __init__(self):
        super().__init__(name="f32x16")


class _MaskType(types.Type):
    """The Numba type of 16 booleans."""

    def __init__(self):
        super().__init__(name="i1x16")


f32x16 = _VectorType()
i1x16 = _MaskType()


@register_model(_VectorType)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Kind):
        super().__init__(dmm, fe_type, VF)


@register_model(_MaskType)
class _MaskModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Kind):
        super().__init__(dmm, fe_type, VM)


# --- building blocks ---------------------------------------------------------------------------------------


def splat_scalar(builder: Builder, scalar: Value, vector: Value = VF) -> Value:
    """Emit the copy of a scalar to all lanes of a vector."""
    first = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, ir.Constant(I32, 0))
    zeros = ir.Constant(VI, [0] * LANES)
    return builder.shuffle_vector(first, ir.Constant(vector, ir.Undefined), zeros)


def repeat(value: float) -> Value:
    """Return the constant vector of one number."""
    return ir.Constant(VF, [float(value)] * LANES)


def _as_vector(context: Context, builder: Builder, value: Value, kind: Kind) -> Value:
    """Broadcast a Numba number to all lanes; leave a vector as it is."""
    if kind is f32x16 or isinstance(kind, _VectorType):
        return value
    return splat_scalar(builder, context.cast(builder, value, kind, types.float32))


def call(builder: Builder, name: str, result: Kind, *values: Value) -> Value:
    """Emit the call of an external function or an LLVM intrinsic."""
    fn = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(result, [v.type for v in values]), name
    )
    return builder.call(fn, values)


def fused(builder: Builder, a: Value, b: Value, c: Value) -> Value:
    """Emit a * b + c in one rounding."""
    return call(builder, "llvm.fma.v16f32", VF, a, b, c)


def address_of(context: Context, builder: Builder, array_type: Kind, array: Value, index: Value) -> Value:
    """Emit the address of an element of an array."""
    data = context.make_array(array_type)(context, builder, array).data
    return builder.gep(data, [index])


def _number(kind: Kind) -> bool:
    return isinstance(kind, types.Float | types.Integer)


def _operand(kind: Kind) -> bool:
    return isinstance(kind, _VectorType) or _number(kind)


# --- operators ---------------------------------------------------------------------------------------------


def _binary_operator(op: Callable, emit: Callable[[Builder, Value, Value], Value], result: Kind) -> None:
    @infer_global(op)
    class _Typing(AbstractTemplate):
        def generic(self, args: tuple[Kind, ...], kws: dict[str, Kind]) -> Signature | None:
            if len(args) == 2 and any(isinstance(a, _VectorType) for a in args) and all(map(_operand, args)):
                return signature(result, *args)
            return None

    def lower(context: Context, builder: Builder, sig: Signature, args: Sequence[Value]) -> Value:
        left, right = (_as_vector(context, builder, v, t) for v, t in zip(args, sig.args, strict=True))
        return emit(builder, left, right)

    for pair in ((_VectorType, _VectorType), (_VectorType, types.Number), (types.Number, _VectorType)):
        lower_builtin(op, *pair)(lower)


_binary_operator(operator.add, lambda b, x, y: b.fadd(x, y, flags=_CONTRACT), f32x16)
_binary_operator(operator.sub, lambda b, x, y: b.fsub(x, y, flags=_CONTRACT), f32x16)
_binary_operator(operator.mul, lambda b, x, y: b.fmul(x, y, flags=_CONTRACT), f32x16)
_binary_operator(operator.truediv, lambda b, x, y: b.fdiv(x, y), f32x16)
_binary_operator(operator.lt, lambda b, x, y: b.fcmp_ordered("<", x, y), i1x16)
_binary_operator(operator.le, lambda b, x, y: b.fcmp_ordered("<=", x, y), i1x16)
_binary_operator(operator.gt, lambda b, x, y: b.fcmp_ordered(">", x, y), i1x16)
_binary_operator(operator.ge, lambda b, x, y: b.fcmp_ordered(">=", x, y), i1x16)


@infer_global(operator.neg)
class _NegTyping(AbstractTemplate):
    def generic(self, args: tuple[Kind, ...], kws: dict[str, Kind]) -> Signature | None:
        return signature(f32x16, *args) if isinstance(args[0], _VectorType) else None


@lower_builtin(operator.neg, _VectorType)
def _lower_neg(context: Context, builder: Builder, sig: Signature, args: Sequence[Value]) -> Value:
    return builder.fneg(args[0])


def _mask_operator(op: Callable, emit: Callable[[Builder, Value, Value], Value]) -> None:
    @infer_global(op)
    class _Typing(AbstractTemplate):
        def generic(self, args: tuple[Kind, ...], kws: dict[str, Kind]) -> Signature | None:
            return signature(i1x16, *args) if all(isinstance(a, _MaskType) for a in args) else None

    @lower_builtin(op, _MaskType, _MaskType)
    def _lower(context: Context, builder: Builder, sig: Signature, args: Sequence[Value]) -> Value:
        return emit(builder, *args)


_mask_operator(operator.and_, lambda b, x, y: b.and_(x, y))
_mask_operator(operator.or_, lambda b, x, y: b.or_(x, y))


# --- functions of vectors ----------------------------------------------------------------------------------


def _elementwise(name: str, arity: int, emit: Callable[..., Value]) -> Any:
    """Make an intrinsic of `arity` vectors or numbers from an IR emitter."""

    def check(args: tuple[Kind, ...]) -> None:
        if not all(map(_operand, args)):
            raise TypingError(f"{name} takes vectors or numbers, got {args}")

    def lower(context: Context, builder: Builder, sig: Signature, args: Sequence[Value]) -> Value:
        return emit(
            builder, *(_as_vector(context, builder, v, t) for v, t in zip(args, sig.args, strict=True))
        )

    def unary(typingctx: Context, a: Kind) -> Lowered:
        check((a,))
        return signature(f32x16, a), lower

    def binary(typingctx: Context, a: Kind, b: Kind) -> Lowered:
        check((a, b))
        return signature(f32x16, a, b), lower

    def ternary(typingctx: Context, a: Kind, b: Kind, c: Kind) -> Lowered:
        check((a, b, c))
        return signature(f32x16, a, b, c), lower

    function = (unary, binary, ternary)[arity - 1]
    function.__name__ = name
    return intrinsic(function)


fma = _elementwise("fma", 3, fused)
vmin = _elementwise("vmin", 2, lambda b, x, y: b.select(b.fcmp_ordered("<", x, y), x, y))
vmax = _elementwise("vmax", 2, lambda b, x, y: b.select(b.fcmp_ordered(">", x, y), x, y))
sqrt = _elementwise("sqrt", 1, lambda b, x: call(b, "llvm.sqrt.v16f32", VF, x))
vabs = _elementwise("vabs", 1, lambda b, x: call(b, "llvm.fabs.v16f32", VF, x))
ceil = _elementwise("ceil", 1, lambda b, x: call(b, "llvm.ceil.v16f32", VF, x))
floor = _elementwise("floor", 1, lambda b, x: call(b, "llvm.floor.v16f32", VF, x))
splat = _elementwise("splat", 1, lambda b, x: x)

# The polynomial of degree 5 that minimises the largest relative error of 2**f over |f| <= 1/2 (7.5e-8, about
# one rounding error); Taylor's would need one degree more.
_EXP2 = (1.0000000749, 0.6931469440460205, 0.24022120237350464, 0.05550713092, 0.00967554096, 0.00132764701)


def _emit_exp2(builder: Builder, x: Value) -> Value:
    """2**x for |x| < 126: round to the nearest integer by adding 1.5 * 2**23, polynomial for the rest."""
    magic = repeat(12582912.0)
    shifted = builder.fadd(x, magic)
    rest = builder.fsub(x, builder.fsub(shifted, magic))
    value = repeat(_EXP2[5])
    for coefficient in _EXP2[4::-1]:
        value = fused(builder, value, rest, repeat(coefficient))
    exponent = builder.shl(builder.bitcast(shifted, VI), ir.Constant(VI, [23] * LANES))
    return builder.bitcast(builder.add(builder.bitcast(value, VI), exponent), VF)


exp2 = _elementwise("exp2", 1, _emit_exp2)

# log2((1 + t) / (1 - t)) = t * (these by t**2): the series of the inverse hyperbolic tangent, |t| < 0.172.
_LOG2 = tuple(2.0 / math.log(2.0) / k for k in (1, 3, 5, 7, 9, 11))


def _emit_log2(builder: Builder, x: Value) -> Value:
    """Base-2 logarithm of positive normal numbers: exponent, and series for a mantissa in 0.71 to 1.42."""
    word = builder.bitcast(x, VI)
    half = ir.Constant(VI, [0x3F3504F3] * LANES)  # the bits of sqrt(1/2), where a mantissa starts
    offset = builder.sub(word, half)
    exponent = builder.ashr(offset, ir.Constant(VI, [23] * LANES))
    mantissa = builder.bitcast(builder.sub(word, builder.shl(exponent, ir.Constant(VI, [23] * LANES))), VF)
    one = repeat(1.0)
    t = builder.fdiv(builder.fsub(mantissa, one), builder.fadd(mantissa, one))
    square = builder.fmul(t, t)
    value = repeat(_LOG2[5])
    for coefficient in _LOG2[4::-1]:
        value = fused(builder, value, square, repeat(coefficient))
    return fused(builder, value, t, builder.sitofp(exponent, VF))


log2 = _elementwise("log2", 1, _emit_log2)


@intrinsic
def select(typingctx: Context, mask: Kind, a: Kind, b: Kind) -> Lowered:
    """Take a where the mask is set and b elsewhere."""

    def lower(context: Context, builder: Builder, sig: Signature, args: Sequence[Value]) -> Value:
        yes, no = (_as_vector(context, builder, v, t) for v, t in zip(args[1:], sig.args[1:], strict=True))
        return builder.select(args[0], yes, no)

    return signature(f32x16, mask, a, b), lower


@intrinsic
def bits(typingctx: Context, mask: Kind) -> Lowered:
    """Return the mask as an integer, lane 0 in the lowest bit."""

    def lower(context: Context, builder: Builder, sig: Signature, args: Sequence[Value]) -> Value:
        return builder.zext(builder.bitcast(args[0], I16), I64)

    return signature(types.int64, mask), lower


@intrinsic
def first_lanes(typingctx: Context, count: Kind) -> Lowered:
    """Return the mask of the first `count` lanes."""

    def lower(context: Context, builder: Builder, sig: Signature, args: Sequence[Value]) -> Value:
        lanes = ir.Constant(VI, list(range(LANES)))
        return builder.icmp_signed("<", lanes, splat_scalar(builder, builder.trunc(args[0], I32), VI))

    return signature(i1x16, types.int64), lower


@intrinsic
def lane_sum(typingctx: Context, vector: Kind) -> Lowered:
    """Add the 16 lanes in a fixed order (pairwise)."""

    def lower(context: Context, builder: Builder, sig: Signature, args: Sequence[Value]) -> Value:
        value = args[0]
        for width in (8, 4, 2, 1):
            order = [(i + width) % LANES for i in range(LANES)]
            moved = builder.shuffle_vector(value, ir.Constant(VF, ir.Undefined), ir.Constant(VI, order))
            value = builder.fadd(value, moved)
        return builder.extract_element(value, ir.Constant(I32, 0))

    return signature(types.float32, vector), lower


@intrinsic
def lowest_bit(typingctx: Context, word: Kind) -> Lowered:
    """Return the index of the lowest set bit of a non-zero integer."""

    def lower(context: Context, builder: Builder, sig: Signature, args: Sequence[Value]) -> Value:
        return builder.cttz(args[0], ir.Constant(I1, 1))

    return signature(types.int64, types.int64), lower


@intrinsic
def popcount(typingctx: Context, word: Kind) -> Lowered:
    """Count the set bits of an integer."""
    return signature(types.int64, types.int64), lambda context, builder, sig, args: builder.ctpop(args[0])


@intrinsic
def take(typingctx: Context, counter: Kind, index: Kind) -> Lowered:
    """Atomically return counter[index] and add one to it: the next piece of work for whoever asks."""

    def lower(context: Context, builder: Builder, sig: Signature, args: Sequence[Value]) -> Value:
        address = address_of(context, builder, sig.args[0], args[0], args[1])
        return builder.atomic_rmw("add", address, ir.Constant(I64, 1), "monotonic")

    return signature(types.int64, counter, types.int64), lower
