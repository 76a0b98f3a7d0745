"""Which base a model stands on, by content: its tensors and the fields of its architecture.

Where the files lie, what they are called, how the tensors are spread over them and which version of
transformers wrote the configuration do not count, so that a hub id, its snapshot, a folder and a Kaggle
Models folder of the same weights are one base.
"""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from ...errors import ArtifactError

_WEIGHTS: Final = "model.safetensors"
_INDEX: Final = "model.safetensors.index.json"
_CHUNK: Final = 4096
_CHUNKS: Final = 8192
"""Samples of one base, spread evenly over its tensors: 32 MiB are read of any base."""
_FEWEST, _MOST = 2, 64
_HEADER_LIMIT: Final = 100 << 20
_NOT_ARCHITECTURE: Final = frozenset(
    [
        "transformers_version",
        "torch_dtype",
        "dtype",
        "_name_or_path",
        "architectures",
        "_attn_implementation",
        "_attn_implementation_internal",
        "_attn_implementation_autoset",
        "attn_implementation",
        "use_cache",
        "id2label",
        "label2id",
        "num_labels",
        "problem_type",
        "return_dict",
        "output_attentions",
        "output_hidden_states",
        "finetuning_task",
        "task_specific_params",
        "_commit_hash",
        "auto_map",
        "unsloth_version",
        "unsloth_fixed",
    ]
)
_SPECIAL_IDS: Final = frozenset(["bos_token_id", "eos_token_id", "pad_token_id"])
"""What generation begins and ends with, and what is masked: copies of one base differ there (a later commit,
a pad token that a tool added)."""
POSITIONS_FROM_PAD: Final = (
    *("roberta", "xlm-roberta", "xlm-roberta-xl", "roberta-prelayernorm", "camembert", "longformer"),
    *("mpnet", "data2vec-text", "ibert", "xmod", "luke"),
)
"""Architectures that count positions from the pad id on."""
_OUTPUT_LAYERS: Final = ("lm_head.weight", "embed_out.weight", "cls.predictions.decoder.weight")
"""Written by some tools beside the input embeddings that they share their values with."""

Values = dict[str, Any]


@dataclass(frozen=True)
class BaseIdentity:
    """What a base is made of, as plain JSON values.

    Parameters
    ----------
    config
        Every field of the parsed configuration that says something of the architecture.
    explicit
        Those that config.json states; the others are defaults of the version that read it.
    tensors
        Name → stored type, shape and a digest of sampled bytes.
    """

    config: Values
    explicit: list[str]
    tensors: dict[str, list[Any]]

    @classmethod
    def of(cls, folder: Path, config: Any) -> BaseIdentity:
        """The identity of a folder with config.json and safetensors; ``config`` is the parsed former."""
        files = weight_files(folder)
        if not files:
            raise ArtifactError(
                f"{folder}: holds no safetensors: the base's weights are missing or of another kind; copy "
                "it anew, or save it as safetensors (Python: from_pretrained, save_pretrained)"
            )
        known = tuple((path, path.stat().st_size, path.stat().st_mtime_ns) for path in files)
        full = _architecture(json.loads(config.to_json_string(use_diff=False)))
        stated = _architecture(json.loads((folder / "config.json").read_text(encoding="utf-8")))
        return cls(full, sorted(stated), _tensors(known))

    @classmethod
    def read(cls, path: Path, *, remedy: str) -> BaseIdentity:
        """What :meth:`to_json` wrote.

        Raises
        ------
        ArtifactError
            It is missing, as in a fold of an older version, or cannot be read.
        """
        if not path.is_file():
            raise ArtifactError(
                f"{path}: missing, so what this fold was trained on is not known (an older version kept no "
                f"record of its base's content); {remedy}"
            )
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            return cls(dict(values["config"]), list(values["explicit"]), dict(values["tensors"]))
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise ArtifactError(f"{path}: cannot be read ({error}); {remedy}") from None

    def to_json(self) -> str:
        """As text."""
        return json.dumps(vars(self), separators=(",", ":"), ensure_ascii=False)

    def digest(self) -> str:
        """SHA-256 of all of it; the configuration's defaults are those of this version of transformers."""
        return hashlib.sha256(json.dumps([self.config, self.tensors], sort_keys=True).encode()).hexdigest()

    def difference(self, now: BaseIdentity) -> str:
        """The first difference between the base that was trained on and the one here; empty if there is none.

        A field that only one of the two versions of transformers knows is no difference, nor is the id of a
        special token that no prediction depends on.
        """
        lost, new = sorted(self.tensors.keys() - now.tensors), sorted(now.tensors.keys() - self.tensors)
        if lost or new:
            what = f"lacks the tensor {lost[0]}" if lost else f"has a tensor {new[0]}"
            return f"it {what} ({len(lost)} missing, {len(new)} more)"
        changed = [name for name, value in self.tensors.items() if now.tensors[name] != value]
        if changed:
            (dtype, shape, _), (other, others, _) = self.tensors[changed[0]], now.tensors[changed[0]]
            how = "other values" if (dtype, shape) == (other, others) else f"{other} {others}"
            was = "" if how == "other values" else f", was {dtype} {shape}"
            return f"its tensor {changed[0]} has {how}{was} ({len(changed)} of {len(self.tensors)} differ)"
        from_pad = self.config.get("model_type") in POSITIONS_FROM_PAD
        passed_over = _SPECIAL_IDS - {"pad_token_id"} if from_pad else _SPECIAL_IDS
        for key in sorted({*self.explicit, *now.explicit} - passed_over):
            if found := _unlike(self.config, now.config, key):
                return f"its configuration differs: {found}"
        return ""


