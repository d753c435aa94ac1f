"""The compiled kernels; everything else of the package is in pyproject.toml."""

from glob import glob
from pathlib import Path
from zlib import crc32

from setuptools import Extension, setup

HEADER = "compressors/kernels/kernels.h"
kernels = Extension(
    "kimad.compressors.kernels._compiled",
    sources=sorted(glob("compressors/kernels/*.c")),
    depends=[HEADER],
    define_macros=[("HEADER_CRC", f"{crc32(Path(HEADER).read_bytes())}u")],
    # no contraction: a fused multiply-add rounds once where numpy, and other machines, round twice
    extra_compile_args=["-O3", "-ffp-contract=off", "-std=gnu11", "-Wno-parentheses"],
    optional=True,  # where there is no C compiler, numpy does the same
)
setup(ext_modules=[kernels])
