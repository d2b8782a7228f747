// The protocol core of an ethostream board: framing, commands, pulse trains, edges, watchdog.
//
// Plain C++11 without any Arduino header, so that the same code runs on a board and, compiled for a computer, in the
// tests. The other end is sync/board_protocol.py, which describes the wire format.
//
// `Hardware` is what a platform provides, with these members:
//   static constexpr uint8_t n_outputs, n_inputs;      lines 0 .. n-1
//   static constexpr uint32_t min_period_us;           of trigger pulses
//   static constexpr uint32_t min_width_us;            of trigger pulses, high and low
//   static constexpr uint32_t max_on_us;               no output line but the trigger is ever high for longer
//   static constexpr uint32_t max_duty_percent;        nor, over any time T, for more than max_on_us + this share of T
//   const char *name();                                at most 16 characters
//   uint32_t micros();                                 wraps at 2^32
//   void write(const uint8_t *bytes, size_t n);        to the host; never waits: what does not fit is left out
//   size_t room();                                     bytes that write() would take now
//   void set_output(uint8_t line, bool high);
//   void start_train();                                call on_edge() after about 1 ms and then after each next_interval()
//   void stop_train();                                 no more calls
//   void lock(), unlock();                             keep interrupts away
//
// on_edge(), next_interval() and on_input() may be called from an interrupt; all else from the main loop.
#ifndef ETHOSTREAM_BOARD_CORE_H
#define ETHOSTREAM_BOARD_CORE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

namespace ethostream {

constexpr uint8_t PROTOCOL_VERSION = 1;
constexpr uint8_t FIRMWARE_MAJOR = 1;
constexpr uint8_t FIRMWARE_MINOR = 1;
constexpr size_t NAME_BYTES = 16;
constexpr size_t MAX_BODY = 32;
constexpr size_t MAX_PAYLOAD = 2 + MAX_BODY + 2;
constexpr size_t MAX_FRAME = 40;  // on the wire, closing zero included
constexpr uint32_t MAX_DENOMINATOR = 1000000;
constexpr size_t EDGE_ROOM = 48;  // an edge is sent while this much is free, so that an answer always fits as well
constexpr uint32_t DEFAULT_WATCHDOG_MS = 1000;

enum Type : uint8_t {
  HELLO = 0x01, ARM = 0x02, START = 0x03, STOP = 0x04, PULSE_TRAIN = 0x05, WATCHDOG = 0x06, PING = 0x07, WATCH = 0x08,
  QUERY = 0x09, RELEASE = 0x0A, HELLO_IS = 0x81, ACK = 0x82, NAK = 0x83, EDGE = 0x84, STATUS = 0x85, PONG = 0x86
};
enum Reason : uint8_t { UNKNOWN_COMMAND = 1, OTHER_VERSION, NOT_ARMED, BAD_VALUE, BUSY, NO_SUCH_LINE, OVER_LIMIT };
enum Flags : uint8_t { RISING = 1, INPUT_LINE = 2, ARMED = 1, RUNNING = 2, WATCHDOG_FIRED = 4, STIMULI_ARMED = 8 };

// CRC-16/CCITT-FALSE.
inline uint16_t crc16(const uint8_t *data, size_t n) {
  uint16_t crc = 0xFFFF;
  for (size_t i = 0; i < n; i++) {
    crc ^= static_cast<uint16_t>(static_cast<uint16_t>(data[i]) << 8);
    for (uint8_t bit = 0; bit < 8; bit++)
      crc = static_cast<uint16_t>(crc & 0x8000 ? (crc << 1) ^ 0x1021 : crc << 1);
  }
  return crc;
}

// `out` has room for n + 1 bytes; n <= 253. Returns the length.
inline size_t cobs_encode(const uint8_t *data, size_t n, uint8_t *out) {
  size_t code_at = 0, length = 1;
  uint8_t code = 1;
  for (size_t i = 0; i < n; i++) {
    if (data[i] == 0) {
      out[code_at] = code;
      code_at = length++;
      code = 1;
    } else {
      out[length++] = data[i];
      code++;
    }
  }
  out[code_at] = code;
  return length;
}

// Decodes in place; returns the length, 0 where this is no whole encoding.
inline size_t cobs_decode(uint8_t *data, size_t n) {
  size_t at = 0, length = 0;
  while (at < n) {
    const size_t code = data[at];
    if (code == 0 || at + code > n) return 0;
    for (size_t i = at + 1; i < at + code; i++) data[length++] = data[i];
    at += code;
    if (at < n) data[length++] = 0;
  }
  return length;
}

inline uint32_t get32(const uint8_t *at) {
  return static_cast<uint32_t>(at[0]) | static_cast<uint32_t>(at[1]) << 8 | static_cast<uint32_t>(at[2]) << 16 |
         static_cast<uint32_t>(at[3]) << 24;
}
inline void put16(uint8_t *at, uint16_t value) {
  at[0] = static_cast<uint8_t>(value);
  at[1] = static_cast<uint8_t>(value >> 8);
}
inline void put32(uint8_t *at, uint32_t value) {
  put16(at, static_cast<uint16_t>(value));
  put16(at + 2, static_cast<uint16_t>(value >> 16));
}

// The times between edges of the trigger: high, low, high, low. A period of num/den µs is kept exactly on average.
struct Schedule {
  uint32_t whole = 0, remainder = 0, denominator = 1, sum = 0, width = 0, low = 0;
  bool rose = false;

