// Times a detector: a whole pass, and its operations by kind against what the machine computes.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <ctime>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "bench/load_model.hpp"
#include "core/eval/machine_limits.hpp"
#include "core/kernels/kernel_table.hpp"
#include "core/vision/detector_run.hpp"

namespace {

using namespace quiver;
using Clock = std::chrono::steady_clock;

/// One thread is timed by the CPU time it takes, which other work on the machine hardly changes;
/// several by the clock on the wall.
double now_ms(int threads) {
  timespec time{};
  ::clock_gettime(threads == 1 ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &time);
  return 1e3 * static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_nsec);
}

double milliseconds(Clock::time_point since) {
  return std::chrono::duration<double, std::milli>(Clock::now() - since).count();
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

std::string kind_of(const Conv2dPart& conv) {
  constexpr int kColours = 3;
  if (conv.is_depthwise) return "depthwise 3x3";
  if (conv.kernel == 1) return "1x1";
  if (conv.inputs == kColours) return "3x3 on the picture";
  return conv.stride == 1 ? "3x3" : "3x3 by 2";
}

/// An operation of the network, with a time from each pass.
struct Step {
  std::string kind;
  std::string name;
  double operations = 0;  ///< Two a multiply-add of the definition, however it is computed.
  std::vector<double> ms;
};

/// A pass that times its operations.
class TimedPass : public ImagePass {
 public:
  /// `steps` are those of earlier passes over pictures of the same size, or empty.
  TimedPass(const PictureView& picture, const ImageMeans& means, std::vector<Step>& steps)
      : ImagePass(picture, means),
        parts_(means.parts),
        threads_(means.threads.threads()),
        steps_(steps) {}

  Tensor conv2d(Tensor x, Conv2d conv, Tensor residual) override {
    const Conv2dPart& part = parts_[conv];
    const double start = now_ms(threads_);
    const Tensor result = ImagePass::conv2d(x, conv, residual);
    const MapSize map = size(result);
    const std::string name = fmt::format("{} {}x{}, {} to {}", part.name, map.height, map.width,
                                         part.inputs, part.outputs);
    record(kind_of(part), name, start,
           2.0 * map.height * map.width * static_cast<double>(part.columns) * part.outputs);
    return result;
  }
  Tensor max_pool(Tensor x, int window) override {
    const double start = now_ms(threads_);
    const Tensor result = ImagePass::max_pool(x, window);
    record("max pool", {}, start, 0);
    return result;
  }
  Tensor upsample(Tensor x, int factor) override {
    const double start = now_ms(threads_);
    const Tensor result = ImagePass::upsample(x, factor);
    record("upsample", {}, start, 0);
    return result;
  }
  Tensor attention(Tensor qkv, const MapAttentionSpec& spec) override {
    const double start = now_ms(threads_);
    const Tensor result = ImagePass::attention(qkv, spec);
    const double pixels = static_cast<double>(size(qkv).height) * size(qkv).width;
    record("attention", {}, start,
           2.0 * pixels * pixels * spec.heads * (spec.key_width + spec.value_width));
    return result;
  }

 private:
  void record(std::string kind, std::string name, double start, double operations) {
    const double ms = now_ms(threads_) - start;
    if (next_ == steps_.size()) {
      steps_.push_back({std::move(kind), std::move(name), operations, {}});
    }
    steps_[next_++].ms.push_back(ms);
  }

  const ImageParts& parts_;
  int threads_;
  std::vector<Step>& steps_;
  std::size_t next_ = 0;
};

void print_row(const std::string& name, double operations, double ms, double limit) {
  if (operations == 0) {
    fmt::print("  {:<20} {:>13} {:7.2f} ms\n", name, "", ms);
  } else {
    fmt::print("  {:<20} {:7.2f} GFLOP {:7.2f} ms {:6.1f} GFLOP/s {:4.0f} % of FMA\n", name,
               operations / 1e9, ms, operations / ms / 1e6, 100 * operations / ms * 1e3 / limit);
  }
}

/// Time by kind of operation, and of each where that is asked for.
void print_kinds(const LoadedModel& model, const PictureView& picture, ThreadPool& threads,
                 int passes, bool prints_steps) {
  const ComputeOptions compute;
  const MachineRate rate =
      arithmetic_limit(measure_machine(threads.threads()), "fma", kernels().name);
  const double limit = threads.threads() == 1 ? rate.cpu : rate.wall;
  PanelCache panels(model.weights().images());
  ImageMemory memory;
  const ImageMeans means{model.weights().images(), panels, memory, threads, compute};
  std::vector<Step> steps;
  std::vector<double> whole;
  for (int i = 0; i < passes + 1; ++i) {
    if (i == 1) {
      steps.clear();
      whole.clear();
    }
    const double start = now_ms(threads.threads());
    TimedPass pass(picture, means, steps);
    Stream stream = detector_of(model).begin(pass);
    for (int b = 0; b < model.model().block_count(); ++b) {
      pass.run_block(model.model(), b, stream);
    }
    whole.push_back(now_ms(threads.threads()) - start);
  }
  std::map<std::string, std::pair<double, double>> kinds;
  double rest = median(whole);
  for (const Step& step : steps) {
    const double ms = median(step.ms);
    kinds[step.kind].first += step.operations;
    kinds[step.kind].second += ms;
    rest -= ms;
    if (prints_steps) {
      fmt::print("  {:<9}", step.kind);
      print_row(step.name, step.operations, ms, limit);
    }
  }
  fmt::print("limit of multiply-adds: {:.1f} GFLOP/s\n", limit / 1e9);
  for (const auto& [name, sums] : kinds) print_row(name, sums.first, sums.second, limit);
  print_row("all else", 0, rest, limit);
}

}  // namespace

