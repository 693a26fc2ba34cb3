"""A vector of 16 floats for Numba kernels, lowered straight to LLVM's ``<16 x float>``.

Scalar loops leave it to the compiler to find the parallelism, and it mostly does not. Here a value of type
``f32x16`` is one AVX-512 register (two AVX registers, four SSE or NEON ones; LLVM splits it), comparisons
give an ``i1x16`` mask, and `+ - * /`, `<`, `>`, `&` work on them inside kernels. Products and sums may
contract to a fused multiply-add, nothing is ever reassociated. `Channels` is a compile-time number of vectors
that stay in registers: the colour accumulators of 16 pixels.
"""

import operator
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.datamodel import models
from numba.core.errors import TypingError
from numba.core.typing import templates
from numba.core.typing.templates import AbstractTemplate, signature
from numba.extending import intrinsic as numba_intrinsic
from numba.extending import lower_builtin, register_model

LANES = 16

# Numba's decorators change what a function takes, which type checkers cannot follow.
intrinsic: Any = numba_intrinsic
infer_global: Any = templates.infer_global

_I1, _I16, _I32, _I64 = ir.IntType(1), ir.IntType(16), ir.IntType(32), ir.IntType(64)
_FLOAT = ir.FloatType()
_VF = ir.VectorType(_FLOAT, LANES)
_VI = ir.VectorType(_I32, LANES)
_VM = ir.VectorType(_I1, LANES)
_CONTRACT = ("contract",)


class _VectorType(types.Type):
    """The Numba type of 16 floats."""

    def __init__(self):
        super().__init__(name="f32x16")


class _MaskType(types.Type):
    """The Numba type of 16 booleans."""

    def __init__(self):
        super().__init__(name="i1x16")


class ChannelsType(types.Type):
    """The Numba type of ``count`` vectors, one a colour channel."""

    def __init__(self, count: int):
        self.count = count
        super().__init__(name=f"channels{count}")

    @property
    def key(self):
        return self.count


f32x16 = _VectorType()
i1x16 = _MaskType()


@register_model(_VectorType)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, _VF)


@register_model(_MaskType)
class _MaskModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, _VM)


@register_model(ChannelsType)
class _ChannelsModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, ir.ArrayType(_VF, fe_type.count))


# --- building blocks ---------------------------------------------------------------------------------------


def _splat(builder, scalar, vector=_VF):
    first = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, ir.Constant(_I32, 0))
    zeros = ir.Constant(_VI, [0] * LANES)
    return builder.shuffle_vector(first, ir.Constant(vector, ir.Undefined), zeros)


def _constant(value):
    return ir.Constant(_VF, [float(value)] * LANES)


def _as_vector(context, builder, value, kind):
    """Broadcast a Numba number to all lanes; leave a vector as it is."""
    if kind is f32x16 or isinstance(kind, _VectorType):
        return value
    return _splat(builder, context.cast(builder, value, kind, types.float32))


def _call(builder, name, result, *values):
    fn = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(result, [v.type for v in values]), name
    )
    return builder.call(fn, values)


def _fma(builder, a, b, c):
    return _call(builder, "llvm.fma.v16f32", _VF, a, b, c)


def _address(context, builder, array_type, array, index):
    data = context.make_array(array_type)(context, builder, array).data
    return builder.gep(data, [index])


def _load_vector(builder, address):
    loaded = builder.load(builder.bitcast(address, _VF.as_pointer()))
    loaded.align = 4
    return loaded


def _store_vector(builder, value, address):
    stored = builder.store(value, builder.bitcast(address, _VF.as_pointer()))
    stored.align = 4


def _number(kind):
    return isinstance(kind, types.Float | types.Integer)


def _operand(kind):
    return isinstance(kind, _VectorType) or _number(kind)


def _float_array(kind):
    if not (isinstance(kind, types.Array) and kind.dtype == types.float32 and kind.layout == "C"):
        raise TypingError(f"expected a contiguous float32 array, got {kind}")
    return kind


# --- operators ---------------------------------------------------------------------------------------------


def _binary_operator(op, emit, result):
    @infer_global(op)
    class _Typing(AbstractTemplate):
        def generic(self, args, kws):
            if len(args) == 2 and any(isinstance(a, _VectorType) for a in args) and all(map(_operand, args)):
                return signature(result, *args)
            return None

    def lower(context, builder, sig, args):
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
    def generic(self, args, kws):
        return signature(f32x16, *args) if isinstance(args[0], _VectorType) else None


@lower_builtin(operator.neg, _VectorType)
def _lower_neg(context, builder, sig, args):
    return builder.fneg(args[0])


