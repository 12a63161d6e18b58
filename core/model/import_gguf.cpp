// The import of a GGUF file, file by file of the new folder.
#include "core/model/import_gguf.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <quiver/error.hpp>
#include <quiver/gguf_import.hpp>
#include <span>

#include "core/model/gguf_config.hpp"
#include "core/model/gguf_tensors.hpp"
#include "core/model/gguf_tokenizer.hpp"
#include "core/model/staging_folder.hpp"
#include "core/tensor/atomic_file.hpp"
#include "core/tensor/gguf_affine.hpp"
#include "core/tensor/printable.hpp"
#include "core/tensor/safetensors_writer.hpp"

namespace quiver {
namespace {

namespace fs = std::filesystem;

const char* float_type_name(DType type) {
  switch (type) {
    case DType::f32: return "float32";
    case DType::bf16: return "bfloat16";
    default: return "float16";
  }
}

void check_options(const ImportOptions& options) {
  const auto type = options.dtype.value_or(DType::f16);
  if (type != DType::f32 && type != DType::f16 && type != DType::bf16) {
    throw Error(ErrorCode::usage, "weights can be written as f32, f16 or bf16 only", "--dtype");
  }
}

/// Replacing the folder that holds the file would lose the file.
void refuse_own_folder(const fs::path& gguf, const fs::path& out) {
  std::error_code error;
  fs::path folder = fs::weakly_canonical(out, error);
  if (!folder.has_filename()) folder = folder.parent_path();  // Of a name that ends in a slash.
  const fs::path file = fs::weakly_canonical(gguf, error);
  const auto [rest, ignored] =
      std::mismatch(folder.begin(), folder.end(), file.begin(), file.end());
  if (error || folder.empty() || rest != folder.end()) return;
  throw Error(ErrorCode::usage, "the file to import lies in the folder to write",
              printable(out.native(), 4096), "give the name of a new folder");
}

void refuse_parts(const GgufFile& file) {
  const auto parts = file.metadata().find<std::int64_t>("split.count").value_or(1);
  if (parts <= 1) return;
  throw Error(ErrorCode::bad_input, fmt::format("the file is one of {} parts", parts), file.label(),
              "merge them into one file first");
}

/// `quantization` of config.json: the most frequent format, and an entry for each other module.
nlohmann::json quantization_of(std::span<const ImportedTensor> tensors) {
  std::map<int, int> modules_of_bits;
  for (const ImportedTensor& tensor : tensors) {
    if (tensor.bits > 0) ++modules_of_bits[tensor.bits];
  }
  if (modules_of_bits.empty()) return nullptr;
  const auto usual =
      std::ranges::max_element(modules_of_bits, {}, [](const auto& entry) { return entry.second; });
  const auto format = [](int bits) {
    return nlohmann::json{{"bits", bits}, {"group_size", kBlockGroupSize}, {"mode", "affine"}};
  };
  nlohmann::json table = format(usual->first);
  for (const ImportedTensor& tensor : tensors) {
    if (tensor.bits > 0 && tensor.bits != usual->first) table[tensor.module] = format(tensor.bits);
  }
  return table;
}

/// A file of the folder and the tensors in it.
struct Shard {
  std::string name;
  std::vector<const ImportedTensor*> tensors;
};

/// Fills files in order; a tensor, with its scales and biases, is never split.
std::vector<Shard> shards_of(std::span<const ImportedTensor> tensors, std::uint64_t limit) {
  std::vector<Shard> shards(1);
  std::uint64_t bytes = 0;
  for (const ImportedTensor& tensor : tensors) {
    if (bytes > 0 && tensor.bytes > limit - std::min(bytes, limit)) {
      shards.emplace_back();
      bytes = 0;
    }
    shards.back().tensors.push_back(&tensor);
    bytes += tensor.bytes;
  }
  for (std::size_t i = 0; i < shards.size(); ++i) {
    shards[i].name = shards.size() == 1
                         ? "model.safetensors"
                         : fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shards.size());
    // Whoever comes behind a tensor of an odd number of bytes would lie askew.
    std::vector<const ImportedTensor*>& inside = shards[i].tensors;
    std::stable_partition(inside.begin(), inside.end(), [](const ImportedTensor* tensor) {
      return tensor->bytes % sizeof(std::uint32_t) == 0;
    });
  }
  return shards;
}

class Import {
 public:
  Import(const fs::path& gguf, const ImportOptions& options,
         const GgufArchitectureSource& architectures, const ImportProgress& progress)
      : options_(options),
        progress_(progress),
        file_(GgufFile::open(gguf)),
        source_(file_),
        offer_(architectures(source_.architecture())),
        family_(family_of(offer_)) {
    refuse_parts(file_);
    for (const GgufTensor& tensor : file_.tensors()) total_ += tensor.data.size();
  }

  ImportReport write(const fs::path& out) {
    StagingFolder folder(out, options_.force);
    folder_ = folder.path();
    report(0);
    nlohmann::json config = config_from_gguf(file_, family_);
    RebuiltTokenizer tokenizer = rebuild_tokenizer(file_, family_);
    plan_ = plan_tensors(file_, family_.tensor_rules(source_.architecture()),
                         ModelConfig::parse(config.dump(), "config.json"),
                         {options_.dtype, options_.keep_quantized}, [this] { report(0); });
    total_ = 0;
    for (const ImportedTensor& tensor : plan_.tensors) total_ += tensor.bytes;
    folder.require_space(total_);
    write_tokenizer(tokenizer);
    tokenizer.tokenizer = nullptr;  // Of a large vocabulary a hundred megabytes.
    write_config(config);
    write_tensors();
    folder.commit();
    return result(config, tokenizer);
  }

