// The page: takes what comes over the socket to the parts that draw it.

import { Ethogram } from "./ethogram.js";
import { Palette } from "./palette.js";
import { RigSocket } from "./socket.js";
import { Spark } from "./spark.js";
import { StatusPanel } from "./status.js";
import { Tiles } from "./tiles.js";

const id = (name) => document.getElementById(name);
const palette = new Palette();
const tiles = new Tiles(id("views"), id("no-cameras"));
const ethogram = new Ethogram(id("strip"), palette);
const spark = new Spark(id("spark"));
const panel = new StatusPanel(palette);

function onStatus(status) {
  const now = status.now;
  palette.onStatus(status);
  tiles.onStatus(now, palette.of(now.behavior?.label));
  ethogram.onStatus(now);
  spark.onStatus(now.latency);
  panel.onStatus(now);
}

function onLink(state, waitMs) {
  const open = state === "open";
  id("link").textContent = open ? "connected" : "connection lost";
  id("link").classList.toggle("good", open);
  id("link").classList.toggle("bad", !open);
  document.body.classList.toggle("stale", !open);
  id("banner").hidden = open;
  if (!open) {
    const seconds = (waitMs / 1000).toFixed(1);
    id("banner").textContent =
      `Connection to the rig lost. What you see is old; trying again in ${seconds} s. Recording does not depend on this page.`;
  }
}

new RigSocket({ onStatus, onTile: (buffer) => tiles.onTile(buffer), drawn: () => tiles.drawn(), onLink });
