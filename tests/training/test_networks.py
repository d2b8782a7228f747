from pathlib import Path

import numpy as np
import pytest
import torch
from ethostream.sync.errors import DataError
from ethostream.training.export.graphs import MAX_RELATIVE_ERROR, check_embedder_parity, export_embedder
from ethostream.training.networks.embedders import Embedder, ResNet18, SmallCnn, load_resnet18_weights

# Of the published ResNet-18: 122 entries, two of them (fc.weight, fc.bias) of its classifier.
N_PUBLISHED = 122


def _published(network: ResNet18) -> dict[str, torch.Tensor]:
    """What a published weight file holds: every entry of the network under torchvision's names, and the classifier."""
    generator = torch.Generator().manual_seed(4)
    weights = {
        name: torch.randn(value.shape, generator=generator) * 0.05 if value.is_floating_point() else value.clone()
        for name, value in network.state_dict().items()
    }
    weights |= {name: value.abs() + 0.5 for name, value in weights.items() if name.endswith("running_var")}
    return weights | {"fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}


def test_resnet18_takes_published_weights_from_a_file(tmp_path: Path) -> None:
    network = ResNet18(side_px=32)
    weights = _published(network)
    assert len(weights) == N_PUBLISHED
    for name in ("conv1.weight", "layer1.0.bn2.running_mean", "layer2.0.downsample.0.weight", "layer4.1.conv2.weight"):
        assert name in weights
    torch.save(weights, tmp_path / "resnet18.pth")
    load_resnet18_weights(network, tmp_path / "resnet18.pth")
    for name, value in network.state_dict().items():
        assert torch.equal(value, weights[name]), name


def test_resnet18_takes_old_files_without_batch_counters(tmp_path: Path) -> None:
    network = ResNet18(side_px=32)
    old = {name: value for name, value in _published(network).items() if not name.endswith("num_batches_tracked")}
    torch.save(old, tmp_path / "old.pth")
    load_resnet18_weights(network, tmp_path / "old.pth")
    assert torch.equal(network.state_dict()["conv1.weight"], old["conv1.weight"])


def test_a_wrong_weight_file_is_refused_and_says_what_is_wrong(tmp_path: Path) -> None:
    network = ResNet18(side_px=32)
    path = tmp_path / "weights.pth"
    with pytest.raises(DataError, match="cannot be read"):
        load_resnet18_weights(network, path)
    path.write_bytes(b"not weights")
    with pytest.raises(DataError, match="is not a state_dict"):
        load_resnet18_weights(network, path)
    torch.save([1, 2], path)
    with pytest.raises(DataError, match="holds list"):
        load_resnet18_weights(network, path)
    weights = _published(network)
    weights["conv1.weight"] = torch.zeros(64, 1, 7, 7)
    weights["layer9.0.conv1.weight"] = weights.pop("layer4.0.conv1.weight")
    torch.save(weights, path)
    with pytest.raises(DataError) as caught:
        load_resnet18_weights(network, path)
    assert "layer4.0.conv1.weight is missing" in str(caught.value)
    assert "layer9.0.conv1.weight is unknown" in str(caught.value)
    assert "conv1.weight is (64, 1, 7, 7), expected (64, 3, 7, 7)" in str(caught.value)


@pytest.mark.parametrize("kind", ["small_cnn", pytest.param("resnet18", marks=pytest.mark.long)])
def test_embedder_graph_takes_any_number_and_size_of_crops(kind: str) -> None:
    torch.manual_seed(0)
    embedder: Embedder = SmallCnn(16, 48, 4) if kind == "small_cnn" else ResNet18(32)
    with torch.no_grad():
        for parameter in embedder.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    model = export_embedder(embedder.eval())
    rng = np.random.default_rng(1)
    for shape in ((1, 48, 48), (8, 180, 180), (3, 64, 100), (2, 20, 31)):
        crops = rng.integers(0, 256, shape, np.uint8)
        assert check_embedder_parity(embedder, model, crops) <= MAX_RELATIVE_ERROR
