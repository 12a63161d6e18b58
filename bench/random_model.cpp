// Makes a model folder of random bfloat16 weights from a bare config, for any installed family:
// speed does not depend on what the weights are.
#include "bench/load_model.hpp"
#include "bench/process_usage.hpp"
#include "core/tensor/half.hpp"
#include "core/tensor/safetensors_writer.hpp"

#include <quiver/error.hpp>

#include <fmt/format.h>

#include <cmath>
#include <cstdio>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

namespace {

using quiver::TensorInfo;

/// A tensor to fill: uniform around `mean`, of a given standard deviation.
struct Part {
  TensorInfo info;
  double mean;
  double deviation;
};

std::vector<Part> parts_of(const quiver::WeightStore& weights) {
  std::vector<Part> parts;
  const auto add = [&](const std::string& name, std::vector<std::int64_t> shape, double mean,
                       double deviation) {
    TensorInfo info;
    info.name = name;
    info.dtype = quiver::DType::bf16;
    info.shape = std::move(shape);
    parts.push_back({std::move(info), mean, deviation});
  };
  for (const auto& part : weights.embeddings()) {
    add(part.name + ".weight", {part.matrix.rows, part.matrix.columns}, 0, 0.05);
  }
  for (const auto& part : weights.linears()) {
    const double scale = 1 / std::sqrt(static_cast<double>(part.matrix.columns));
    add(part.name + ".weight",
        quiver::stored_shape(part.matrix.rows, part.matrix.columns, part.experts), 0, scale);
    if (part.has_bias) add(part.name + ".bias", {part.matrix.rows}, 0, 0.01);
  }
  for (const auto& part : weights.norms()) {
    if (part.has_weight) add(part.name + ".weight", {part.width}, 1, 0.1);
  }
  for (const auto& part : weights.causal_convs()) {
    add(part.name + ".weight", {part.channels, 1, part.kernel}, 0, 0.1);
    if (part.has_bias) add(part.name + ".bias", {part.channels}, 0, 0.01);
  }
  for (const auto& part : weights.delta_rules()) {
    add(part.name + ".A_log", {part.spec.value_heads}, 0, 1);
    add(part.name + ".dt_bias", {part.spec.value_heads}, 0, 1);
  }
  return parts;
}

void fill(quiver::SafetensorsWriter& writer, const Part& part, quiver::bench::RandomBits& random) {
  constexpr std::int64_t kChunk = 1 << 20;
  std::int64_t left = 1;
  for (const std::int64_t size : part.info.shape) left *= size;
  const double half_width = part.deviation * std::sqrt(3.0);
  std::vector<std::uint16_t> values;
  while (left > 0) {
    values.resize(static_cast<std::size_t>(std::min(left, kChunk)));
    for (std::uint16_t& value : values) {
      const double uniform = static_cast<double>(random() >> 11U) * 0x1p-53;
      value = quiver::f32_to_bf16(static_cast<float>(part.mean + half_width * (2 * uniform - 1)));
    }
    writer.write(part.info.name, std::as_bytes(std::span(values)));
    left -= static_cast<std::int64_t>(values.size());
  }
}

void make(const std::filesystem::path& config, const std::filesystem::path& out,
          const std::set<std::string, std::less<>>& assumed) {
  const auto registry = quiver::bench::open_registry(QUIVER_BUILD_DIR "/lib/quiver/plugins");
  const auto model = quiver::bench::describe_model(config, registry, assumed);
  const std::vector<Part> parts = parts_of(model->weights());
  std::filesystem::create_directories(out);
  std::vector<TensorInfo> infos;
  for (const Part& part : parts) infos.push_back(part.info);
  quiver::SafetensorsWriter writer(out / "model.safetensors", infos, {{"format", "pt"}});
  quiver::bench::RandomBits random(1);
  for (const Part& part : parts) fill(writer, part, random);
  writer.commit();
  std::filesystem::copy_file(config, out / "config.json",
                             std::filesystem::copy_options::overwrite_existing);
}

}  // namespace

int main(int argc, char** argv) {
  if (quiver::is_rehearsal_call(argc, argv)) return quiver::rehearsal_main(argc, argv);
  if (argc < 3) {
    fmt::print(stderr,
               "bench_random_model CONFIG.json OUT [TENSOR..]\n"
               "TENSOR: one that decides on parts that a config leaves open\n");
    return 2;
  }
  try {
    make(argv[1], argv[2], {argv + 3, argv + argc});
    return 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "bench_random_model: {}\n", error.what());
    return 1;
  }
}
