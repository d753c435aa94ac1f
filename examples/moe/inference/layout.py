"""One expert as one flat buffer, and the sizes and checksums of all of them."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from examples.moe.config import ModelConfig
from examples.moe.errors import MoeError
from examples.moe.model import LanguageModel

Key = tuple[int, int]  # layer, expert
VALUE_BYTES = 4  # float32


class StoreError(MoeError):
    """An expert that cannot be had: the file is short or altered, or the server is gone."""


@dataclass(frozen=True)
class Manifest:
    """What a store holds. Raises MoeError where it does not go together."""

    config: ModelConfig
    checksums: tuple[int, ...]  # CRC-32 of every expert, layer by layer

    def __post_init__(self) -> None:
        if len(self.checksums) != self.config.layers * self.config.experts:
            raise MoeError(
                f"{len(self.checksums)} checksums for {self.config.layers} layers of {self.config.experts} experts"
            )

    @property
    def expert_bytes(self) -> int:
        """Bytes of one expert."""
        return VALUE_BYTES * self.config.expert_values

    def index(self, key: Key) -> int:
        """Place of an expert among all."""
        layer, expert = key
        if not (0 <= layer < self.config.layers and 0 <= expert < self.config.experts):
            raise MoeError(f"no expert {key}; each of {self.config.layers} has {self.config.experts}")
        return layer * self.config.experts + expert

    def check(self, key: Key, data: memoryview) -> None:
        """Raises StoreError where the bytes are not the expert's."""
        if zlib.crc32(data) != self.checksums[self.index(key)]:
            raise StoreError(f"expert {key[1]} of layer {key[0]} is altered: its checksum does not fit")

    def encode(self) -> bytes:
        """As JSON."""
        return json.dumps({"config": asdict(self.config), "checksums": self.checksums}).encode()

    @classmethod
    def decode(cls, text: bytes) -> Manifest:
        """What `encode` made. Raises StoreError where it is something else."""
        try:
            found = json.loads(text)
            if not isinstance(found, Mapping):
                raise TypeError("no object")
            return cls(ModelConfig(**found["config"]), tuple(int(sum_) for sum_ in found["checksums"]))
        except (ValueError, TypeError, KeyError, MoeError) as error:
            raise StoreError(f"the manifest of the experts cannot be read: {error}") from None


def pack(model: LanguageModel) -> tuple[Manifest, Tensor]:
    """All experts as float32 [layers · experts, values], up then down, and their manifest."""
    flat = torch.stack(
        [
            torch.cat([expert.up.weight.detach().flatten(), expert.down.weight.detach().flatten()])
            for layer in range(model.config.layers)
            for expert in map(model.block(layer).moe.expert, range(model.config.experts))
        ]
    )
    return Manifest(model.config, tuple(zlib.crc32(as_bytes(row)) for row in flat)), flat


def matrices(flat: Tensor, config: ModelConfig) -> tuple[Tensor, Tensor]:
    """up [hidden, width] and down [width, hidden] as views of one flat buffer."""
    middle = config.hidden * config.width
    return flat[:middle].view(config.hidden, config.width), flat[middle:].view(config.width, config.hidden)


def as_bytes(flat: Tensor) -> memoryview:
    """The same memory, as bytes that can be written to."""
    return memoryview(flat.numpy().view("uint8")).cast("B")  # type: ignore[arg-type]