  void begin(uint32_t num, uint32_t den, uint32_t width_us) {
    whole = num / den;
    remainder = num % den;
    denominator = den;
    width = width_us;
    sum = 0;
    rose = false;
  }
  uint32_t next() {
    rose = !rose;
    if (!rose) return low;
    uint32_t period = whole;
    sum += remainder;
    if (sum >= denominator) {
      sum -= denominator;
      period++;
    }
    low = period - width;
    return width;
  }
};

struct Event {
  uint8_t line, flags;
  uint32_t count, board_us;
};

template <class Hardware, uint8_t QUEUE = 32>
class BoardCore {
 public:
  explicit BoardCore(Hardware &hardware) : hw(hardware) {}

  // Once, when the board has started: all lines low, and say who this is.
  void begin() {
    for (uint8_t line = 0; line < Hardware::n_outputs; line++) hw.set_output(line, false);
    heard_us = hw.micros();
    for (Train &train : trains) train.topped = heard_us;
    send_hello();
  }

  // One byte from the host.
  void receive(uint8_t byte) {
    if (byte != 0) {
      if (n_in < sizeof(in)) in[n_in++] = byte;
      else overlong = true;
      return;
    }
    const size_t n = n_in;
    n_in = 0;
    if (n == 0 && !overlong) return;
    const size_t length = overlong ? 0 : cobs_decode(in, n);
    overlong = false;
    if (length < 4 || crc16(in, length - 2) != static_cast<uint16_t>(in[length - 2] | in[length - 1] << 8)) {
      rx_errors++;
      return;
    }
    heard_us = hw.micros();
    watchdog_fired = false;
    obey(in[0], in[1], in + 2, length - 4);
  }

  // As often as possible: reports what interrupts have queued, times the pulse trains, watches the host.
  void poll() {
    while (tail != head && hw.room() >= EDGE_ROOM) {
      const Event event = queue[tail];
      tail = static_cast<uint8_t>((tail + 1) % QUEUE);
      uint8_t body[10] = {event.line, event.flags};
      put32(body + 2, event.count);
      put32(body + 6, event.board_us);
      send(EDGE, body, sizeof(body));
    }
    if (finished) {
      finished = false;
      send_status();
    }
    const uint32_t now = hw.micros();
    for (uint8_t line = 0; line < Hardware::n_outputs; line++) run_train(line, now);
    if (!watchdog_fired && now - heard_us > watchdog_us && any_output()) {
      watchdog_fired = true;
      stop_trigger();
      release();
      send_status();
    }
  }

