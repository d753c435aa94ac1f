"""All value codes: what `Option.values` may name."""

from __future__ import annotations

from kimad.compressors.bfloat16 import BFloat16
from kimad.compressors.blocks import BLOCK
from kimad.compressors.float32 import Float32
from kimad.compressors.linear import Linear
from kimad.compressors.log4 import Log4Values
from kimad.compressors.sign import Sign
from kimad.compressors.value_code import DenseValues, ValueCode

FLOAT32 = DenseValues(Float32(), code=1, error=0.0, worst=0.0)
BFLOAT16 = DenseValues(BFloat16(), code=4, error=2.7e-6, worst=2.0**-16)
INT8 = DenseValues(Linear(8, stochastic=False, code=3), code=2, error=5e-5, worst=0.004)
SIGN = DenseValues(Sign(), code=5, error=0.22, worst=1 - 1 / BLOCK)
ALL_VALUE_CODES: tuple[ValueCode, ...] = (Log4Values(), INT8, BFLOAT16, FLOAT32, SIGN)
