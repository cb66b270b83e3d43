"""SyncTalkFace's Audio-Lip Memory: published sizes, who learns from which loss, mel, alignment, training, and pictures put back."""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks import ablation
from infra.errors import InputError
from lip_cases import cache_fixture, face, parameters, speech  # noqa: F401 (one is a fixture)
from models import checkpoints
from models.corpus import FACE_SIZE, Corpus
from models.faces.crop import Square
from models.lipmemory import losses
from models.lipmemory.align import rigid, similarity, steady
from models.lipmemory.compose import Drawn, Region, at_source, lower_face, pasted, patch_of, reference_of
from models.lipmemory.config import LipMemoryConfig, Preset, compact, paper
from models.lipmemory.engine import LipMemoryEngine, Seen, tracked
from models.lipmemory.mel import chunk_start, chunks, columns, levelled, mel_columns, slaney_filters
from models.lipmemory.memory import AudioLipMemory
from models.lipmemory.networks import LipEncoder, QualityDiscriminator, Renderer, SyncExpert, lower_half
from models.lipmemory.samples import Batch, Samples
from models.lipmemory.train_expert import Expert, contrast
from models.lipmemory.train_renderer import Renderer as RendererPart
from models.training.loop import Budget, fit, read
from models.training.part import Options
from models.training.ranks import Ranks

SMALL = {"channels": 16, "audio": (4, 4, 8, 8), "audio_residuals": (0, 0, 0, 0), "slots": 12}


def test_networks_have_the_published_sizes() -> None:
    preset = paper()
    with torch.device("meta"):
        renderer, lip = Renderer(preset.model), LipEncoder(preset.model)
        judge, expert = QualityDiscriminator(preset.judge), SyncExpert(preset.expert)
    assert parameters(renderer.audio) == 2_812_672
    assert parameters(lip) == 10_043_520
    assert parameters(renderer.identity) == 10_006_064
    assert parameters(renderer.memory) == 1_148_416
    assert parameters(renderer.decoder) == 28_984_323
    assert parameters(judge) == 15_948_801
    assert parameters(expert) == 22_991_744
    assert parameters(renderer) == 42_951_475  # at work: 42.95 M


@torch.no_grad()
def test_published_shapes() -> None:
    preset = paper()
    renderer = Renderer(preset.model).eval()
    face = torch.rand(1, 3, 128, 128) * 2 - 1
    skips = renderer.look(face, face)
    sizes = [(16, 128), (32, 64), (64, 32), (128, 16), (256, 8), (512, 4), (512, 1)]
    assert [tuple(s.shape[1:]) for s in skips] == [(c, s, s) for c, s in sizes]
    assert renderer.audio(torch.zeros(1, 1, 80, 16)).shape == (1, 512)
    assert renderer.memory.keys.shape == renderer.memory.values.shape == (96, 512) and renderer.memory.kappa == 16
    made = renderer.draw(torch.randn(1, 512), skips, face)
    assert made.whole.shape == (1, 3, 128, 128) and made.whole.abs().max() <= 1 and made.alpha is None
    assert LipEncoder(preset.model).eval()(torch.zeros(1, 3, 5, 64, 128)).shape == (1, 512)
    assert QualityDiscriminator(preset.judge)(torch.zeros(1, 3, 64, 128)).shape == (1,)
    expert = SyncExpert(preset.expert).eval()
    seen, heard = expert.see(torch.rand(1, 5, 3, 64, 128)), expert.hear(torch.rand(1, 1, 80, 16))
    assert seen.shape == heard.shape == (1, 512) and (seen >= 0).all() and 0 <= float((seen * heard).sum()) <= 1.0001


def test_compact_is_the_same_code_in_small() -> None:
    renderer = Renderer(compact().model).eval()
    assert 2_000_000 < parameters(renderer) < 4_000_000
    face = torch.rand(2, 3, 128, 128) * 2 - 1
    made = renderer.draw(renderer.hear(torch.zeros(2, 1, 80, 16)), renderer.look(face, face), face)
    assert made.whole.shape == (2, 3, 64, 128) and made.flow is not None and made.flow.abs().max() <= 0.25


