"""Key layouts of VAN weights: found, renamed, and computing the same in transformers."""

import pytest
import timm
import torch
from torch import Tensor, nn

import van_dense  # noqa: F401  (registers VAN)
from van_dense.backbones.layouts import (
    LAYOUTS,
    detect_layout,
    from_official,
    to_official,
    van_size,
)
from van_dense.backbones.weights import load_backbone


def randomized(model: nn.Module) -> nn.Module:
    """Move scales, biases and running statistics away from their start values."""
    torch.manual_seed(7)
    for name, value in model.state_dict().items():
        if value.ndim == 1:
            value.copy_(0.5 + 0.5 * torch.rand_like(value))
        elif name.endswith("num_batches_tracked"):
            value.fill_(5)
    return model.eval()


@pytest.fixture(scope="module")
def official() -> dict[str, Tensor]:
    return dict(randomized(timm.create_model("van_b0")).state_dict())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_found_and_comes_back_as_it_was(
    layout: str, official: dict[str, Tensor]
) -> None:
    renamed = from_official(official, layout)
    assert len(renamed) == len(official)
    assert detect_layout(renamed) == layout
    back = to_official(renamed)
    assert back.keys() == official.keys()
    assert all(back[key] is value for key, value in official.items())


@pytest.mark.parametrize(
    ("layout", "key"),
    [
        ("official", "block3.4.attn.spatial_gating_unit.conv_spatial.weight"),
        ("mmpretrain", "backbone.blocks3.4.attn.spatial_gating_unit.DW_D_conv.weight"),
        ("mmseg", "block3.4.attn.spatial_gating_unit.conv_spatial.weight"),
        (
            "transformers",
            "van.encoder.stages.2.layers.4.attention.attention_layer.attention"
            ".depth_wise_dilated.weight",
        ),
        ("mmpretrain", "head.fc.bias"),
        ("transformers", "classifier.bias"),
        ("mmpretrain", "backbone.patch_embed1.projection.bias"),
        ("mmpretrain", "backbone.blocks1.0.mlp.dwconv.weight"),
        ("mmseg", "block1.0.mlp.dwconv.weight"),
        ("transformers", "van.encoder.stages.0.embeddings.normalization.running_mean"),
        ("transformers", "van.encoder.stages.3.layers.1.pre_normomalization.weight"),
        ("transformers", "van.encoder.stages.3.layers.1.mlp_scaling.weight"),
    ],
)
def test_keys_are_those_of_the_published_files(
    layout: str, key: str, official: dict[str, Tensor]
) -> None:
    assert key in from_official(official, layout)


def test_unknown_keys_and_layouts_are_refused(official: dict[str, Tensor]) -> None:
    with pytest.raises(ValueError, match=r"no VAN weights.*conv1\.weight"):
        detect_layout(["conv1.weight"])
    with pytest.raises(ValueError, match=r"unknown layout 'keras'.*transformers"):
        from_official(official, "keras")
    with pytest.raises(ValueError, match=r"'block\.weight' is not an official VAN key"):
        from_official({"block.weight": torch.zeros(1)}, "mmseg")


def test_the_size_is_read_from_the_shapes(official: dict[str, Tensor]) -> None:
    assert van_size(official) == "van_b0"
    with torch.device("meta"):
        assert van_size(timm.create_model("van_b4").state_dict()) == "van_b4"
    assert van_size({"norm1.weight": torch.zeros(3)}) is None


@pytest.mark.parametrize("labels", [10, 0])
def test_transformers_computes_the_same_from_exported_weights(labels: int) -> None:
    pytest.importorskip("transformers", minversion="4.18")
    module = pytest.importorskip("transformers.models.deprecated.van")
    model = randomized(timm.create_model("van_b0", num_classes=labels))
    config = module.VanConfig(
        hidden_sizes=[32, 64, 160, 256], depths=[3, 3, 5, 2], num_labels=max(labels, 1)
    )
    if labels:
        theirs = module.VanForImageClassification(config).eval()
        exported = from_official(model.state_dict(), "transformers")
    else:  # the bare model has no leading "van."
        theirs = module.VanModel(config).eval()
        exported = {
            key.removeprefix("van."): value
            for key, value in from_official(model.state_dict(), "transformers").items()
        }
    keys = theirs.load_state_dict(exported, strict=False)
    assert keys.unexpected_keys == []
    assert [k.removeprefix("van.") for k in keys.missing_keys] == [
        "layernorm.weight",
        "layernorm.bias",
    ]  # present there, never used

    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        result, logits = theirs(images), model(images)
    expected = result.logits if labels else result.pooler_output
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)
    assert logits.std() > 0.01  # far from a constant

    again = timm.create_model("van_b0", num_classes=labels)
    report = load_backbone(again, theirs.state_dict())
    assert report.layout == "transformers" and report.coverage == 100
    assert [key.removeprefix("van.") for key in report.ignored] == [
        "layernorm.weight",
        "layernorm.bias",
    ]
