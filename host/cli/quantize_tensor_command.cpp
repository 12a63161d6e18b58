// quiver quantize-tensor: encodes the weights of one safetensors file, for checks of formats.
#include "core/plugin/call_plugin.hpp"
#include "core/quantize/named_encoder.hpp"
#include "core/tensor/half.hpp"
#include "core/tensor/printable.hpp"
#include "core/tensor/safetensors.hpp"
#include "core/tensor/safetensors_writer.hpp"
#include "host/cli/commands.hpp"
#include "host/cli/console.hpp"
#include "host/cli/encoder_option.hpp"
#include "host/cli/interrupt.hpp"
#include "host/cli/progress.hpp"
#include "host/cli/session.hpp"

#include <quiver/error.hpp>
#include <quiver/quant_scheme.hpp>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <set>

namespace quiver::cli {
namespace {

constexpr PositionalRow kPositionals[] = {
    {.name = "IN", .help = "A safetensors file", .completes = Completes::file}};
constexpr OptionRow kOptions[] = {
    {.name = "output",
     .short_name = 'o',
     .value = "FILE",
     .help = "The safetensors file to write",
     .completes = Completes::file},
    {.name = "scheme",
     .value = "NAME",
     .default_value = "affine",
     .help = "Quantization scheme; 'quiver plugins list --kind quant' lists them"},
    {.name = "bits", .value = "N", .default_value = "4", .help = "Bits of a weight"},
    {.name = "group-size",
     .value = "N",
     .default_value = "64",
     .help = "Weights that share their parameters"},
    kEncoderOption,
};
constexpr OptionGroup kGroups[] = {{"Options", kOptions}};
constexpr Example kExamples[] = {
    {"quantize-tensor in.safetensors -o out.safetensors --bits 4 --group-size 64",
     "Every NAME.weight becomes NAME.weight, NAME.scales and NAME.biases"},
    {"quantize-tensor in.safetensors -o out.safetensors --bits 3 --encoder refit",
     "The same with less error"}};

/// One tensor of the input, and what becomes of it.
struct Job {
  const TensorView* tensor = nullptr;
  std::string name;              ///< Without ".weight".
  std::vector<QuantPart> parts;  ///< Empty: copied as it is.
};

class Quantizer {
 public:
  Quantizer(std::shared_ptr<const QuantScheme> scheme, QuantFormat format,
            const std::string& encoder)
      : scheme_(std::move(scheme)), format_(format), encoder_(*scheme_, encoder) {
    const auto formats = scheme_->formats();
    const bool is_known = std::ranges::any_of(formats, [&](const QuantFormat& known) {
      return known.bits == format.bits && known.group_size == format.group_size;
    });
    if (is_known) return;
    std::string all;
    for (const QuantFormat& known : formats) {
      all += fmt::format("{}{}/{}", all.empty() ? "" : ", ", known.bits, known.group_size);
    }
    throw Error(ErrorCode::usage,
                fmt::format("the scheme '{}' has no {} bits in groups of {}", scheme_->name(),
                            format.bits, format.group_size),
                "--bits, --group-size", "bits/group that it has: " + all);
  }

  Job plan(const TensorView& tensor) const {
    constexpr std::string_view kSuffix = ".weight";
    Job job{&tensor, std::string(tensor.name), {}};
    const bool is_float =
        tensor.dtype == DType::f32 || tensor.dtype == DType::f16 || tensor.dtype == DType::bf16;
    const bool is_matrix = tensor.shape.size() == 2 || tensor.shape.size() == 3;
    if (!is_float || !is_matrix || tensor.elements() == 0 || !job.name.ends_with(kSuffix))
      return job;
    std::array<QuantPart, QuantScheme::kMaxParts> parts{};
    const int count = scheme_->parts(format_, tensor.columns(), tensor.dtype, parts);
    if (count <= 0) return job;
    job.name.resize(job.name.size() - kSuffix.size());
    job.parts.assign(parts.begin(), parts.begin() + count);
    return job;
  }

  /// The bytes of the job's parts.
  std::vector<std::vector<std::byte>> encode(const Job& job) const {
    constexpr std::int64_t kElements = std::int64_t{1} << 22U;  // 16 MiB of float32 at a time
    const std::int64_t columns = job.tensor->columns();
    const std::int64_t step = std::max<std::int64_t>(1, kElements / columns);
    std::vector<std::vector<std::byte>> encoded;
    for (const QuantPart& part : job.parts) {
      encoded.emplace_back(part_bytes(part, job.tensor->rows()));
    }
    std::vector<float> weights;
    for (std::int64_t row = 0; row < job.tensor->rows(); row += step) {
      throw_if_interrupted();
      const std::int64_t rows = std::min(step, job.tensor->rows() - row);
      weights.resize(static_cast<std::size_t>(rows * columns));
      to_float(job.tensor->dtype, job.tensor->row_bytes(row, rows), weights);
      std::vector<std::span<std::byte>> parts;
      for (std::size_t i = 0; i < job.parts.size(); ++i) {
        parts.push_back(
            std::span(encoded[i])
                .subspan(part_bytes(job.parts[i], row), part_bytes(job.parts[i], rows)));
      }
      encode_rows(job, weights, rows, parts);
    }
    return encoded;
  }