def _mask_operator(op, emit):
    @infer_global(op)
    class _Typing(AbstractTemplate):
        def generic(self, args, kws):
            return signature(i1x16, *args) if all(isinstance(a, _MaskType) for a in args) else None

    @lower_builtin(op, _MaskType, _MaskType)
    def _lower(context, builder, sig, args):
        return emit(builder, *args)


_mask_operator(operator.and_, lambda b, x, y: b.and_(x, y))
_mask_operator(operator.or_, lambda b, x, y: b.or_(x, y))


# --- functions of vectors ----------------------------------------------------------------------------------


def _elementwise(name, arity, emit):
    """Make an intrinsic of `arity` vectors or numbers from an IR emitter."""

    def check(args):
        if not all(map(_operand, args)):
            raise TypingError(f"{name} takes vectors or numbers, got {args}")

    def lower(context, builder, sig, args):
        return emit(
            builder, *(_as_vector(context, builder, v, t) for v, t in zip(args, sig.args, strict=True))
        )

    def unary(typingctx, a):
        check((a,))
        return signature(f32x16, a), lower

    def binary(typingctx, a, b):
        check((a, b))
        return signature(f32x16, a, b), lower

    def ternary(typingctx, a, b, c):
        check((a, b, c))
        return signature(f32x16, a, b, c), lower

    function = (unary, binary, ternary)[arity - 1]
    function.__name__ = name
    return intrinsic(function)


fma = _elementwise("fma", 3, _fma)
vmin = _elementwise("vmin", 2, lambda b, x, y: b.select(b.fcmp_ordered("<", x, y), x, y))
vmax = _elementwise("vmax", 2, lambda b, x, y: b.select(b.fcmp_ordered(">", x, y), x, y))
sqrt = _elementwise("sqrt", 1, lambda b, x: _call(b, "llvm.sqrt.v16f32", _VF, x))
vabs = _elementwise("vabs", 1, lambda b, x: _call(b, "llvm.fabs.v16f32", _VF, x))
ceil = _elementwise("ceil", 1, lambda b, x: _call(b, "llvm.ceil.v16f32", _VF, x))
splat = _elementwise("splat", 1, lambda b, x: x)

# The polynomial of degree 5 that minimises the largest relative error of 2**f over |f| <= 1/2 (7.5e-8, about
# one rounding error); Taylor's would need one degree more.
_EXP2 = (1.0000000749, 0.6931469440460205, 0.24022120237350464, 0.05550713092, 0.00967554096, 0.00132764701)


def _emit_exp2(builder, x):
    """2**x for |x| < 126: round to the nearest integer by adding 1.5 * 2**23, polynomial for the rest."""
    magic = _constant(12582912.0)
    shifted = builder.fadd(x, magic)
    rest = builder.fsub(x, builder.fsub(shifted, magic))
    value = _constant(_EXP2[5])
    for coefficient in _EXP2[4::-1]:
        value = _fma(builder, value, rest, _constant(coefficient))
    exponent = builder.shl(builder.bitcast(shifted, _VI), ir.Constant(_VI, [23] * LANES))
    return builder.bitcast(builder.add(builder.bitcast(value, _VI), exponent), _VF)


exp2 = _elementwise("exp2", 1, _emit_exp2)


@intrinsic
def select(typingctx, mask, a, b):
    """Take a where the mask is set and b elsewhere."""

    def lower(context, builder, sig, args):
        yes, no = (_as_vector(context, builder, v, t) for v, t in zip(args[1:], sig.args[1:], strict=True))
        return builder.select(args[0], yes, no)

    return signature(f32x16, mask, a, b), lower


@intrinsic
def bits(typingctx, mask):
    """Return the mask as an integer, lane 0 in the lowest bit."""

    def lower(context, builder, sig, args):
        return builder.zext(builder.bitcast(args[0], _I16), _I64)

    return signature(types.int64, mask), lower


@intrinsic
def first_lanes(typingctx, count):
    """Return the mask of the first `count` lanes."""

    def lower(context, builder, sig, args):
        lanes = ir.Constant(_VI, list(range(LANES)))
        return builder.icmp_signed("<", lanes, _splat(builder, builder.trunc(args[0], _I32), _VI))

    return signature(i1x16, types.int64), lower


