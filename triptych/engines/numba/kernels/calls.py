"""Calls of compiled functions by their address."""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import make_array


@intrinsic
def call(typing_context, address, arguments):
    """Call the function at an address with a tuple of numbers and pointers."""

    def generate(context, builder, signature, values):
        function_address, packed = values
        items = cgutils.unpack_tuple(builder, packed)
        function_type = ir.FunctionType(ir.VoidType(), [item.type for item in items])
        function = builder.inttoptr(function_address, function_type.as_pointer())
        builder.call(function, items)
        return context.get_dummy_value()

    return types.void(types.intp, arguments), generate


@intrinsic
def pointer(typing_context, array):
    """Return the address of the first number of an array, as a pointer."""

    def generate(context, builder, signature, values):
        return make_array(array)(context, builder, values[0]).data

    return types.CPointer(array.dtype)(array), generate