 private:
  static std::size_t part_bytes(const QuantPart& part, std::int64_t rows) {
    return static_cast<std::size_t>(rows * part.columns) * size_bytes(part.dtype);
  }

  void encode_rows(const Job& job, std::span<const float> weights, std::int64_t rows,
                   std::span<const std::span<std::byte>> parts) const {
    try {
      call_plugin(scheme_->name(), "encoding a tensor", [&] {
        encoder_.encode(weights, rows, job.tensor->columns(), format_, job.tensor->dtype, {},
                        parts);
      });
    } catch (const Error& error) {
      throw Error(error.code(), error.message(), printable(job.tensor->name), error.hint());
    }
  }

  std::shared_ptr<const QuantScheme> scheme_;
  QuantFormat format_;
  NamedEncoder encoder_;
};

std::vector<TensorInfo> declare(const std::vector<Job>& jobs) {
  std::vector<TensorInfo> infos;
  std::set<std::string> names;
  const auto add = [&](std::string name, DType dtype, std::vector<std::int64_t> shape) {
    if (!names.insert(name).second) {
      throw Error(ErrorCode::bad_input, "two tensors of the result would have one name",
                  printable(name), "rename the one that the input has");
    }
    infos.push_back({std::move(name), dtype, std::move(shape)});
  };
  for (const Job& job : jobs) {
    if (job.parts.empty()) add(job.name, job.tensor->dtype, job.tensor->shape);
    for (const QuantPart& part : job.parts) {
      std::vector<std::int64_t> shape = job.tensor->shape;
      shape.back() = part.columns;
      add(job.name + part.suffix, part.dtype, std::move(shape));
    }
  }
  return infos;
}

int run(const Arguments& arguments) {
  if (!arguments.has("output")) {
    throw Error(ErrorCode::usage, "--output is missing", "quantize-tensor", "say where to write");
  }
  Session session(arguments);
  const QuantFormat format{static_cast<std::int32_t>(arguments.integer("bits", 1, 32)),
                           static_cast<std::int32_t>(arguments.integer("group-size", 1))};
  const SafetensorsFile input = SafetensorsFile::open(arguments.path("IN"));
  const Quantizer quantizer(session.scheme(arguments.text("scheme")), format,
                            arguments.text("encoder"));
  std::vector<Job> jobs;
  for (const TensorView& tensor : input.tensors()) jobs.push_back(quantizer.plan(tensor));
  auto metadata = input.metadata();
  metadata["format"] = "mlx";
  SafetensorsWriter writer(arguments.path("output"), declare(jobs), metadata);
  std::size_t quantized = 0;
  ProgressLine progress("quantizing", jobs.size(), "tensors");
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    throw_if_interrupted();
    const Job& job = jobs[i];
    if (job.parts.empty()) {
      writer.write(job.name, job.tensor->data);
    } else {
      const auto encoded = quantizer.encode(job);
      for (std::size_t p = 0; p < encoded.size(); ++p) {
        writer.write(job.name + job.parts[p].suffix, encoded[p]);
      }
      ++quantized;
    }
    input.release(*job.tensor);
    progress.update(i + 1);
  }
  writer.commit();
  progress.clear();
  const std::string output = arguments.text("output");
  if (arguments.flag("json")) {
    print_json({{"output", output}, {"quantized", quantized}, {"copied", jobs.size() - quantized}});
  } else {
    print(fmt::format("{}: {} tensors quantized, {} copied\n", printable(output, 4096), quantized,
                      jobs.size() - quantized));
  }
  return 0;
}

constexpr Command kCommand = {
    .name = "quantize-tensor",
    .summary = "Encodes the weights of a safetensors file",
    .description =
        "Every float tensor NAME.weight of two dimensions, or of three (stacked "
        "matrices), whose last dimension is a multiple of the group size is encoded; its "
        "parameters keep its type. All other tensors are copied.",
    .positionals = kPositionals,
    .groups = kGroups,
    .examples = kExamples,
    .run = run};

}  // namespace

const Command& quantize_tensor_command() {
  return kCommand;
}

}  // namespace quiver::cli
