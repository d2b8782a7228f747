// Colour of each class: by its place in the model, the same everywhere on the page.

const NONE = "#4a5563";

export class Palette {
  constructor() {
    this.colors = [];
    this.places = new Map();
  }

  onStatus(status) {
    this.colors = status.palette;
    if (!status.now.behavior) return;
    this.places = new Map(status.now.behavior.classes.map((entry, i) => [entry.name, i]));
  }

  of(name) {
    if (!name) return NONE;
    if (!this.places.has(name)) this.places.set(name, this.places.size);
    return this.colors[this.places.get(name) % this.colors.length] ?? NONE;
  }
}
