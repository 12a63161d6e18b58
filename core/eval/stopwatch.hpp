// Wall time and CPU time of this process.
#pragma once

#include <time.h>

namespace quiver {

struct Seconds {
  double wall = 0;
  double cpu = 0;  ///< Of all threads of the process.
};

/// Counts from its construction. [any-thread]
class Stopwatch {
 public:
  Seconds read() const {
    return {seconds(CLOCK_MONOTONIC) - wall_, seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu_};
  }

 private:
  static double seconds(clockid_t clock) {
    timespec time{};
    clock_gettime(clock, &time);
    return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
  }

  double wall_ = seconds(CLOCK_MONOTONIC);
  double cpu_ = seconds(CLOCK_PROCESS_CPUTIME_ID);
};

}  // namespace quiver
