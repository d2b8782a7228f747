// Latency over the last minute: p50 and p99 of what was measured at each moment.

const POINTS = 300; // a minute of statuses

export class Spark {
  constructor(canvas) {
    this.canvas = canvas;
    this.points = [];
  }

  onStatus(latency) {
    if (!latency) return;
    this.points.push([latency.exposure_p50, latency.exposure_p99]);
    if (this.points.length > POINTS) this.points.shift();
    this.draw();
  }

  draw() {
    const scale = window.devicePixelRatio || 1;
    const width = this.canvas.clientWidth;
    const height = 44;
    this.canvas.width = Math.round(width * scale);
    this.canvas.height = Math.round(height * scale);
    this.canvas.style.height = `${height}px`;
    const c = this.canvas.getContext("2d");
    c.scale(scale, scale);
    const top = Math.max(10, ...this.points.map((point) => point[1])) * 1.15;
    const x = (i) => width - ((this.points.length - 1 - i) * width) / (POINTS - 1);
    const y = (ms) => height - 1 - (ms / top) * (height - 2);
    c.fillStyle = "rgb(86 180 233 / .12)";
    c.beginPath();
    this.points.forEach((point, i) => c.lineTo(x(i), y(point[1])));
    for (let i = this.points.length - 1; i >= 0; i -= 1) c.lineTo(x(i), y(this.points[i][0]));
    c.fill();
    [["#56b4e9", 0, 1.6], ["#7f8c9b", 1, 1]].forEach(([color, which, line]) => {
      c.strokeStyle = color;
      c.lineWidth = line;
      c.beginPath();
      this.points.forEach((point, i) => c.lineTo(x(i), y(point[which])));
      c.stroke();
    });
  }
}
