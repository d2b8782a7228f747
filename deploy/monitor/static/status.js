// Everything on the page that is words and figures.

import { ageText } from "./tiles.js";

const SHOWN_TRIGGERS = 4;
const SHOWN_PROBLEMS = 4;
const id = (name) => document.getElementById(name);

function text(name, value, tone = "") {
  const element = id(name);
  if (element.textContent !== value) element.textContent = value;
  if (element.dataset.tone !== tone) {
    element.classList.remove("warn", "bad");
    if (tone) element.classList.add(tone);
    element.dataset.tone = tone;
  }
}

function make(tag, className, content) {
  const element = document.createElement(tag);
  element.className = className;
  element.textContent = content;
  return element;
}

const count = (name, n) => text(name, n.toLocaleString("en"), n && name !== "complete" ? "warn" : "");

function clock(seconds) {
  const s = Math.max(0, Math.floor(seconds));
  const two = (n) => String(n).padStart(2, "0");
  return `${Math.floor(s / 3600)}:${two(Math.floor(s / 60) % 60)}:${two(s % 60)}`;
}

export class StatusPanel {
  constructor(palette) {
    this.palette = palette;
    this.fired = new Map();
    this.wasArmed = false;
    id("disarm").addEventListener("click", () => this.disarm());
  }

  onStatus(now) {
    this.head(now);
    this.behavior(now);
    this.latency(now);
    this.frames(now);
    this.arming(now);
    this.rules(now);
    this.problems(now);
    document.title = now.behavior?.label ? `${now.behavior.label} · ${now.rig}` : `${now.rig} · ethostream`;
  }

  head(now) {
    text("rig", now.rig);
    text("mode", now.mode);
    id("mode").hidden = false;
    id("mode").classList.toggle("live", now.mode === "live");
    id("mode").classList.toggle("warn", now.mode === "replay");
    text("clock", clock(now.run_s));
    const recording = now.recording;
    const line = id("recording");
    const on = recording && ["started", "running"].includes(recording.state);
    line.replaceChildren(make("span", on ? "dot on" : "dot", ""));
    if (!recording) {
      line.append(make("span", "dim", now.mode === "replay" ? "replay, nothing is recorded" : "not recording"));
      text("disk", "");
      return;
    }
    const words = { started: "recording", running: "recording", video_stopped: "video stopped", stopped: "closed" };
    const lost = recording.declared ? `, ${recording.declared.toLocaleString("en")} declared lost` : "";
    line.append(`${words[recording.state]} `, make("span", "dim", `${recording.written.toLocaleString("en")} frames${lost}`));
    line.title = recording.path;
    const hours = recording.hours_left === null ? "" : ` · ${recording.hours_left.toFixed(1)} h`;
    text("disk", `${recording.gib_free.toFixed(1)} GiB left${hours}`, recording.gib_free < 5 ? "bad" : "");
  }

  behavior(now) {
    const one = now.behavior;
    if (!one) {
      text("label", "–");
      text("held", now.cameras.length ? "no model runs" : "");
      return;
    }
    id("behavior").style.setProperty("--class", this.palette.of(one.label));
    text("label", one.label || "–");
    text("held", one.label ? `for ${(one.for_ms / 1000).toFixed(1)} s` : one.warm ? "not sure yet" : "warming up");
    id("truth-now").hidden = !one.truth;
    text("truth-now", `in truth: ${one.truth}`, one.truth === one.label ? "" : "warn");
    this.bars(one);
    const share = now.agreement === null ? "" : `${(now.agreement * 100).toFixed(0)} % as in truth`;
    text("agreement", share);
  }

  bars(one) {
    const root = id("bars");
    const key = one.classes.map((entry) => entry.name).join("\n");
    if (root.dataset.key !== key) {
      root.dataset.key = key;
      root.replaceChildren();
      id("legend").replaceChildren();
      for (const entry of one.classes) {
        const bar = make("div", "bar", "");
        const fill = document.createElement("i");
        fill.style.background = this.palette.of(entry.name);
        bar.append(fill);
        root.append(make("span", "name", entry.name), bar, make("span", "p", ""));
        const item = make("span", "", entry.name);
        const swatch = document.createElement("i");
        swatch.style.background = this.palette.of(entry.name);
        item.prepend(swatch);
        id("legend").append(item);
      }
    }
    one.classes.forEach((entry, i) => {
      const [name, bar, p] = [root.children[3 * i], root.children[3 * i + 1], root.children[3 * i + 2]];
      name.classList.toggle("chosen", entry.name === one.label);
      bar.firstChild.style.width = `${entry.p * 100}%`;
      p.textContent = entry.p.toFixed(2);
    });
  }