  // The trigger's timer has run out.
  void on_edge() {
    if (!running) return;
    if (!level) {
      hw.set_output(trigger_line, true);
      level = true;
      push(trigger_line, RISING, pulses, hw.micros());
      pulses = pulses + 1;
    } else {
      hw.set_output(trigger_line, false);
      level = false;
      if (n_pulses != 0 && pulses >= n_pulses) {
        running = false;
        armed = false;
        finished = true;
        hw.stop_train();
      }
    }
  }

  // µs from an edge to the one after it; called once per edge, in their order.
  uint32_t next_interval() { return schedule.next(); }

  // An input line has changed.
  void on_input(uint8_t line, bool high) {
    const uint8_t wanted = high ? 1 : 2;
    if (line >= Hardware::n_inputs || !(watched[line] & wanted)) return;
    push(line, static_cast<uint8_t>(INPUT_LINE | (high ? RISING : 0)), edge_counts[line]++, hw.micros());
    edges = edges + 1;
  }

 private:
  // One output line's pulses, and the time that it may still be high: full at the start, spent by every pulse, and
  // filled again at the rate of max_duty_percent.
  struct Train {
    uint32_t left = 0, width = 0, period = 0, since = 0, count = 0, budget = Hardware::max_on_us, topped = 0;
    bool high = false;

    void top_up(uint32_t now) {
      if (now - topped < 1000) return;  // a division in every turn of the loop would slow a small board down
      const uint32_t steps = (now - topped) / 1000, room = Hardware::max_on_us - budget;
      topped += steps * 1000;
      budget = steps > room / STEP_US ? Hardware::max_on_us : budget + steps * STEP_US;
    }
    // What `n` pulses take from the budget at most, above what is filled up meanwhile.
    static uint64_t need(uint32_t width_us, uint32_t period_us, uint32_t n) {
      const uint64_t filled = static_cast<uint64_t>(period_us) * Hardware::max_duty_percent / 100;
      const uint64_t each = filled < width_us ? width_us - filled : 0;
      return width_us + (n > 1 ? STEP_US + each * (n - 1) : 0);
    }
    static constexpr uint32_t STEP_US = 10 * Hardware::max_duty_percent;  // filled per ms
  };

  void push(uint8_t line, uint8_t flags, uint32_t count, uint32_t board_us) {
    const uint8_t next = static_cast<uint8_t>((head + 1) % QUEUE);
    if (next == tail) {
      overflow = overflow + 1;
      return;
    }
    queue[head] = Event{line, flags, count, board_us};
    head = next;
  }

