"""What torch does not promise is there. That it does what Kimad takes it for, the tests of the hook show.

Nothing of Kimad is imported above: without one of the names Kimad itself cannot be.
"""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from tests.source import ROOT, imports

pytestmark = pytest.mark.torch

C10D = "torch._C._distributed_c10d"

# Where it is looked for, its name, and what it is for.
NEEDED = [
    (C10D, "GradBucket", "what the communication hook is given"),
    (C10D, "PrefixStore", "to meet on DDP's own store"),
    (C10D, "Store", "to tell the other ranks of an error"),
    (C10D, "TCPStore", "to leave the rendezvous out when bytes are counted"),
    ("torch.distributed", "ProcessGroupGloo", "for a process group of its own"),
    ("torch.distributed", "distributed_c10d._get_process_group_store", "to meet on DDP's own store"),
    ("torch.autograd", "Variable._execution_engine.queue_callback", "to look back at the end of backward"),
    ("DDP model", "_comm_hooks", "to find the model of a State, and hooks that are there already"),
    ("DDP model", "_get_ddp_logging_data", "to see the hooks that torch has in C++"),
    ("DDP model", "reducer._get_local_used_map", "to know which parameters had no part in the loss"),
    ("DDP model", "find_unused_parameters", "to know whether there is such a map"),
    ("DDP model", "static_graph", "to know whether there is such a map"),
    ("DDP model", "parameters_to_ignore", "to leave out what DDP leaves out"),
    ("DDP model", "process_group.group_name", "to keep the models of several groups apart"),
    ("DDP model", "mixed_precision", "to leave alone a model whose hook DDP needs for it"),
    ("DDP model", "require_backward_grad_sync", "to know whether a backward will exchange"),
    ("store of a group", "underlying_store", "to find the rendezvous"),
    ("sparse tensor", "_indices", "to count the bytes of a sparse gradient"),
    ("sparse tensor", "_values", "to count the bytes of a sparse gradient"),
]


@pytest.fixture(scope="module")
def alone() -> Iterator[None]:
    """A process group of one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLOO_SOCKET_IFNAME", "lo")
        dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)  # type: ignore[attr-defined]
    yield
    dist.destroy_process_group()


def looked_at(place: str) -> object:
    """An object of the kind that `place` names."""
    if place == "DDP model":
        return DistributedDataParallel(nn.Linear(2, 2), find_unused_parameters=True)
    if place == "store of a group":
        return dist.distributed_c10d._get_process_group_store(dist.group.WORLD)  # type: ignore[arg-type]
    if place == "sparse tensor":
        return torch.ones(2).to_sparse()
    return importlib.import_module(place)


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize(("place", "path", "purpose"), NEEDED, ids=[f"{place}: {path}" for place, path, _ in NEEDED])
def test_torch_has_what_it_does_not_promise(place: str, path: str, purpose: str) -> None:
    thing = looked_at(place)
    for name in path.split("."):
        if not hasattr(thing, name):
            pytest.fail(f"torch {torch.__version__} has no {path} in {place}; Kimad needs it {purpose}", pytrace=False)
        thing = getattr(thing, name)


def test_every_private_name_is_looked_for() -> None:
    tree = ast.parse((ROOT / "kimad" / "internals.py").read_text(encoding="utf-8"))
    attributes = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr[0] == "_"}
    imported = {name.rpartition(".")[2] for _, name in imports(tree) if name.startswith(f"{C10D}.")}
    assert imported, "the module has moved"
    assert (attributes | imported) - {part for _, path, _ in NEEDED for part in path.split(".")} == set()


@pytest.mark.usefixtures("alone")
def test_hooks_of_every_kind_are_seen() -> None:
    import kimad
    from kimad.internals import holds, hook_name

    def own(state: object, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:  # type: ignore[name-defined]
        raise AssertionError("no backward runs here")

    own.__annotations__ = {}  # DDP wants real types there, or none
    free, scripts, torchs = (DistributedDataParallel(nn.Linear(2, 2)) for _ in range(3))
    state = object()
    scripts.register_comm_hook(state, own)
    torchs._register_builtin_comm_hook(dist.BuiltinCommHookType.ALLREDUCE)  # type: ignore[attr-defined,no-untyped-call]
    assert hook_name(free) is None
    assert str(hook_name(scripts)).endswith("own")
    assert "ALLREDUCE" in str(hook_name(torchs))
    assert [holds(model, state) for model in (free, scripts, torchs)] == [False, True, False]
    assert not holds(DistributedDataParallel.__new__(DistributedDataParallel), state), "its constructor has not ended"
    for model in (scripts, torchs):
        with pytest.raises(kimad.AttachError, match="has a communication hook already"):
            kimad.attach(model)