  latency(now) {
    const one = now.latency;
    const ms = (value) => (value >= 100 ? value.toFixed(0) : value.toFixed(1));
    text("p50", one ? ms(one.exposure_p50) : "–");
    text("p99", one ? ms(one.exposure_p99) : "–");
    text("pmax", one ? ms(one.max_run) : "–");
    const replay = now.mode === "replay";
    const part = one ? `from reception ${ms(one.received_p50)} / ${ms(one.received_p99)} ms · last ${one.n} sets` : "";
    text("latency-note", replay ? "not measured in a replay" : part);
  }

  frames(now) {
    count("complete", now.sets.complete);
    count("partial", now.sets.partial);
    count("late", now.sets.late);
    const sum = (name) => now.cameras.reduce((total, camera) => total + camera[name], 0);
    count("dropped", sum("dropped"));
    count("declared", sum("declared"));
    count("skipped", now.behavior ? now.behavior.skipped : 0);
    id("poses").hidden = !now.poses.length;
    id("poses").replaceChildren(...now.poses.map((one) => {
      const lost = one.dropped + one.declared;
      const said = `${one.state}, ${one.rate_hz.toFixed(1)} Hz, ${one.captured.toLocaleString("en")} frames`;
      return make("li", lost ? "warn" : "", `pose ${one.name}: ${said}${lost ? `, ${lost.toLocaleString("en")} lost` : ""}`);
    }));
  }

  arming(now) {
    const known = now.armed !== null;
    id("armed").hidden = !known;
    // Always there: this page may have been opened, or its monitor started, after the rules were armed.
    id("disarm").hidden = now.mode !== "live";
    if (!known) return;
    text("armed", now.armed ? "armed" : "disarmed");
    id("armed").title = `by ${now.armed_by}`;
    id("armed").classList.toggle("live", now.armed);
    id("armed").classList.toggle("warn", !now.armed);
    if (now.armed && !this.wasArmed) id("disarm-answer").hidden = true;
    this.wasArmed = now.armed;
  }

  async disarm() {
    const token = document.querySelector("meta[name=token]").content;
    const answer = id("disarm-answer");
    answer.hidden = false;
    answer.textContent = "disarming …";
    try {
      const response = await fetch("/api/disarm", { method: "POST", headers: { "X-Ethostream-Token": token } });
      answer.textContent = await response.text();
    } catch {
      answer.textContent = "The page cannot reach the rig. Say `ethostream disarm` in a terminal.";
    }
  }

  rules(now) {
    if (!now.rules.length) return;
    const root = id("rules");
    const key = now.rules.map((rule) => rule.name).join("\n");
    if (root.dataset.key !== key) {
      root.dataset.key = key;
      root.replaceChildren(...now.rules.map((rule) => {
        const line = make("div", "rule", "");
        line.dataset.rule = rule.name;
        line.append(make("span", "", rule.name), make("span", "count", ""));
        return line;
      }));
    }
    now.rules.forEach((rule, i) => {
      const line = root.children[i];
      const sham = rule.sham ? ` · ${rule.sham} sham` : "";
      line.lastChild.textContent = `${rule.fired} fired${sham} · ${rule.withheld} withheld`;
      const before = this.fired.get(rule.name);
      if (before !== undefined && rule.fired > before) {
        const last = now.triggers.findLast((one) => one.rule === rule.name && one.action === "fired");
        line.style.setProperty("--class", this.palette.of(last?.behavior));
        line.classList.remove("flash");
        void line.offsetWidth; // so that the animation starts again
        line.classList.add("flash");
      }
      this.fired.set(rule.name, rule.fired);
    });
    const latest = [...now.triggers].reverse().slice(0, SHOWN_TRIGGERS);
    id("triggers").replaceChildren(...latest.map((one) => {
      const line = make("li", one.action, "");
      const on = one.behavior ? ` on ${one.behavior}` : "";
      const words = { fired: `▼ ${one.rule}${on}`, sham: `▽ ${one.rule} sham${on}` };
      const why = words[one.action] ?? `▽ ${one.rule} withheld: ${one.reason}`;
      line.append(make("span", "", why), make("span", "when", `${ageText(Math.max(0, (now.t_set_ms ?? now.t_ms) - one.t_ms))} ago`));
      return line;
    }));
  }

  problems(now) {
    const shown = now.problems.slice(0, SHOWN_PROBLEMS).map((one) => {
      const line = make("li", one.severity, "");
      const times = one.n > 1 ? ` (×${one.n})` : "";
      const age = now.t_ms - one.t_ms;
      line.append(
        make("span", "severity", one.severity),
        make("span", "who", one.who),
        make("span", "", `${one.text}${times}`),
        make("span", "when", age < 1000 ? "now" : `${ageText(age)} ago`),
      );
      return line;
    });
    if (now.problems.length > SHOWN_PROBLEMS) {
      shown.push(make("li", "warning", `and ${now.problems.length - SHOWN_PROBLEMS} more; all stand in the report`));
    }
    id("problems").replaceChildren(...shown);
  }
}
