"""AMIE and dynamic attention: the bounds and what they find, who learns from whom, schedules, sizes, and the engine's frame law."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks import coherence, coherence_ablation
from infra.errors import InputError
from lip_cases import cache_fixture, face, parameters, speech  # noqa: F401 (one is a fixture)
from models import checkpoints
from models.coherence import attention, losses
from models.coherence.config import JudgeConfig, Preset, compact, paper
from models.coherence.engine import CoherenceEngine
from models.coherence.estimator import Estimator, mean
from models.coherence.information import RunningMean, bound, donsker_varadhan, jensen_shannon, related, runs
from models.coherence.losses import Settings
from models.coherence.networks import FrameDiscriminator, Generator, StatisticsNetwork
from models.coherence.train_estimator import Estimator as EstimatorPart
from models.coherence.train_generator import LENGTH, StatisticsLoss, drawn_pairs, real_pairs
from models.coherence.train_generator import Generator as GeneratorPart
from models.corpus import clips_of, read_clip
from models.lipmemory.config import compact as lipmemory_compact
from models.lipmemory.engine import Seen
from models.lipmemory.mel import CHUNK, chunk_start, levelled, mel_columns
from models.lipmemory.networks import Renderer, lower_half
from models.lipmemory.samples import LIPS, Batch
from models.training.loop import Budget, fit, read
from models.training.part import Options
from models.training.ranks import Ranks
from tasks import engines

SHIPPED = all(checkpoints.place("coherence", name).exists() for name in ("compact", "compact-estimator"))
COUNTS = [48_093_987, 20_649_089, 23_507_650]  # generator, frame discriminator, statistics network
shipped = pytest.mark.skipif(not SHIPPED, reason="left out: coherence's weights are not here")


def small(preset: Preset) -> Preset:
    """A preset whose widths a test can afford."""
    blend = preset.model.blend
    count = 5 if blend else 7
    model = replace(
        preset.model, channels=16, audio=(4, 4, 8, 8), audio_residuals=(0,) * 4, identity=(4, 4, 4, 8, 8, 8, 8)[:count], identity_residuals=(0,) * count,
        decoder=(4, 4, 4, 8, 8, 8, 8)[:count], decoder_residuals=(0,) * count, finish=8,
    )  # fmt: skip
    statistics = replace(
        preset.statistics, channels=16, video=(4, 4, 8, 8, 8, 8)[: len(preset.statistics.video)],
        video_residuals=(0,) * len(preset.statistics.video), audio=(4, 4, 8, 8), audio_residuals=(0,) * 4,
    )  # fmt: skip
    return Preset(name="small", model=model, judge=JudgeConfig(widths=(8, 12, 16), audio=(4, 4, 8, 8), channels=16), statistics=statistics)


# information


def test_pairs_are_joint_marginal_or_too_near() -> None:
    rows = runs(6, 3)
    joint, marginal = related(rows, rows)
    assert torch.equal(joint, torch.eye(6, dtype=torch.bool))
    assert marginal[0].tolist() == [False, False, True, True, True, True] and marginal[1].tolist() == [False, False, False, True, True, True]
    assert torch.equal(marginal, marginal.T)


def test_bounds_are_their_formulae() -> None:
    pairs = torch.eye(2, dtype=torch.bool), ~torch.eye(2, dtype=torch.bool)
    table = torch.tensor([[math.log(3), -math.log(3)], [0.0, math.log(3)]])
    wrong = (math.log(4 / 3) + math.log(2)) / 2  # softplus of -log 3 and of 0
    assert float(jensen_shannon(table, *pairs)) == pytest.approx(-math.log(4 / 3) - wrong)
    assert float(donsker_varadhan(table, *pairs)) == pytest.approx(math.log(3) - math.log((1 / 3 + 1) / 2))
    assert float(jensen_shannon(0 * table, *pairs)) == pytest.approx(-math.log(4)) and float(donsker_varadhan(0 * table, *pairs)) == 0
    far = table.clone()
    far[0, 1] = -1e4
    assert all(bool(bound(kind, far, pairs).isfinite()) for kind in ("jensen_shannon", "donsker_varadhan"))


def test_the_corrected_gradient_divides_by_the_running_mean() -> None:
    pairs = torch.eye(4, dtype=torch.bool), ~torch.eye(4, dtype=torch.bool)
    table, running = torch.randn(4, 4, requires_grad=True), RunningMean(rate=1e-9)
    value = donsker_varadhan(table, *pairs)
    (plain,) = torch.autograd.grad(value, table)
    running.log.fill_(float(table.detach()[pairs[1]].exp().mean().log()) + math.log(2))
    corrected = donsker_varadhan(table, *pairs, running)
    (halved,) = torch.autograd.grad(corrected, table)
    assert float(corrected) == pytest.approx(float(value), abs=1e-5)
    assert torch.allclose(halved[pairs[1]], plain[pairs[1]] / 2, atol=1e-6) and torch.allclose(halved[pairs[0]], plain[pairs[0]])
    fresh = RunningMean(rate=0.25)
    fresh.follow(torch.tensor(0.0))
    assert float(fresh.follow(torch.tensor(math.log(5.0))).exp()) == pytest.approx(0.75 + 0.25 * 5)


def gaussians(count: int, rho: float) -> tuple[Tensor, Tensor, float]:
    """Two jointly normal variables and their mutual information, -log(1 - rho^2) / 2."""
    a = torch.randn(count, dtype=torch.float64)
    return a, rho * a + math.sqrt(1 - rho**2) * torch.randn(count, dtype=torch.float64), -0.5 * math.log(1 - rho**2)


def quadratic(a: Tensor, v: Tensor, weights: Tensor) -> Tensor:
    """T = x a v + y (a^2 + v^2) + z of all pairs: the form that log p(a, v) / (p(a) p(v)) of normal variables has."""
    return weights[0] * a[:, None] * v + weights[1] * (a[:, None] ** 2 + v**2) + weights[2]


def test_bounds_find_what_gaussians_tell_of_each_other() -> None:
    rho = 0.8
    a, v, truth = gaussians(1500, rho)
    right = torch.tensor([rho / (1 - rho**2), -0.5 * rho**2 / (1 - rho**2), truth], dtype=torch.float64)  # the analytic critic
    rows = runs(len(a), 1)
    pairs = related(rows, rows)
    table = quadratic(a, v, right)
    assert float(donsker_varadhan(table, *pairs)) == pytest.approx(truth, abs=0.05)
    assert float(table.diagonal().mean()) == pytest.approx(truth, abs=0.05)
    assert float(donsker_varadhan(table + 3, *pairs)) == pytest.approx(truth, abs=0.05)  # a constant is nothing to it
    best = float(jensen_shannon(table, *pairs))
    assert all(float(jensen_shannon(other, *pairs)) < best - 0.005 for other in (table + 0.5, table - 0.5, 0.5 * table, 2 * table))


def test_T_that_learns_by_jensen_shannon_is_the_information_in_nats() -> None:
    rho = 0.7
    a, v, truth = gaussians(800, rho)
    rows = runs(len(a), 1)
    pairs, weights = related(rows, rows), torch.zeros(3, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([weights], max_iter=25, line_search_fn="strong_wolfe")

    def paid() -> float:
        optimiser.zero_grad()
        loss = -jensen_shannon(quadratic(a, v, weights), *pairs)
        loss.backward()
        return float(loss)

    optimiser.step(paid)
    assert weights.tolist() == pytest.approx([rho / (1 - rho**2), -0.5 * rho**2 / (1 - rho**2), truth], abs=0.12)
    assert float(quadratic(a, v, weights).diagonal().mean()) == pytest.approx(truth, abs=0.05)


# attention


def test_attention_at_the_ends_of_its_schedule() -> None:
    assert (attention.fading(0.0), attention.emphasis(0.0)) == (0.9, 0.0)
    assert attention.fading(0.35) == pytest.approx(0.45) and attention.emphasis(0.35) == pytest.approx(7.0)
    for portion in (0.7, 1.0):
        assert attention.fading(portion) == pytest.approx(0.0, abs=1e-12) and attention.emphasis(portion) == 14.0
    lips = torch.zeros(1, 8, 2)
    lips[0, :2, 0] = torch.tensor([-0.25, 0.25])
    seen = attention.gaussian(lips, 128)[0, 0]
    assert seen.shape == (128, 128) and float(seen[63:65, 63:65].mean()) == pytest.approx(1, abs=0.01)
    assert float(seen[63:65, 80].mean()) == pytest.approx(math.exp(-0.5 * (16.5 / 16) ** 2), abs=0.01)  # half a mouth away: one deviation, 16 pixels
    assert float(seen[:20].max()) < 0.05
    picture = torch.rand(1, 3, 128, 128) - 0.5
    assert torch.allclose(attention.faded(picture, lips, 0.0)[..., 64, 64], 0.1 * picture[..., 64, 64], atol=0.01)
    assert (attention.faded(picture, lips, 1.0) - picture).abs().max() < 1e-6


def test_attention_fades_the_lips_that_the_reference_has(cache: Path, tmp_path: Path) -> None:
    part = part_in(tmp_path, cache, Settings(information=""))
    part.pace(0.0)
    batch = Batch(*part.draw(3, Ranks()))
    seen = attention.faded(batch.reference, batch.places + batch.moves, 0.0)
    lips = ((batch.places + batch.moves)[:, : len(LIPS)].mean(1) + 1) * 64
    gone = (seen.abs() / batch.reference.abs().clamp_min(1e-3))[:, 0]
    for number, (x, y) in enumerate(lips.tolist()):
        assert float(gone[number, int(y), int(x)]) == pytest.approx(0.1, abs=0.05)


def test_without_attention_every_pixel_counts_the_same(cache: Path, tmp_path: Path) -> None:
    part = part_in(tmp_path, cache, Settings(information="", attention=False, squares=0.0))
    batch = Batch(*part.draw(1, Ranks()))
    drawn = torch.rand_like(lower_half(batch.target))
    plain = (drawn - lower_half(batch.target)).abs().mean() / 2
    for part.redraw.portion in (0.0, 1.0):
        assert float(part.redraw.pictured(drawn, batch)) == pytest.approx(float(plain), rel=1e-5)
    part.redraw.settings = Settings(information="", squares=0.0)
    part.redraw.portion = 0.0
    assert float(part.redraw.pictured(drawn, batch)) == pytest.approx(float(plain), rel=1e-5)  # at the beginning attention weighs nothing
    part.redraw.portion = 1.0
    weight = 1 + 14 * batch.mouth
    heavy = ((drawn - lower_half(batch.target)).abs() / 2 * weight).mean() / weight.mean()
    assert float(part.redraw.pictured(drawn, batch)) == pytest.approx(float(heavy), rel=1e-5)


# networks


@torch.no_grad()
def test_the_paper_preset_draws_a_whole_face_from_one_picture() -> None:
    preset = paper()
    with torch.device("meta"):
        generator, judge, statistics = Generator(preset.model), FrameDiscriminator(preset.judge, preset.model.size), StatisticsNetwork(preset.statistics, preset.model.size)
    assert [parameters(network) for network in (generator, judge, statistics)] == COUNTS
    target, mels = torch.zeros(1, 3, 256, 256, device="meta"), torch.zeros(1, 1, 80, 16, device="meta")
    skips = generator.eval().look(target, target)
    assert [tuple(skip.shape[1:]) for skip in skips] == [
        (16, 256, 256), (32, 128, 128), (64, 64, 64), (128, 32, 32), (256, 16, 16), (512, 8, 8), (512, 4, 4), (512, 1, 1)
    ]  # fmt: skip
    made = generator.draw(generator.hear(mels), skips, target)
    assert made.whole.shape == (1, 3, 256, 256) and made.flow is None
    assert statistics.eval()(mels, made.whole.expand(5, -1, -1, -1)[None]).shape == (1, 1)
    assert judge(lower_half(made.whole).expand(2, -1, -1, -1), mels.expand(2, -1, -1, -1)).shape == (2, 8, 16)
    tiny, one, other = Generator(small(preset).model).eval(), torch.rand(1, 3, 256, 256), torch.rand(1, 3, 256, 256)
    assert torch.equal(tiny(torch.zeros(1, 1, 80, 16), one, other), tiny(torch.zeros(1, 1, 80, 16), other, other))  # the target is not seen



def test_compact_begins_as_lipmemory_without_its_memory() -> None:
    generator, other = Generator(compact().model), Renderer(lipmemory_compact().model)
    fusion, memory = parameters(generator.fusion), parameters(other.memory)
    assert parameters(generator) == parameters(other) - memory + fusion
    other.load_state_dict(checkpoints.load("lipmemory", "compact"))
    sounds = 2 * torch.randn(320, 1, 80, 16)
    generator.eval().begin(other, sounds[:256])
    with torch.no_grad():
        wanted, made = other.hear(sounds[256:]), generator.hear(sounds[256:])
    assert (made - wanted).square().mean() < 0.1 * (wanted - wanted.mean(0)).square().mean()
    face, mels = torch.rand(1, 3, 128, 128), sounds[:1]
    with torch.no_grad():
        apart = (generator(mels, face, face) - other(mels, face, face)).abs().mean()
    assert float(apart) < 0.02


def test_T_is_a_table_of_all_pairs() -> None:
    statistics = StatisticsNetwork(small(compact()).statistics).eval()
    mels, windows = torch.randn(3, 1, 80, 16), torch.rand(2, 5, 3, 64, 128)
    table = statistics(mels, windows).detach()
    assert table.shape == (3, 2)
    one = statistics(mels[1:2], windows[1:]).detach()
    assert torch.allclose(table[1, 1], one[0, 0], atol=1e-5)
    whole = torch.cat([torch.rand_like(windows), windows], -2)
    assert torch.allclose(statistics(mels, whole).detach(), table, atol=1e-5)  # of a face it sees the lower half


# the frame discriminator


def test_pairs_of_the_discriminator_are_what_they_should_be() -> None:
    judge = FrameDiscriminator(compact().judge).eval()
    real, drawn, mels, other = torch.rand(3, 3, 64, 128), torch.rand(3, 3, 64, 128, requires_grad=True), torch.randn(3, 1, 80, 16), torch.randn(3, 1, 80, 16)
    found = losses.judgement(judge, drawn, real, mels, other)
    right, made, apart = judge(real, mels), judge(drawn, mels), judge(real, other)
    wanted = F.softplus(-right).mean() + (F.softplus(made).mean() + F.softplus(apart).mean()) / 2
    assert float(found) == pytest.approx(float(wanted / 2), rel=1e-5)
    found.backward()
    assert drawn.grad is None and float(losses.adversarial(judge, drawn.detach(), mels)) == pytest.approx(float(F.softplus(-made).mean()), rel=1e-5)


def test_the_discriminator_hears_whether_a_frame_is_its_sounds() -> None:
    judge = FrameDiscriminator(JudgeConfig(widths=(8, 16, 16), audio=(4, 4, 8, 8), channels=16))
    optimiser = torch.optim.Adam(judge.parameters(), 5e-3)
    which = torch.tensor([0, 1] * 8)
    halves = 0.2 * torch.randn(16, 3, 64, 128)
    halves[which == 1, :, 20:40, 40:90] += 1.0  # an open mouth, and a loud sound
    mels = torch.where(which[:, None, None, None] == 1, 2.0, -2.0) + 0.2 * torch.randn(16, 1, 80, 16)
    for _ in range(15):
        loss = losses.judgement(judge, halves.roll(1, 0), halves, mels, mels.roll(1, 0))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    found = judge.eval()
    assert float(found(halves, mels).mean()) > float(found(halves, mels.roll(1, 0)).mean()) + 1


# who learns from whom


def part_in(folder: Path, cache: Path, settings: Settings, batch: int = 4, preset: Preset | None = None) -> GeneratorPart:
    """A small generator in training, in a folder with a statistics network that has learned nothing."""
    preset = preset or small(compact())
    if not (folder / "coherence-estimator.pt").exists():
        torch.save({"average": StatisticsNetwork(preset.statistics, preset.model.size).state_dict()}, folder / "coherence-estimator.pt")
    return GeneratorPart(Options(cache=cache, out=folder, batch=batch), preset=preset, settings=settings)


def kept(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def same(network: nn.Module, before: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, before[name]) for name, value in network.named_parameters())


def test_windows_of_a_batch_stand_beside_their_own_sound(cache: Path, tmp_path: Path) -> None:
    part = part_in(tmp_path, cache, Settings())
    part.samples.seed(1)
    batch = part.samples.batch(2, LENGTH, 1.0)
    windows, mels, rows = real_pairs(batch)
    assert windows.shape == (8, 5, 3, 64, 128) and mels.shape == (8, 1, 80, 16)
    assert torch.equal(windows[1], lower_half(batch.target)[:5]) and torch.equal(mels[1], batch.sync_mels[0])
    assert torch.equal(windows[5], lower_half(batch.target)[5:]) and torch.equal(mels[5], batch.sync_mels[1])
    assert rows.tolist() == [[0, 0], [0, 1], [0, 2], [0, 3], [1, 0], [1, 1], [1, 2], [1, 3]]
    drawn, sounds, placed, at = drawn_pairs(batch, batch.target)
    joint, marginal = related(placed, at)
    assert torch.equal(drawn[1], windows[5]) and torch.equal(sounds[joint[:, 1]][0], batch.sync_mels[1])
    assert joint.sum(0).tolist() == [1, 1] and marginal.sum(0).tolist() == [7, 7]  # two later moments of its own, five of the other's


@pytest.mark.parametrize("learning", [False, True])
def test_training_is_asymmetric(learning: bool, cache: Path, tmp_path: Path) -> None:
    part = part_in(tmp_path, cache, Settings(learning=learning))
    assert part.statistics is not None
    part.pace(0.5)
    part.step = 1  # of both turns, that of runs
    batch = part.draw(1, Ranks())
    statistics, model, judge = kept(part.statistics), kept(part.model), kept(part.judge)
    terms, drawn = part.loss(*batch)
    assert set(terms) == {"reconstruction", "shape", "flow", "parts", "adversarial", "information"} and drawn is not None
    terms["information"].backward(retain_graph=True)
    assert part.model.decoder.finish[-1].weight.grad.abs().sum() > 0  # information teaches the generator
    assert all(p.grad is None for network in (part.statistics, part.judge) for p in network.parameters())
    part.stepped("optimiser", sum(terms.values()))
    assert all(torch.equal(value, statistics[name]) for name, value in part.statistics.state_dict().items())  # its norms, too
    assert same(part.judge, judge) and not same(part.model, model)
    if not learning:
        row = part.update(batch)
        assert same(part.statistics, statistics) and "estimated" not in row and "judged" in row
        return
    model = kept(part.model)
    part.stepped("estimating", part.estimated(drawn, *batch))
    assert same(part.model, model) and same(part.judge, judge) and not same(part.statistics, statistics)


def test_what_was_drawn_is_no_matter_to_the_estimator_unless_training_is_symmetric(cache: Path, tmp_path: Path) -> None:
    part = part_in(tmp_path, cache, Settings(learning=True))
    part.samples.seed(1)
    batch = part.samples.batch(2, LENGTH)
    several = [torch.rand(10, 3, 64, 128) - 0.5 for _ in range(2)]
    for settings in (Settings(), Settings(symmetric=True), Settings(symmetric=True, information="donsker_varadhan")):
        one, other = (float(StatisticsLoss(part.statistics, settings)(drawn, *batch)) for drawn in several)
        assert (one != other) == settings.symmetric
    with pytest.raises(ValueError, match="information"):
        Settings(information="mine")


def test_a_generator_wants_its_estimator(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError) as missing:
        GeneratorPart(Options(cache=cache, out=tmp_path), preset=small(compact()))
    assert missing.value.code == "training.no_checkpoint"
    assert GeneratorPart(Options(cache=cache, out=tmp_path, batch=2), preset=small(compact()), settings=Settings(information="")).statistics is None


# training


def test_steps_on_one_batch_lower_both_parts_losses(cache: Path, tmp_path: Path) -> None:
    estimator = EstimatorPart(Options(cache=cache, out=tmp_path, batch=2, frames=6), preset=small(compact()))
    generator = part_in(tmp_path, cache, Settings())
    for part in (estimator, generator):
        part.step = 101
        part.pace(0.2)
        batch = part.draw(1, Ranks())
        rows = []
        for _ in range(6):
            rows.append(part.update(batch))
            part.step = 101
        own = [row["loss"] - row.get("adversarial", 0.0) for row in rows]  # what an opponent that learns, too, has no hand in
        assert own[-1] < own[0] and rows[-1].get("judged", 0.0) <= rows[0].get("judged", 0.0), part.name


def test_the_paper_presets_form_learns_by_the_same_losses(cache: Path, tmp_path: Path) -> None:
    part = part_in(tmp_path, cache, Settings(), 2, small(paper()))
    part.pace(0.5)
    part.step = 1
    batch = part.draw(1, Ranks())
    terms, drawn = part.loss(*batch)
    assert set(terms) == {"reconstruction", "adversarial", "information"} and drawn is not None and drawn.shape == (10, 3, 256, 256)
    assert all(np.isfinite(value) for value in part.update(batch).values())


@pytest.mark.parametrize("settings", [Settings(), Settings(information="donsker_varadhan", symmetric=True, learning=True)])
def test_a_run_goes_on_from_its_checkpoint(settings: Settings, cache: Path, tmp_path: Path) -> None:
    first = fit(part_in(tmp_path, cache, settings, 2), Budget(steps=4))
    assert first["step"] == 4 and first["adversarial"] > 0 and first["judged"] > 0 and np.isfinite([first["real_nats"], first["made_nats"]]).all()
    assert np.isfinite(first["validation"]["psnr_gain_db"]) and ("estimated" in first) == settings.learning
    before = read(tmp_path / "coherence-generator.pt")
    assert ("estimated" in before) == settings.learning
    assert fit(part_in(tmp_path, cache, settings, 2), Budget(steps=5))["step"] == 5
    assert not torch.equal(read(tmp_path / "coherence-generator.pt")["model"]["fusion.weight"], before["model"]["fusion.weight"])


def test_an_estimator_begins_from_a_lipmemory_expert_or_its_own_kind(cache: Path, tmp_path: Path) -> None:
    part = EstimatorPart(Options(cache=cache, out=tmp_path, batch=2, frames=6))
    ears = checkpoints.load("lipmemory", "compact")
    assert torch.equal(part.model.audio[0][0].body[0].weight, ears["audio.0.0.body.0.weight"])
    other = StatisticsNetwork(compact().statistics)
    expert = {name: value for name, value in other.state_dict().items() if name not in ("log_scale", "bias")}
    part.begin({"average": expert, "head": {f"readers.{k}": torch.ones_like(v) for k, v in part.readers.sides.state_dict().items()} | {"scale": torch.ones(())}})
    assert all(torch.equal(value, part.model.state_dict()[name]) for name, value in expert.items())
    assert part.readers.sides[0].bias.eq(1).all() and float(part.model.bias.detach()) == -2


def test_arms_begin_alike(cache: Path, tmp_path: Path) -> None:
    plan = coherence_ablation.Plan(steps=0, batch=2, sounds=1)
    preset = compact()
    torch.save({"average": StatisticsNetwork(preset.statistics).state_dict()}, cache / "coherence-estimator.pt")
    start = coherence_ablation.begun(cache, cache, 1, plan)
    several = [coherence_ablation.learned(name, cache, 1, plan, start) for name in ("baseline", "both_symmetric")]
    assert all(same(part.model, several[0].model.state_dict()) and same(part.judge, several[0].judge.state_dict()) for part in several)
    shipped_one = checkpoints.load("lipmemory", "compact")["identity.stages.1.0.body.0.weight"]
    assert torch.equal(several[0].average.identity.stages[1][0].body[0].weight, shipped_one)
    fixed_ones = ("information", "symmetric", "attention")
    plain = {tuple((k, v) for k, v in vars(settings).items() if k not in fixed_ones) for settings in coherence_ablation.ARMS.values()}
    assert len(plain) == 1  # in nothing else arms differ
    rows = [{"variant": name, "seed": seed} | dict.fromkeys(coherence_ablation.COMPARED, seed + at) for at, name in enumerate(("baseline", "both")) for seed in (2, 1)]
    assert coherence_ablation.gained(rows)["lmd_of_both_over_baseline"] == {"mean": 1.0, "deviation": 0.0}
    (cache / "coherence-estimator.pt").unlink()


# at work


def test_frames_out_are_frames_in_and_faceless_ones_pass_through() -> None:
    engine = CoherenceEngine(Generator(small(compact()).model))
    picture, marks, square = face()
    faces = [Seen(picture) if i in (0, 7, 12) else Seen(picture, marks, square) for i in range(13)]
    made = list(engine.frames(faces, engine.reference(picture, marks), speech(0.4), 13))
    assert len(made) == 13 and all(np.array_equal(made[i], picture) for i in (0, 7, 12))
    assert all((made[i] != picture).any() and np.array_equal(made[i][: int(square.y)], picture[: int(square.y)]) for i in (1, 5, 11))
    silent = torch.cat(list(engine.hear(speech(1.0, loud=False), np.arange(30) / 25)))
    assert (silent == silent[0]).all()


def test_nats_of_a_stream_are_those_of_its_windows() -> None:
    statistics = StatisticsNetwork(small(compact()).statistics).eval()
    random = np.random.default_rng(0)
    faces, wave = random.integers(0, 256, (50, 128, 128, 3), dtype=np.uint8), speech(2.0).wave
    halves = lower_half(torch.from_numpy(faces[..., ::-1].copy()).permute(0, 3, 1, 2).float() / 127.5 - 1).unfold(0, 5, 1).permute(0, 4, 1, 2, 3)
    mel = mel_columns(levelled(np.asarray(wave)))
    mels = torch.from_numpy(np.stack([mel[:, chunk_start(i, 0) :][:, :CHUNK] for i in range(46)]))[:, None]
    wanted = statistics(mels, halves).diagonal().detach().numpy()
    estimator = Estimator(statistics)
    found = estimator.coherence((one for one in faces), wave)
    assert found.shape == (46,) and np.allclose(found, wanted, atol=5e-3)  # vectors are kept in half precision
    gone = estimator.coherence((None if i == 20 else one for i, one in enumerate(faces)), wave)
    assert np.isnan(gone[16:21]).all() and np.allclose(np.delete(gone, range(16, 21)), np.delete(found, range(16, 21)), atol=1e-5)
    assert mean(gone) == pytest.approx(float(np.delete(found, range(16, 21)).mean()), abs=1e-4) and math.isnan(mean(gone[17:20]))
    short = estimator.coherence(iter(faces), wave[:16_000])
    assert np.isnan(short[24:]).all() and np.isfinite(short[:20]).all() and len(estimator.coherence(iter(faces[:4]), wave)) == 0


@shipped
def test_shipped_weights_know_a_clips_own_sound(shared_data: Path) -> None:
    frames, wave = read_clip(clips_of(shared_data / "grid")["validation"][5])
    marks, voice = coherence.lipmemory.track(frames), wave.astype(np.float32) / 32768
    found = coherence.coherence_of(Estimator.load())(frames, frames, marks, voice)
    assert found["made_nats"] == found["real_nats"] > 0.5 and found["real_nats"] > found["shifted_nats"] + 1


@shipped
def test_a_portrait_is_moved_by_avct_and_both_engines_weights_are_named() -> None:
    own, whole = (engines.weights_of("coherence", "compact", video=video) for video in (True, False))
    assert own == (checkpoints.sha256("coherence", "compact"),)
    assert whole == own + engines.weights_of("avct", "compact", video=False)


@shipped
def test_shipped_weights_draw_lips_that_follow(shared_data: Path) -> None:
    row = coherence.lipmemory.redub(clips_of(shared_data / "grid")["validation"][5], CoherenceEngine.load())
    assert row["mouth_psnr_gain_db"] > 1.5 and row["lmd"] < 0.75 * row["held_lmd"] and abs(row["offset"]) <= 1