 private:
  static const GgufImport& family_of(const ArchitectureOffer& offer) {
    const void* found = offer.architecture->extension(GgufImport::kInterfaceId);
    if (found != nullptr) return *static_cast<const GgufImport*>(found);
    throw Error(ErrorCode::plugin, "the plugin '" + offer.plugin + "' cannot import GGUF files", {},
                "use the original checkpoint of this model");
  }

  void report(std::uint64_t done) const {
    if (!progress_ || progress_(done, total_)) return;
    throw Error(ErrorCode::interrupted, "the import was interrupted", {}, "nothing was written");
  }

  void write_text(const char* name, std::string text) const {
    if (text.empty() || text.back() != '\n') text += '\n';
    write_file(folder_ / name, std::as_bytes(std::span(text)));
  }

  void write_tokenizer(const RebuiltTokenizer& rebuilt) const {
    write_text("tokenizer.json", rebuilt.tokenizer.dump(2));
    write_text("tokenizer_config.json", rebuilt.config.dump(4));
    if (rebuilt.chat_template.empty()) return;
    // Exactly as it is: a template's last newline counts.
    write_file(folder_ / "chat_template.jinja", std::as_bytes(std::span(rebuilt.chat_template)));
  }

  void write_config(nlohmann::json& config) const {
    config["torch_dtype"] = float_type_name(plan_.float_type);
    if (nlohmann::json table = quantization_of(plan_.tensors); !table.is_null()) {
      config["quantization"] = table;
      config["quantization_config"] = std::move(table);
    }
    write_text("config.json", config.dump(4));
    nlohmann::json generation = nlohmann::json::object();
    for (const char* key : {"bos_token_id", "eos_token_id", "pad_token_id"}) {
      if (config.contains(key)) generation[key] = config[key];
    }
    write_text("generation_config.json", generation.dump(4));
  }

  void write_tensors() {
    nlohmann::json places = nlohmann::json::object();
    std::int64_t elements = 0;
    for (const Shard& shard : shards_of(plan_.tensors, options_.shard_bytes)) {
      write_shard(shard);
      for (const ImportedTensor* tensor : shard.tensors) {
        elements += tensor->source->elements();
        for (const TensorInfo& output : tensor->outputs) places[output.name] = shard.name;
      }
    }
    const nlohmann::json index = {
        {"metadata", {{"total_size", total_}, {"total_parameters", elements}}},
        {"weight_map", std::move(places)}};
    write_text("model.safetensors.index.json", index.dump(4));
  }

  void write_shard(const Shard& shard) {
    std::vector<TensorInfo> infos;
    for (const ImportedTensor* tensor : shard.tensors) {
      infos.insert(infos.end(), tensor->outputs.begin(), tensor->outputs.end());
    }
    SafetensorsWriter writer(folder_ / shard.name, std::move(infos),
                             {{"format", kept() > 0 ? "mlx" : "pt"}});
    for (const ImportedTensor* tensor : shard.tensors) {
      for (std::size_t i = 0; i < tensor->outputs.size(); ++i) {
        convert_tensor(*tensor, i, [&](std::span<const std::byte> bytes) {
          writer.write(tensor->outputs[i].name, bytes);
          done_ += bytes.size();
          report(done_);
        });
      }
      file_.release(*tensor->source);
    }
    writer.commit();
  }

  int kept() const {
    return static_cast<int>(
        std::ranges::count_if(plan_.tensors, [](const auto& tensor) { return tensor.bits > 0; }));
  }

  ImportReport result(const nlohmann::json& config, const RebuiltTokenizer& tokenizer) const {
    ImportReport report;
    report.model_type = config.at("model_type").get<std::string>();
    report.architecture_plugin = offer_.plugin;
    report.tensors = static_cast<int>(plan_.tensors.size());
    report.kept_quantized = kept();
    report.bytes = total_;
    report.warnings = tokenizer.warnings;
    report.warnings.insert(report.warnings.end(), plan_.warnings.begin(), plan_.warnings.end());
    if (options_.keep_quantized && report.kept_quantized == 0) {
      report.warnings.emplace_back("no tensor could be kept quantized");
    }
    return report;
  }

  const ImportOptions& options_;
  const ImportProgress& progress_;
  GgufFile file_;
  GgufFileSource source_;
  ArchitectureOffer offer_;
  const GgufImport& family_;
  fs::path folder_;
  ImportedTensors plan_;
  std::uint64_t done_ = 0;
  std::uint64_t total_ = 0;  // Of the file's bytes first, then of those to write.
};

}  // namespace

ImportReport import_gguf(const fs::path& gguf, const fs::path& out, const ImportOptions& options,
                         const GgufArchitectureSource& architectures,
                         const ImportProgress& progress) {
  check_options(options);
  refuse_own_folder(gguf, out);
  return Import(gguf, options, architectures, progress).write(out);
}

}  // namespace quiver
