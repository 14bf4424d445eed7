"""Check a model's config before anything is built from it: a damaged one could allocate all memory."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from ovseg.errors import WeightsError

Config = Mapping[str, object]
"""open_clip's form: {"embed_dim", "vision_cfg", "text_cfg", "quick_gelu" …}."""
_INTEGERS = ("width", "heads", "head_width", "vocab_size", "context_length")
_SIZES = ("image_size", "patch_size")
_MOST_CHANNELS = 65_536
_MOST_LAYERS = 256
_LARGEST = 10_000_000  # of any number in a config; open_clip's largest is a vocabulary of 901,629


def part(config: Config, name: str) -> Mapping[str, object]:
    """``config["vision_cfg"]`` or ``config["text_cfg"]`` of a checked config."""
    found = config[name]
    assert isinstance(found, Mapping)  # checked by check_config
    return found


def check_config(config: Config, what: str, known: Mapping[str, Collection[str]]) -> None:
    """Raise WeightsError unless ``config`` has both parts, known keys and numbers within bounds.

    Args:
        config: as read from a file.
        what: the model's name, for messages.
        known: the keys that its "vision_cfg" and its "text_cfg" may have.
    """
    for name, keys in known.items():
        _check_part(config.get(name), name, keys, what)
    vision = part(config, "vision_cfg")
    trunk = vision.get("timm_model_name")
    if trunk and (not isinstance(trunk, str) or ":" in trunk or "/" in trunk):  # timm would ask the hub
        raise WeightsError(f"expected a config of {what} with a plain name of timm's, got {trunk!r:.60}")
    side, patch = (_sides(vision.get(key)) for key in _SIZES)
    if side and patch and (patch[0] > side[0] or patch[-1] > side[-1]):
        raise WeightsError(
            f"expected a config of {what} with a patch_size up to its image_size, got {patch} and {side}"
        )
    check_count(config.get("embed_dim"), "embed_dim", what, _MOST_CHANNELS)
    if not isinstance(config.get("quick_gelu", False), (bool, type(None))):
        raise WeightsError(
            f"expected a config of {what} with quick_gelu true or false, got {config['quick_gelu']!r:.60}"
        )
    _check_numbers(config, what)


def _check_part(found: object, name: str, known: Collection[str], what: str) -> None:
    if not isinstance(found, Mapping):
        raise WeightsError(f"expected a config of {what} with a {name}, got {type(found).__name__}")
    if strange := sorted(set(map(str, found)) - set(known)):
        raise WeightsError(f"expected a config of {what}, its {name} has the unknown key {strange[0][:60]!r}")
    layers = _listed(found.get("layers", 1))
    for key in _INTEGERS:
        if key in found:
            check_count(found[key], key, what)
    for key in _SIZES:
        if (
            key == "patch_size"
            and found.get(key, 1) is None
            and isinstance(found.get("layers"), (list, tuple))
        ):
            continue  # a ResNet, whose configs say null
        for side in _listed(found.get(key, 1)):
            check_count(side, key, what)
    for number in layers:
        if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= _MOST_LAYERS:
            raise WeightsError(
                f"expected a config of {what} with 1..{_MOST_LAYERS} layers, got {number!r:.60}"
            )


def check_count(value: object, key: str, what: str, most: int = _LARGEST) -> int:
    """``value`` if it is a whole number in 1..most. Raises WeightsError."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise WeightsError(f"expected a config of {what} with {key} in 1..{most}, got {value!r:.60}")
    return value


def _listed(value: object) -> list[object]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _sides(value: object) -> tuple[int, ...]:
    """(height, width), or the side of a square; () where the config gives no size."""
    return tuple(value) if isinstance(value, (list, tuple)) else (value,) if isinstance(value, int) else ()


def _check_numbers(value: object, what: str) -> None:
    inner = (
        value.values() if isinstance(value, Mapping) else value if isinstance(value, (list, tuple)) else ()
    )
    for one in inner:
        _check_numbers(one, what)
    if isinstance(value, (int, float)) and not abs(value) <= _LARGEST:
        raise WeightsError(f"expected a config of {what} with numbers up to {_LARGEST}, got {value!r:.60}")