def test_the_lower_half_of_a_target_is_not_seen() -> None:
    renderer, face = Renderer(compact().model).eval(), torch.rand(1, 3, 128, 128)
    other = face.clone()
    other[:, :, 64:] = 0.3
    for a, b in zip(renderer.look(face, face), renderer.look(other, face), strict=True):
        assert torch.equal(a, b)


# the memory


def grown(loss: torch.Tensor, module: nn.Module) -> set[str]:
    """The parameters of a module that a loss teaches."""
    module.zero_grad(set_to_none=True)
    loss.backward()
    return {name for name, p in module.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}


def test_recall_is_the_formula() -> None:
    memory, audio, lip = AudioLipMemory(32, 10).eval(), torch.randn(3, 32), torch.randn(3, 32)
    for made, query, slots in (
        (memory.by_key(audio), memory.embed_audio(audio), memory.keys),
        (memory.by_value(lip), memory.embed_lip(lip), memory.values),
    ):
        cosine = torch.stack([nn.functional.cosine_similarity(query, slot[None]) for slot in slots], 1)
        address = (16 * cosine).softmax(1)
        assert torch.allclose(made.address, address, atol=1e-6)
        assert torch.allclose(made.feature, address @ memory.values, atol=1e-5)
        assert torch.allclose(made.address.sum(1), torch.ones(3), atol=1e-6)
    fused = memory.fuse(audio, made.feature)
    assert torch.allclose(fused, memory.fusion(torch.cat([audio, made.feature], 1)))


def test_storage_teaches_slots_alone() -> None:
    memory, lip = AudioLipMemory(32, 10), torch.randn(4, 32, requires_grad=True)
    assert grown(memory.storage_loss(lip), memory) == {"values"} and lip.grad is None
    wanted = memory.embed_lip(lip)
    assert torch.allclose(memory.storage_loss(lip), (memory.by_value(lip).feature - wanted).square().mean())


def test_alignment_teaches_the_sounds_side_alone() -> None:
    memory, audio, lip = AudioLipMemory(32, 10), torch.randn(4, 32, requires_grad=True), torch.randn(4, 32, requires_grad=True)
    by_value, by_key = memory.by_value(lip).address, memory.by_key(audio).address
    loss = memory.alignment_loss(by_value, by_key)
    assert torch.allclose(loss, (by_value * (by_value.log() - by_key.log())).sum(1).mean(), atol=1e-6)
    assert grown(loss, memory) == {"keys", "embed_audio.weight", "embed_audio.bias"}
    assert audio.grad is not None and lip.grad is None
    assert float(memory.alignment_loss(by_value, by_value).detach()) == pytest.approx(0, abs=1e-6)


def test_a_filled_memory_tells_lips_apart() -> None:
    torch.manual_seed(0)
    memory, which = AudioLipMemory(32, 6).eval(), torch.arange(6).repeat(20)
    lips, sounds = (4 + torch.randn(6, 32)[which] + 0.05 * torch.randn(120, 32) for _ in range(2))
    before = (memory.by_value(lips).address.argmax(1) == memory.by_key(sounds).address.argmax(1)).float().mean()
    memory.fill(sounds, lips)
    by_value, by_key = memory.by_value(lips).address, memory.by_key(sounds).address
    assert before < 0.5 and by_value.max(1).values.mean() > 0.7
    assert (by_value.argmax(1) == by_key.argmax(1)).float().mean() > 0.9  # sounds point where their lips do
    assert memory.storage_loss(lips) < 0.05


# losses


def test_weights_are_the_published_ones() -> None:
    ours = {"shape", "flow", "parts"}
    assert {name: value for name, value in asdict(losses.Weights()).items() if name not in ours} == {"reconstruction": 10.0, "audio_visual": 0.2, "visual_visual": 0.2, "adversarial": 0.2, "memory": 0.2}
    black, white = torch.full((1, 3, 4, 8), -1.0), torch.ones(1, 3, 4, 8)
    assert float(losses.reconstruction(black, white)) == 1.0  # on the scale of [0, 1]
    assert float(losses.reconstruction(black, 0 * white, squares=2.0)) == 1.0  # a half, and twice its square


