"""Features of a GenICam node map: set, read back, and compared again when all are set."""

from dataclasses import dataclass
from typing import Any

from ..sync.errors import CameraOpenError
from .basler_config import FeatureValue


@dataclass(frozen=True, slots=True)
class _Setting:
    key: str
    name: str
    node: Any
    asked: FeatureValue
    tolerance: float


class Features:
    """What a camera was told, and whether it does it. One thread.

    Args:
        camera: name of the camera, for messages.
        model: of the device, for messages.
        nodes: pypylon's node map.
        genicam: pypylon's ``genicam`` module.
    """

    def __init__(self, camera: str, model: str, nodes: Any, genicam: Any) -> None:
        self._camera = camera
        self._model = model
        self._nodes = nodes
        self._genicam = genicam
        self._settings: dict[str, _Setting] = {}

    def find(self, *names: str) -> tuple[str, Any] | None:
        """The first of these features that this model has and that can be read now."""
        for name in names:
            node = self._nodes.GetNode(name)
            if node is not None and self._genicam.IsReadable(node):
                return name, node
        return None

    def value(self, *names: str) -> FeatureValue | None:
        """Value of the first of these features that the model has; None where it has none of them."""
        found = self.find(*names)
        return None if found is None else found[1].GetValue()

    def number(self, *names: str) -> float | None:
        """`value` as a number; None where there is none, or it is zero or less."""
        value = self.value(*names)
        return float(value) if isinstance(value, int | float) and value > 0 else None

    def choices(self, name: str) -> tuple[str, ...]:
        """What an enumeration offers; empty where the model does not have it."""
        found = self.find(name)
        return () if found is None else tuple(found[1].GetSymbolics())

    def set(self, key: str, names: tuple[str, ...], value: FeatureValue, tolerance: float = 0.0) -> FeatureValue:
        """Set the first of ``names`` that the model has, and read it back.

        Args:
            key: what the rig file calls it.
            names: of the feature; models of different age name it differently.
            value: wanted. For an enumeration one of its symbols.
            tolerance: that a number may differ by; at least the feature's own increment.

        Returns:
            What the camera says it is now.

        Raises:
            CameraOpenError: it has no such feature, refuses the value or takes another one.
        """
        found = self.find(*names)
        if found is None:
            raise CameraOpenError(
                f"camera {self._camera}: {key}={value}: model {self._model} has no {' or '.join(names)}; remove {key} "
                "from the rig file, or use a model that has it"
            )
        name, node = found
        current = node.GetValue()
        wanted = self._as(key, name, value, current)
        inc = float(node.GetInc()) if isinstance(current, float) and node.HasInc() else 0.0
        setting = _Setting(key, name, node, wanted, max(tolerance, inc))
        if not self._genicam.IsWritable(node):
            if not self._same(setting, current):
                raise CameraOpenError(
                    f"camera {self._camera}: {key}={value}: {name} is {current} and cannot be changed in this mode; "
                    f"set {key} to {current}, or change what locks it"
                )
        else:
            try:
                node.SetValue(wanted)
            except self._genicam.GenericException as error:
                raise CameraOpenError(
                    f"camera {self._camera}: {key}={value}: refused by {name} ({_reason(error)}); "
                    f"{self._range(node, current)}"
                ) from error
        self._check(setting)
        self._settings[name] = setting
        return node.GetValue()

    def choose(self, key: str, name: str, symbols: tuple[str, ...], value: FeatureValue) -> str:
        """Set an enumeration to the first of ``symbols`` that it offers; returns that symbol.

        Raises:
            CameraOpenError: it offers none of them.
        """
        offered = self.choices(name)
        for symbol in symbols:
            if symbol in offered:
                self.set(key, (name,), symbol)
                return symbol
        raise CameraOpenError(
            f"camera {self._camera}: {key}={value}: model {self._model} offers "
            f"{', '.join(offered) or f'no {name} at all'}; choose one of these"
        )

    def set_if_there(self, key: str, names: tuple[str, ...], value: FeatureValue) -> None:
        """`set`, or nothing where the model has no such feature, or does not offer the symbol."""
        found = self.find(*names)
        if found is not None and (not isinstance(value, str) or value in self.choices(found[0])):
            self.set(key, (found[0],), value)

    def execute(self, name: str) -> bool:
        """Run a command; False where the model does not have it."""
        node = self._nodes.GetNode(name)
        if node is None or not self._genicam.IsWritable(node):
            return False
        node.Execute()
        return True

    def release(self, *names: str) -> None:
        """Forget that these were set: they are selectors, or on their way to another value."""
        for name in names:
            self._settings.pop(name, None)

    def verify(self) -> None:
        """Read everything back once more: a later setting may have moved an earlier one.

        Raises:
            CameraOpenError: one is not as it was set.
        """
        for setting in self._settings.values():
            self._check(setting)

    def _check(self, setting: _Setting) -> None:
        got = setting.node.GetValue()
        if not self._same(setting, got):
            raise CameraOpenError(
                f"camera {self._camera}: {setting.key}: asked for {setting.asked}, the camera takes {got} "
                f"({setting.name}); set {setting.key} to {got}, or to what this model can do: "
                f"{self._range(setting.node, got)}"
            )

    @staticmethod
    def _same(setting: _Setting, got: FeatureValue) -> bool:
        asked = setting.asked
        if isinstance(asked, float) and isinstance(got, int | float):
            return abs(got - asked) <= setting.tolerance + 1e-9 * abs(asked)
        return got == asked

    def _as(self, key: str, name: str, value: FeatureValue, current: FeatureValue) -> FeatureValue:
        """``value`` in the type of the feature."""
        if isinstance(current, bool) and isinstance(value, bool):
            return value
        if isinstance(current, str):
            # YAML reads a bare On as true.
            return ("On" if value else "Off") if isinstance(value, bool) else str(value)
        if isinstance(value, int | float) and not isinstance(value, bool) and not isinstance(current, bool):
            if isinstance(current, float):
                return float(value)
            if value == int(value):
                return int(value)
        raise CameraOpenError(
            f"camera {self._camera}: {key}={value!r}: {name} holds a {type(current).__name__} (now {current!r}); give "
            "it one"
        )

    def _range(self, node: Any, current: FeatureValue) -> str:
        if isinstance(current, bool):
            return "true or false"
        if isinstance(current, int | float):
            inc = f" in steps of {node.GetInc()}" if isinstance(current, int) or node.HasInc() else ""
            return f"{node.GetMin()} to {node.GetMax()}{inc}"
        return f"one of {', '.join(node.GetSymbolics())}" if hasattr(node, "GetSymbolics") else "another text"


def _reason(error: Exception) -> str:
    """The sentence of an SDK error, without where in the SDK it was raised."""
    return str(error).split(" : ")[0].strip().rstrip(".")
