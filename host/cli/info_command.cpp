// quiver info: what a model is made of, and what this machine can do.
#include "core/eval/machine_limits.hpp"
#include "core/kernels/kernel_table.hpp"
#include "core/tensor/printable.hpp"
#include "core/threads/thread_pool.hpp"
#include "host/cli/commands.hpp"
#include "host/cli/console.hpp"
#include "host/cli/cpu_features.hpp"
#include "host/cli/kv_choice.hpp"
#include "host/cli/model_location.hpp"
#include "host/cli/model_report.hpp"
#include "host/cli/session.hpp"

#include <quiver/error.hpp>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <set>

namespace quiver::cli {
namespace {

constexpr PositionalRow kPositionals[] = {
    {.name = "MODEL",
     .help = "Folder, config.json, or owner/name in the local cache",
     .is_required = false,
     .completes = Completes::file}};
constexpr OptionRow kOptions[] = {
    {.name = "context",
     .value = "N",
     .help = "Tokens to predict memory for; the model's own context where not given"},
    {.name = "target-bpw",
     .value = "X",
     .help = "Predict the size at X bits a weight in all matrices, the rest as it is"},
    {.name = "compat",
     .value = "PACKAGE",
     .choices = "optiq",
     .help = "Count the target as that package does: codes of 4 and 8 bits in linears alone; tells "
             "how much of them may have 8"},
    kKvOption,
    kKvConfigOption,
    kKvRecentOption,
    {.name = "cpu",
     .help = "Instruction sets found, which kernels are used and why, the CPUs that may be used, "
             "and what "
             "they read and compute at most (takes some two seconds)"},
};
constexpr OptionGroup kGroups[] = {{"Options", kOptions}};
constexpr Example kExamples[] = {
    {"info model/ --context 4096", "Size, bits of every layer, and memory with 4096 tokens"},
    {"info config.json --target-bpw 5", "Size that a model would have after quantization"},
    {"info config.json --target-bpw 4.86 --compat optiq", "What a published figure comes to"},
    {"info --cpu", "What the engine uses on this machine"}};

using Json = nlohmann::ordered_json;

Json layer_json(const LayerReport& layer) {
  Json json;
  json["name"] = layer.name;
  json["role"] = layer.role;
  json["block"] = layer.block;
  json["shape"] = {layer.rows, layer.columns};
  if (layer.experts != 0) {
    json["shape"] = {layer.experts, layer.rows / layer.experts, layer.columns};
    json["experts_per_token"] = layer.experts_per_row;
  }
  json["bits"] = layer.bits;
  json["group_size"] = layer.group_size ? Json(*layer.group_size) : Json(nullptr);
  json["bytes"] = layer.bytes;
  json["parameters"] = layer.parameters;
  return json;
}

std::string shape_of(const LayerReport& layer) {
  if (layer.experts == 0) return fmt::format("{} x {}", layer.rows, layer.columns);
  return fmt::format("{} x {} x {}", layer.experts, layer.rows / layer.experts, layer.columns);
}

std::string layer_table(const ModelReport& report) {
  std::size_t width = 4;
  for (const LayerReport& layer : report.layers) width = std::max(width, layer.name.size());
  std::string text = fmt::format("\n{:>5}  {:<{}}  {:<13}  {:>17}  {:>4}  {:>5}  {:>10}\n", "block",
                                 "name", width, "role", "shape", "bits", "group", "size");
  for (const LayerReport& layer : report.layers) {
    text += fmt::format("{:>5}  {:<{}}  {:<13}  {:>17}  {:>4}  {:>5}  {:>10}\n",
                        layer.block < 0 ? "-" : std::to_string(layer.block), printable(layer.name),
                        width, layer.role, shape_of(layer), layer.bits,
                        layer.group_size ? std::to_string(*layer.group_size) : "-",
                        bytes_text(layer.bytes));
  }
  return text;
}

void add_kv(const KvReport& kv, const KvChoice& choice, const ModelReport& report, Json& json,
            std::string& text) {
  const std::uint64_t total = kv.bytes + kv.state_bytes + report.bytes;
  const std::set<std::string> names(choice.names.begin(), choice.names.end());
  const std::string strategy = fmt::format("{}", fmt::join(names, " and "));
  json["kv"] = {{"strategy", strategy},
                {"bytes_per_token", kv.bytes_per_token},
                {"recent", choice.plan.recent},
                {"layers", Json::array()}};
  for (const KvReport::Layer& layer : kv.layers) {
    json["kv"]["layers"].push_back({{"layer_idx", layer.block},
                                    {"strategy", choice.names[layer.cache]},
                                    {"bytes_per_token", layer.bytes_per_token}});
  }
  json["memory"] = {{"context", kv.context},
                    {"kv_bytes", kv.bytes},
                    {"state_bytes", kv.state_bytes},
                    {"draft_bytes", kv.draft_bytes},
                    {"total_bytes", total}};
  text += fmt::format("KV cache      {} a token in {} of {} blocks with {}\n",
                      bytes_text(kv.bytes_per_token), kv.layers.size(), report.blocks, strategy);
  std::string states;
  if (kv.state_bytes != 0) states = fmt::format(", {} states", bytes_text(kv.state_bytes));
  text += fmt::format("memory        {} at {} tokens ({} of them KV{})\n", bytes_text(total),
                      kv.context, bytes_text(kv.bytes), states);
  if (kv.draft_bytes != 0) {
    text +=
        fmt::format("              and {} where the draft head runs\n", bytes_text(kv.draft_bytes));
  }
}

void add_target(const Arguments& arguments, const ModelReport& report, Json& json,
                std::string& text) {
  const double target = arguments.number("target-bpw", 0.1, 64);
  if (!arguments.has("compat")) {
    const std::uint64_t bytes = report.bytes_at(target);
    json["target"] = {{"bpw", target}, {"bytes", bytes}};
    text += fmt::format("at {:<10} {} for {} bits a weight in all matrices\n", "target",
                        bytes_text(bytes), target);
    return;
  }
  constexpr double kMillion = 1e6;
  const WidthSplit split = split_widths(report, target);
  json["target"] = {{"bpw", target},
                    {"bytes", split.bytes},
                    {"widths", {WidthSplit::kNarrow, WidthSplit::kWide}},
                    {"group_size", WidthSplit::kGroup},
                    {"linears", split.linears},
                    {"linear_parameters", split.parameters},
                    {"wide_parameters", split.wide_parameters},
                    {"wide_linears", {split.fewest_wide, split.most_wide}},
                    {"embedding_parameters", split.embedding_parameters}};
  text += fmt::format(
      "at {:<10} {} for {} bits of codes in {} linears: 8 bits for {:.1f} of {:.1f} M parameters "
      "({} to {} linears), 4 for the others; embeddings ({:.1f} M) have 8\n",
      "target", bytes_text(split.bytes), target, split.linears,
      static_cast<double>(split.wide_parameters) / kMillion,
      static_cast<double>(split.parameters) / kMillion, split.fewest_wide, split.most_wide,
      static_cast<double>(split.embedding_parameters) / kMillion);
}

void add_model(const Arguments& arguments, Json& json, std::string& text) {
  const Session session(arguments);
  const auto path = find_model(arguments.text("MODEL"));
  const bool is_whole = has_weights(path);
  const auto model = is_whole ? session.load(path) : session.describe(path);
  const ModelReport report =
      report_model(*model, [&](std::string_view name) { return session.scheme(name); });
  json["architecture"] = report.architecture;
  json["plugin"] = report.plugin;
  json["model_type"] = report.model_type;
  json["parameters"] = report.parameters;
  json["bytes"] = report.bytes;
  json["bpw"] = report.bpw();
  json["has_weights"] = !report.is_bare;
  json["blocks"] = report.blocks;
  const auto linears = std::ranges::count_if(report.layers, &LayerReport::is_quantizable);
  json["quantizable_linears"] = linears;
  text += fmt::format("architecture  {} for {} (plugin {})\n", report.architecture,
                      printable(report.model_type), report.plugin);
  text += fmt::format("parameters    {}\n", report.parameters);
  text += fmt::format("{}  {}, {:.3f} bits a weight\n",
                      report.is_bare ? "predicted   " : "stored      ", bytes_text(report.bytes),
                      report.bpw());
  text += fmt::format("blocks        {}\nlinears       {} that can be quantized\n", report.blocks,
                      linears);
  if (arguments.has("target-bpw")) add_target(arguments, report, json, text);
  if (report.text) {
    json["hidden"] = report.text->hidden;
    json["vocabulary"] = report.text->vocabulary;
    json["context_length"] = report.text->context_length;
    text += fmt::format("vocabulary    {}\ncontext       {}\n", report.text->vocabulary,
                        report.text->context_length);
    const std::int64_t context =
        arguments.has("context") ? arguments.integer("context", 1) : report.text->context_length;
    const KvChoice kv = choose_kv(session, arguments, *model);
    add_kv(report_kv(*model, kv.plan, static_cast<std::uint64_t>(context)), kv, report, json, text);
  }
  json["layers"] = Json::array();
  for (const LayerReport& layer : report.layers) json["layers"].push_back(layer_json(layer));
  text += layer_table(report);
}

/// What this machine reached just now: reading, and the arithmetic of the kernels in use.
void add_limits(int threads, Json& json, std::string& text) {
  const auto rates = measure_machine(threads);
  const double read = read_limit(rates).wall;
  json["cpu"]["limits"] = {{"threads", threads}, {"read_bytes_per_s", read}};
  text += fmt::format("reads         {:.1f} GB/s with {} threads\n", 1e-9 * read, threads);
  for (const char* kind : {"fma", "int8 dot", "int4 dot", "int16 dot"}) {
    const double operations = arithmetic_limit(rates, kind, kernels().name).wall;
    if (operations == 0) continue;
    json["cpu"]["limits"]["operations_per_s"][kind] = operations;
    text += fmt::format("{:<13} {:.0f} G operations/s\n", kind, 1e-9 * operations);
  }
}

void add_cpu(const Arguments& arguments, Json& json, std::string& text) {
  std::vector<std::string> tables;
  for (const KernelTable* table : available_kernels()) tables.emplace_back(table->name);
  const auto features = cpu_features();
  json["cpu"] = {{"instruction_sets", features},
                 {"kernels", kernels().name},
                 {"available_kernels", tables},
                 {"choice", kernel_choice()},
                 {"cpus", available_cpus()}};
  text += fmt::format("instructions  {}\nkernels       {} of {}: {}\nCPUs          {}\n",
                      fmt::join(features, " "), kernels().name, fmt::join(tables, ", "),
                      kernel_choice(), available_cpus());
  const auto threads = arguments.has("threads")
                           ? arguments.integer("threads", 1, kMostMeasuredThreads)
                           : available_cpus();
  add_limits(static_cast<int>(threads), json, text);
}

int run(const Arguments& arguments) {
  if (!arguments.has("MODEL") && !arguments.flag("cpu")) {
    throw Error(ErrorCode::usage, "there is nothing to tell about", "info",
                "give a MODEL, or --cpu");
  }
  if (arguments.has("compat") && !arguments.has("target-bpw")) {
    throw Error(ErrorCode::usage, "there is no target to count", "--compat",
                "give one with --target-bpw");
  }
  Json json = Json::object();
  std::string text;
  if (arguments.has("MODEL")) add_model(arguments, json, text);
  if (arguments.flag("cpu")) add_cpu(arguments, json, text);
  if (arguments.flag("json")) {
    print_json(json);
  } else {
    print(text);
  }
  return 0;
}

constexpr Command kCommand = {
    .name = "info",
    .summary = "Tells what a model is made of and how much memory it needs",
    .description =
        "A config.json alone is enough: sizes are then predictions. Bits a weight count "
        "everything that is stored, the parameters of quantization too.",
    .positionals = kPositionals,
    .groups = kGroups,
    .examples = kExamples,
    .run = run};

}  // namespace

const Command& info_command() {
  return kCommand;
}

}  // namespace quiver::cli