def small(**changes: object) -> Preset:
    """A preset of the paper's form, or of the compact one's, whose widths a test can afford."""
    plain = {"identity": (4, 4, 4, 8, 8, 8), "identity_residuals": (0,) * 6, "decoder": (4, 4, 4, 8, 8, 8), "decoder_residuals": (0,) * 6, "finish": 8}
    lip = {"lip": (4, 4, 4, 8, 8), "lip_residuals": (0,) * 5}
    if changes.get("blend"):
        plain = {name: value[:5] if isinstance(value, tuple) else value for name, value in plain.items()}
        lip = {"lip": (4, 4, 8, 8), "lip_residuals": (0,) * 4}
    model = LipMemoryConfig(**SMALL, **plain, **lip, **changes)  # type: ignore[arg-type]
    return replace(compact(), model=model)


PRESETS = {"paper": small(), "compact": small(blend=True, lower=True, patch=2), "without memory": small(blend=True, lower=True, patch=2, memory=False)}


def part_in(folder: Path, cache: Path, preset: Preset, batch: int = 2) -> RendererPart:
    """A renderer in training, in a folder with an expert that has learned nothing."""
    if not (folder / "lipmemory-expert.pt").exists():
        torch.save({"average": SyncExpert(preset.expert).state_dict()}, folder / "lipmemory-expert.pt")
    return RendererPart(Options(cache=cache, out=folder, batch=batch), preset=preset)


def test_pictures_learn_from_judges_and_judges_do_not(cache: Path, tmp_path: Path) -> None:
    part = part_in(tmp_path, cache, PRESETS["compact"], batch=12)
    part.pace(0.95)
    part.step = 1  # of both turns, that of runs
    batch = Batch(*part.draw(1, Ranks()))
    loss, expert = part.loss, part.loss.expert
    assert batch.windows.shape == (15, 3, 5, 64, 128)
    assert torch.equal(batch.windows[3, :, 2], lower_half(batch.target)[3])  # a window's middle is its target
    terms, drawn = loss.terms(batch)
    assert set(terms) == {"storage", "alignment", "reconstruction", "shape", "flow", "parts", "audio_visual", "visual_visual", "adversarial"}
    assert drawn.shape == (30, 3, 64, 128)  # both paths
    for name in ("audio_visual", "visual_visual", "adversarial"):
        for module in (part.model, part.lip, part.judge):
            module.zero_grad(set_to_none=True)
        terms[name].backward(retain_graph=True)
        assert part.model.decoder.finish[-1].weight.grad.abs().sum() > 0, name
        assert all(p.grad is None for p in part.judge.parameters()), name
        assert all(p.grad is None and not p.requires_grad for p in expert.parameters())
    part.lip.zero_grad(set_to_none=True)
    several = drawn.detach().reshape(-1, 5, *drawn.shape[1:]).requires_grad_()
    only = loss.judged(several.flatten(0, 1), batch, losses.Weights(adversarial=0, audio_visual=0), 2)
    assert set(only) == {"visual_visual"}
    only["visual_visual"].backward()
    assert all(p.grad is None for p in part.lip.parameters()) and several.grad.abs().sum() > 0  # the critic is a frozen copy


def test_the_sync_losses_know_right_from_wrong() -> None:
    right = torch.eye(6) * 0.8 + 0.1
    wrong = right.roll(3, 0)
    for signed in (False, True):
        assert contrast(right, torch.tensor(7.0), 3, signed) < contrast(wrong, torch.tensor(7.0), 3, signed) - 1
    lip = LipEncoder(compact().model).eval()
    halves = torch.rand(1, 5, 3, 64, 128)
    lip.requires_grad_(False)
    assert float(losses.visual_visual(lip, halves, halves)) == 0 < float(losses.visual_visual(lip, halves.flip(1), halves))


@pytest.mark.parametrize("form", ["compact", "paper"])
def test_a_new_judge_tells_pictures_apart(form: str) -> None:
    torch.manual_seed(0)
    judge = QualityDiscriminator((compact() if form == "compact" else paper()).judge)
    dark, light = judge(torch.rand(4, 3, 64, 128) - 1).detach(), judge(torch.rand(4, 3, 64, 128)).detach()
    assert (dark.mean() - light.mean()).abs() > 0.01 and dark.std() > 1e-3 and dark.abs().max() < 10