  void obey(uint8_t type, uint8_t seq, const uint8_t *body, size_t n) {
    static const struct { uint8_t type, length; } lengths[] = {{HELLO, 1}, {ARM, 1}, {START, 17}, {STOP, 0},
      {PULSE_TRAIN, 17}, {WATCHDOG, 4}, {PING, 4}, {WATCH, 2}, {QUERY, 0}, {RELEASE, 0}};
    bool known = false;
    for (const auto &one : lengths) {
      if (one.type != type) continue;
      known = true;
      if (one.length != n) return nak(type, seq, BAD_VALUE);
    }
    if (!known) return nak(type, seq, UNKNOWN_COMMAND);
    switch (type) {
      case HELLO:
        if (body[0] != PROTOCOL_VERSION) return nak(type, seq, OTHER_VERSION);
        release();  // whoever greets begins anew: what another program had armed is so no longer
        watchdog_us = DEFAULT_WATCHDOG_MS * 1000;
        return send_hello();
      case ARM:
        if (body[0] >= Hardware::n_outputs) return nak(type, seq, NO_SUCH_LINE);
        if (running) return nak(type, seq, BUSY);
        drop(body[0]);
        hw.lock();
        trigger_line = body[0];
        hw.set_output(trigger_line, false);
        pulses = 0;
        edges = 0;
        for (auto &count : edge_counts) count = 0;
        overflow = 0;
        rx_errors = 0;
        head = 0;
        tail = 0;
        finished = false;
        armed = true;
        hw.unlock();
        return ack(type, seq);
      case START: {
        if (!armed) return nak(type, seq, NOT_ARMED);
        if (running) return nak(type, seq, BUSY);
        if (body[0] != trigger_line) return nak(type, seq, NO_SUCH_LINE);
        const uint32_t num = get32(body + 1), den = get32(body + 5), width = get32(body + 9);
        if (den == 0 || den > MAX_DENOMINATOR || num / den < Hardware::min_period_us || width < Hardware::min_width_us ||
            width > num / den - Hardware::min_width_us)
          return nak(type, seq, BAD_VALUE);
        schedule.begin(num, den, width);
        n_pulses = get32(body + 13);
        level = false;
        running = true;
        ack(type, seq);
        return hw.start_train();
      }
      case STOP:
        stop_trigger();
        finished = false;
        ack(type, seq);
        poll();  // what was queued before the stop goes out before the last status, while there is room
        return send_status();
      case PULSE_TRAIN: {
        if (body[0] >= Hardware::n_outputs) return nak(type, seq, NO_SUCH_LINE);
        if (!stimuli_armed) return nak(type, seq, NOT_ARMED);
        if ((armed && body[0] == trigger_line) || trains[body[0]].left != 0) return nak(type, seq, BUSY);
        const uint32_t width = get32(body + 1), period = get32(body + 5), count = get32(body + 9);
        const uint32_t max_on = get32(body + 13);
        if (width == 0 || count == 0 || width > max_on || width > Hardware::max_on_us ||
            (count > 1 && period <= width))
          return nak(type, seq, BAD_VALUE);
        Train &train = trains[body[0]];
        const uint32_t now = hw.micros();
        train.top_up(now);
        if (Train::need(width, period, count) > train.budget) return nak(type, seq, OVER_LIMIT);
        train.left = count;
        train.width = width;
        train.period = period;
        rise(body[0], now);
        report(body[0], RISING, now);
        return ack(type, seq);
      }
      case WATCHDOG: {
        const uint32_t ms = get32(body);
        if (ms == 0 || ms > 60000) return nak(type, seq, BAD_VALUE);
        watchdog_us = ms * 1000;
        stimuli_armed = true;
        return ack(type, seq);
      }
      case PING: {
        uint8_t pong[8];
        memcpy(pong, body, 4);
        put32(pong + 4, hw.micros());
        return send(PONG, pong, sizeof(pong));
      }
      case WATCH:
        if (body[0] >= Hardware::n_inputs) return nak(type, seq, NO_SUCH_LINE);
        if (body[1] > 3) return nak(type, seq, BAD_VALUE);
        watched[body[0]] = body[1];
        return ack(type, seq);
      case QUERY:
        return send_status();
      default:  // RELEASE
        release();
        return ack(type, seq);
    }
  }

  void stop_trigger() {
    hw.lock();
    running = false;
    armed = false;
    level = false;
    hw.stop_train();
    hw.set_output(trigger_line, false);
    hw.unlock();
  }

  void release() {
    stimuli_armed = false;
    for (uint8_t line = 0; line < Hardware::n_outputs; line++) {
      if (line == trigger_line && armed) continue;
      drop(line);
      hw.set_output(line, false);
    }
  }

  bool any_output() const {
    bool any = armed || running || stimuli_armed;
    for (const Train &train : trains) any = any || train.left != 0;
    return any;
  }

  // The next pulse of a line; its time is spent at once.
  void rise(uint8_t line, uint32_t now) {
    Train &train = trains[line];
    train.since = now;
    train.budget -= train.width;
    train.high = true;
    hw.set_output(line, true);
  }

  // The line is low; what it was high for beyond its width, since the loop was held up, is spent as well.
  void fall(uint8_t line, uint32_t now) {
    Train &train = trains[line];
    hw.set_output(line, false);
    train.high = false;
    const uint32_t lasted = now - train.since;
    if (lasted > train.width) train.budget -= lasted - train.width < train.budget ? lasted - train.width : train.budget;
  }

