"""What is installed, and how MXNet was built."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

import numpy as np

from .... import __version__
from ...._mxnet import mx
from .finding import PROBLEM, Finding, judged

MXNET = "1.9.1"
LIBRARIES = ("numba", "safetensors", "psutil")
EXTRAS = {  # the library that each extra for users brings
    "cli": "click",
    "frames": "pandas",
    "onnx": "onnx",
    "plots": "matplotlib",
    "progress": "tqdm",
    "tensorboard": "tensorboardX",
}
FEATURES = {  # of MXNet's build: what is missing without it
    "MKLDNN": "convolutions, products and recurrent layers are far slower",
    "OPENMP": "operators use one processor",
    "DIST_KVSTORE": "nothing trains on several machines",
}


def look_at_software() -> Iterator[Finding]:
    """Yield versions, extras, and features of MXNet's build."""
    yield Finding("mxtrainer", __version__)
    yield Finding("python", f"{platform.python_version()}, {platform.system()} {platform.machine()}")
    repaired = np.__dict__.get("bool") is np.bool_
    yield Finding("numpy", f"{np.__version__}{', numpy.bool put back for MXNet' if repaired else ''}")
    yield _mxnet()
    yield Finding("libraries", ", ".join(f"{name} {_version(name) or 'of no known version'}" for name in LIBRARIES))
    yield Finding("extras", _extras())
    yield from _features()


def _mxnet() -> Finding:
    if mx.__version__ == MXNET:
        return Finding("mxnet", MXNET)
    return Finding("mxnet", mx.__version__, PROBLEM, f'another MXNet cannot be used: pip install "mxnet=={MXNET}"')


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _extras() -> str:
    found = [f"{name} {_version(name)}" for name in EXTRAS.values() if _version(name)]
    lost = [extra for extra, name in EXTRAS.items() if not _version(name)]
    missing = [f'not installed: pip install "mxtrainer[{",".join(lost)}]"'] if lost else []
    return "; ".join([", ".join(found), *missing] if found else missing)


def _features() -> Iterator[Finding]:
    known = mx.runtime.Features()
    enabled = [name for name in FEATURES if known.is_enabled(name)]
    lost = "; ".join(f"without {name} {what}" for name, what in FEATURES.items() if name not in enabled)
    warning = f"{lost}: install MXNet's own wheel, pip install --force-reinstall mxnet=={MXNET}" if lost else None
    yield judged("MXNet's build", ", ".join(enabled) or "none of its features", warning)
