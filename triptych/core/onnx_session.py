"""Models of ONNX in ONNX Runtime, on the processor."""

from typing import Any


def processor_session(content: bytes, options: Any = None) -> Any:
    """Return a session for the bytes of a model.

    Parameters
    ----------
    content : bytes
        The model, as it is in an ONNX file.
    options : onnxruntime.SessionOptions, optional
        ONNX Runtime's own by default.

    Returns
    -------
    onnxruntime.InferenceSession
        On the processor. There is nothing to fall back to; trying it would print what went wrong.
    """
    import onnxruntime

    return onnxruntime.InferenceSession(
        content, options, providers=["CPUExecutionProvider"], enable_fallback=False
    )
