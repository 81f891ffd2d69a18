"""ONNX graphs spelt in protobuf by hand: the runtime's tests need no onnx."""

import struct

import numpy as np

_TYPES = {"float32": 1, "int32": 6, "int64": 7}


def varint(number):
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value % 2**64)
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def tensor(name, values):
    """An initializer; `values` is an array of float32, int32 or int64."""
    sizes = b"".join(field(1, size) for size in values.shape)
    return sizes + field(2, _TYPES[values.dtype.name]) + field(8, name) + field(9, values.tobytes())


def value(name, *sizes, dtype="float32"):
    """An input or output; a size is a number or a name."""
    dims = b"".join(field(1, field(1 if isinstance(size, int) else 2, size)) for size in sizes)
    return field(1, name) + field(2, field(1, field(1, _TYPES[dtype]) + field(2, dims)))


def node(operator, inputs, outputs, domain="", **attributes):
    """A node; `inputs` and `outputs` are names with spaces between them, attributes are numbers or lists of integers."""
    names = b"".join(field(1, name) for name in inputs.split()) + b"".join(field(2, name) for name in outputs.split())
    made = b""
    for key, given in attributes.items():
        if isinstance(given, list):
            made += field(5, field(1, key) + b"".join(field(8, number) for number in given) + field(20, 7))
        else:
            is_float = isinstance(given, float)
            made += field(5, field(1, key) + field(2 if is_float else 3, given) + field(20, 1 if is_float else 2))
    return names + field(4, operator) + made + field(7, domain)


def graph(nodes, constants, inputs, outputs):
    """A whole model; `constants` {name: array}; `inputs` and `outputs` are from `value`."""
    parts = [field(1, each) for each in nodes]
    parts += [field(5, tensor(name, np.asarray(each))) for name, each in constants.items()]
    parts += [field(11, each) for each in inputs] + [field(12, each) for each in outputs]
    opsets = field(8, field(2, 20)) + field(8, field(1, "com.microsoft") + field(2, 1))
    return field(1, 10) + field(7, field(2, "toy") + b"".join(parts)) + opsets
