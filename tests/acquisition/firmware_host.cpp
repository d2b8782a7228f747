// The firmware's own core behind a pseudo-terminal, in real time: what the host code is tested against.
//
// Usage: firmware_host [clock_ppm [clock_start_us [lines]]]. Prints the path of the terminal and runs until its standard
// input ends; with "lines", also every change of an output: line, level, microseconds. Output line n is wired to input
// line n; a letter on the standard input is somebody else's wire: A to D make input 0 to 3 high, a to d low.
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "board_core.h"

struct Host;
static ethostream::BoardCore<Host, 128> *core_of = nullptr;

struct Host {
  static constexpr uint8_t n_outputs = 4, n_inputs = 4;
  static constexpr uint32_t min_period_us = 200, min_width_us = 10;
  static constexpr uint32_t max_on_us = 10000000, max_duty_percent = 50;
  int fd = -1;
  double speed = 1.0;
  uint32_t start_us = 0;
  bool active = false, tell = false, levels[n_outputs] = {};
  uint64_t due_us = 0;

  const char *name() { return "firmware"; }
  uint64_t elapsed_us() {
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    const int64_t now_ns = static_cast<int64_t>(now.tv_sec) * 1000000000 + now.tv_nsec;
    static const int64_t begin_ns = now_ns;
    return static_cast<uint64_t>(static_cast<double>(now_ns - begin_ns) * 1e-3 * speed);
  }
  uint32_t micros() { return static_cast<uint32_t>(elapsed_us() + start_us); }
  size_t room() { return 4096; }
  void write(const uint8_t *bytes, size_t n) {
    while (n > 0) {
      const ssize_t done = ::write(fd, bytes, n);
      if (done <= 0) return;
      bytes += done;
      n -= static_cast<size_t>(done);
    }
  }
  void set_output(uint8_t line, bool high) {
    if (levels[line] == high) return;
    levels[line] = high;
    if (tell) {
      printf("%d %d %llu\n", line, high, static_cast<unsigned long long>(elapsed_us()));
      fflush(stdout);
    }
    if (core_of) core_of->on_input(line, high);
  }
  void lock() {}
  void unlock() {}
  void start_train() {
    due_us = elapsed_us() + 1000;
    active = true;
  }
  void stop_train() { active = false; }
};

int main(int argc, char **argv) {
  Host host;
  if (argc > 1) host.speed = 1.0 + atof(argv[1]) * 1e-6;
  host.tell = argc > 3 && strcmp(argv[3], "lines") == 0;
  if (argc > 2) host.start_us = static_cast<uint32_t>(strtoul(argv[2], nullptr, 10));
  host.fd = posix_openpt(O_RDWR | O_NOCTTY);
  if (host.fd < 0 || grantpt(host.fd) != 0 || unlockpt(host.fd) != 0) return 1;
  const int kept = open(ptsname(host.fd), O_RDWR | O_NOCTTY);  // else each close of the host would hang up
  termios raw;
  tcgetattr(kept, &raw);
  cfmakeraw(&raw);
  tcsetattr(kept, TCSANOW, &raw);
  ethostream::BoardCore<Host, 128> core(host);
  core_of = &core;
  printf("%s\n", ptsname(host.fd));
  fflush(stdout);
  core.begin();
  for (;;) {
    timespec wait = {0, 1000000};
    if (host.active) {
      const uint64_t now = host.elapsed_us();
      const uint64_t left = host.due_us > now ? host.due_us - now : 0;
      if (left < 1000) wait.tv_nsec = static_cast<long>(left) * 1000;
    }
    pollfd ends[2] = {{host.fd, POLLIN, 0}, {STDIN_FILENO, POLLIN, 0}};
    ppoll(ends, 2, &wait, nullptr);
    uint8_t bytes[256];
    if (ends[1].revents) {
      const ssize_t n = read(STDIN_FILENO, bytes, sizeof(bytes));
      if (n <= 0) return 0;
      for (ssize_t i = 0; i < n; i++) {
        if (bytes[i] >= 'A' && bytes[i] <= 'D') core.on_input(static_cast<uint8_t>(bytes[i] - 'A'), true);
        if (bytes[i] >= 'a' && bytes[i] <= 'd') core.on_input(static_cast<uint8_t>(bytes[i] - 'a'), false);
      }
    }
    if (ends[0].revents & POLLIN) {
      const ssize_t n = read(host.fd, bytes, sizeof(bytes));
      for (ssize_t i = 0; i < n; i++) core.receive(bytes[i]);
    }
    while (host.active && host.elapsed_us() >= host.due_us) {
      core.on_edge();
      host.due_us += core.next_interval();
    }
    core.poll();
  }
}
