"""The table at the end of a run: what is well, what is not, and what to do about it."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

Level = Literal["ok", "look", "wrong"]

PARTIAL_SHARE = 0.01
END_PARTIAL = 1
"""Cameras do not stop at one instant: the last set of a run may lack some."""
SKIPPED_SHARE = 0.05
SHOWN_ERRORS = 3
SHOWN_CLOCKS = 4
_MARK: dict[Level, tuple[str, str]] = {
    "ok": ("OK", "green"),
    "look": ("LOOK", "yellow"),
    "wrong": ("WRONG", "bold red"),
}


class Finding(NamedTuple):
    """One row: what was looked at, what was found, and the cure where something is amiss."""

    what: str
    level: Level
    found: str
    cure: str = ""


def findings(report: dict[str, Any], failures: Sequence[str] = (), verify_errors: Sequence[str] = ()) -> list[Finding]:
    """Judge a report of `RunReport.to_dict`; ``failures`` are the supervisor's words, ``verify_errors`` verify's."""
    rows = [Finding("process", "wrong", text, "mend this first, then run again") for text in failures]
    sources = (*report["cameras"].values(), *report["poses"].values())
    if rows and not any(one["captured"] for one in sources):
        # Nothing ran: that no frame came says nothing about cables.
        return rows
    by_frames = bool(report["cameras"]) or not report["poses"]
    rows += [_cameras(report)] if by_frames else []
    rows += [_poses(report)] if report["poses"] else []
    rows += [*_clocks(report), *(_sets(report) if by_frames else [])]
    rows += [row for row in (_model(report), _latency(report), _behavior(report), _rules(report)) if row is not None]
    rows.append(_replay(report) if report["mode"] == "replay" else _recording(report, verify_errors))
    rows += _alarms(report)
    return rows


def verdict(rows: list[Finding]) -> Level:
    """The worst of them."""
    levels = {row.level for row in rows}
    return "wrong" if "wrong" in levels else "look" if "look" in levels else "ok"


def summary(rows: list[Finding]) -> RenderableType:
    """The findings as a table, the verdict below it."""
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    grid.add_column(no_wrap=True)
    grid.add_column(no_wrap=True, style="bold")
    grid.add_column(overflow="fold")
    for row in rows:
        mark, style = _MARK[row.level]
        found = Text(row.found)
        if row.cure:
            found.append(f"\n→ {row.cure}", style=style)
        grid.add_row(Text(mark, style=style), row.what, found)
    level = verdict(rows)
    words = {
        "ok": "All well.",
        "look": "It ran; read the rows marked LOOK.",
        "wrong": "Something is wrong; the rows marked WRONG say what to do.",
    }
    return Group(Text(), grid, Text(), Text(words[level], style=_MARK[level][1]), Text())


def _n(n: int, what: str) -> str:
    return f"{n:,} {what}" if n == 1 else f"{n:,} {what}s"


def _cameras(report: dict[str, Any]) -> Finding:
    cameras: dict[str, dict[str, Any]] = report["cameras"]
    dead = [name for name, one in cameras.items() if not one["captured"]]
    lost = [name for name, one in cameras.items() if one["state"] == "lost" or one["restarts"]]
    n = sum(one["captured"] for one in cameras.values())
    rates = [one["rate_hz"] for one in cameras.values() if one["rate_hz"] is not None]
    low, high = (f"{min(rates):.2f}", f"{max(rates):.2f}") if rates else ("", "")
    rate = f" at {low} Hz" if low == high and low else f" at {low} to {high} Hz" if low else ""
    dropped = sum(one["dropped_device"] for one in cameras.values())
    declared = sum(one["dropped_declared"] for one in cameras.values())
    said = f"{_n(n, 'frame')} of {_n(len(cameras), 'camera')}{rate}; "
    said += f"dropped by cameras {dropped:,}, on the way {declared:,}"
    if dead or not cameras:
        return Finding(
            "cameras",
            "wrong",
            f"{said}; nothing from {', '.join(dead) or 'any camera'}",
            "check cable, power and the camera's entry in the rig file",
        )
    if lost:
        return Finding(
            "cameras",
            "wrong",
            f"{said}; was lost: {', '.join(lost)}",
            "check cable and power; the missing time is declared in the recording",
        )
    if declared:
        return Finding(
            "cameras", "look", said, "the machine fell behind: close other programs, or raise bus.ring_slots"
        )
    if dropped:
        worst = max(cameras, key=lambda name: cameras[name]["dropped_device"])
        return Finding(
            "cameras",
            "look",
            f"{said}; most from {worst}",
            "every one is declared; many of them point to bandwidth, cable or trigger",
        )
    return Finding("cameras", "ok", said)


def _poses(report: dict[str, Any]) -> Finding:
    poses: dict[str, dict[str, Any]] = report["poses"]
    dead = [name for name, one in poses.items() if not one["captured"]]
    lost = [name for name, one in poses.items() if one["state"] == "lost" or one["restarts"]]
    declared = sum(one["dropped_declared"] for one in poses.values())
    n = sum(one["captured"] for one in poses.values())
    said = f"{_n(n, 'frame')} of {_n(len(poses), 'pose source')}; lost on the way {declared:,}"
    if dead:
        words = f"{said}; nothing from {', '.join(dead)}"
        return Finding("pose", "wrong", words, "look at its log, and at its entry in the rig file")
    if lost:
        words = f"{said}; failed and came back, or not: {', '.join(lost)}"
        return Finding("pose", "wrong", words, "look at its log; the missing time is declared in the recording")
    if declared:
        return Finding("pose", "look", said, "the machine fell behind: close other programs")
    return Finding("pose", "ok", said)


def _clocks(report: dict[str, Any]) -> list[Finding]:
    clocks: dict[str, dict[str, Any]] = report["clocks"]
    if not clocks:
        return []
    amiss: list[str] = []
    for name, one in clocks.items():
        words = [f"stepped {one['n_steps']} times" if one["n_steps"] > 1 else "stepped"] if one["n_steps"] else []
        if one["state"] == "lost":
            words.append("is lost")
        elif one["residual_p99_us"] is None:
            words.append("never settled")
        elif one["state"] not in ("locked", "trusted"):
            words.append("had not settled again")
        amiss += [f"{name} {' and '.join(words)}"] if words else []
    worst = max((one["residual_p99_us"] for one in clocks.values() if one["residual_p99_us"] is not None), default=None)
    drifts = [abs(one["drift_ppm"]) for one in clocks.values() if one["drift_ppm"] is not None]
    said = f"{len(clocks) - len(amiss)} of {len(clocks)} settled and steady"
    said += "" if worst is None else f"; residual p99 at most {worst:.1f} us"
    said += f", drift at most {max(drifts):.1f} ppm" if drifts else ""
    if not amiss:
        return [Finding("clocks", "ok", said)]
    more = f" and {len(amiss) - SHOWN_CLOCKS} more" if len(amiss) > SHOWN_CLOCKS else ""
    cure = (
        "times are less sure until a clock has settled; the report's `clocks` has the figures. Look for a device that "
        "was reset, a link that broke, or a run too short to settle in"
    )
    return [Finding("clocks", "look", f"{said}; {', '.join(amiss[:SHOWN_CLOCKS])}{more}", cure)]


def _sets(report: dict[str, Any]) -> list[Finding]:
    sets = report["sets"]
    total = sets["complete"] + sets["partial"]
    said = f"{sets['complete']:,} complete, {sets['partial']:,} partial, {_n(sets['late'], 'frame')} late"
    rows: list[Finding] = []
    if not sets["complete"]:
        rows.append(
            Finding("frame sets", "wrong", said, "the views never matched: check trigger wiring, rates and clocks")
        )
    elif sets["partial"] > max(END_PARTIAL, PARTIAL_SHARE * total):
        missing: dict[str, int] = sets["missing"]
        most = max(missing, key=missing.__getitem__, default="")
        if missing.get(most, 0) > sum(missing.values()) / 2:
            said, cure = f"{said}; most often without {most}", f"look at camera {most} first"
        else:
            cure = "frames of all cameras came late: close other programs, or raise sets.deadline_ms"
        rows.append(Finding("frame sets", "look", said, cure))
    else:
        rows.append(Finding("frame sets", "ok", said))
    if sets["mispaired"]:
        rows.append(
            Finding(
                "pairing",
                "wrong",
                f"{_n(sets['mispaired'], 'set')} with frames of different instants",
                "do not use this data across views; lower sets.tolerance_ms and check the clocks",
            )
        )
    elif sets["mispaired"] == 0:
        rows.append(
            Finding("pairing", "ok", f"no set of {sets['checked']:,} mixes instants (known from the simulator)")
        )
    return rows


def _model(report: dict[str, Any]) -> Finding | None:
    one = report["inference"]
    if one["bundle"] is None:
        return None
    said = f"{_n(one['steps'], 'step')}, {_n(one['skipped'], 'set')} skipped, {one['provider'] or 'provider not known'}"
    if not one["steps"]:
        return Finding(
            "model", "wrong", f"{one['bundle']}: no behaviour came", "see logs/inference.log in the recording"
        )
    if one["skipped"] > SKIPPED_SHARE * (one["steps"] + one["skipped"]):
        return Finding(
            "model", "look", said, "the model is slower than the cameras: fewer views, a smaller model or a GPU"
        )
    return Finding("model", "ok", said)


def _latency(report: dict[str, Any]) -> Finding | None:
    one = report["latency_ms"]["exposure_to_behavior"]
    if not one["n"] or report["mode"] == "replay":
        return None
    said = f"exposure to behaviour p50 {one['p50']:.1f}, p99 {one['p99']:.1f}, max {one['max']:.1f} ms"
    trigger = report["latency_ms"]["exposure_to_trigger"]
    if trigger["n"]:
        said += f"; to trigger p50 {trigger['p50']:.1f}, max {trigger['max']:.1f} ms ({trigger['n']} fired)"
    return Finding("latency", "ok", said)


def _behavior(report: dict[str, Any]) -> Finding | None:
    one = report["behavior"]
    if not report["inference"]["steps"]:
        return None
    bouts = ", ".join(f"{name} {n}" for name, n in sorted(one["bouts_by_class"].items()))
    said = f"{_n(one['bouts'], 'bout')}: {bouts}" if bouts else "no behaviour was ever sure enough to be named"
    if one["accuracy"] is not None:
        said += (
            f"; against truth {one['accuracy']:.1%}, balanced {one['balanced_accuracy']:.1%} ({one['n_scored']:,} sets)"
        )
    if not bouts:
        return Finding(
            "behaviour", "look", said, "the model may not fit this view; lower its thresholds or train it here"
        )
    return Finding("behaviour", "ok", said)


def _rules(report: dict[str, Any]) -> Finding | None:
    one = report["triggers"]
    if not one["by_rule"]:
        return None
    why = ", ".join(
        f"{reason} {n}" for reason, n in sorted(one["withheld_by_reason"].items(), key=lambda it: -it[1])[:3]
    )
    held = f", withheld {one['withheld']} ({why})" if one["withheld"] else ""
    sham = f", sham {one['sham']}" if one["sham"] else ""
    if one["armed"] is False and any(last["by"] == "start" for last in one["armings"][1:]):
        cure = "its process was started again, and nobody armed it since: `ethostream arm --yes`"
        return Finding("rules", "look", f"fired {one['fired']}{sham}{held}; disarmed at the end", cure)
    return Finding("rules", "ok", f"fired {one['fired']}{sham}{held}")


def _recording(report: dict[str, Any], verify_errors: Sequence[str]) -> Finding:
    one = report["recording"]
    if one["path"] is None:
        return Finding("recording", "look", "nothing was recorded", "set recording.enabled: true to keep the data")
    # What a camera never delivered says nothing about the disk.
    by_cameras = min(one["declared_drops"], sum(each["dropped_device"] for each in report["cameras"].values()))
    of_these = f", {by_cameras:,} of them by the cameras" if by_cameras else ""
    said = f"{_n(one['written'], 'frame')} written, {one['declared_drops']:,} declared lost{of_these}\n{one['path']}"
    check = f"ethostream verify {one['path']}"
    if one["verified"] is False:
        why = "".join(f"\n{line}" for line in verify_errors[:SHOWN_ERRORS])
        return Finding("recording", "wrong", f"does NOT verify: {said}{why}", f"keep the folder and run: {check}")
    if one["state"] == "video_stopped":
        return Finding(
            "recording", "wrong", f"the disk was full, video stopped early: {said}", "make room before the next run"
        )
    if one["verified"] is None:
        return Finding("recording", "look", f"not verified: {said}", f"run: {check}")
    level: Level = "look" if one["declared_drops"] > by_cameras else "ok"
    cure = (
        "the disk or the encoder fell behind: choose codec mjpeg or h264, or a faster disk" if level == "look" else ""
    )
    return Finding("recording", level, f"verified: {said}", cure)


def _replay(report: dict[str, Any]) -> Finding:
    one: dict[str, Any] = report.get("replay", {"exact": None, "why": "not compared"})
    if one.get("exact") is None and report["inference"]["bundle"] is None:
        return Finding("replay", "ok", "every recorded set was handed over; there is no model to compare")
    if one.get("exact") is None:
        return Finding("replay", "look", f"not comparable with the live run: {one.get('why', '')}")
    if one["exact"]:
        return Finding("replay", "ok", "every probability, label and decision equals the live run")
    return Finding(
        "replay", "wrong", "differs from the live run", "same release, bundle and provider as live? see the report"
    )


def _alarms(report: dict[str, Any]) -> list[Finding]:
    lost: int = report["messages_lost"]
    missed = (
        [
            Finding(
                "report", "look", f"{lost:,} messages never reached it: its counts are too low", "trust the recording"
            )
        ]
        if lost
        else []
    )
    alarms = report["alarms"]
    total = alarms["errors"] + alarms["warnings"]
    if not total:
        return missed
    last = alarms["last"][-1]
    said = f"{_n(alarms['errors'], 'error')}, {_n(alarms['warnings'], 'warning')}; "
    said += f"last from {last['node']}: {last['text']}"
    return [*missed, Finding("alarms", "look", said, "all of them stand in the report and in the recording")]
