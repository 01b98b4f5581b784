"""ONNX files of ours, read: their facts, and the functions in them, ready to run."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from batcache.errors import BatcacheError, RunError, brief, shorten
from batcache.inference.onnx.facts import FORMAT_VERSION, KEY, OnnxFacts
from batcache.storage.regular import read_regular
from batcache.storage.sealed import DAMAGED, check_binary

if TYPE_CHECKING:
    from onnx import ModelProto, ValueInfoProto
    from onnxruntime import InferenceSession

_AXES = {"magnitudes": 3, "level": 2, "instances": 3, "embeddings": 3, "regressed": 3, "strangeness": 3}
"""How many axes each input of a function has."""
_SEAL_KEY = b"batcache.sha256"
SEAL = b"".join((b"\x72", bytes([len(_SEAL_KEY) + 68]), b"\x0a", bytes([len(_SEAL_KEY)]), _SEAL_KEY, b"\x12\x40"))
"""One more entry of ``metadata_props`` (field 14: a key, then a value of 64 bytes), as protobuf writes it. It stands at
the end of the file, and its value is the digest of all before."""
_REMEDY = "Export it again: `batcache export-model`"


def require_onnx(place: object) -> None:
    """Check that what reads and runs ONNX files is installed.

    Raises:
        RunError: it is not.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    except ImportError:
        finding = "takes onnx and onnxruntime, which are not installed"
        raise RunError(place, finding, "pip install 'batcache[onnx]'") from None


def read_file(path: Path) -> "tuple[ModelProto, OnnxFacts]":
    """Read an ONNX file that batcache wrote.

    Raises:
        RunError: damaged, of another kind or of a newer batcache; or onnx and onnxruntime are not installed.
    """
    require_onnx(path)
    import onnx

    try:
        content = read_regular(path)
        check_binary(content, SEAL)
        model = onnx.load_model_from_string(content)
    except (MemoryError, KeyboardInterrupt):
        raise
    except OSError as error:
        raise RunError.of_disk(path, "not readable as an ONNX file", error, _REMEDY) from None
    except Exception as error:  # protobuf raises whatever the damage leads to
        reason = DAMAGED if str(error) == DAMAGED else "damaged, or of another kind"
        raise RunError(path, f"not readable as an ONNX file ({reason})", _REMEDY) from None
    text = next((entry.value for entry in model.metadata_props if entry.key == KEY), None)
    if text is None:
        raise RunError(path, "an ONNX file that batcache did not write, or a damaged one", _REMEDY)
    try:
        document = dict(json.loads(text))
        version, digest = document["format_version"], document["digest"]
        facts = OnnxFacts.parse(text) if version == FORMAT_VERSION else None
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError, RecursionError) as error:
        raise RunError(path, f"its metadata do not fit ({brief(error)})", _REMEDY) from None
    except BatcacheError as error:
        raise RunError(path, f"its metadata do not fit ({brief(error)})", _REMEDY) from None
    if facts is None:
        raise RunError(
            path, f"format version {shorten(str(version))}, this batcache reads {FORMAT_VERSION}", "Upgrade batcache"
        )
    if digest != digest_of(model):
        raise RunError(path, "damaged, or changed since batcache wrote it", _REMEDY)
    return model, facts


def digest_of(model: "ModelProto") -> str:
    """BLAKE3 of a file's graph and functions."""
    digest = blake3(model.graph.SerializeToString(deterministic=True))
    for function in model.functions:
        digest.update(function.SerializeToString(deterministic=True))
    return digest.hexdigest()


class Functions:
    """The functions of a file, each ready to run, on one thread of whoever calls it."""

    def __init__(self, model: "ModelProto") -> None:
        self._sessions = {f.name: _open_session(model, f.name) for f in model.functions if f.name != "magnitudes"}

    def run(self, name: str, *inputs: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Run a function; see ``inference.onnx.export`` for what each takes and gives."""
        session = self._sessions[name]
        names = [value.name for value in session.get_inputs()]
        made: list[NDArray[np.float32]] = session.run(None, dict(zip(names, inputs, strict=True)))
        return made


def _open_session(model: "ModelProto", name: str) -> "InferenceSession":
    """A model that is nothing but a call of this function."""
    import onnxruntime
    from onnx import TensorProto, helper

    (function,) = (f for f in model.functions if f.name == name)

    def float32(value: str) -> "ValueInfoProto":
        return helper.make_tensor_value_info(
            value, TensorProto.FLOAT, [None] * _AXES[value] if value in _AXES else None
        )

    call = helper.make_node(name, list(function.input), list(function.output), domain=function.domain)
    graph = helper.make_graph([call], name, [*map(float32, function.input)], [*map(float32, function.output)])
    opsets = list(model.opset_import)
    alone = helper.make_model(graph, functions=[function], opset_imports=opsets, ir_version=model.ir_version)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(alone.SerializeToString(), options, providers=["CPUExecutionProvider"])
