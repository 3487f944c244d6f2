"""MSCAN, LSKNet and LSKA: exact counts, recorded values of the authors' code, the doors of VAN."""

from __future__ import annotations

import logging
import zlib

import pytest
import timm
import torch
from helpers.defaults import build_backbone, build_classifier
from torch import Tensor, nn

from van_dense.backbones import lsknet, mscan
from van_dense.backbones.download import PUBLISHED, fetch_weights
from van_dense.backbones.gates import LSK, MSCA
from van_dense.backbones.layouts import detect_layout, from_official, to_official, van_size
from van_dense.backbones.statistics import statistics_of
from van_dense.backbones.weights import load_backbone, load_pretrained

# Parameters of the backbone and entries of its state, counted from the authors' definitions.
SIZES = {
    "mscan_t": (3_903_584, 537),
    "mscan_s": (13_450_176, 423),
    "mscan_b": (26_277_824, 841),
    "mscan_l": (44_636_864, 1487),
    "lsknet_t": (3_990_190, 478),
    "lsknet_s": (13_840_892, 376),
}
WITH_HEAD = {"mscan_t": 4_160_584, "lsknet_t": 4_247_190, "lsknet_s": 14_353_892}
# Classifiers of VAN-B0, B1 and B2 with LSKA of these spans.
LSKA = {
    (7, 2): (4_009_800, 13_700_520, 26_221_352),
    (11, 2): (4_016_200, 13_711_272, 26_245_160),
    (23, 3): (4_029_000, 13_732_776, 26_292_776),
    (35, 3): (4_041_800, 13_754_280, 26_340_392),
    (53, 3): (4_061_000, 13_786_536, 26_411_816),
}
# What the authors' code gives for ``filled`` weights and a 67 x 95 image (docs/relatives.md): of
# each map the sum of absolute values, and channels 0 to 2 of its last position.
RECORDED = {
    "mscan_t": [
        (8160.7551, [0.542377, 0.225747, -1.226039]),
        (4435.9946, [0.611785, 0.215251, 1.812084]),
        (3146.2638, [1.17276, -0.347586, -0.23671]),
        (1498.1935, [-0.360127, 0.477658, 0.237498]),
    ],
    "mscan_s": [
        (16577.0016, [0.587086, -1.40009, -0.797807]),
        (8766.3523, [0.243966, 0.955977, 0.932461]),
        (6254.1874, [1.086492, -0.351863, 0.589133]),
        (2937.1339, [0.091916, -0.56681, -0.153453]),
    ],
    "lsknet_t": [
        (8279.408, [0.206953, 0.808066, 0.156095]),
        (4339.9062, [-0.315769, 1.191276, 1.702143]),
        (3104.0168, [0.11204, -0.506785, -0.034254]),
        (1509.544, [-0.336638, 0.11596, -0.162441]),
    ],
    "lsknet_s": [
        (16763.347, [0.217253, 0.944712, 0.322274]),
        (8686.9316, [-0.070147, 1.757334, 0.509875]),
        (6269.4747, [0.847482, 0.004719, -0.101233]),
        (2966.823, [0.207775, 0.338512, -0.66357]),
    ],
}
RECORDED_LSKA = {  # of the last map of VAN-B0
    (7, 2): (1510.361, [-0.579543, 0.236112, -0.294243]),
    (23, 3): (1513.246, [-0.498177, 0.318658, -0.281921]),
    (53, 3): (1509.6061, [-0.480866, 0.240714, -0.331354]),
}
NAMES = ["mscan_t", "lsknet_t"]


def filled(model: nn.Module) -> nn.Module:
    """Weights that depend on their names alone."""
    for key, value in model.state_dict().items():
        generator = torch.Generator().manual_seed(zlib.crc32(key.encode()))
        if value.ndim > 1:
            fan_in = value[0].numel()
            value.copy_(torch.randn(value.shape, generator=generator) / fan_in**0.5)
        elif value.ndim == 1:
            drawn = torch.rand(value.shape, generator=generator)
            is_bias, is_scale = key.endswith("bias"), "layer_scale" in key
            value.copy_(0.1 * drawn if is_scale else 0.5 * drawn + 0.5 * (not is_bias))
    return model.eval()