def test_the_compact_expert_does_not_see_light() -> None:
    torch.manual_seed(0)
    expert, halves = SyncExpert(compact().expert).eval(), torch.rand(2, 5, 3, 64, 128) - 0.5
    seen = expert.see(halves).detach()
    lit, turned = (float((expert.see(other) - seen).detach().norm(dim=-1).max()) for other in (1.6 * halves + 0.2, halves.flip(1)))
    assert (seen < 0).any() and lit < 0.3 * turned  # but how they move


def test_an_expert_begins_with_a_renderers_ears(cache: Path, tmp_path: Path) -> None:
    part = RendererPart(Options(cache=cache, out=tmp_path), weights=losses.Weights(audio_visual=0.0))
    states = {name: network.state_dict() for name, network in part.networks.items()}
    torch.save(states, tmp_path / "start.pt")
    expert = Expert(Options(cache=cache, out=tmp_path, batch=2, frames=6))
    expert.begin(read(tmp_path / "start.pt"))
    assert all(torch.equal(value, part.average.audio.state_dict()[key]) for key, value in expert.model.audio.state_dict().items())


# mel


def test_filters_are_librosas() -> None:
    import librosa

    assert np.abs(slaney_filters() - librosa.filters.mel(sr=16_000, n_fft=800, n_mels=80, fmin=55, fmax=7600)).max() < 1e-7


def test_mel_is_wav2lips() -> None:
    import librosa

    wave = np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)
    sharp = np.append(wave[0], wave[1:] - 0.97 * wave[:-1])
    level = slaney_filters() @ np.abs(librosa.stft(sharp, n_fft=800, hop_length=200, pad_mode="reflect"))
    wanted = np.clip(8 * (20 * np.log10(np.maximum(1e-5, level)) - 20 + 100) / 100 - 4, -4, 4)
    made = mel_columns(wave)
    assert made.shape == wanted.shape == (80, columns(16_000)) and np.abs(made - wanted).max() < 1e-4
    assert np.allclose(mel_columns(wave, 30, 50), made[:, 30:50], atol=1e-5)  # in blocks as in one
    assert (mel_columns(np.zeros(3_200, np.float32)) == -4).all()


def test_chunks_follow_the_convention() -> None:
    assert [chunk_start(i) for i in range(6)] == [0, 0, 3, 6, 9, 12] == [max(0, int(80 * (i - 1) / 25)) for i in range(6)]
    assert chunk_start(5, 0) == 16
    wave = np.random.default_rng(1).normal(0, 0.1, 16_000).astype(np.float32)
    mel, made = mel_columns(wave), chunks(wave, np.arange(25) / 25)
    assert made.shape == (25, 80, 16) and np.allclose(made[10], mel[:, 28:44], atol=1e-5)
    assert np.allclose(made[24], mel[:, -16:], atol=1e-5) and np.allclose(made[23], made[24], atol=1e-5)  # the last full chunk again
    assert np.allclose(chunks(wave, np.arange(7, 12) / 25), made[7:12], atol=1e-5)
    assert np.allclose(chunks(wave, np.arange(0, 1, 1 / 50))[::2], made, atol=1e-5)  # at any other rate the same moments sound the same
    assert chunks(wave[:500], np.arange(2) / 25).shape == (2, 80, 16) and chunks(wave, np.zeros(0)).shape == (0, 80, 16)


def test_loudness_does_not_matter() -> None:
    wave = np.random.default_rng(2).normal(0, 0.05, 16_000).astype(np.float32)
    assert np.allclose(levelled(wave), levelled(wave * 7), atol=1e-5)
    assert not levelled(np.zeros(8_000, np.float32)).any()


# pictures


def test_alignment_finds_a_similarity() -> None:
    random = np.random.default_rng(0)
    points, angle = random.normal(0, 1, (3, 16, 2)), 0.3
    turn = 1.4 * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    found = similarity(points, points @ turn.T + [2, -1])
    assert np.allclose(found, np.column_stack([turn, [2, -1]])[None])


