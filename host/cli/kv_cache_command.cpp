// quiver kv-cache: measures what storing keys and values in few bits costs, and chooses widths.
#include "core/model/staging_folder.hpp"
#include "core/plugin/offers.hpp"
#include "core/quantize/allocate_kv.hpp"
#include "core/quantize/calibration_input.hpp"
#include "core/quantize/kv_sensitivity.hpp"
#include "core/quantize/quantized_folder.hpp"
#include "core/tensor/printable.hpp"
#include "host/cli/calibration_texts.hpp"
#include "host/cli/commands.hpp"
#include "host/cli/console.hpp"
#include "host/cli/interrupt.hpp"
#include "host/cli/model_location.hpp"
#include "host/cli/model_report.hpp"
#include "host/cli/progress.hpp"
#include "host/cli/session.hpp"

#include <quiver/error.hpp>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <optional>
#include <set>

namespace quiver::cli {
namespace {

namespace fs = std::filesystem;

constexpr PositionalRow kPositionals[] = {{.name = "MODEL",
                                           .help = "Folder, or owner/name in the local cache",
                                           .completes = Completes::folder}};
constexpr OptionRow kOptions[] = {
    {.name = "output",
     .short_name = 'o',
     .value = "DIR",
     .help = "Folder to make, for kv_config.json and kv_sensitivity.json",
     .completes = Completes::folder},
    {.name = "force", .help = "Replace the folder if it exists"},
    {.name = "target-bits",
     .value = "X",
     .default_value = "5.0",
     .help = "Bits of a stored number, scales and biases counted, over all layers by their size"},
    {.name = "candidate-bits",
     .value = "LIST",
     .default_value = "4,8",
     .help = "Widths to choose from"},
    {.name = "group-size",
     .value = "N",
     .default_value = "64",
     .help = "Numbers that share a scale and a bias"},
    {.name = "separate-kv",
     .help = "Measure keys and values apart, and give them their own widths"},
    {.name = "compat",
     .value = "PACKAGE",
     .choices = "optiq",
     .help = "Choose, count and take samples as this package does: scales are not counted, all "
             "layers count the same, and the target may be passed"},
};
constexpr OptionRow kTextOptions[] = {
    kCalibrationOption,
    {.name = "samples", .value = "N", .default_value = "5", .help = "Texts to measure over"},
    {.name = "sequence-length",
     .value = "N",
     .default_value = "512",
     .help = "Tokens of each text"},
};
constexpr OptionGroup kGroups[] = {{"Options", kOptions}, {"Calibration", kTextOptions}};
constexpr Example kExamples[] = {
    {"kv-cache model/ -o model-kv/", "Four bits where it does not hurt, eight where it does"},
    {"generate model/ --kv-config model-kv/kv_config.json --prompt Hello", "The result in use"}};

using Clock = std::chrono::steady_clock;

/// What the user asked for.
struct Request {
  fs::path folder;
  fs::path output;
  std::vector<int> bits;  ///< Ascending.
  double target = 0;
  int group_size = 0;
  bool is_apart = false;
  bool is_optiq = false;
};

/// A model's folder is no place for the result, and replacing it would lose the model.
void refuse_model_folder(const fs::path& output) {
  std::error_code ignored;
  if (!fs::exists(output / "config.json", ignored)) return;
  throw Error(ErrorCode::usage, "the folder is a model's", printable(output.native(), 4096),
              "give the name of a new folder");
}

/// Ascending, each once.
std::vector<int> read_widths(const std::string& text) {
  std::set<int> widths;
  for (std::size_t at = 0; at <= text.size();) {
    const std::size_t end = std::min(text.find(',', at), text.size());
    int bits = 0;
    const char* last = text.data() + end;
    const auto [stop, error] = std::from_chars(text.data() + at, last, bits);
    if (error != std::errc() || stop != last) {
      throw Error(ErrorCode::usage, fmt::format("{} is not a list of widths", in_quotes(text)),
                  "--candidate-bits", "give numbers of bits separated by commas, such as 4,8");
    }
    widths.insert(bits);
    at = end + 1;
  }
  return {widths.begin(), widths.end()};
}

Request read_request(const Arguments& arguments) {
  Request request;
  if (!arguments.has("output")) {
    throw Error(ErrorCode::usage, "--output is missing", "kv-cache", "say where to write");
  }
  request.output = arguments.path("output");
  refuse_model_folder(request.output);
  constexpr double kWidest = 32;
  request.target = arguments.number("target-bits", 1, kWidest);
  request.group_size = static_cast<int>(arguments.integer("group-size", 1));
  request.is_apart = arguments.flag("separate-kv");
  request.is_optiq = arguments.has("compat");
  if (request.is_apart && request.is_optiq) {
    throw Error(ErrorCode::usage, "the package gives keys and values one width",
                "--separate-kv, --compat", "leave one of them out");
  }
  request.bits = read_widths(arguments.text("candidate-bits"));
  request.folder = find_model_folder(arguments.text("MODEL"));
  return request;
}

KvStrategyMaker strategy_maker(const Session& session, int group_size) {
  return [&session, group_size](int key_bits, int value_bits) {
    const nlohmann::json options = {
        {"key-bits", key_bits}, {"value-bits", value_bits}, {"group", group_size}};
    return create_kv_strategy(session.registry(), "affine", OptionInput::from_json(options));
  };
}

/// The plan that kv_config.json stands for.
KvPlan plan_of(const KvSweep& sweep, const std::vector<KvLayerSensitivity>& layers,
               const KvAllocation& allocation) {
  KvPlan plan(sweep.full);
  const auto caches = sweep.model->weights().kv_caches();
  plan.layers.resize(caches.size());
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const auto strategy =
        sweep.make(allocation.layers[i].key_bits, allocation.layers[i].value_bits);
    for (std::size_t c = 0; c < caches.size(); ++c) {
      if (caches[c].block == layers[i].block) plan.layers[c] = strategy;
    }
  }
  return plan;
}

/// What was found.
struct Outcome {
  std::vector<KvLayerSensitivity> layers;
  KvAllocation allocation;
  double kl_measured = 0;  ///< Of all layers stored as chosen.
  double seconds = 0;
};

Outcome measure(const Request& request, const Arguments& arguments) {
  const auto start = Clock::now();
  Session session(arguments);
  const auto maker = strategy_maker(session, request.group_size);
  for (const int bits : request.bits) maker(bits, bits);  // refuses before anything is loaded
  const auto model = session.load(request.folder);
  auto plain = calibration_texts(arguments, request.folder, request.is_optiq);
  // The package that --compat names feeds every text as it is here.
  const auto texts = request.is_optiq ? plain_inputs(std::move(plain))
                                      : calibration_inputs(*model, std::move(plain));
  std::optional<ProgressLine> line(std::in_place, "measuring", 0, "tokens");
  KvSweep sweep{model, session.kv_strategy(NamedOptions{.name = "f32", .options = ""}), maker,
                session.threads(), [&](std::uint64_t done, std::uint64_t total) {
                  line->update(done, total);
                  return !interrupt_flag();
                }};
  Outcome outcome;
  outcome.layers = measure_kv(sweep, texts, request.bits, request.is_apart);
  outcome.allocation = request.is_optiq ? allocate_kv_greedy(outcome.layers, request.target)
                                        : allocate_kv(outcome.layers, request.target);
  line.emplace("checking", 0, "tokens");
  const KvPlan plan = plan_of(sweep, outcome.layers, outcome.allocation);
  outcome.kl_measured = kv_divergences(sweep, texts, {&plan, 1})[0];
  outcome.seconds = std::chrono::duration<double>(Clock::now() - start).count();
  return outcome;
}

nlohmann::ordered_json to_json(const Request& request, const Outcome& outcome) {
  const nlohmann::json config =
      kv_config_record(outcome.layers, outcome.allocation, request.group_size);
  const nlohmann::json table = kv_sensitivity_record(outcome.layers);
  nlohmann::ordered_json json;
  json["layers"] = nlohmann::ordered_json::array();
  for (std::size_t i = 0; i < config.size(); ++i) {
    nlohmann::ordered_json row;
    for (const char* key : {"layer_idx", "bits", "k_bits", "v_bits", "group_size"}) {
      if (config[i].contains(key)) row[key] = config[i][key];
    }
    row["layer_name"] = table[i]["layer_name"];
    row["kl"] = table[i]["sensitivities"];
    if (request.is_apart) {
      row["kl_keys"] = table[i]["k_sensitivities"];
      row["kl_values"] = table[i]["v_sensitivities"];
    }
    json["layers"].push_back(std::move(row));
  }
  json["target_bits"] = request.target;
  json["mean_bits"] = outcome.allocation.mean_bits;
  json["true_bits"] = outcome.allocation.true_bits;
  json["bytes_per_token"] = outcome.allocation.bytes_per_token;
  json["kl_predicted"] = outcome.allocation.kl;
  json["kl_measured"] = outcome.kl_measured;
  json["seconds"] = outcome.seconds;
  return json;
}

std::string bits_text(const KvLayerBits& bits) {
  if (bits.key_bits == bits.value_bits) return std::to_string(bits.key_bits);
  return fmt::format("K {}, V {}", bits.key_bits, bits.value_bits);
}

std::string table(const Request& request, const Outcome& outcome) {
  struct Column {
    const char* title;
    WidthDivergences KvLayerSensitivity::*kl;
  };
  std::vector<Column> columns = {{"KL", &KvLayerSensitivity::kl}};
  if (request.is_apart) {
    columns = {{"KL of K", &KvLayerSensitivity::key_kl},
               {"KL of V", &KvLayerSensitivity::value_kl}};
  }
  std::string text = fmt::format("{:>5}  {:>12}", "layer", "heads");
  for (const Column& column : columns) {
    for (const int bits : request.bits) {
      text += fmt::format("  {:>12}", fmt::format("{} at {}", column.title, bits));
    }
  }
  text += "  bits\n";
  for (std::size_t i = 0; i < outcome.layers.size(); ++i) {
    const KvLayerSensitivity& layer = outcome.layers[i];
    text += fmt::format("{:>5}  {:>12}", layer.block,
                        fmt::format("{} x {}", layer.kv_heads, layer.head_dim));
    for (const Column& column : columns) {
      for (const int bits : request.bits) {
        text += fmt::format("  {:>12.2e}", (layer.*column.kl).at(bits));
      }
    }
    text += fmt::format("  {}\n", bits_text(outcome.allocation.layers[i]));
  }
  return text;
}

std::string summary(const Request& request, const Outcome& outcome) {
  const KvAllocation& allocation = outcome.allocation;
  return fmt::format(
      "\n{}: {:.2f} bits a number ({:.2f} of codes), {} a token\n"
      "KL against float32: {:.3e} nats a token, {:.3e} by the sum of the layers\n{:.0f} s\n",
      printable((request.output / "kv_config.json").native(), 4096), allocation.true_bits,
      allocation.mean_bits, bytes_text(static_cast<std::uint64_t>(allocation.bytes_per_token)),
      outcome.kl_measured, allocation.kl, outcome.seconds);
}

int run(const Arguments& arguments) {
  const Request request = read_request(arguments);
  StagingFolder staging(request.output, arguments.flag("force"), "kv_config.json");
  const Outcome outcome = measure(request, arguments);
  write_json_file(staging.path() / "kv_config.json",
                  kv_config_record(outcome.layers, outcome.allocation, request.group_size));
  write_json_file(staging.path() / "kv_sensitivity.json", kv_sensitivity_record(outcome.layers));
  refuse_model_folder(request.output);
  staging.commit();
  if (!outcome.allocation.warning.empty()) warn(outcome.allocation.warning);
  if (arguments.flag("json")) {
    print_json(to_json(request, outcome));
  } else {
    print(table(request, outcome) + summary(request, outcome));
  }
  return 0;
}

constexpr Command kCommand = {
    .name = "kv-cache",
    .summary = "Chooses in how many bits each layer keeps its keys and values",
    .description =
        "Measures for every layer that keeps keys and values how far the model's predictions move "
        "(KL divergence from keeping them as float32, in nats a token) when that layer alone "
        "stores them in few bits, and chooses widths with the least sum within the target. The "
        "result is kv_config.json, for --kv-config.",
    .positionals = kPositionals,
    .groups = kGroups,
    .examples = kExamples,
    .run = run};

}  // namespace

const Command& kv_cache_command() {
  return kCommand;
}

}  // namespace quiver::cli
