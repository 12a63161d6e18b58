// How fast a machine could run a model: a roofline over bytes read and operations.
#include "core/eval/latency.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <quiver/error.hpp>

#include "core/eval/machine_limits.hpp"
#include "core/eval/stopwatch.hpp"
#include "core/kernels/kernel_table.hpp"
#include "core/tensor/printable.hpp"
#include "core/threads/thread_pool.hpp"

namespace quiver {
namespace {

/// Data sheets: gigabytes a second, and teraflops of the graphics part.
LatencyMachine data_sheet(const char* name, double gigabytes, double teraflops) {
  constexpr double kMatrixSeconds = 5e-6;
  return {name, gigabytes * 1e9, teraflops * 1e12, teraflops * 1e12, kMatrixSeconds, true};
}

/// By how much reading takes longer than the machine's bandwidth says.
double loss(const LatencyMachine& machine, int bits) {
  if (!machine.has_losses) return 1;
  return 1.15 * (bits <= 2 ? 1.12 : bits == 3 ? 1.08 : 1.0);
}

/// The share of the peak that products of prompts reach.
double share(const LatencyMachine& machine, int bits) {
  if (!machine.has_losses) return 1;
  return bits <= 3 ? 0.85 : bits <= 6 ? 0.90 : 0.95;
}

double operations(const LatencyMachine& machine, const LatencyMatrix& matrix) {
  return matrix.is_quantized ? machine.quantized_operations : machine.float_operations;
}

double active_bytes(const LatencyMatrix& matrix) {
  return matrix.active * static_cast<double>(matrix.bytes);
}

double decode_seconds(const LatencyMachine& machine, const LatencyMatrix& matrix) {
  const double bytes = active_bytes(matrix) + 2 * static_cast<double>(matrix.columns);
  const double products = 2 * matrix.active * static_cast<double>(matrix.parameters);
  return machine.matrix_seconds + std::max(bytes / machine.read_bytes * loss(machine, matrix.bits),
                                           products / operations(machine, matrix));
}

double prefill_seconds(const LatencyMachine& machine, const LatencyMatrix& matrix, int prompt) {
  if (matrix.is_last_only) return decode_seconds(machine, matrix);
  // The tokens of a prompt choose among all experts, so that all are read.
  const auto bytes = static_cast<double>(matrix.bytes);
  const double products = 2.0 * prompt * matrix.active * static_cast<double>(matrix.parameters);
  return machine.matrix_seconds +
         std::max(bytes / machine.read_bytes * loss(machine, matrix.bits),
                  products / (operations(machine, matrix) * share(machine, matrix.bits)));
}

/// The median time of a parallel loop that does nothing.
double loop_seconds(int threads) {
  ThreadPool pool(threads);
  std::array<double, 501> times{};
  for (double& time : times) {
    const Stopwatch watch;
    pool.run(pool.threads(), [](int, int) {});
    time = watch.read().wall;
  }
  std::nth_element(times.begin(), times.begin() + times.size() / 2, times.end());
  return times[times.size() / 2];
}

}  // namespace

std::span<const LatencyMachine> latency_profiles() {
  static const std::array kProfiles = {
      data_sheet("m1", 68.25, 2.6),    data_sheet("m1-pro", 200, 5.2),
      data_sheet("m1-max", 400, 10.4), data_sheet("m1-ultra", 800, 20.8),
      data_sheet("m2", 100, 3.6),      data_sheet("m2-pro", 200, 6.8),
      data_sheet("m2-max", 400, 13.6), data_sheet("m2-ultra", 800, 27.2),
      data_sheet("m3", 100, 3.6),      data_sheet("m3-pro", 150, 5.4),
      data_sheet("m3-max", 400, 14.2), data_sheet("m4", 120, 4.3),
      data_sheet("m4-pro", 273, 8.7),  data_sheet("m4-max", 546, 17.4)};
  return kProfiles;
}

const LatencyMachine& latency_profile(std::string_view name) {
  std::string names;
  for (const LatencyMachine& profile : latency_profiles()) {
    if (profile.name == name) return profile;
    names += (names.empty() ? "" : ", ") + profile.name;
  }
  throw Error(ErrorCode::usage, "there is no profile " + in_quotes(name), "--profile",
              "take one of " + names);
}

LatencyMachine measure_latency_machine(int threads, bool is_exact) {
  const std::vector<MachineRate> rates = measure_machine(threads);
  const std::string_view table = kernels().name;
  const double generic = arithmetic_limit(rates, "fma", "generic").wall;
  LatencyMachine machine;
  machine.name = fmt::format("this machine, {} threads, {}", threads, table);
  machine.read_bytes = read_limit(rates).wall;
  machine.float_operations = std::max(arithmetic_limit(rates, "fma", table).wall, generic);
  const double integers = arithmetic_limit(rates, "int16 dot", table).wall;
  machine.quantized_operations = is_exact || integers == 0 ? machine.float_operations : integers;
  machine.matrix_seconds = loop_seconds(threads);
  return machine;
}

LatencyPrediction predict_latency(const LatencyMachine& machine, const LatencyWork& work) {
  if (work.matrices.empty() || work.prompt < 1) {
    throw Error(ErrorCode::bad_input, "there is nothing to predict", "latency",
                "give a model with matrices and a prompt of at least one token");
  }
  LatencyPrediction result;
  for (const LatencyMatrix& matrix : work.matrices) {
    result.decode_seconds += decode_seconds(machine, matrix);
    result.prefill_seconds += prefill_seconds(machine, matrix, work.prompt);
    result.bytes_per_token += active_bytes(matrix);
  }
  result.bytes_per_token += work.other_bytes + work.kv_bytes;
  result.decode_seconds += (work.other_bytes + work.kv_bytes) / machine.read_bytes;
  result.prefill_seconds += work.other_bytes / machine.read_bytes;
  result.decode_tps = 1 / result.decode_seconds;
  result.prefill_tps = work.prompt / result.prefill_seconds;
  return result;
}

}  // namespace quiver