@intrinsic
def lane_sum(typingctx, vector):
    """Add the 16 lanes in a fixed order (pairwise)."""

    def lower(context, builder, sig, args):
        value = args[0]
        for width in (8, 4, 2, 1):
            order = [(i + width) % LANES for i in range(LANES)]
            moved = builder.shuffle_vector(value, ir.Constant(_VF, ir.Undefined), ir.Constant(_VI, order))
            value = builder.fadd(value, moved)
        return builder.extract_element(value, ir.Constant(_I32, 0))

    return signature(types.float32, vector), lower


@intrinsic
def lowest_bit(typingctx, word):
    """Return the index of the lowest set bit of a non-zero integer."""

    def lower(context, builder, sig, args):
        return builder.cttz(args[0], ir.Constant(_I1, 1))

    return signature(types.int64, types.int64), lower


@intrinsic
def popcount(typingctx, word):
    """Count the set bits of an integer."""
    return signature(types.int64, types.int64), lambda context, builder, sig, args: builder.ctpop(args[0])


@intrinsic
def take(typingctx, counter):
    """Atomically return counter[0] and add one to it: the next piece of work for whoever asks."""

    def lower(context, builder, sig, args):
        address = _address(context, builder, sig.args[0], args[0], ir.Constant(_I64, 0))
        return builder.atomic_rmw("add", address, ir.Constant(_I64, 1), "monotonic")

    return signature(types.int64, counter), lower


# --- memory ------------------------------------------------------------------------------------------------


@intrinsic
def load(typingctx, array, index):
    """Load array[index:index + 16] of a flat float32 array; the index is not checked."""

    def lower(context, builder, sig, args):
        return _load_vector(builder, _address(context, builder, sig.args[0], args[0], args[1]))

    return signature(f32x16, _float_array(array), types.int64), lower


@intrinsic
def store(typingctx, array, index, value):
    """Store the vector into array[index:index + 16]."""

    def lower(context, builder, sig, args):
        _store_vector(builder, args[2], _address(context, builder, sig.args[0], args[0], args[1]))
        return context.get_dummy_value()

    return signature(types.void, _float_array(array), types.int64, value), lower


@intrinsic
def spread(typingctx, array, index):
    """Load one float and copy it to all lanes; the index is not checked."""

    def lower(context, builder, sig, args):
        return _splat(builder, builder.load(_address(context, builder, sig.args[0], args[0], args[1])))

    return signature(f32x16, _float_array(array), types.int64), lower


def _lane_addresses(context, builder, array_type, array, index, stride):
    base = _address(context, builder, array_type, array, index)
    steps = _splat(builder, builder.trunc(stride, _I32), _VI)
    offsets = builder.mul(ir.Constant(_VI, list(range(LANES))), steps)
    pointers = ir.VectorType(base.type, LANES)
    zero = _splat(builder, builder.ptrtoint(base, _I64), ir.VectorType(_I64, LANES))
    wide = builder.sext(offsets, ir.VectorType(_I64, LANES))
    four = ir.Constant(ir.VectorType(_I64, LANES), [4] * LANES)
    return builder.inttoptr(builder.add(zero, builder.mul(wide, four)), pointers)


@intrinsic
def gather(typingctx, array, index, stride, mask):
    """Load array[index + lane * stride] into the lanes of the mask, zero into the others."""

    def lower(context, builder, sig, args):
        pointers = _lane_addresses(context, builder, sig.args[0], args[0], args[1], args[2])
        return _call(
            builder,
            "llvm.masked.gather.v16f32.v16p0",
            _VF,
            pointers,
            ir.Constant(_I32, 4),
            args[3],
            _constant(0.0),
        )

    return signature(f32x16, _float_array(array), types.int64, types.int64, mask), lower


@intrinsic
def scatter(typingctx, array, index, stride, mask, value):
    """Store the lanes of the mask into array[index + lane * stride]."""

    def lower(context, builder, sig, args):
        pointers = _lane_addresses(context, builder, sig.args[0], args[0], args[1], args[2])
        _call(
            builder,
            "llvm.masked.scatter.v16f32.v16p0",
            ir.VoidType(),
            args[4],
            pointers,
            ir.Constant(_I32, 4),
            args[3],
        )
        return context.get_dummy_value()

    return signature(types.void, _float_array(array), types.int64, types.int64, mask, value), lower


def _interleave(builder, a, b, group, upper):
    """Shuffle two vectors: `group` floats of a, then of b, from the lower or upper half of each 2*group
    run."""
    order = []
    for start in range(0, LANES, 2 * group):
        offset = start + (group if upper else 0)
        order += [offset + i for i in range(group)] + [LANES + offset + i for i in range(group)]
    return builder.shuffle_vector(a, b, ir.Constant(_VI, order))


