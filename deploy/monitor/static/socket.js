// The connection: reconnects for ever, says when it is gone, and answers each batch so that old pictures never queue up.

const FIRST_RETRY_MS = 500;
const LONGEST_RETRY_MS = 5000;
const SILENCE_MS = 4000;

export class RigSocket {
  // handlers: onStatus(object), onTile(ArrayBuffer), onLink("open" | "lost", ms until the next try)
  constructor(handlers) {
    this.handlers = handlers;
    this.retryMs = FIRST_RETRY_MS;
    this.heardAt = 0;
    this.socket = null;
    this.timer = 0;
    setInterval(() => this.checkSilence(), 1000);
    this.connect();
  }

  connect() {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = new WebSocket(`${scheme}://${location.host}/ws?sync=1`);
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    this.heardAt = performance.now();
    socket.onmessage = (event) => {
      if (socket === this.socket) this.receive(socket, event.data);
    };
    socket.onclose = () => this.lost(socket);
  }

  async receive(socket, data) {
    this.heardAt = performance.now();
    if (typeof data !== "string") {
      this.handlers.onTile(data);
      return;
    }
    const message = JSON.parse(data);
    if (message.type === "sync") {
      await this.handlers.drawn();
      if (socket.readyState === WebSocket.OPEN) socket.send(String(message.n));
    } else if (message.type === "status") {
      this.retryMs = FIRST_RETRY_MS;
      this.handlers.onLink("open", 0);
      this.handlers.onStatus(message);
    }
  }

  checkSilence() {
    // A machine that vanished sends no close; silence says so. A hidden tab is slow to answer, not cut off.
    const silent = performance.now() - this.heardAt > SILENCE_MS;
    if (silent && !document.hidden && this.socket && this.socket.readyState <= WebSocket.OPEN) {
      const socket = this.socket;
      socket.close();
      this.lost(socket);
    }
  }

  lost(socket) {
    if (socket !== this.socket) return;
    this.socket = null;
    const wait = this.retryMs;
    this.retryMs = Math.min(LONGEST_RETRY_MS, this.retryMs * 2);
    this.handlers.onLink("lost", wait);
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.connect(), wait);
  }
}
