// One picture per view: newest only, with the box that the model looked at.

const HEADER_BYTES = 24; // as TILE_HEADER in tile.py
const FULL = 65535;
const LEAST_HEIGHT = 240;

function readHeader(buffer) {
  const view = new DataView(buffer, 0, HEADER_BYTES);
  const part = (at) => view.getUint16(at, true) / FULL;
  return {
    camera: view.getUint8(1),
    boxValid: view.getUint8(2) === 1,
    number: view.getUint32(4, true),
    tMs: view.getFloat64(8, true),
    box: [part(16), part(18), part(20), part(22)],
  };
}

export function ageText(ms) {
  if (ms === null) return "";
  if (ms < 1000) return `${Math.round(ms)} ms`;
  return ms < 60000 ? `${(ms / 1000).toFixed(1)} s` : `${Math.floor(ms / 60000)} min`;
}

class Tile {
  constructor(name, onShape) {
    this.onShape = onShape;
    this.root = document.createElement("figure");
    this.root.className = "tile waiting";
    this.root.style.margin = "0";
    this.root.dataset.camera = name;
    this.root.innerHTML =
      '<canvas></canvas><div class="box" hidden></div><div class="veil">waiting</div>' +
      '<figcaption class="caption"><span class="name"></span><span class="age dim"></span><span class="rate"></span></figcaption>';
    this.canvas = this.root.querySelector("canvas");
    this.box = this.root.querySelector(".box");
    this.veil = this.root.querySelector(".veil");
    this.age = this.root.querySelector(".age");
    this.rate = this.root.querySelector(".rate");
    this.root.querySelector(".name").textContent = name;
    this.context = this.canvas.getContext("2d", { alpha: false });
    this.number = 0;
  }

  async draw(header, jpeg) {
    const image = await createImageBitmap(new Blob([jpeg], { type: "image/jpeg" }));
    if (this.canvas.width !== image.width || this.canvas.height !== image.height) {
      this.canvas.width = image.width;
      this.canvas.height = image.height;
      this.root.style.setProperty("--aspect", `${image.width} / ${image.height}`);
      this.onShape();
    }
    this.context.drawImage(image, 0, 0);
    image.close();
    this.number = header.number;
    this.root.dataset.number = header.number;
    this.box.hidden = !header.boxValid;
    ["left", "top", "width", "height"].forEach((side, i) => {
      this.box.style[side] = `${header.box[i] * 100}%`;
    });
  }

  status(camera) {
    this.root.className = `tile ${camera.state}`;
    this.veil.textContent = camera.state === "silent" ? `no frame for ${ageText(camera.age_ms)}` : camera.state;
    this.age.textContent = camera.age_ms === null ? "" : `${ageText(camera.age_ms)} old`;
    this.age.classList.toggle("warn", camera.age_ms > 500);
    const lost = camera.dropped + camera.declared;
    this.rate.textContent = `${camera.rate_hz.toFixed(1)} Hz${lost ? ` · ${lost.toLocaleString()} lost` : ""}`;
    this.rate.classList.toggle("warn", lost > 0);
  }
}

export class Tiles {
  constructor(root, empty) {
    this.root = root;
    this.empty = empty;
    this.tiles = [];
    this.drawing = new Map(); // camera index -> promise of the picture that is being decoded
    new ResizeObserver(() => this.arrange()).observe(root);
    window.addEventListener("resize", () => this.arrange());
  }

  onTile(buffer) {
    const header = readHeader(buffer);
    const tile = this.tiles[header.camera];
    if (!tile) return; // its name comes with the next status
    const done = tile.draw(header, new Uint8Array(buffer, HEADER_BYTES)).catch((error) => console.warn("tile", error));
    this.drawing.set(header.camera, done);
  }

  async drawn() {
    await Promise.all(this.drawing.values());
    this.drawing.clear();
  }

  onStatus(now, color) {
    this.root.style.setProperty("--class", color);
    this.empty.hidden = now.cameras.length > 0;
    if (now.poses.length) this.empty.textContent = "No camera: this rig takes keypoints from files.";
    now.cameras.forEach((camera, i) => {
      if (!this.tiles[i] || this.tiles[i].root.dataset.camera !== camera.name) this.put(i, camera.name);
      this.tiles[i].status(camera);
    });
    while (this.tiles.length > now.cameras.length) this.tiles.pop().root.remove();
  }

  put(i, name) {
    const tile = new Tile(name, () => this.arrange());
    if (this.tiles[i]) this.tiles[i].root.replaceWith(tile.root);
    else this.root.append(tile.root);
    this.tiles[i] = tile;
    this.arrange();
  }

  // As many columns as show every view at the largest size that still leaves the ethogram on the screen.
  arrange() {
    const n = this.tiles.length;
    if (!n) return;
    const style = getComputedStyle(this.root);
    const gap = parseFloat(style.columnGap) || 0;
    const width = this.root.clientWidth;
    const below = document.getElementById("ethogram").offsetHeight + 28;
    const top = this.root.getBoundingClientRect().top + window.scrollY;
    const height = Math.max(LEAST_HEIGHT, window.innerHeight - top - below);
    const aspect = this.tiles[0].canvas.width / this.tiles[0].canvas.height || 4 / 3;
    let best = { size: 0, columns: 1 };
    for (let columns = 1; columns <= n; columns += 1) {
      const rows = Math.ceil(n / columns);
      const size = Math.min((width - gap * (columns - 1)) / columns, ((height - gap * (rows - 1)) / rows) * aspect);
      if (size > best.size + 1) best = { size, columns };
    }
    this.root.style.gridTemplateColumns = `repeat(${best.columns}, ${Math.floor(best.size)}px)`;
  }
}
