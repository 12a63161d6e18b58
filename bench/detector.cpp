// Times a detector: a whole pass, and its convolutions by kind against what the machine computes.
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

double milliseconds(Clock::time_point since) {
  return std::chrono::duration<double, std::milli>(Clock::now() - since).count();
}

std::string kind_of(const Conv2dPart& conv) {
  if (conv.is_depthwise) return "depthwise 3x3";
  if (conv.kernel == 1) return "1x1";
  return conv.stride == 1 ? "3x3" : "3x3 by 2";
}

struct KindTime {
  double operations = 0;
  double ms = 0;
};

/// A pass that takes the time of its convolutions.
class TimedPass : public ImagePass {
 public:
  TimedPass(const PictureView& picture, const ImageMeans& means,
            std::map<std::string, KindTime>& times)
      : ImagePass(picture, means), parts_(means.parts), times_(times) {}

  Tensor conv2d(Tensor x, Conv2d conv, Tensor residual) override {
    const auto start = Clock::now();
    const Tensor result = ImagePass::conv2d(x, conv, residual);
    const double ms = milliseconds(start);
    const Conv2dPart& part = parts_[conv];
    const MapSize map = size(result);
    KindTime& time = times_[kind_of(part)];
    time.ms += ms;
    time.operations +=
        2.0 * map.height * map.width * static_cast<double>(part.columns) * part.outputs;
    return result;
  }

 private:
  const ImageParts& parts_;
  std::map<std::string, KindTime>& times_;
};

}  // namespace

int main(int count, char** arguments) {
  if (is_rehearsal_call(count, arguments)) return rehearsal_main(count, arguments);
  if (count < 3) {
    fmt::print(stderr, "usage: bench_detector MODEL SIDE [THREADS] [PASSES] [plain]\n");
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
  if (count > 5) return 0;  // only the whole
  const double limit = arithmetic_limit(measure_machine(thread_count), "fma", kernels().name).wall;
  std::map<std::string, KindTime> kinds;
  PanelCache panels(model->weights().images());
  ImageMemory memory;
  const ImageMeans means{model->weights().images(), panels, memory, threads, compute};
  for (int i = 0; i < passes + 1; ++i) {
    if (i == 1) kinds.clear();
    TimedPass pass(picture, means, kinds);
    Stream stream = detector_of(*model).begin(pass);
    for (int b = 0; b < model->model().block_count(); ++b) {
      pass.run_block(model->model(), b, stream);
    }
  }
  for (const auto& [name, time] : kinds) {
    fmt::print("  {:<14} {:7.2f} GFLOP {:7.2f} ms {:6.1f} GFLOP/s {:4.0f} % of FMA\n", name,
               time.operations / 1e9 / passes, time.ms / passes, time.operations / time.ms / 1e6,
               100 * time.operations / time.ms * 1e3 / limit);
  }
  return 0;
}
