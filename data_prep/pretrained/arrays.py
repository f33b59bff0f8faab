"""Plain arrays in files: a net's blobs as .npz, and PyTorch state dicts as .npz or .safetensors. Nothing is unpickled."""

import zipfile

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from stal.errors import InputError
from stal.files import replacing


def write_blobs(path, layers):
    """Writes {layer: [arrays]} as .npz: the key of blob K of a layer is ``layer:K``, the layer's slashes as they are."""
    blobs = {f"{layer}:{number}": blob for layer, arrays in layers.items() for number, blob in enumerate(arrays)}
    try:
        with replacing(path, "wb") as stream:
            np.savez(stream, **blobs)
    except OSError as error:
        raise InputError(f"cannot write {path} ({error.strerror}): name another file") from None


def read_blobs(path):
    """Reads what :func:`write_blobs` wrote, as {layer: [arrays]}.

    Raises:
        InputError: no .npz, a key that is not ``layer:K``, a layer with a gap in its numbers, values other than float32.
    """
    numbered = {}
    for key, array in _read_npz(path).items():
        layer, _, number = key.rpartition(":")
        if not layer or not number.isdecimal():
            raise InputError(f"{path} has the key {key}, which is not LAYER:NUMBER: write it with weights.py export")
        if array.dtype != np.float32:
            raise InputError(f"{path} has {array.dtype} values in {key}: convert them to float32")
        numbered.setdefault(layer, {})[int(number)] = array
    for layer, blobs in numbered.items():
        if sorted(blobs) != list(range(len(blobs))):
            raise InputError(f"{path} has the blobs {sorted(blobs)} of the layer {layer}: number them from 0 without a gap")
    return {layer: [blobs[number] for number in sorted(blobs)] for layer, blobs in numbered.items()}


def read_state_dict(path):
    """Reads a PyTorch state dict from .npz or .safetensors.

    Returns:
        {key: array}; floats become float32.
    Raises:
        InputError: another kind of file, a damaged one, or values that are not finite.
    """
    if path.endswith(".npz"):
        state = _read_npz(path)
    elif path.endswith(".safetensors"):
        try:
            state = load_file(path)
        except OSError as error:
            raise InputError(f"cannot read {path} ({error.strerror or error}): give another file") from None
        except (SafetensorError, TypeError, AttributeError) as error:  # bfloat16 and float8 end in the latter two
            raise InputError(f"{path} is damaged, or of a type that NumPy has not ({error}): write it as float32") from None
    else:
        raise InputError(f"{path} is neither .npz nor .safetensors: dump the state dict as data_prep/README.md says")
    for key, array in state.items():
        if array.dtype.kind == "f":
            state[key] = array.astype(np.float32)
            if not np.isfinite(state[key]).all():
                raise InputError(f"{path} has values in {key} that are not finite: dump it again")
    return state


def _read_npz(path):
    """{key: array} of an .npz file."""
    try:
        with np.load(path, allow_pickle=False) as stream:
            return {key: stream[key] for key in stream.files}
    except OSError as error:
        raise InputError(f"cannot read {path} ({error.strerror or error}): give another file") from None
    except (ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:  # TypeError: an .npy is one array
        raise InputError(f"{path} is no .npz of plain arrays ({error}): write it with numpy.savez") from None
