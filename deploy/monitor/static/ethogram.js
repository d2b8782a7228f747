// The last minute: what the model says, what is true where a simulator knows it, and where rules fired.

const WINDOW_MS = 60000;
const MARKS_TOP = 0;
const MODEL_TOP = 16;
const MODEL_HEIGHT = 40;
const TRUTH_TOP = 60;
const TRUTH_HEIGHT = 18;
const AXIS_TOP = 84;
const NAMES_WIDTH = 52;
const LONGEST_GUESS_MS = 600; // how far the strip may glide on between two messages

export class Ethogram {
  constructor(canvas, palette) {
    this.canvas = canvas;
    this.palette = palette;
    this.context = canvas.getContext("2d");
    this.now = null;
    this.heardAt = 0;
    this.right = 0;
    const frame = () => {
      this.draw();
      requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
  }

  onStatus(now) {
    this.now = now;
    this.heardAt = performance.now();
  }

  draw() {
    const { canvas, context: c, now } = this;
    const scale = window.devicePixelRatio || 1;
    const width = canvas.clientWidth;
    const height = canvas.clientHeight;
    if (canvas.width !== Math.round(width * scale)) canvas.width = Math.round(width * scale);
    if (canvas.height !== Math.round(height * scale)) canvas.height = Math.round(height * scale);
    c.setTransform(scale, 0, 0, scale, 0, 0);
    c.clearRect(0, 0, width, height);
    c.textBaseline = "middle";
    c.font = "12px system-ui, 'DejaVu Sans', sans-serif";
    const left = NAMES_WIDTH;
    const span = width - left - 8;
    this.names(c, left, span, now);
    if (!now || now.t_set_ms === null) return;
    const gone = now.mode === "live" ? Math.min(LONGEST_GUESS_MS, performance.now() - this.heardAt) : 0;
    const target = now.t_set_ms + gone;
    // Never backwards by a little: a strip that trembles is tiring to watch.
    this.right = target < this.right && this.right - target < LONGEST_GUESS_MS ? this.right : target;
    const x = (tMs) => left + span * (1 - (this.right - tMs) / WINDOW_MS);
    this.axis(c, left, span);
    c.save();
    c.beginPath();
    c.rect(left, 0, span, AXIS_TOP);
    c.clip();
    this.row(c, now.strip, x, MODEL_TOP, MODEL_HEIGHT, true);
    this.row(c, now.truth_strip, x, TRUTH_TOP, TRUTH_HEIGHT, !now.strip.length);
    for (const trigger of now.triggers) this.mark(c, trigger, x(trigger.t_ms));
    c.restore();
  }

  names(c, left, span, now) {
    c.fillStyle = "#0b0f14";
    c.fillRect(left, MODEL_TOP, span, MODEL_HEIGHT);
    c.textAlign = "right";
    c.fillStyle = "#7f8c9b";
    c.fillText("model", left - 10, MODEL_TOP + MODEL_HEIGHT / 2);
    if (now && now.truth_strip.length) {
      c.fillText("truth", left - 10, TRUTH_TOP + TRUTH_HEIGHT / 2);
      c.fillStyle = "#0b0f14";
      c.fillRect(left, TRUTH_TOP, span, TRUTH_HEIGHT);
    }
  }

  axis(c, left, span) {
    c.fillStyle = "#7f8c9b";
    for (let s = 60; s >= 0; s -= 10) {
      const at = left + span * (1 - s / 60);
      c.fillRect(Math.round(at) - (s ? 0 : 1), AXIS_TOP, 1, 4);
      c.textAlign = s === 60 ? "left" : s ? "center" : "right";
      c.fillText(s ? `−${s} s` : "now", at, AXIS_TOP + 14);
    }
  }

  row(c, stretches, x, top, height, named) {
    c.textAlign = "left";
    for (const [label, start, end] of stretches) {
      const from = x(start);
      const to = x(end);
      if (to < 0) continue;
      c.fillStyle = this.palette.of(label);
      c.fillRect(from, top, Math.max(1, to - from), height);
      const shown = to - Math.max(from, NAMES_WIDTH);
      if (named && c.measureText(label).width + 14 < shown) {
        c.fillStyle = "#0b0f14";
        c.fillText(label, Math.max(from, NAMES_WIDTH) + 7, top + height / 2 + 0.5);
      }
    }
  }

  mark(c, trigger, at) {
    const fired = trigger.action === "fired";
    c.fillStyle = fired ? "#ffffff" : "#5b6775";
    c.beginPath();
    c.moveTo(at - 5, MARKS_TOP + 2);
    c.lineTo(at + 5, MARKS_TOP + 2);
    c.lineTo(at, MARKS_TOP + 12);
    c.fill();
    if (fired) c.fillRect(at - 0.5, MARKS_TOP + 12, 1, MODEL_TOP + MODEL_HEIGHT - 12);
  }
}
