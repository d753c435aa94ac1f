"""The compiled kernels; everything else of the package is in pyproject.toml."""

from glob import glob

from setuptools import Extension, setup

kernels = Extension(
    "kimad.compressors.kernels._compiled",
    sources=sorted(glob("compressors/kernels/*.c")),
    depends=["compressors/kernels/kernels.h"],
    # no contraction: a fused multiply-add rounds once where numpy, and other machines, round twice
    extra_compile_args=["-O3", "-ffp-contract=off", "-std=gnu11", "-Wno-parentheses"],
    optional=True,  # where there is no C compiler, numpy does the same
)
setup(ext_modules=[kernels])
