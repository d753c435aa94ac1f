"""What the examples' DDP scripts share. (DDP compares a comm hook's annotations with types: they must not be texts.)"""

import hashlib

import torch
import torch.distributed as dist


def identical(*models: torch.nn.Module) -> bool:
    """Whether all ranks hold the same parameters, bit for bit, by one 64-bit digest a rank."""
    digest = hashlib.blake2b(digest_size=8)
    for model in models:
        for parameter in model.parameters():
            digest.update(parameter.detach().contiguous().numpy().tobytes())
    own = torch.tensor([int.from_bytes(digest.digest(), "little", signed=True)])
    every = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(every, own)
    return all(bool(torch.equal(other, own)) for other in every)


def bfloat16_all_reduce(
    group: dist.ProcessGroup,
    bucket: dist.GradBucket,  # type: ignore[name-defined]
) -> torch.futures.Future[torch.Tensor]:
    """The arithmetic of torch's ``bf16_compress_hook``, which torch refuses by its name wherever there is no NCCL."""
    buffer: torch.Tensor = bucket.buffer()
    compressed = buffer.to(torch.bfloat16).div_(group.size())
    reduced = dist.all_reduce(compressed, group=group, async_op=True).get_future()

    def decompress(future: torch.futures.Future[list[torch.Tensor]]) -> torch.Tensor:
        buffer.copy_(future.value()[0])
        return buffer

    result: torch.futures.Future[torch.Tensor] = reduced.then(decompress)
    return result
