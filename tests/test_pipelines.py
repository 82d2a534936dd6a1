"""Painters of full size: tiny folders of the true classes paint and edit; full-size shapes are as they should be."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import tiny_family
import tiny_flux
import torch
from PIL import Image, ImageChops

from brushloop import Studio
from brushloop.agent.once import Wish, once
from brushloop.canvas import EditType
from brushloop.errors import BackendError, InputError, SizeError, WeightsError
from brushloop.painter.adapters import files
from brushloop.painter.adapters.adapter import linears
from brushloop.painter.base import Able, PaintRequest, Picture, open_painter
from brushloop.painter.editor.model import Config, Editor
from brushloop.painter.editor.painter import EditorPainter
from brushloop.painter.loading import Options, split
from brushloop.painter.modular import place
from brushloop.painter.pipelines import PipelinePainter
from brushloop.painter.process import ProcessPainter
from brushloop.vlm import Question, open_vlm
from brushloop.vlm_hf import HubVLM

SIZE = (64, 48)
CANVAS = Image.linear_gradient("L").resize(SIZE).convert("RGB")
HALF = Image.new("L", SIZE, 0)
HALF.paste(255, (0, 0, 32, 48))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    where = tmp_path_factory.mktemp("family")
    return {
        "flux": tiny_flux.folder(where / "dev", guidance=True), "kontext": tiny_family.kontext(where),
        "fill": tiny_family.fill(where), "klein": tiny_family.klein(where / "plain"),
        "cached": tiny_family.klein(where / "kv", cached=True), "flux3": tiny_family.flux3(where / "three"),
        "flux3_distilled": tiny_family.flux3(where / "distilled", distilled=True),
    }  # fmt: skip


def request(**given: object) -> PaintRequest:
    return PaintRequest(**{"prompt": "a red cat", "seed": 5, "size": SIZE, "denoising_steps": 2, **given})  # type: ignore[arg-type]


def painter(folder: Path, query: str = "") -> PipelinePainter:
    made = open_painter(f"flux:{folder}{query}")
    assert isinstance(made, PipelinePainter) and isinstance(made, Able)
    return made


EDITS: dict[str, list[dict[str, object]]] = {
    "flux": [
        {}, {"canvas": CANVAS, "strength": 0.5}, {"canvas": CANVAS, "mask": HALF},
        {"canvas": CANVAS, "regions": ((0, 0, 40, 40),)},
    ],
    "kontext": [
        {}, {"canvas": CANVAS}, {"images": (Picture(CANVAS.rotate(180)),)}, {"canvas": CANVAS, "mask": HALF},
    ],
    "fill": [{"canvas": CANVAS, "mask": HALF}, {"canvas": CANVAS}],
    "klein": [
        {}, {"canvas": CANVAS}, {"canvas": CANVAS, "images": (Picture(Image.new("L", (1, 1))),)},
        {"canvas": CANVAS, "mask": HALF}, {"canvas": CANVAS, "regions": ((0, 0, 40, 40),), "strength": 0.5},
        {"canvas": CANVAS, "mask": HALF, "images": (Picture(CANVAS.rotate(180)),)},
    ],
    "cached": [{}, {"canvas": CANVAS, "images": (Picture(CANVAS.rotate(180)),)}, {"visual": CANVAS}],
    "flux3": [{}, {"canvas": CANVAS}, {"canvas": CANVAS, "images": (Picture(Image.new("L", (1, 1))),)}],
    "flux3_distilled": [{}, {"canvas": CANVAS, "images": (Picture(CANVAS.rotate(180)),)}, {"visual": CANVAS}],
}  # fmt: skip
"""What is asked of each family; every request is another picture."""


@pytest.mark.parametrize("name", EDITS)
def test_every_family_paints_what_it_can(folders: dict[str, Path], name: str) -> None:
    one, heard, seen = painter(folders[name]), [], set()
    for given in EDITS[name]:
        made = one.paint(request(**given), lambda done, total: heard.append((done, total)))
        assert made.size == SIZE
        seen.add(made.tobytes())
    assert len(seen) == len(EDITS[name]), "each condition has its effect"
    assert heard and heard[-1][0] == heard[-1][1]
    again = painter(folders[name]).paint(request(**EDITS[name][-1]))
    assert again.tobytes() in seen, "the same seed gives the same picture"
    assert one.paint(request(**EDITS[name][-1], prompt="a blue dog")).tobytes() not in seen


def test_what_a_family_cannot_do_is_told_before_it_is_loaded(folders: dict[str, Path]) -> None:
    two = {"canvas": CANVAS, "images": (Picture(CANVAS),)}
    for name, given, said in (
        ("fill", {}, "FLUX Fill paints into a picture"),
        ("flux", two, "FluxPipeline reads one picture, and 2 are given"),
        ("kontext", two, "FluxKontextPipeline reads one picture"),
        ("flux", {"images": (Picture(CANVAS),)}, "reads no reference pictures"),
        ("kontext", {"canvas": CANVAS, "visual": CANVAS}, "reads no visual input"),
        ("klein", {"prompt": "like {image3}", **two}, r"names \{image3\}, and 2 pictures are given"),
    ):
        one = painter(folders[name])
        with pytest.raises(InputError, match=said):
            one.paint(request(**given))
        assert "_pipeline" not in vars(one)
    with pytest.raises(SizeError, match="multiples of 16 pixels up to 4 megapixels, not 65x48: give for example 64x48"):
        painter(folders["flux"]).paint(request(size=(65, 48)))
    with pytest.raises(SizeError):
        painter(folders["flux"]).check_size((20_000, 16))
    assert EditType.MATERIAL in painter(folders["klein"]).edits
    assert EditType.MATERIAL not in painter(folders["fill"]).edits


def test_no_bars_stand_between_the_lines(folders: dict[str, Path], capfd: pytest.CaptureFixture[str]) -> None:
    for name in ("flux", "klein"):
        painter(folders[name]).paint(request())
    out, err = capfd.readouterr()
    assert not out and "pipeline components" not in err


def test_options_come_with_the_name(folders: dict[str, Path]) -> None:
    assert split("flux:a/b?dtype=bf16&steps=4&guidance=3.5") == (
        "flux:a/b", Options(dtype="bf16", steps=4, guidance=3.5)
    )  # fmt: skip
    for name, said in (
        ("flux:x?size=4", "no option 'size': use attention, compile"),
        ("flux:x?dtype=int4", "option dtype .* is 'int4': use bf16, fp16, fp32"),
        ("flux:x?steps=many", "option steps .* is 'many': give a number"),
        ("embedded?dtype=bf16", "takes no option but editor and edit"),
        ("embedded?editor=x.safetensors&steps=4", "no option goes with an editor"),
        ("flux:", "unknown painter backend"),
        ("embedded:x", "unknown painter backend"),
    ):
        with pytest.raises(BackendError, match=said):
            open_painter(name)
    heard: list[int] = []
    painter(folders["klein"], "?steps=3").paint(request(), lambda done, total: heard.append(total))
    assert heard == [3, 3, 3]
    plain, guided = (painter(folders["flux3"], query).paint(request()) for query in ("", "?guidance=9"))
    assert plain.tobytes() != guided.tobytes()


@pytest.mark.parametrize("name", ["flux", "klein", "flux3"])
def test_types_and_storage_are_as_asked(folders: dict[str, Path], name: str) -> None:
    plain = painter(folders[name]).paint(request())
    half = painter(folders[name], "?dtype=bf16")
    assert half.paint(request()).size == SIZE and half._pipeline.transformer.dtype is torch.bfloat16
    assert half._pipeline.vae.dtype is torch.bfloat16
    eight = painter(folders[name], "?dtype=bf16&quant=fp8")
    kinds = {value.dtype for value in eight._pipeline.transformer.parameters()}
    assert torch.float8_e4m3fn in kinds
    assert eight.paint(request()).tobytes() != plain.tobytes()
    native = painter(folders[name], "?attention=native").paint(request())
    assert native.tobytes() == plain.tobytes()


def test_domains_and_styles_are_laid_over_a_base(folders: dict[str, Path], tmp_path: Path) -> None:
    made = tiny_flux.adapter(("icon", "sketch"))
    whole = files.write(made, tmp_path / "made.safetensors")
    icon = files.export(made, "icon", tmp_path / "icon.safetensors")
    bare, seen = painter(folders["flux"]), set()
    for query in ("", f"?lora={whole}@icon", f"?lora={whole}@sketch", f"?lora={icon}:0.5", f"?lora={icon},{icon}:-1"):
        one = painter(folders["flux"], query)
        seen.add((one.paint(request()).tobytes(), one.ref.weights))
        assert (one.ref.weights == bare.ref.weights) == (query == "")
        assert one.notes(request()) == ({"painter_options": query[1:]} if query else {})
    assert len({picture for picture, _ in seen}) == 4, "what is added and taken away again leaves the base"
    assert painter(folders["flux"], f"?lora={icon}&dtype=bf16&quant=fp8").paint(request()).size == SIZE
    theirs, ours = painter(folders["flux"]), painter(folders["flux"], f"?lora={icon}")
    theirs._pipeline.load_lora_weights(tmp_path, weight_name=icon.name)
    difference = ImageChops.difference(theirs.paint(request()), ours.paint(request()))
    assert max(high for _, high in difference.getextrema()) <= 1, "as diffusers lays it"


def test_an_adapter_that_does_not_fit_is_told(folders: dict[str, Path], tmp_path: Path) -> None:
    made = files.write(tiny_flux.adapter(("icon", "sketch")), tmp_path / "made.safetensors")
    for query, kind, said in (
        (f"?lora={made}", InputError, r"has 2 domains: name one of icon, sketch \(lora=.*made.safetensors@NAME\)"),
        (f"?lora={made}@icons", InputError, "has no domain 'icons': use icon"),
        (f"?lora={made}.no@icon", WeightsError, "there is no adapter at"),
    ):
        with pytest.raises(kind, match=said):
            painter(folders["flux"], query)
    with pytest.raises(WeightsError, match="is for another base"):
        painter(folders["flux3"], f"?lora={made}@icon").paint(request())


@pytest.mark.parametrize("name", ["flux", "flux3"])
def test_blocks_are_compiled_when_asked(folders: dict[str, Path], name: str) -> None:
    compiled = painter(folders[name], "?compile=eager")
    assert compiled._pipeline.transformer.single_transformer_blocks[0]._compiled_call_impl is not None
    plain, made = painter(folders[name]).paint(request()), compiled.paint(request())
    assert made.tobytes() == plain.tobytes()


@pytest.mark.parametrize("offload", ["model", "sequential", "group"])
def test_the_parts_of_flux_3_come_to_work_and_leave(folders: dict[str, Path], offload: str) -> None:
    """On the CPU, where the way is the same and only the place is not."""
    edit = request(canvas=CANVAS)
    plain, one = painter(folders["flux3"]).paint(edit), painter(folders["flux3"])
    place(one._pipeline, offload, torch.device("cpu"))
    assert one.paint(edit).tobytes() == plain.tobytes()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an accelerator")
@pytest.mark.parametrize("name", ["flux", "klein", "flux3"])
@pytest.mark.parametrize("option", ["offload=model", "offload=sequential", "offload=group", "quant=4bit"])
def test_options_of_an_accelerator(folders: dict[str, Path], name: str, option: str) -> None:
    if option == "quant=4bit":
        pytest.importorskip("bitsandbytes")
    assert painter(folders[name], f"?{option}").paint(request(canvas=CANVAS)).size == SIZE


def test_what_this_machine_has_not_is_told(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for query, said in (
        ("?offload=model", "offload=model needs an accelerator"),
        ("?quant=4bit", "quant=4bit needs bitsandbytes"),
        ("?quant=4bit&lora=x.safetensors", "quant=4bit needs bitsandbytes"),
    ):
        with pytest.raises(BackendError, match=said) as error:
            painter(folders["flux"], query)
        assert "\n" not in str(error.value)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    with pytest.raises(BackendError, match="quant=4bit needs an accelerator"):
        painter(folders["flux"], "?quant=4bit")
    monkeypatch.undo()
    with pytest.raises(BackendError, match="attention=magic cannot be used here") as error:
        painter(folders["flux"], "?attention=magic").paint(request())
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("revision", ["", "@" + "0" * 40])
def test_a_hub_id_without_a_network_fails_in_one_line(revision: str) -> None:
    with pytest.raises(
        WeightsError, match=rf"labs/FLUX\.1-dev{revision} is no folder here and cannot be fetched"
    ) as it:
        open_painter(f"flux:black-forest-labs/FLUX.1-dev{revision}")
    assert "\n" not in str(it.value) and len(str(it.value)) < 400


def test_planner_and_painter_share_the_text_encoder_of_flux_3(folders: dict[str, Path]) -> None:
    one, vlm = painter(folders["flux3"]), open_vlm(f"hf:{folders['flux3']}")
    alone = one.paint(request())
    assert isinstance(vlm, HubVLM) and vlm._model is one._pipeline.text_encoder
    held = {"type": "object", "properties": {"kind": {"enum": ["cat", "dog"]}}, "required": ["kind"]}
    asked = Question("what is it?", {**held, "additionalProperties": False}, (CANVAS,))
    reply = vlm.ask(asked)
    assert reply.text in ('{"kind":"cat"}', '{"kind":"dog"}')
    assert one.paint(request()).tobytes() == alone.tobytes(), "being asked leaves nothing behind"
    assert vlm.ask(asked) == reply, "nor does painting"
    assert painter(folders["flux3"], "?dtype=bf16")._pipeline.text_encoder is vlm._model, "it keeps its own type"
    assert painter(folders["flux3_distilled"])._pipeline.text_encoder is not vlm._model


def test_one_folder_says_what_an_edit_is_and_paints_it(tmp_path: Path) -> None:
    folder = tiny_family.flux3(tmp_path / "three", context=4096)
    studio = Studio(f"flux:{folder}", f"hf:{folder}")
    made = once(studio, "make it evening", Wish(canvas=CANVAS, steps=1))
    _, plan, draft, finish = made.steps
    assert plan.model and plan.model.id == f"hf:{folder}" and 0 < float(plan.settings["confidence"]) <= 1
    assert draft.model == studio.painter.ref and made.image and made.image.size == SIZE
    assert finish.outputs == draft.outputs and not made.store.verify(made.id)
    assert studio.vlm._model is studio.painter._pipeline.text_encoder  # type: ignore[attr-defined]


def test_a_cancel_of_flux_3_is_an_exception_and_no_traceback(
    folders: dict[str, Path], caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    one, asked = painter(folders["flux3"]), []
    whole = one.paint(request())
    capfd.readouterr()

    def stop(done: int, total: int) -> None:
        asked.append(done)
        raise KeyError("enough")

    with pytest.raises(KeyError, match="enough"):
        one.paint(request(), stop)
    assert asked == [1] and not caplog.records and capfd.readouterr() == ("", "")
    assert one.paint(request()).tobytes() == whole.tobytes()


def test_what_flux_3_lacks_is_told(folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lacking = shutil.copytree(folders["flux3"], tmp_path / "lacking")
    shutil.rmtree(lacking / "text_encoder")
    with pytest.raises(WeightsError, match=r"lack text_encoder/config\.json"):
        painter(lacking).paint(request())
    import diffusers

    monkeypatch.delattr(diffusers, "Flux3ModularPipeline")
    monkeypatch.delitem(diffusers._class_to_module, "Flux3ModularPipeline")  # as in a release from before it
    with pytest.raises(BackendError, match=r"not in diffusers .*: pip install 'diffusers>=0.42'"):
        painter(folders["flux3"]).paint(request())


def test_processes_and_the_editor_refuse_another_family(folders: dict[str, Path]) -> None:
    process = tiny_flux.adapter(("icon", "sketch"))
    for name, family in (("flux3", "Flux3ModularPipeline"), ("klein", "Flux2KleinPipeline"), ("fill", "FluxFillPipe")):
        with pytest.raises(WeightsError, match=rf"holds a {family}.*laid over FLUX\.1 \(dev, schnell, Kontext\)"):
            ProcessPainter(str(folders[name]), process)
    assert ProcessPainter(str(folders["kontext"]), process).form == "tokens"


def test_damaged_and_foreign_folders_are_told(folders: dict[str, Path], tmp_path: Path) -> None:
    cut = tmp_path / "cut"
    shutil.copytree(folders["klein"], cut)
    path = cut / "transformer" / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(WeightsError, match="no whole safetensors file"):
        open_painter(f"flux:{cut}")
    foreign = tmp_path / "foreign"
    shutil.copytree(folders["klein"], foreign)
    index = foreign / "model_index.json"
    index.write_text(index.read_text().replace("Flux2KleinPipeline", "StableDiffusionPipeline"))
    with pytest.raises(WeightsError, match="holds a StableDiffusionPipeline: painters are FluxPipeline"):
        painter(foreign).paint(request())


def test_the_editor_works_over_a_distilled_flux(folders: dict[str, Path]) -> None:
    torch.manual_seed(0)
    sizes = {"rank": 2, "queries": 2, "depth": 1, "heads": 1, "head_dim": 4, "kinds": ("tone",)}
    editor = Editor(Config.of(tiny_flux.transformer(), **sizes))
    one = EditorPainter(str(folders["flux"]), editor)
    general = one.paint(request(canvas=CANVAS))
    for layer in editor.experts:
        layer.gate.data.fill_(1.0)
    assert one.paint(request(canvas=CANVAS, kind=EditType.TONE)).tobytes() != general.tobytes()
    assert one.paint(request(canvas=CANVAS, guidance=1.0)).tobytes() != general.tobytes(), "it is told its guidance"


# Full size, without memory -------------------------------------------------------------------------------------


def flux(**given: object) -> torch.nn.Module:
    from diffusers import FluxTransformer2DModel

    with torch.device("meta"):
        return FluxTransformer2DModel(**given)


def count(module: torch.nn.Module) -> int:
    return sum(value.numel() for value in module.parameters())


def test_flux_1_at_full_size() -> None:
    dev = flux(guidance_embeds=True)
    assert count(dev) == 11_901_408_320 and count(flux()) == 11_891_178_560, "dev and Kontext; schnell"
    assert count(flux(in_channels=384, out_channels=64, guidance_embeds=True)) == 11_902_391_360, "Fill"
    names = dict(dev.named_parameters())
    for key, shape in {
        "x_embedder.weight": (3072, 64), "context_embedder.weight": (3072, 4096),
        "transformer_blocks.18.attn.add_k_proj.weight": (3072, 3072),
        "transformer_blocks.0.ff.net.0.proj.weight": (12288, 3072),
        "single_transformer_blocks.37.proj_out.weight": (3072, 15360),
        "time_text_embed.guidance_embedder.linear_1.weight": (3072, 256), "proj_out.weight": (64, 3072),
    }.items():  # fmt: skip
        assert tuple(names[key].shape) == shape, key
    targets = linears(dev)
    assert len(targets) == 19 * 14 + 38 * 6
    rank_64 = sum(64 * (each.in_features + each.out_features) for each in targets.values())
    assert 4 * rank_64 < 2**31, "a LoRA on every one of them is less than 2 GiB in float32"


def test_an_editor_over_flux_1_at_full_size() -> None:
    dev = flux(guidance_embeds=True)
    with torch.device("meta"):
        editor = Editor(Config.of(dev, features=1152))
    assert editor.config.width == 3072 and editor.config.text == 4096 and len(editor.experts) == 57
    editor.fits(dev)
    experts = count(editor.experts)
    assert experts == 57 * 2 * (64 * 3072 + 9 * 3072 * 64) + 57
    assert 0.2e9 < experts < 0.25e9, "2% of the base; nine whole copies of the projections would be 9.7 billion"
    assert tuple(editor.projector.queries.shape) == (1, 16, 768) and editor.tasks.weight.shape == (27, 3072)


@pytest.mark.parametrize(
    ("name", "sizes", "billions"),
    [
        ("4B", {"num_layers": 5, "num_single_layers": 20, "num_attention_heads": 24, "joint_attention_dim": 7680}, 3.9),
        ("9B", {"num_layers": 8, "num_single_layers": 24, "num_attention_heads": 32, "joint_attention_dim": 12288}, 9),
    ],
)
def test_flux_2_klein_at_full_size(name: str, sizes: dict[str, int], billions: float) -> None:
    from diffusers import Flux2Transformer2DModel

    with torch.device("meta"):
        model = Flux2Transformer2DModel(**sizes, guidance_embeds=False)
    assert count(model) / 1e9 == pytest.approx(billions, abs=0.1), name
    width = sizes["num_attention_heads"] * 128
    names = dict(model.named_parameters())
    assert tuple(names["x_embedder.weight"].shape) == (width, 128)
    assert tuple(names["context_embedder.weight"].shape) == (width, sizes["joint_attention_dim"])
    assert tuple(names["transformer_blocks.0.attn.to_q.weight"].shape) == (width, width)
    targets = linears(model)
    doubles = [key for key in targets if key.startswith("transformer_blocks.")]
    assert len(doubles) == 12 * sizes["num_layers"] and len(targets) - len(doubles) == 2 * sizes["num_single_layers"]


@pytest.mark.parametrize(("flow_map", "parameters"), [(False, 5_538_458_368), (True, 5_548_681_984)])
def test_flux_3_at_full_size(flow_map: bool, parameters: int) -> None:
    from diffusers import Flux3Transformer2DModel

    with torch.device("meta"):
        model = Flux3Transformer2DModel(flow_map=flow_map)
    assert count(model) == parameters
    names = dict(model.named_parameters())
    for key, shape in {
        "x_embedders.image.weight": (3072, 128), "x_embedders.image_cond.weight": (3072, 128),
        "context_embedder.weight": (3072, 8 * 2560), "mode_blocks.image_cond.4.attn.to_q.weight": (3072, 3072),
        "txt_mode_blocks.0.ff.linear_in.weight": (18432, 3072), "proj_out.weight": (128, 3072),
        "single_transformer_blocks.27.ff.linear_out.weight": (3072, 9216),
    }.items():  # fmt: skip
        assert tuple(names[key].shape) == shape, key
    assert len(linears(model)) == (3 * 5 + 28) * 6, "every Linear of the blocks of pictures, references, text and all"
