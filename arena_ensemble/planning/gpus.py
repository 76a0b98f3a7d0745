"""GPUs by name: usable memory and dense peak arithmetic, from the vendor's datasheets.

Peaks are without structured sparsity (datasheets often print twice the dense figure) and, for 16-bit
types, with float32 accumulation, which is what training uses.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from ..errors import InputError

GIB: Final = 2**30


@dataclass(frozen=True)
class Gpu:
    """One accelerator.

    Parameters
    ----------
    memory
        Bytes that CUDA reports as the device's total, rounded down: less than the name says, because
        GB are not GiB and error correction takes its part.
    half
        Dense peak of bf16 (fp16 where bf16 is not native), FLOP/s.
    single
        Peak of float32 outside the tensor cores, FLOP/s.
    bandwidth
        Peak of its memory, bytes per second; from the same sheets.
    bf16
        Whether bfloat16 is native.
    sustained
        FLOP/s of large 16-bit products that last, where that is known and far below ``half``.
    int8
        Whether bitsandbytes' 8-bit product runs (compute capability 7.5 and later).
    """

    name: str
    memory: float
    half: float
    single: float
    bandwidth: float
    bf16: bool = True
    sustained: float | None = None
    int8: bool = True


GPUS: Final = {
    gpu.name: gpu
    for gpu in (
        # NVIDIA Tesla P100 PCIe datasheet (2016): 16 GB, 18.7 TFLOPS fp16, 9.3 TFLOPS fp32. It has no tensor
        # cores, so fp16 products that are summed in float32 run at the speed of float32
        Gpu("P100", 15.8 * GIB, 9.3e12, 9.3e12, 732e9, bf16=False, int8=False),
        # NVIDIA T4 datasheet (2019): 16 GB, 65 TFLOPS mixed precision, 8.1 TFLOPS fp32; no bf16. 24 TFLOPS:
        # repeated fp16 products of 4096 x 4096 at its limit of 70 W (forums.developer.nvidia.com/t/264462)
        Gpu("T4", 14.5 * GIB, 65e12, 8.1e12, 320e9, bf16=False, sustained=24e12),
        # NVIDIA L4 datasheet (2023): 24 GB, 242 TFLOPS bf16 with sparsity (121 dense), 30.3 TFLOPS fp32
        Gpu("L4", 22 * GIB, 121e12, 30.3e12, 300e9),
        # NVIDIA A10G datasheet (2021, Amazon's A10): 24 GB, 70 TFLOPS bf16 dense, 35 fp32, 600 GB/s
        Gpu("A10G", 22 * GIB, 70e12, 35e12, 600e9),
        # NVIDIA Ada architecture white paper, appendix A: 24 GB, 165.2 TFLOPS bf16 with fp32 accumulate
        Gpu("RTX4090", 23.5 * GIB, 165.2e12, 82.6e12, 1008e9),
        # NVIDIA A100 datasheet (2021): 40 or 80 GB, 312 TFLOPS bf16 dense, 19.5 TFLOPS fp32
        Gpu("A100-40", 39 * GIB, 312e12, 19.5e12, 1555e9),
        Gpu("A100-80", 79 * GIB, 312e12, 19.5e12, 2039e9),
        # NVIDIA H100 datasheet (2023), SXM: 80 GB, 1,979 TFLOPS bf16 with sparsity (989 dense), 67 fp32
        Gpu("H100", 78 * GIB, 989e12, 67e12, 3350e9),
        # NVIDIA H200 datasheet (2024), SXM: 141 GB, arithmetic as the H100
        Gpu("H200", 139 * GIB, 989e12, 67e12, 4800e9),
    )
}


def gpu_named(name: str) -> Gpu:
    """The GPU of that name; case, spaces, hyphens and a trailing GB do not matter.

    Raises
    ------
    InputError
        No such GPU is in the table.
    """

    def plain(text: str) -> str:
        return re.sub(r"[^a-z0-9]", "", text.lower()).removesuffix("gb")

    aliases = {"a100": "A100-80", "4090": "RTX4090", "h10080": "H100"}
    wanted = plain(name)
    for gpu in GPUS.values():
        if wanted == plain(gpu.name) or aliases.get(wanted) == gpu.name:
            return gpu
    raise InputError(f"--card {name}: unknown; the table has {', '.join(GPUS)}")


def gpus_named(name: str) -> tuple[Gpu, int]:
    """A GPU and how many of it: ``T4x2`` is two T4, ``L4`` one L4; at most eight.

    Raises
    ------
    InputError
        No such GPU is in the table.
    """
    match = re.fullmatch(r"(.+?)\s*[x\u00d7]\s*([1-8])", name.strip(), flags=re.IGNORECASE)
    return (gpu_named(match[1]), int(match[2])) if match else (gpu_named(name), 1)