def agrees(level: Tensor, recorded: tuple[float, list[float]]) -> bool:
    total, values = recorded
    found = level[0, :3, -1, -1].tolist()
    is_same_total = level.double().abs().sum().item() == pytest.approx(total, rel=1e-4)
    return is_same_total and found == pytest.approx(values, abs=1e-4)


def small(name: str, **settings: object) -> nn.Module:
    torch.manual_seed(0)
    options = {"embed_dims": (8, 8, 16, 16), "depths": (1, 1, 2, 1)}
    return build_backbone(name, options=options, **settings)


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.fixture
def images() -> Tensor:
    return torch.randn(1, 3, 67, 95, generator=torch.Generator().manual_seed(0))


# --------------------------------------------------------------------------------------- models


@pytest.mark.parametrize("name", SIZES)
def test_counts_are_those_of_the_authors_code(name: str) -> None:
    with torch.device("meta"):
        model = timm.create_model(name, num_classes=0)
        assert (count(model), len(model.state_dict())) == SIZES[name]
        if name in WITH_HEAD:
            assert count(timm.create_model(name)) == WITH_HEAD[name]


@pytest.mark.parametrize(("kernel", "dilation"), LSKA)
def test_lska_has_the_counts_of_its_authors_code(kernel: int, dilation: int) -> None:
    lska = {"lka_variant": "lska", "lka_kernel": kernel, "lka_dilation": dilation}
    with torch.device("meta"):
        found = tuple(count(timm.create_model(f"van_b{i}", **lska)) for i in range(3))
    assert found == LSKA[kernel, dilation]


@pytest.mark.parametrize("name", RECORDED)
def test_maps_are_those_of_the_authors_code(name: str, images: Tensor) -> None:
    model = filled(timm.create_model(name, num_classes=0))
    with torch.no_grad():
        maps = model.forward_intermediates(images, intermediates_only=True)
    assert [agrees(*pair) for pair in zip(maps, RECORDED[name], strict=True)] == [True] * 4


@pytest.mark.parametrize(("kernel", "dilation"), RECORDED_LSKA)
def test_lska_gives_the_map_of_its_authors_code(kernel: int, dilation: int, images: Tensor) -> None:
    lska = {"lka_variant": "lska", "lka_kernel": kernel, "lka_dilation": dilation}
    model = filled(timm.create_model("van_b0", **lska))
    with torch.no_grad():
        assert agrees(model.forward_features(images), RECORDED_LSKA[kernel, dilation])


def test_strips_see_21_positions_along_and_5_across() -> None:
    """The gate's reach from one position, without the 1x1 convolution that mixes channels."""
    gate, x = MSCA(2), torch.zeros(1, 2, 41, 41)
    for conv in gate.children():
        nn.init.ones_(conv.weight)
        nn.init.zeros_(conv.bias)
    x[..., 20, 20] = 1.0
    gate.conv3 = nn.Identity()
    seen: list[Tensor] = []
    gate.conv3.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    gate(x)
    reached = seen[0][0, 0] > 0
    assert reached.any(0).sum() == reached.any(1).sum() == 21 + 4


def test_lsk_chooses_between_its_kernels_at_each_position() -> None:
    torch.manual_seed(0)
    gate, u = LSK(4), torch.randn(1, 4, 9, 9)
    nn.init.zeros_(gate.conv_squeeze.weight)
    near = gate.conv0(u)
    branches = gate.conv1(near), gate.conv2(gate.conv_spatial(near))
    for bias, chosen in (([50.0, -50.0], branches[0]), ([-50.0, 50.0], branches[1])):
        gate.conv_squeeze.bias.data = torch.tensor(bias)
        torch.testing.assert_close(gate(u), u * gate.conv(chosen))