int main(int count, char** arguments) {
  if (is_rehearsal_call(count, arguments)) return rehearsal_main(count, arguments);
  if (count < 3) {
    fmt::print(stderr, "usage: bench_detector MODEL SIDE [THREADS] [PASSES] [plain|layers]\n");
    return 2;
  }
  const int side = std::atoi(arguments[2]);
  const int thread_count = count > 3 ? std::atoi(arguments[3]) : 1;
  const int passes = count > 4 ? std::atoi(arguments[4]) : 20;
  const auto model =
      bench::load_model(arguments[1], bench::open_registry(QUIVER_BUILD_DIR "/lib/quiver/plugins"));
  ThreadPool threads(thread_count);
  std::vector<float> values(static_cast<std::size_t>(side) * static_cast<std::size_t>(side) * 3);
  std::mt19937 random(1);
  for (float& value : values) value = static_cast<float>(random() % 256) / 255.0F;
  const PictureView picture{values, side, side};
  const ComputeOptions compute;
  DetectorRun run(model, threads, compute);
  std::vector<double> times;
  std::vector<double> cpu_times;
  for (int i = 0; i < passes + 3; ++i) {
    const auto start = Clock::now();
    const std::clock_t cpu_start = std::clock();
    const RawDetections raw = run.run(picture);
    const auto found = best_detections(raw, 300);
    if (i < 3) continue;
    times.push_back(milliseconds(start));
    cpu_times.push_back(1e3 * static_cast<double>(std::clock() - cpu_start) / CLOCKS_PER_SEC);
  }
  std::ranges::sort(times);
  std::ranges::sort(cpu_times);
  fmt::print("{} threads, {} x {}: best {:.1f} ms, median {:.1f} ms, of CPU {:.1f} ms\n",
             thread_count, side, side, times.front(), times[times.size() / 2],
             cpu_times[times.size() / 2]);
  const std::string more = count > 5 ? arguments[5] : "";
  if (more != "plain") print_kinds(*model, picture, threads, passes, more == "layers");
  return 0;
}