def test_a_still_head_stands_still_and_a_moving_one_is_not_held_back() -> None:
    random = np.random.default_rng(0)
    shape = random.uniform(-40, 40, (16, 2))
    still = [shape + random.normal(0, 0.3, (16, 2)) for _ in range(7)]
    found = steady(still, 3, 150.0)
    assert found is not None and np.abs(found - shape).mean() < 0.6 * np.abs(still[3] - shape).mean()
    shaken = [shape + np.array([25 * np.sin(2 * np.pi * 3 * i / 25), 0]) for i in range(7)]  # three times a second
    found = steady(shaken, 3, 150.0)
    assert found is not None and np.abs(found - shaken[3]).max() < 1.0
    parted = [None, shape + 2, None, shape, None, shape + 2, shape + 2]
    assert np.array_equal(steady(parted, 3, 150.0), shape) and steady(parted, 2, 150.0) is None  # type: ignore[arg-type]


def test_pixels_outside_the_mask_are_bit_identical() -> None:
    picture, marks, square = face()
    before = picture.copy()
    drawn = Drawn(np.random.default_rng(1).random((64, 128, 3)).astype(np.float32))
    frame = pasted(picture, patch_of(picture, marks, square, drawn, reference_of(picture, marks, square), np.eye(2, 3)))
    region = Region.of(square, picture.shape)
    mask = np.zeros(picture.shape[:2], np.float32)
    mask[region.rows, region.columns] = lower_face(marks, square, region)
    assert np.array_equal(frame[mask == 0], picture[mask == 0]) and np.array_equal(picture, before)
    assert (frame[mask > 0.9] != picture[mask > 0.9]).any(axis=-1).mean() > 0.95
    assert not mask[: int(square.y)].any() and 0.05 < (mask > 0).mean() < 0.3  # the upper face is not in it
    assert mask.max() == 1.0 and (np.abs(np.diff(mask, axis=0)).max() < 0.2)  # soft


@pytest.mark.parametrize("shift", [(-130.0, 0.0), (0.0, 60.0), (400.0, 0.0), (0.0, -400.0)])
def test_a_face_that_leaves_the_picture(shift: tuple[float, float]) -> None:
    picture, marks, square = face()
    marks[:, :2] += shift
    moved = Square(square.x + shift[0], square.y + shift[1], square.side)
    drawn = Drawn(np.ones((64, 128, 3), np.float32))
    frame = pasted(picture, patch_of(picture, marks, moved, drawn, reference_of(picture, marks, moved), np.eye(2, 3)))
    assert frame.shape == picture.shape and (max(map(abs, shift)) < 300) == (frame != picture).any()


def test_a_reference_that_is_the_picture_gives_the_picture_back() -> None:
    picture, marks, square = face()
    still = Drawn(np.zeros((64, 128, 3), np.float32), np.zeros((64, 128), np.float32), np.zeros((64, 128, 2), np.float32))
    region = Region.of(square, picture.shape)
    made = at_source(still, region, square, reference_of(picture, marks, square), np.eye(2, 3))
    assert np.abs(made - picture[region.rows, region.columns]).max() < 0.01  # at the picture's own resolution, whatever that is
    shifted = replace(still, flow=still.flow + np.array([2 * 3 / square.side, 0], np.float32))
    made = at_source(shifted, region, square, reference_of(picture, marks, square), np.eye(2, 3))
    assert np.abs(made[:, :-3] - picture[region.rows, region.columns][:, 3:]).max() < 0.01  # three pixels to the right


@pytest.fixture(scope="module")
def engine() -> LipMemoryEngine:
    torch.manual_seed(1)
    return LipMemoryEngine(Renderer(PRESETS["compact"].model))


def test_frames_out_are_frames_in_and_faceless_ones_pass_through(engine: LipMemoryEngine) -> None:
    picture, marks, square = face()
    reference = engine.reference(picture, marks)
    faces = [Seen(picture) if i in (0, 7, 12) else Seen(picture, marks, square) for i in range(13)]
    made = list(engine.frames(faces, reference, speech(0.4), 13))
    assert len(made) == 13 and all(np.array_equal(made[i], picture) for i in (0, 7, 12))
    assert all((made[i] != picture).any() for i in (1, 5, 11))
    again = list(engine.frames(iter(faces), reference, speech(0.4), 13))
    assert all(np.array_equal(a, b) for a, b in zip(made, again, strict=True))