@pytest.mark.parametrize(
    ("kernel", "dilation", "nearest"),
    [(20, 3, "17 and 23"), (21, 3, "17 and 23"), (3, 3, "5 and 11"), (10, 2, "7 and 11")],
)
def test_a_span_that_lska_cannot_have_is_refused(kernel: int, dilation: int, nearest: str) -> None:
    with pytest.raises(ValueError, match=f"whole number of steps .* nearest are {nearest}"):
        timm.create_model("van_b0", lka_variant="lska", lka_kernel=kernel, lka_dilation=dilation)


@pytest.mark.parametrize("name", NAMES)
def test_relatives_have_no_other_kernel(name: str) -> None:
    kind = type(timm.create_model(name)).__name__
    with pytest.raises(ValueError, match=f"{kind} has no lka_kernel"):
        build_backbone(name, options={"lka_kernel": 7})


# ----------------------------------------------------------------------------------------- doors


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(64, 96), (33, 70), (32, 31)])
def test_backbones_give_four_maps_of_any_image(name: str, size: tuple[int, int]) -> None:
    backbone = build_backbone(name).eval()
    with torch.no_grad():
        maps = backbone(torch.randn(1, 3, *size))
    assert backbone.channels == [32, 64, 160, 256]
    expected = [tuple(-(-side // stride) for side in size) for stride in (4, 8, 16, 32)]
    assert [tuple(level.shape[2:]) for level in maps] == expected


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_learns_and_drop_path_grows(name: str) -> None:
    backbone = small(name, drop_path=0.3)
    sum(level.square().sum() for level in backbone(torch.randn(2, 3, 64, 64))).backward()
    assert [n for n, p in backbone.named_parameters() if p.grad is None] == []
    rates = [backbone.body.block3[i].drop_path.drop_prob for i in (0, 1)]
    assert rates == pytest.approx([0.3 * 2 / 4, 0.3 * 3 / 4])


@pytest.mark.parametrize("name", NAMES)
def test_checkpointing_gives_identical_gradients(name: str) -> None:
    images, gradients = torch.randn(2, 3, 64, 64), []
    for checkpointing in (False, True):
        backbone = small(name, checkpointing=checkpointing)
        sum(level.square().sum() for level in backbone(images)).backward()
        gradients.append([parameter.grad for parameter in backbone.parameters()])
    assert all(torch.equal(*pair) for pair in zip(*gradients, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_frozen_stages_are_stem_and_first_ones(name: str) -> None:
    backbone = small(name, freeze_stages=1)
    trained = {n.split(".")[1] for n, p in backbone.named_parameters() if p.requires_grad}
    assert trained == {f"{part}{i}" for part in ("patch_embed", "block", "norm") for i in (2, 3, 4)}


@pytest.mark.parametrize("name", NAMES)
def test_groups_and_classifier_are_those_of_van(name: str) -> None:
    model = timm.create_model(name, num_classes=7)
    assert model.group_matcher() == timm.create_model("van_b0").group_matcher()
    assert model.eval()(torch.randn(1, 3, 64, 64)).shape == (1, 7)
    assert build_classifier(name, 4).body.get_classifier().out_features == 4


def test_epsilons_are_those_of_the_authors_code() -> None:
    assert timm.create_model("mscan_t").norm1.eps == 1e-5
    assert timm.create_model("lsknet_t").norm1.eps == 1e-6


@pytest.mark.parametrize("name", SIZES)
def test_pixels_are_normalised_with_imagenets_statistics(name: str) -> None:
    assert statistics_of(name).mean == (0.485, 0.456, 0.406)


# --------------------------------------------------------------------------------------- weights


@pytest.mark.parametrize("layout", ["official", "mmseg"])
@pytest.mark.parametrize("head", [0, 5])
def test_mscan_goes_through_both_layouts_bit_for_bit(layout: str, head: int) -> None:
    state = filled(timm.create_model("mscan_t", num_classes=head)).state_dict()
    there = from_official(state, layout)
    assert ("block1.0.mlp.dwconv.weight" in there) == (layout == "mmseg")
    assert "patch_embed1.proj.0.weight" in there and detect_layout(there) == layout
    assert all(to_official(there)[key] is value for key, value in state.items())
    backbone = build_backbone("mscan_t")
    report = load_backbone(backbone, {f"backbone.{key}": value for key, value in there.items()})
    assert (report.layout, report.coverage, report.missing) == (layout, 100.0, [])
    own = backbone.body.state_dict()
    assert all(torch.equal(own[key], state[key]) for key in own)


@pytest.mark.parametrize("name", ["mscan_t", "lsknet_t"])
def test_a_layout_that_no_code_base_has_is_refused(name: str) -> None:
    kind = type(model := timm.create_model(name)).__name__
    with pytest.raises(ValueError, match=f"no code base has {kind} in the layout 'transformers'"):
        from_official(model.state_dict(), "transformers")


LARGE = {"lka_variant": "lska", "lka_kernel": 23}
FAMILY = {"VAN": ("van_b0", {}), "MSCAN": ("mscan_t", {}), "LSKNet": ("lsknet_t", {})}
FAMILY["LSKA"] = ("van_b0", LARGE)


@pytest.mark.parametrize("there", FAMILY)
@pytest.mark.parametrize("here", FAMILY)
def test_weights_of_another_relative_are_refused_by_name(here: str, there: str) -> None:
    backbone = build_backbone(FAMILY[here][0], options=FAMILY[here][1])
    name, options = FAMILY[there]
    state = timm.create_model(name, **options).state_dict()
    if here == there:
        assert load_backbone(backbone, state).coverage == 100.0
        return
    with pytest.raises(ValueError, match=f"weights of {there}, and the backbone is {here},"):
        load_backbone(backbone, state)


def test_a_file_of_another_size_does_not_pass_the_gate() -> None:
    with torch.device("meta"):
        state = timm.create_model("mscan_s").state_dict()
    with pytest.raises(ValueError, match="at least 95 % of its parameters"):
        load_backbone(build_backbone("mscan_t"), state)


def test_sizes_are_read_from_shapes() -> None:
    with torch.device("meta"):
        for name in (*mscan.SIZES, *lsknet.SIZES, "van_b2"):
            assert van_size(timm.create_model(name).state_dict()) == name
        assert van_size(timm.create_model("van_b0", **LARGE).state_dict()) is None


def test_published_names_have_their_address_and_licence() -> None:
    for name in SIZES:
        published = PUBLISHED[f"{name}_in1k"]
        cfg = timm.get_pretrained_cfg(name)
        assert cfg is not None and (cfg.url, cfg.license) == (published.url, published.licence)
        is_free = published.licence == "apache-2.0"
        assert is_free == name.startswith("mscan")


@pytest.mark.parametrize("name", NAMES)
def test_only_weights_for_non_commercial_use_say_so_and_once(
    name: str, tmp_path, monkeypatch, caplog
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("van_dense.backbones.download._check_hash", lambda *_: None)
    published = f"{name}_in1k"
    path = tmp_path / "van_dense" / PUBLISHED[published].url.rsplit("/", 1)[-1]
    path.parent.mkdir()
    torch.save({"state_dict": timm.create_model(name).state_dict()}, path)
    for source in (published, str(path)):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            report = load_pretrained(build_backbone(name), source)
        found = [r.message for r in caplog.records if "non-commercial use alone" in r.message]
        assert len(found) == (name == "lsknet_t") and report.coverage == 100.0
    assert fetch_weights(published) == path


def test_timms_own_way_to_weights_says_so_too(tmp_path, caplog) -> None:
    state = filled(timm.create_model("lsknet_t")).state_dict()
    torch.save({"state_dict": state}, tmp_path / "a.pth")
    overlay = {"file": str(tmp_path / "a.pth")}
    with caplog.at_level(logging.WARNING):
        model = timm.create_model("lsknet_t", pretrained=True, pretrained_cfg_overlay=overlay)
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    found = [r.message for r in caplog.records if "non-commercial use alone" in r.message]
    assert found == ["lsknet_t: these weights are for non-commercial use alone (CC BY-NC 4.0)"]
