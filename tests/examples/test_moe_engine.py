"""Whatever is cached, predicted, scheduled or late: what is decoded is what the resident model decodes, bit for bit."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch

from examples.moe.config import VOCABULARY, ModelConfig
from examples.moe.errors import MoeError
from examples.moe.inference.cache import Cache
from examples.moe.inference.decode import expert_output, product
from examples.moe.inference.engine import Costs, Engine
from examples.moe.inference.layout import Manifest, pack
from examples.moe.inference.loader import Loader
from examples.moe.inference.outlook import Floats
from examples.moe.inference.path_model import LearnedPaths, PathModel
from examples.moe.inference.policies.belady import Belady
from examples.moe.inference.policies.budgeted import Budgeted
from examples.moe.inference.policies.global_lru import GlobalLru
from examples.moe.inference.policies.interface import Policy
from examples.moe.inference.policies.lfu import Lfu
from examples.moe.inference.policies.lru import LayerLru
from examples.moe.inference.policies.predictive import Predictive
from examples.moe.inference.policies.static import Static
from examples.moe.inference.policies.whole_layer import WholeLayer
from examples.moe.inference.predictor import Oracle, Predictor, PreviousToken
from examples.moe.inference.resident import Decoded, decode_resident
from examples.moe.inference.store import MemoryStore
from examples.moe.inference.thread_loader import ThreadLoader
from examples.moe.inference.virtual_loader import VirtualLoader
from examples.moe.model import LanguageModel
from kimad.trace import parse_link

LAYERS, EXPERTS = 3, 8
NEW = 6
PROMPTS = [[(7 * row + 13 * i + row * i) % VOCABULARY for i in range(3 + row % 3)] for row in range(12)]
COSTS = Costs(dense_s=2e-4, expert_s=1e-4, predict_s=1e-4, head_s=1e-4)
POLICIES: dict[str, Callable[[int], Policy]] = {
    "lru": lambda slots: LayerLru(slots, LAYERS),
    "global-lru": lambda slots: GlobalLru(),
    "lfu": lambda slots: Lfu(),
    "static": lambda slots: Static(slots, {(layer, e): e for layer in range(LAYERS) for e in range(EXPERTS)}),
    "predictive": lambda slots: Predictive(),
    "budgeted": lambda slots: Budgeted(LAYERS, EXPERTS),
}
LM = tuple[LanguageModel, Manifest, torch.Tensor]


class Liar(Predictor):
    """Is always sure, and always of something else."""

    name = "liar"

    def __init__(self) -> None:
        self._rng = np.random.default_rng(0)

    def step(self, rows: Sequence[int], tokens: Sequence[int], positions: Sequence[int]) -> Floats:
        out = np.zeros((len(rows), LAYERS, EXPERTS))
        np.put_along_axis(out, self._rng.integers(EXPERTS, size=(len(rows), LAYERS, 2)), 1.0, axis=-1)
        return out


@pytest.fixture(scope="module", params=[1, 2], ids=["switch", "top2"])
def lm(request: pytest.FixtureRequest) -> LM:
    torch.manual_seed(3)
    config = ModelConfig(layers=LAYERS, width=32, heads=2, hidden=64, experts=EXPERTS, chosen=request.param, context=24)
    model = LanguageModel(config).eval()
    return model, *pack(model)


@pytest.fixture(scope="module")
def truth(lm: LM) -> Decoded:
    return decode_resident(lm[0], lm[2], PROMPTS, NEW)


def same(a: Decoded, b: Decoded) -> bool:
    return (
        a.tokens == b.tokens
        and all(torch.equal(x, y) for x, y in zip(a.logits, b.logits, strict=True))
        and all(torch.equal(x, y) for x, y in zip(a.paths, b.paths, strict=True))
    )


def virtual(lm: LM, policy: Policy, slots: int, link: str = "const:400") -> VirtualLoader:
    return VirtualLoader(MemoryStore(lm[1], lm[2]), Cache(slots, policy), slots, parse_link(link))


def predictor(lm: LM, name: str) -> Predictor | None:
    torch.manual_seed(5)
    made: dict[str, Callable[[], Predictor | None]] = {
        "none": lambda: None,
        "liar": Liar,
        "previous": lambda: PreviousToken(LAYERS, EXPERTS),
        "learned": lambda: LearnedPaths(PathModel(lm[0].config)),
    }
    return made[name]()


def test_the_decoder_is_the_trained_model(lm: LM, truth: Decoded) -> None:
    """The block-wise decoder computes what the model computes over whole sequences, up to rounding."""
    for tokens, logits, paths in zip(truth.tokens, truth.logits, truth.paths, strict=True):
        out = lm[0](torch.tensor([tokens[:-1]]))
        torch.testing.assert_close(out.logits[0], logits, atol=1e-4, rtol=1e-4)
        assert torch.equal(out.paths[0], paths)


@pytest.mark.parametrize("rows", [1, 2, 3, 5, 8, 13])
def test_a_product_in_blocks_does_not_depend_on_the_company(rows: int) -> None:
    torch.manual_seed(rows)
    weight, x = torch.randn(48, 32), torch.randn(64, 32)
    alone = torch.cat([product(row[None], weight) for row in x])
    order = torch.randperm(64)
    together = torch.cat([product(part, weight) for part in torch.split(x[order], rows)])
    assert torch.equal(together, alone[order])


@pytest.mark.parametrize("link", ["const:4", "sine:5,4000,0.05"])
@pytest.mark.parametrize("slots", [3, 7, 24])
@pytest.mark.parametrize("name", POLICIES)
def test_logits_are_bit_identical(lm: LM, truth: Decoded, name: str, slots: int, link: str) -> None:
    loader = virtual(lm, POLICIES[name](slots), slots, link)
    assert same(Engine(lm[0], loader, predictor(lm, "previous"), COSTS).decode(PROMPTS, NEW), truth)
    assert loader.meter.bytes == loader.store.bytes_read
    assert len(loader.cache.resident) + len(loader.cache.loading) <= slots
    assert not loader.cache.pinned


@pytest.mark.parametrize("method", ["none", "kmeans", "swap"])
@pytest.mark.parametrize("guess", ["none", "liar", "previous", "learned"])
@pytest.mark.parametrize("name", ["predictive", "budgeted"])
def test_logits_are_bit_identical_whatever_is_predicted_and_scheduled(
    lm: LM, truth: Decoded, name: str, guess: str, method: str
) -> None:
    loader = virtual(lm, POLICIES[name](6), 6)
    found = Engine(lm[0], loader, predictor(lm, guess), COSTS).decode(PROMPTS, NEW, method=method)
    assert same(found, truth)
    assert loader.meter.bytes == loader.store.bytes_read


@pytest.mark.parametrize("batches", [1, 2, 3, 12])
def test_logits_are_bit_identical_however_many_batches(lm: LM, truth: Decoded, batches: int) -> None:
    loader = virtual(lm, POLICIES["budgeted"](6), 6)
    found = Engine(lm[0], loader, predictor(lm, "previous"), COSTS).decode(PROMPTS, NEW, batches)
    assert same(found, truth)


@pytest.mark.parametrize("slots", [3, 8])
@pytest.mark.parametrize("name", ["lru", "predictive", "budgeted"])
def test_logits_are_bit_identical_in_real_time(lm: LM, truth: Decoded, name: str, slots: int) -> None:
    store = MemoryStore(lm[1], lm[2])
    loader: Loader = ThreadLoader(store, Cache(slots, POLICIES[name](slots)), slots, parse_link("const:2000"))
    try:
        assert same(Engine(lm[0], loader, predictor(lm, "previous")).decode(PROMPTS, NEW), truth)
    finally:
        loader.close()
    assert loader.meter.bytes == store.bytes_read > 0


def test_whole_layers_and_belady_are_bit_identical_too(lm: LM, truth: Decoded) -> None:
    lru = Engine(lm[0], virtual(lm, GlobalLru(), 24), None, COSTS)
    lru.decode(PROMPTS, NEW)
    for slots, policy in ((16, WholeLayer(16, LAYERS, EXPERTS)), (6, Belady(lru.counts.history))):
        loader = virtual(lm, policy, slots)
        assert same(Engine(lm[0], loader, None, COSTS).decode(PROMPTS, NEW), truth)


def test_fewer_slots_than_one_layer_needs_still_finish(lm: LM, truth: Decoded) -> None:
    for slots in (1, 2):
        loader = virtual(lm, GlobalLru(), slots)
        assert same(Engine(lm[0], loader, None, COSTS).decode(PROMPTS, NEW), truth)
        loader = virtual(lm, Budgeted(LAYERS, EXPERTS), slots)
        assert same(Engine(lm[0], loader, predictor(lm, "previous"), COSTS).decode(PROMPTS, NEW), truth)


def test_counts_are_those_of_the_paths(lm: LM, truth: Decoded) -> None:
    """All that the oracle predicts is needed and the other way round; with all slots nothing is loaded twice."""
    longest = max(len(paths) for paths in truth.paths)
    padded = torch.stack([torch.cat([p, p[-1:].expand(longest - len(p), -1, -1)]) for p in truth.paths])
    loader = virtual(lm, GlobalLru(), 24)
    engine = Engine(lm[0], loader, Oracle(padded, EXPERTS), COSTS)
    engine.decode(PROMPTS, NEW, batches=1)
    counts = engine.counts
    assert counts.predicted == counts.rightly == counts.needed
    assert counts.tokens == sum(len(prompt) + NEW - 1 for prompt in PROMPTS)
    different = {key for visit in counts.history for key in visit}
    assert counts.needed - counts.hits == loader.cache.counts.loaded == len(different)
    assert loader.meter.bytes == len(different) * lm[1].expert_bytes


class Watcher(Predictor):
    """Notes every token that it is shown."""

    name = "watcher"

    def __init__(self) -> None:
        self.seen: list[tuple[int, int, int]] = []

    def step(self, rows: Sequence[int], tokens: Sequence[int], positions: Sequence[int]) -> Floats:
        self.seen += list(zip(rows, positions, tokens, strict=True))
        return np.full((len(rows), LAYERS, EXPERTS), 0.5)


def test_no_future_token_reaches_a_prediction(lm: LM, truth: Decoded) -> None:
    """Each is shown once, in order, and no later one before the earlier has been decoded."""
    watcher, said = Watcher(), []
    loader = virtual(lm, Budgeted(LAYERS, EXPERTS), 6)
    engine = Engine(lm[0], loader, watcher, COSTS, on_token=lambda row, token: said.append((row, len(watcher.seen))))
    engine.decode(PROMPTS, NEW)
    for row, tokens in enumerate(truth.tokens):
        shown = [(position, token) for r, position, token in watcher.seen if r == row]
        assert shown == list(enumerate(tokens[:-1]))
        first = len(PROMPTS[row])
        spoken = [count for r, count in said if r == row]
        places = [i for i, (r, position, _) in enumerate(watcher.seen) if r == row and position >= first]
        assert all(place >= count for place, count in zip(places, spoken, strict=False))


def test_the_learned_predictor_says_step_by_step_what_it_says_of_the_whole(lm: LM) -> None:
    torch.manual_seed(1)
    model = PathModel(lm[0].config).eval()
    tokens = torch.randint(VOCABULARY, (3, 9))
    whole = torch.softmax(model(tokens), -1).mul(lm[0].config.chosen).clamp(max=1).detach().double().numpy()
    live = LearnedPaths(model)
    live.reset(5)
    for position in range(9):
        found = live.step([4, 0, 2], tokens[:, position].tolist(), [position] * 3)
        np.testing.assert_allclose(found, whole[:, position], atol=1e-5)


@pytest.mark.parametrize(
    ("prompts", "new", "batches", "method", "message"),
    [
        ([[]], 3, 1, "none", "the prompt is empty"),
        ([], 3, 1, "none", "no prompt"),
        ([[1] * 20], 5, 1, "none", "are 25; allowed: 24"),
        ([[1]], 0, 1, "none", "0 new bytes"),
        ([[1]], 2, 2, "none", "2 batches of 1 sequences"),
        ([[1]] * 4, 2, 1, "swap", "splits two batches"),
    ],
)
def test_bad_input_is_named(
    lm: LM, prompts: list[list[int]], new: int, batches: int, method: str, message: str
) -> None:
    engine = Engine(lm[0], virtual(lm, GlobalLru(), 6))
    with pytest.raises(MoeError, match=message):
        engine.decode(prompts, new, batches, method)


def test_the_same_expert_in_another_slot_computes_the_same(lm: LM) -> None:
    torch.manual_seed(2)
    x = torch.randn(11, 32)
    slots = torch.zeros(3, lm[1].config.expert_values)
    slots[2] = lm[2][5]
    assert torch.equal(expert_output(slots[2], lm[0], x), expert_output(lm[2][5], lm[0], x))
