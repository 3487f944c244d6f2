"""The copy of a model for CPUs: what is folded, what is not, and what stays shared."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from van_dense.models.cpu_copy import cpu_copy, fold_norms, has_hooks, state_of
from van_dense.models.dense_model import DenseModel


class Toy(DenseModel):
    """The backbone alone, as a model that knows nothing but ``flops_forward``."""

    def flops_forward(self, size: tuple[int, int]) -> Tensor:
        return self.backbone(self.zeros(3, *size))


class Net(nn.Module):
    """Convolution and BatchNorm, with statistics that are not those of the start."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm = nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        for tensor in (self.norm.weight, self.norm.bias, self.norm.running_mean):
            nn.init.normal_(tensor)
        nn.init.uniform_(self.norm.running_var, 0.5, 2)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(x)))


class Reused(Net):
    """The output of the convolution is used a second time."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return self.norm(y) + y


class Returned(Net):
    """The output of the convolution is a result as well."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.conv(x)
        return self.norm(y), y


class Shared(Net):
    """One convolution, and a BatchNorm for each of two levels."""

    def __init__(self) -> None:
        super().__init__()
        self.second = nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x)) + self.second(self.conv(x[..., ::2, ::2].repeat(1, 1, 2, 2)))


class Before(Net):
    """A BatchNorm before its convolution, which pads with zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.norm(x))


class Twice(Net):
    """Convolution and BatchNorm, always together, on two levels."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + super().forward(x[..., ::2, ::2]).repeat(1, 1, 2, 2)


@pytest.mark.parametrize(
    ("net", "folded"),
    [(Net, 1), (Twice, 1), (Reused, 0), (Returned, 0), (Shared, 0), (Before, 0)],
)
def test_a_norm_is_folded_where_it_is_all_that_follows_its_convolution(net, folded):
    model = Toy(net()).eval()
    x = torch.randn(2, 3, 8, 8)
    expected = model.backbone(x)
    assert fold_norms(model) == folded
    assert isinstance(model.backbone.norm, nn.Identity) == bool(folded)
    torch.testing.assert_close(model.backbone(x), expected, rtol=1e-5, atol=1e-5)


def test_what_runs_only_for_some_images_is_left_alone():
    """``flops_forward`` does not reach it, so nothing is known of it."""

    class Unreached(Net):
        def forward(self, x: Tensor) -> Tensor:
            return x.mean()

    assert fold_norms(Toy(Unreached()).eval()) == 0


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("stride", [1, 2])
def test_pointwise_convolutions_of_the_copy_are_the_same_function(threads, stride):
    model = Toy(nn.Conv2d(3, 8, 1, stride)).eval()
    clone, x = cpu_copy(model), torch.randn(2, 3, 100, 101)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        torch.testing.assert_close(clone.backbone(x), model.backbone(x), rtol=1e-5, atol=1e-5)
        with torch.autocast("cpu", torch.bfloat16):
            assert clone.backbone(x).dtype == torch.bfloat16
    finally:
        torch.set_num_threads(before)
    assert clone.backbone(x[:0]).shape == model.backbone(x[:0]).shape


def test_the_model_keeps_its_modules_names_and_memory_format():
    model = Toy(Net()).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    clone = cpu_copy(model)
    assert type(clone) is Toy and isinstance(clone.backbone.norm, nn.Identity)
    assert clone.backbone.conv.weight.is_contiguous(memory_format=torch.channels_last)
    assert model.backbone.conv.weight.is_contiguous()
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_weights_that_are_no_kernels_are_shared():
    model = Toy(nn.Sequential(nn.Linear(3, 4), nn.Conv2d(3, 4, 3))).eval()
    clone = cpu_copy(model)
    assert clone.backbone[0].weight is model.backbone[0].weight
    assert clone.backbone[1].weight is not model.backbone[1].weight


def test_any_change_of_weights_and_attributes_is_seen():
    model = Toy(Net()).eval()
    states = [state_of(model)]
    with torch.no_grad():
        model.backbone.conv.weight.add_(1)
    states.append(state_of(model))
    model.load_state_dict({k: v + 1 for k, v in model.state_dict().items()})
    states.append(state_of(model))
    model.backbone.norm.running_mean.zero_()
    states.append(state_of(model))
    model.backbone.norm.eps = 0.1
    states.append(state_of(model))
    assert len(set(states)) == len(states)
    assert state_of(model) == states[-1]


def test_hooks_are_seen():
    model = Toy(Net())
    assert not has_hooks(model)
    handle = model.backbone.conv.register_forward_hook(lambda *_: None)
    assert has_hooks(model)
    handle.remove()
    assert not has_hooks(model)