@intrinsic
def transpose(typingctx, source, source_index, target, target_index):
    """Transpose the 16 x 16 floats at source[source_index:] into target[target_index:]."""

    def lower(context, builder, sig, args):
        start = _address(context, builder, sig.args[0], args[0], args[1])
        rows = [_load_vector(builder, builder.gep(start, [ir.Constant(_I64, 16 * r)])) for r in range(LANES)]
        for group in (1, 2, 4, 8):  # exchange off-diagonal blocks of growing size
            for r in range(LANES):
                if r & group == 0:
                    low, high = rows[r], rows[r | group]
                    rows[r] = _interleave(builder, low, high, group, False)
                    rows[r | group] = _interleave(builder, low, high, group, True)
        end = _address(context, builder, sig.args[2], args[2], args[3])
        for r in range(LANES):
            _store_vector(builder, rows[r], builder.gep(end, [ir.Constant(_I64, 16 * r)]))
        return context.get_dummy_value()

    return signature(types.void, _float_array(source), types.int64, _float_array(target), types.int64), lower


@intrinsic
def bit_columns(typingctx, words, index, column):
    """Gather bit `column` of the 16 int32 at words[index:] into one integer, first word lowest."""

    def lower(context, builder, sig, args):
        address = builder.bitcast(_address(context, builder, sig.args[0], args[0], args[1]), _VI.as_pointer())
        loaded = builder.load(address)
        loaded.align = 4
        bit = builder.shl(ir.Constant(_I32, 1), builder.trunc(args[2], _I32))
        hit = builder.icmp_signed(
            "!=", builder.and_(loaded, _splat(builder, bit, _VI)), ir.Constant(_VI, [0] * LANES)
        )
        return builder.zext(builder.bitcast(hit, _I16), _I64)

    return signature(types.int64, words, types.int64, types.int64), lower


# --- channels ----------------------------------------------------------------------------------------------


def _each(builder, channels_type, base):
    for d in range(channels_type.count):
        yield d, builder.gep(base, [ir.Constant(_I64, d)])


@intrinsic
def channels_zero(typingctx, tag):
    """Return one zero vector a channel; `tag` is a tuple as long as the number of channels."""

    def lower(context, builder, sig, args):
        return ir.Constant(ir.ArrayType(_VF, sig.return_type.count), [_constant(0.0)] * sig.return_type.count)

    return signature(ChannelsType(len(tag)), tag), lower


@intrinsic
def channels_load(typingctx, tag, array, index):
    """Load one vector a channel from consecutive floats at array[index:]."""

    def lower(context, builder, sig, args):
        base = _address(context, builder, sig.args[1], args[1], args[2])
        count = sig.return_type.count
        result = ir.Constant(ir.ArrayType(_VF, count), ir.Undefined)
        for d in range(count):
            vector = _load_vector(builder, builder.gep(base, [ir.Constant(_I64, LANES * d)]))
            result = builder.insert_value(result, vector, d)
        return result

    return signature(ChannelsType(len(tag)), tag, _float_array(array), types.int64), lower


@intrinsic
def channels_store(typingctx, channels, array, index):
    """Store the channels as consecutive vectors at array[index:]."""

    def lower(context, builder, sig, args):
        base = _address(context, builder, sig.args[1], args[1], args[2])
        for d in range(sig.args[0].count):
            address = builder.gep(base, [ir.Constant(_I64, LANES * d)])
            _store_vector(builder, builder.extract_value(args[0], d), address)
        return context.get_dummy_value()

    return signature(types.void, channels, _float_array(array), types.int64), lower


@intrinsic
def channels_fma(typingctx, channels, weight, array, index):
    """Add weight * array[index + d] to channel d."""

    def lower(context, builder, sig, args):
        base = _address(context, builder, sig.args[2], args[2], args[3])
        result = args[0]
        for d, address in _each(builder, sig.args[0], base):
            value = _splat(builder, builder.load(address))
            result = builder.insert_value(
                result, _fma(builder, args[1], value, builder.extract_value(args[0], d)), d
            )
        return result

    return signature(channels, channels, weight, _float_array(array), types.int64), lower


@intrinsic
def channels_dot(typingctx, channels, array, index, start):
    """Return start + the sum over d of channel d times array[index + d]."""

    def lower(context, builder, sig, args):
        base = _address(context, builder, sig.args[1], args[1], args[2])
        total = args[3]
        for d, address in _each(builder, sig.args[0], base):
            value = _splat(builder, builder.load(address))
            total = _fma(builder, builder.extract_value(args[0], d), value, total)
        return total

    return signature(f32x16, channels, _float_array(array), types.int64, start), lower