  // Ends the train of a line, whatever is left of it.
  void drop(uint8_t line) {
    Train &train = trains[line];
    if (train.left == 0) return;
    const uint32_t now = hw.micros();
    if (train.high) fall(line, now);
    train.left = 0;
    report(line, 0, now);
  }

  // The first rise of a train and its end, with the number of the train: when the stimulus really was.
  void report(uint8_t line, uint8_t flags, uint32_t now) {
    hw.lock();
    push(line, flags, trains[line].count, now);
    hw.unlock();
    if (!(flags & RISING)) trains[line].count++;
  }

  void run_train(uint8_t line, uint32_t now) {
    Train &train = trains[line];
    train.top_up(now);
    if (train.left == 0) return;
    if (train.high && now - train.since >= train.width) {
      fall(line, now);
      if (--train.left == 0) report(line, 0, now);
    }
    if (!train.high && train.left != 0 && now - train.since >= train.period) {
      // A loop that was held up makes a pulse late, never longer, and the budget is looked at again before each.
      const uint32_t due = train.since + train.period;
      if (train.budget < train.width) return drop(line);
      rise(line, now - due >= train.width ? now : due);
    }
  }

  void ack(uint8_t type, uint8_t seq) {
    const uint8_t body[2] = {type, seq};
    send(ACK, body, sizeof(body));
  }

  void nak(uint8_t type, uint8_t seq, uint8_t reason) {
    const uint8_t body[3] = {type, seq, reason};
    send(NAK, body, sizeof(body));
  }

  void send_hello() {
    uint8_t body[9 + NAME_BYTES] = {PROTOCOL_VERSION, FIRMWARE_MAJOR, FIRMWARE_MINOR, Hardware::n_outputs,
                                    Hardware::n_inputs};
    put32(body + 5, hw.micros());
    strncpy(reinterpret_cast<char *>(body + 9), hw.name(), NAME_BYTES);
    send(HELLO_IS, body, sizeof(body));
  }

  void send_status() {
    uint8_t body[17];
    hw.lock();
    const uint32_t n_made = pulses, n_seen = edges;
    const uint16_t n_over = overflow;
    const uint8_t flags = static_cast<uint8_t>((armed ? ARMED : 0) | (running ? RUNNING : 0) |
                                               (watchdog_fired ? WATCHDOG_FIRED : 0) |
                                               (stimuli_armed ? STIMULI_ARMED : 0));
    hw.unlock();
    put32(body, hw.micros());
    body[4] = flags;
    put32(body + 5, n_made);
    put32(body + 9, n_seen);
    put16(body + 13, rx_errors);
    put16(body + 15, n_over);
    send(STATUS, body, sizeof(body));
  }

  void send(uint8_t type, const uint8_t *body, size_t n) {
    uint8_t payload[MAX_PAYLOAD], frame[MAX_FRAME];
    payload[0] = type;
    payload[1] = out_seq++;
    memcpy(payload + 2, body, n);
    put16(payload + 2 + n, crc16(payload, n + 2));
    const size_t length = cobs_encode(payload, n + 4, frame);
    frame[length] = 0;
    hw.write(frame, length + 1);
  }

  Hardware &hw;
  Schedule schedule;
  Train trains[Hardware::n_outputs];
  Event queue[QUEUE];
  volatile uint8_t head = 0, tail = 0;
  volatile bool armed = false, running = false, level = false, finished = false;
  volatile uint32_t pulses = 0, edges = 0;
  volatile uint16_t overflow = 0;
  uint32_t edge_counts[Hardware::n_inputs] = {};
  uint8_t watched[Hardware::n_inputs] = {};
  uint32_t n_pulses = 0, heard_us = 0, watchdog_us = DEFAULT_WATCHDOG_MS * 1000;
  uint16_t rx_errors = 0;
  uint8_t trigger_line = 0, out_seq = 0;
  bool watchdog_fired = false, overlong = false, stimuli_armed = false;
  uint8_t in[MAX_FRAME];
  size_t n_in = 0;
};

}  // namespace ethostream

#endif
