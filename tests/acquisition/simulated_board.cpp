// The firmware's own core in simulated time, as a library: time passes only when it is told to.
//
// Output line n is wired to input line n. Every change of an output is kept with its instant, so that a test can say
// for how long a line was high, and when.
#include <stdint.h>
#include <string.h>

#include <vector>

#include "board_core.h"

struct Change {
  uint64_t us;
  uint8_t line, high;
};

struct Hardware {
  static constexpr uint8_t n_outputs = 4, n_inputs = 4;
  static constexpr uint32_t min_period_us = 200, min_width_us = 10;
  static constexpr uint32_t max_on_us = 2000000, max_duty_percent = 25;
  uint64_t now_us = 0;
  uint32_t start_us = 0;
  bool levels[n_outputs] = {}, active = false;
  uint64_t due_us = 0;
  std::vector<uint8_t> out;
  std::vector<Change> changes;
  ethostream::BoardCore<Hardware, 64> *core = nullptr;

  const char *name() { return "simulated"; }
  uint32_t micros() { return static_cast<uint32_t>(now_us + start_us); }
  size_t room() { return out.size() < 4096 ? 4096 - out.size() : 0; }
  void write(const uint8_t *bytes, size_t n) {
    if (room() >= n) out.insert(out.end(), bytes, bytes + n);
  }
  void set_output(uint8_t line, bool high) {
    if (levels[line] == high) return;
    levels[line] = high;
    changes.push_back(Change{now_us, line, static_cast<uint8_t>(high)});
    if (core) core->on_input(line, high);
  }
  void lock() {}
  void unlock() {}
  void start_train() {
    due_us = now_us + 1000;
    active = true;
  }
  void stop_train() { active = false; }
};

struct Board {
  Hardware hardware;
  ethostream::BoardCore<Hardware, 64> core;
  explicit Board(uint64_t now_us, uint32_t start_us) : core(hardware) {
    hardware.now_us = now_us;
    hardware.start_us = start_us;
    hardware.core = &core;
    core.begin();
  }
};

extern "C" {
// A board that is switched on at `now_us` of the simulation; its own clock shows `start_us` more.
Board *board_new(uint64_t now_us, uint32_t start_us) { return new Board(now_us, start_us); }
void board_delete(Board *board) { delete board; }
void board_receive(Board *board, const uint8_t *bytes, size_t n) {
  for (size_t i = 0; i < n; i++) board->core.receive(bytes[i]);
}
// Time passes; the main loop turns every `step_us`.
void board_run(Board *board, uint64_t until_us, uint32_t step_us) {
  Hardware &hardware = board->hardware;
  while (hardware.now_us < until_us) {
    hardware.now_us = hardware.now_us + step_us < until_us ? hardware.now_us + step_us : until_us;
    while (hardware.active && hardware.now_us >= hardware.due_us) {
      board->core.on_edge();
      hardware.due_us += board->core.next_interval();
    }
    board->core.poll();
  }
}
size_t board_take(Board *board, uint8_t *bytes, size_t room) {
  std::vector<uint8_t> &out = board->hardware.out;
  const size_t n = out.size() < room ? out.size() : room;
  if (n) memcpy(bytes, out.data(), n);
  out.erase(out.begin(), out.begin() + static_cast<long>(n));
  return n;
}
int board_level(Board *board, uint8_t line) { return board->hardware.levels[line]; }
size_t board_n_changes(Board *board) { return board->hardware.changes.size(); }
void board_change(Board *board, size_t at, uint64_t *us, uint8_t *line, uint8_t *high) {
  const Change &change = board->hardware.changes[at];
  *us = change.us;
  *line = change.line;
  *high = change.high;
}
}
