"""A net and its arrays as a safetensors file, which other libraries read as well."""

from __future__ import annotations

import os

from ...errors import ArgumentError, FileFormatError, NetError
from ...tensor_file import TensorFile, write
from ..net import NetGraph
from .weights import holders

NET = "net"  # the part of the metadata with the net's description


def to_safetensors(net: NetGraph, path: str | os.PathLike[str]) -> None:
    """Write a net and its arrays: tensors under the arrays' paths, and the description as metadata.

    A file that is there is replaced in one piece. What the training adds, moments and states, is not in it:
    `Trainer.save` writes that.

    Args:
        net: The net with arrays, as `Trainer.net` gives it; all of its arrays, or a part.
        path: The file.

    Raises:
        NetError: The net has no arrays.
        ArgumentError: It is no net, or the file cannot be written.

    Example:
        >>> import tempfile, mxtrainer as mxt
        >>> net = mxt.NetChain([mxt.Linear(1)], inputs={"Input": mxt.Vector(2)})
        >>> net = net.with_arrays({"linear.Weights": [[1.0, -1.0]], "linear.Biases": [0.5]})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     mxt.to_safetensors(net, f"{folder}/net.safetensors")
        ...     mxt.from_safetensors(f"{folder}/net.safetensors") == net
        True
    """
    if not isinstance(net, NetGraph):
        raise ArgumentError(f"to_safetensors takes a net with arrays, such as trainer.net(), got {net!r}")
    if not net.arrays:
        raise NetError("to_safetensors: the net has no arrays; give trainer.net(), or net.with_arrays(...)")
    write(path, net.arrays, {NET: net.to_json()})


def from_safetensors(path: str | os.PathLike[str], net: NetGraph | None = None) -> NetGraph:
    """Return a net with the arrays of a safetensors file.

    Args:
        path: The file, of `to_safetensors` or of another library.
        net: The net, whose arrays have the names that the file has; arrays that it lacks stay as they are. None: the
            one that is described in the file.

    Raises:
        FileFormatError: The file is not there, damaged, or has no description of a net.
        NetError: The net has no array of a name that the file has, or one of another shape.
        ArgumentError: It is no net.
    """
    if net is not None and not isinstance(net, NetGraph):
        raise ArgumentError(f"from_safetensors: net must be a net, got {net!r}")
    with TensorFile(path, "a file of arrays") as file:
        if net is None:
            if NET not in file.metadata:
                raise FileFormatError(f"{file.name!r} has no description of a net; give from_safetensors(path, net)")
            net = NetGraph.from_json(file.metadata[NET])
        shapes = {
            holder.owners[name]: shape for holder in holders(net).values() for name, shape in holder.shapes.items()
        }
        for name in file.names:
            if name not in shapes:
                raise NetError(
                    f"{file.name!r}: the net has no array {name!r}; it has {', '.join(shapes) or 'none'}. A file of "
                    f"PyTorch's is read by its own names: from_torch(net, safetensors.numpy.load_file(path), names)"
                )
        found = {name: file.numbers(name) for name in shapes if name in file.names}
    for name, array in found.items():
        if array.shape != shapes[name]:
            raise NetError(f"{file.name!r}: {name!r} has the shape {array.shape}, and the net needs {shapes[name]}")
    return net.with_arrays({**net.arrays, **found})
