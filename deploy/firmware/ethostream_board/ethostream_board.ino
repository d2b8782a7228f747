// Trigger source and digital lines of an ethostream rig, for Teensy 3.x / 4.x and for AVR boards (Uno, Nano, Mega).
// Wiring, limits and flashing: ../README.md. All that is not this hardware stands in board_core.h.

#include "board_core.h"

#if defined(TEENSYDUINO)
static const uint8_t OUTPUT_PINS[] = {2, 3, 4, 5};   // line 0 is the camera trigger
static const uint8_t INPUT_PINS[] = {8, 9, 10, 11};
#define EVENT_QUEUE 128
#elif defined(__AVR__)
static const uint8_t OUTPUT_PINS[] = {4, 5, 6, 7};
static const uint8_t INPUT_PINS[] = {2, 3};          // the two pins of an Uno that interrupt by themselves
#define EVENT_QUEUE 24
#else
#error "This board has no trigger timer here yet: add its timer below, as for Teensy or AVR"
#endif

struct Board {
  static constexpr uint8_t n_outputs = sizeof(OUTPUT_PINS);
  static constexpr uint8_t n_inputs = sizeof(INPUT_PINS);
#if defined(TEENSYDUINO)
  static constexpr uint32_t min_period_us = 200, min_width_us = 10;
#else
  // An interrupt that comes late must not miss the next one: Timer1 would then run a full turn of 33 ms.
  static constexpr uint32_t min_period_us = 1500, min_width_us = 100;
#endif
  // Hard limits of every stimulus line, whatever the computer asks for: make them as low as your stimulus allows.
  static constexpr uint32_t max_on_us = 10000000, max_duty_percent = 50;

  const char *name() { return "ethostream"; }
  uint32_t micros() { return ::micros(); }
  size_t room() { return Serial.availableForWrite(); }
  void write(const uint8_t *bytes, size_t n) {
    // Waiting for a host that does not read would keep lines high. A frame that is left out shows in its number.
    if (room() >= n) Serial.write(bytes, n);
  }
  void set_output(uint8_t line, bool high) { digitalWrite(OUTPUT_PINS[line], high ? HIGH : LOW); }
  void lock() { noInterrupts(); }
  void unlock() { interrupts(); }
  void start_train();
  void stop_train();
};

static Board board;
static ethostream::BoardCore<Board, EVENT_QUEUE> core(board);

#if defined(TEENSYDUINO)

static IntervalTimer timer;

static void on_timer() {
  core.on_edge();
  // A new interval takes force after the one that runs now, so it is always said one ahead.
  timer.update(core.next_interval());
}

void Board::start_train() {
  timer.priority(16);
  timer.begin(on_timer, 1000);
  timer.update(core.next_interval());
}

void Board::stop_train() { timer.end(); }

#else  // AVR: Timer1 counts 0.5 µs at 16 MHz and begins anew at each match, so that late interrupts do not add up.

static const uint32_t TICKS_PER_US = F_CPU / 8000000UL;
static const uint32_t LONGEST_US = 30000;
static volatile uint32_t left_us = 0;

static void next_stretch() {
  // A turn of Timer1 is 33 ms: longer intervals go in stretches, none of them short.
  uint32_t now_us = left_us;
  if (now_us > LONGEST_US) now_us = now_us > 2 * LONGEST_US ? LONGEST_US : now_us / 2;
  left_us -= now_us;
  OCR1A = static_cast<uint16_t>(now_us * TICKS_PER_US - 1);
}

ISR(TIMER1_COMPA_vect) {
  if (left_us == 0) {
    core.on_edge();
    left_us = core.next_interval();
  }
  next_stretch();
}

void Board::start_train() {
  noInterrupts();
  TCCR1A = 0;
  TCCR1B = 0;
  TCNT1 = 0;
  left_us = 0;
  OCR1A = static_cast<uint16_t>(1000 * TICKS_PER_US - 1);
  TIFR1 = _BV(OCF1A);
  TIMSK1 = _BV(OCIE1A);
  TCCR1B = _BV(WGM12) | _BV(CS11);
  interrupts();
}

void Board::stop_train() { TIMSK1 = 0; }

#endif

template <uint8_t LINE>
static void on_change() { core.on_input(LINE, digitalRead(INPUT_PINS[LINE]) == HIGH); }

void setup() {
  for (uint8_t pin : OUTPUT_PINS) {
    digitalWrite(pin, LOW);
    pinMode(pin, OUTPUT);
  }
  for (uint8_t pin : INPUT_PINS) pinMode(pin, INPUT);
  Serial.begin(115200);
#if defined(TEENSYDUINO)
  attachInterrupt(digitalPinToInterrupt(INPUT_PINS[2]), on_change<2>, CHANGE);
  attachInterrupt(digitalPinToInterrupt(INPUT_PINS[3]), on_change<3>, CHANGE);
#endif
  attachInterrupt(digitalPinToInterrupt(INPUT_PINS[0]), on_change<0>, CHANGE);
  attachInterrupt(digitalPinToInterrupt(INPUT_PINS[1]), on_change<1>, CHANGE);
  core.begin();
}

void loop() {
  while (Serial.available() > 0) core.receive(static_cast<uint8_t>(Serial.read()));
  core.poll();
}
