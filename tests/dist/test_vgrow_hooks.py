"""What DDP's hooks see of VGrow: one call for a critic's step, none for velocities; and what would go wrong."""


from dataclasses import replace
from kimad.internals import GradBucket

import torch
from torch.nn.parallel import DistributedDataParallel

from examples.vgrow.divergence import find
from examples.vgrow.flow import velocity
from examples.vgrow.target import make_target
from examples.vgrow.training import make_networks, settings_for, vgrow
from tests.dist.ranks import Ranks
from tests.dist.training import same_on_all_ranks


def counting(calls: list[int], bucket: GradBucket) -> torch.futures.Future[torch.Tensor]:
    calls[0] += 1
    work = torch.distributed.all_reduce(bucket.buffer().div_(torch.distributed.get_world_size()), async_op=True)
    future: torch.futures.Future[torch.Tensor] = work.get_future().then(lambda done: done.value()[0])
    return future


def counted(rank: int, penalty: float) -> tuple[int, int, bool]:
    target = make_target("ring")
    settings = replace(settings_for("ring"), rounds=2, pool=64, inner=3, batch=16, passes=2, penalty=penalty)
    networks = make_networks(settings, target)
    generator, critic = DistributedDataParallel(networks[0]), DistributedDataParallel(networks[1])
    of_generator, of_critic = [0], [0]
    generator.register_comm_hook(of_generator, counting)
    critic.register_comm_hook(of_critic, counting)
    for _ in vgrow(networks, settings, target, rank, 2, (generator, critic)):
        pass
    return of_generator[0], of_critic[0], all(same_on_all_ranks(network) for network in networks)


def test_one_hook_call_a_step_of_either(two_ranks: Ranks) -> None:
    for penalty in (0.0, 0.5):
        for of_generator, of_critic, alike in two_ranks.run(counted, penalty):
            assert of_critic == 2 * 3, "velocities fire no hook"
            assert of_generator == 2 * 2 * 4
            assert alike


def polluted(rank: int) -> tuple[int, int]:
    """A velocity by a backward through DDP, as one might write it: the hook fires, and gradients are left behind."""
    target = make_target("ring")
    _, bare = make_networks(settings_for("ring"), target)
    critic = DistributedDataParallel(bare)
    calls = [0]
    critic.register_comm_hook(calls, counting)
    velocity(bare, target.train[:20], find("kl"), 1.0)
    ours = calls[0]
    particles = target.train[:20].clone().requires_grad_()
    critic(particles).sum().backward()
    return ours, calls[0]


def test_a_velocity_by_backward_would_fire_it(two_ranks: Ranks) -> None:
    assert two_ranks.run(polluted) == [(0, 1)] * 2