def test_no_lip_moves_where_nobody_speaks(engine: LipMemoryEngine) -> None:
    silent = torch.cat(list(engine.hear(speech(1.0, loud=False), np.arange(30) / 25)))
    assert len(silent) == 30 and (silent == silent[0]).all()
    quiet_end = torch.cat(list(engine.hear(speech(1.0), np.arange(60) / 25)))  # the picture goes on after the speech
    assert (quiet_end[40:] == silent[0]).all() and not torch.equal(quiet_end[10], quiet_end[11])


def test_long_speech_is_heard_in_pieces_as_in_one(engine: LipMemoryEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = torch.cat(list(engine.hear(speech(2.0), np.arange(50) / 25)))
    monkeypatch.setattr("models.lipmemory.engine.HEARD", 7)
    assert torch.allclose(torch.cat(list(engine.hear(speech(2.0), np.arange(50) / 25))), whole, atol=1e-5)


def test_a_moved_face_finds_its_reference() -> None:
    picture, marks, square = face()
    seen = next(tracked([picture], marks[None]))
    assert seen.square is not None and abs(seen.square.x - 120) < 2
    away = marks + np.array([7, -4, 0], np.float32)
    reference = reference_of(picture, marks, square)
    change = similarity(rigid(away)[None], rigid(reference.landmarks)[None])[0]
    kept = marks[0, :2] - reference.landmarks[0, :2]  # where the part that is kept begins
    assert np.allclose(change, [[1, 0, -7 - kept[0]], [0, 1, 4 - kept[1]]], atol=1e-3)
    assert np.array_equal(reference.picture, picture[int(kept[1]) :, int(kept[0]) :][: reference.picture.shape[0], : reference.picture.shape[1]])


# training


@pytest.mark.parametrize("form", list(PRESETS))
def test_training_goes_through_its_stages_and_resumes(form: str, cache: Path, tmp_path: Path) -> None:
    first = fit(part_in(tmp_path, cache, PRESETS[form]), Budget(steps=10))
    assert first["step"] == 10 and first["adversarial"] > 0 and first["judged"] > 0 and first["audio_visual"] > 0  # the last step is of runs
    assert np.isfinite([first["validation"]["psnr_gain_db"], first["unseen"]["mouth_psnr_gain_db"]]).all()
    kept = read(tmp_path / "lipmemory-renderer.pt")
    assert all(torch.isfinite(v).all() for v in kept["model"].values() if v.is_floating_point())
    assert bool(kept["begun"]["filled"]) == PRESETS[form].model.blend
    assert fit(part_in(tmp_path, cache, PRESETS[form]), Budget(steps=11))["step"] == 11
    fresh = read(tmp_path / "lipmemory-renderer.pt")
    assert not torch.equal(fresh["model"]["decoder.finish.1.bias"], kept["model"]["decoder.finish.1.bias"])


def test_a_run_that_goes_on_from_another_draws_at_once(cache: Path, tmp_path: Path) -> None:
    part = part_in(tmp_path, cache, PRESETS["compact"])
    assert part.listening
    part.begun.filled.fill_(True)
    assert not part.listening and len(part.draw(1, Ranks())) == len(Batch._fields)


def test_sounds_come_first_then_lips_fill_the_memory_once(cache: Path, tmp_path: Path) -> None:
    part = part_in(tmp_path, cache, PRESETS["compact"])
    sizes = []
    for part.step, portion in ((0, 0.0), (0, 0.2), (1, 0.9), (2, 0.9)):
        part.pace(portion)
        sizes.append([len(tensor) for tensor in part.draw(1, Ranks())[:2]])
    assert sizes == [[32, 32], [2, 2], [5, 5], [2, 2]]  # sounds and shapes, single frames, a run of five by turns with these
    part.step = 0
    slots = part.model.memory.values.detach().clone()
    part.pace(0.0)
    assert set(part.update(part.draw(1, Ranks()))) == {"loss", "shape"} and not part.begun.filled and part.check() == {}
    assert all(p.grad is None for p in part.model.decoder.parameters())
    part.pace(0.2)
    row = part.update(part.draw(2, Ranks()))
    assert part.begun.filled and "reconstruction" in row and "adversarial" not in row
    assert (part.model.memory.values - slots).abs().mean() > 0.1  # more than a step of learning moves them
    filled = part.model.memory.values.detach().clone()
    part.update(part.draw(3, Ranks()))
    assert (part.model.memory.values - filled).abs().mean() < 0.01


def test_a_plain_run_is_as_it_was_filmed(cache: Path) -> None:
    samples = Samples(Corpus(cache, "train"), 128, 1)
    edge = (FACE_SIZE - 128) // 2
    filmed = torch.from_numpy(np.asarray(samples.corpus.face)[..., ::-1].copy()).permute(0, 3, 1, 2).float() / 127.5 - 1
    filmed = nn.functional.avg_pool2d(filmed[:, :, edge:-edge, edge:-edge], 16)
    apart = []
    for plain in (1.0, 0.0):
        samples.seed(3)
        seen = nn.functional.avg_pool2d(samples.batch(8, 1, plain).target, 16)
        apart.append(float((seen[:, None] - filmed[None]).abs().mean((2, 3, 4)).min(1).values.mean()))
    assert apart[0] < 0.5 * apart[1]  # near a frame that there is


def test_an_ablations_variants_differ_in_one_thing_alone(cache: Path) -> None:
    plan = ablation.Plan(lips=1, steps=2, runs=1)
    parts = {name: ablation.begun(name, cache, 1, plan) for name in ablation.VARIANTS}
    first = parts["full"]
    for name, part in parts.items():
        assert all(torch.equal(value, first.model.state_dict()[key]) for key, value in part.model.state_dict().items())
        assert {"memory": part.preset.model.memory, "sync": part.weights.visual_visual > 0} == {"memory": name != "without_memory", "sync": name != "without_visual_visual"}
        assert replace(part.weights, visual_visual=0.2) == first.weights and replace(part.preset.model, memory=True) == first.preset.model
    eyes = ablation.taught_lips(cache, 1, plan)
    assert not torch.equal(eyes["enter.weight"], first.lip.state_dict()["enter.weight"])
    whole = ablation.learned("full", cache, 1, plan, eyes).average.state_dict()
    shipped = checkpoints.load("lipmemory", "compact")
    near, anew = ((whole[name] - shipped[name]).abs().mean() / shipped[name].abs().mean() for name in ("identity.stages.1.0.body.0.weight", "audio.1.0.body.0.weight"))
    assert near < 0.1 < anew  # eyes are the shipped ones, ears are not
    rows = [{"variant": name, "seed": seed, "lmd": seed + at, "confidence": at, "mouth_psnr_gain_db": 0.0} for at, name in enumerate(ablation.VARIANTS) for seed in (2, 1)]
    assert ablation.gained(rows)["lmd_over_without_visual_visual"] == {"mean": -2.0, "deviation": 0.0}


def test_chance_in_a_step_hangs_on_its_seed_alone(cache: Path, tmp_path: Path) -> None:
    part = part_in(tmp_path, cache, PRESETS["compact"])
    for portion in (0.0, 0.5, 1.0):
        part.pace(portion)
        drawn = [part.draw(seed, Ranks()) for seed in (4, 5, 4)]
        assert all(torch.equal(a, b) for a, b in zip(drawn[0], drawn[2], strict=True)) and not torch.equal(drawn[0][0], drawn[1][0])


def test_the_expert_trains_and_the_renderer_wants_it(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError) as missing:
        RendererPart(Options(cache=cache, out=tmp_path))
    assert missing.value.code == "training.no_checkpoint"
    found = fit(Expert(Options(cache=cache, out=tmp_path, batch=2, frames=6)), Budget(steps=2))
    assert found["step"] == 2 and -1 <= found["in_sync"] <= 1 and found["shape"] > 0
    kept, taught = read(tmp_path / "lipmemory-expert.pt")["average"], RendererPart(Options(cache=cache, out=tmp_path)).loss.expert
    assert all(torch.equal(kept[name], value) for name, value in taught.state_dict().items())