def _architecture(values: Values) -> Values:
    kept = {key: value for key, value in values.items() if key not in _NOT_ARCHITECTURE}
    return {key: _architecture(v) if isinstance(v, dict) else v for key, v in kept.items()}


def _unlike(kept: Values, now: Values, key: str, at: str = "") -> str:
    """Where two configurations differ under a key that both have; empty where they do not."""
    if key not in kept or key not in now:
        return ""
    a, b = kept[key], now[key]
    if isinstance(a, dict) and isinstance(b, dict):
        parts = sorted(a.keys() - _SPECIAL_IDS)
        return next((found for part in parts if (found := _unlike(a, b, part, f"{at}{key}."))), "")
    return "" if a == b else f"{at}{key} = {b!r}, was {a!r}"


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that transformers reads: other ones may lie beside them."""
    if (folder / _WEIGHTS).is_file():
        return [folder / _WEIGHTS]
    if (folder / _INDEX).is_file():
        try:
            names = sorted(
                set(json.loads((folder / _INDEX).read_text(encoding="utf-8"))["weight_map"].values())
            )
        except (ValueError, LookupError, AttributeError, TypeError) as error:
            raise ArtifactError(
                f"{folder / _INDEX}: not an index of weights ({error}); copy the base anew"
            ) from None
        missing = [name for name in names if not (folder / name).is_file()]
        if missing:
            raise ArtifactError(f"{folder / missing[0]}: named in {_INDEX} and missing; copy the base anew")
        return [folder / name for name in names]
    return sorted(folder.glob("*.safetensors"))


@functools.lru_cache(maxsize=4)
def _tensors(files: tuple[tuple[Path, int, int], ...]) -> dict[str, list[Any]]:
    """Each tensor's stored type, shape and digest. Hashing 18 GB for each fold would cost more than it
    protects: a tensor counts by chunks of 4 KiB at even distances, its first and its last among them."""
    headers = [(path, *_header(path, size)) for path, size, _ in files]
    count = sum(len(table) for _, table, _ in headers)
    chunks = min(max(_CHUNKS // max(count, 1), _FEWEST), _MOST)
    found: dict[str, list[Any]] = {}
    for path, table, start in headers:
        with path.open("rb") as stream:
            for name, entry in table.items():
                begin, end = (start + int(offset) for offset in entry["data_offsets"])
                found[name] = [entry["dtype"], entry["shape"], _sampled(stream, begin, end, chunks)]
    shared = {json.dumps(value) for name, value in found.items() if not name.endswith(_OUTPUT_LAYERS)}
    return {
        name: found[name]
        for name in sorted(found)
        if not (name.endswith(_OUTPUT_LAYERS) and json.dumps(found[name]) in shared)
    }


def _header(path: Path, size: int) -> tuple[dict[str, Any], int]:
    """The table of tensors of a safetensors file, and where their bytes start."""
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        try:
            if not 0 < length <= min(size, _HEADER_LIMIT):
                raise ValueError("no header")
            table = json.loads(stream.read(length))
            table.pop("__metadata__", None)
            whole = all(0 <= v["data_offsets"][0] <= v["data_offsets"][1] for v in table.values())
        except (ValueError, LookupError, AttributeError, TypeError) as error:
            raise ArtifactError(f"{path}: not a safetensors file ({error}); copy the base anew") from None
    last = max((v["data_offsets"][1] for v in table.values()), default=0)
    if not whole or 8 + length + last > size:
        raise ArtifactError(f"{path}: shorter than its header says; copy the base anew")
    return table, 8 + length


def _sampled(stream: BinaryIO, begin: int, end: int, chunks: int) -> str:
    state, size = hashlib.blake2b(digest_size=12), end - begin
    if size <= chunks * _CHUNK:
        stream.seek(begin)
        state.update(stream.read(size))
        return state.hexdigest()
    for k in range(chunks):
        stream.seek(begin + (size - _CHUNK) * k // (chunks - 1))
        state.update(stream.read(_CHUNK))
    return state.hexdigest()
