"""Everything that decides on a result stands in its key, the code that it comes through included."""

import numpy as np
from cache_entries import X, key
from ethostream.training.cache.crops import CODE_BELOW, CODE_ITSELF
from ethostream.training.cache.key import CacheKey, array_sha256, code_below, imported_by, modules_below


def test_everything_in_a_key_counts() -> None:
    keys = [
        key(), key("b"), key(a=1), key(a=2), key(a={"b": [1, 2]}), key(a={"b": [2, 1]}), CacheKey("crops", "a", {}),
    ]  # fmt: skip
    assert len({one.digest for one in keys}) == len(keys)
    assert key(a=1, b=2).digest == CacheKey("pose", "a", {"b": 2, "a": 1}).digest
    arrays = [X, X[:50], X.reshape(50, 12), X.astype(np.float64), X + np.float32(1e-6) * (X == 3)]
    assert len({array_sha256(one) for one in arrays}) == len(arrays)


def test_code_that_images_pass_through_is_found_by_its_imports() -> None:
    """Also what is imported inside a function, and what that imports."""
    found = modules_below("inference.cropper")
    assert {
        f"ethostream.inference.{name}"
        for name in ("cropper", "crop_rule", "grey", "background_cropper", "background_bootstrap")
    } <= found
    assert "ethostream.acquisition.simulated_bedding" in modules_below("acquisition.simulated_camera")
    assert "ethostream.streaming.container_end" in modules_below("streaming.video")
    assert len({code_below(one) for one in ("inference.cropper", "inference.grey", "streaming.video")}) == 3


def test_every_module_that_images_pass_through_is_in_their_key() -> None:
    """What reads recordings imports nothing that makes pixels and is not hashed, the simulator's views included."""
    hashed = set[str]().union(*(modules_below(one) for one in CODE_BELOW))
    for module in CODE_ITSELF:
        makes_images = {one for one in imported_by(module) if one.split(".")[1] in ("acquisition", "streaming")}
        assert makes_images <= hashed, module
        seen = {one for one in imported_by(module) if one.split(".")[1] == "inference"}
        # Names alone, and the feature steps, each of which stands in the key with the hash of its code.
        assert seen - hashed <= {"ethostream.inference.manifest", "ethostream.inference.features"}, module
    assert "ethostream.acquisition.simulated_viewpoints" in imported_by("training.data.video_sources")
