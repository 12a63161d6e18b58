// quiver latency: how fast a model should run, and how fast it does.
#include "core/decode/engine.hpp"
#include "core/eval/latency.hpp"
#include "core/eval/latency_run.hpp"
#include "core/tensor/printable.hpp"
#include "host/cli/commands.hpp"
#include "host/cli/console.hpp"
#include "host/cli/interrupt.hpp"
#include "host/cli/kv_choice.hpp"
#include "host/cli/model_location.hpp"
#include "host/cli/model_report.hpp"
#include "host/cli/progress.hpp"
#include "host/cli/session.hpp"

#include <quiver/error.hpp>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <optional>

namespace quiver::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr PositionalRow kPositionals[] = {
    {.name = "MODEL",
     .help = "Folder, config.json, or owner/name in the local cache",
     .completes = Completes::file}};
constexpr OptionRow kOptions[] = {
    {.name = "profile",
     .value = "NAME",
     .help = "Predict for a machine by its data sheet instead of measuring this one: m1 to m4, or "
             "these with -pro, -max or -ultra"},
    {.name = "context",
     .value = "N",
     .default_value = "256",
     .help = "Tokens whose keys and values a decoded token reads"},
    {.name = "target-bpw",
     .value = "X",
     .help = "Predict for X bits a weight in all matrices instead of those stored"},
    {.name = "calibrate", .help = "Run the model too, and print what was measured beside it"},
    kKvOption,
    kKvConfigOption,
    kKvRecentOption,
};
constexpr OptionGroup kGroups[] = {{"Options", kOptions}};
constexpr Example kExamples[] = {
    {"latency model/ --calibrate --threads 4", "What four threads should do, and what they do"},
    {"latency config.json --target-bpw 4.5 --profile m2-max", "A model that is not there yet"}};

/// Keys and values that a token behind `context` others reads, of layers with a window those in it;
/// and the states of layers that have these instead.
double cache_bytes(const LoadedModel& model, const KvPlan& kv, std::uint64_t context) {
  const KvReport report = report_kv(model, kv, context);
  auto bytes = static_cast<double>(report.state_bytes);
  for (const KvReport::Layer& layer : report.layers) {
    const auto window = static_cast<std::uint64_t>(model.weights().kv_caches()[layer.cache].window);
    const std::uint64_t tokens = window == 0 ? context : std::min(window, context);
    bytes += static_cast<double>(layer.bytes_per_token) * static_cast<double>(tokens);
  }
  return bytes;
}

LatencyWork work_of(const ModelReport& report, std::optional<double> target_bpw) {
  LatencyWork work;
  work.prompt = Engine::kPromptGrid;
  work.other_bytes = static_cast<double>(report.other_bytes - report.draft_bytes);
  const bool has_head = std::ranges::any_of(
      report.layers, [](const LayerReport& layer) { return layer.role == "head"; });
  for (const LayerReport& layer : report.layers) {
    if (layer.is_draft) continue;
    LatencyMatrix matrix;
    matrix.parameters = layer.parameters;
    matrix.columns = static_cast<std::uint64_t>(layer.columns);
    matrix.bytes = layer.bytes;
    matrix.bits = layer.bits;
    matrix.is_quantized = layer.group_size.has_value();
    if (target_bpw) {
      matrix.bytes =
          static_cast<std::uint64_t>(static_cast<double>(layer.parameters) * *target_bpw / 8);
      matrix.bits = static_cast<int>(std::lround(*target_bpw));
      matrix.is_quantized = *target_bpw < 16;
    }
    if (layer.experts != 0) matrix.active = 1.0 * layer.experts_per_row / layer.experts;
    if (layer.role == "embedding" && has_head) {
      // One row is looked up.
      work.other_bytes += static_cast<double>(matrix.bytes) /
                          static_cast<double>(std::max<std::int64_t>(layer.rows, 1));
      continue;
    }
    matrix.is_last_only = layer.role == "head" || layer.role == "embedding";
    work.matrices.push_back(matrix);
  }
  return work;
}

/// What was taken for granted, for people.
std::string assumption_of(const ModelReport& report, std::optional<double> target_bpw) {
  if (target_bpw) return fmt::format("{} bits a weight in all matrices", *target_bpw);
  if (!report.is_bare) return "weights as they are stored";
  const std::string form = fmt::format("{:.1f} bits a weight, as config.json says", report.bpw());
  const bool is_quantized = std::ranges::any_of(
      report.layers, [](const LayerReport& layer) { return layer.group_size.has_value(); });
  return is_quantized ? form : form + "; --target-bpw predicts a quantized model";
}

/// What --calibrate measures.
LatencyRun calibrate(Session& session, const Arguments& arguments,
                     std::shared_ptr<const LoadedModel> model, int context) {
  KvPlan kv = choose_kv(session, arguments, *model).plan;
  const int limit = model->text().info().context_length;
  Engine engine(std::move(model), std::move(kv), session.threads(), session.compute());
  LatencyRunOptions options;
  options.context = context;
  if (limit != 0) options.prompt = std::min(options.prompt, limit);
  ProgressLine progress("running", static_cast<std::size_t>(options.runs) + 1, "runs");
  options.progress = [&](std::size_t done, std::size_t) {
    progress.update(done);
    return !interrupt_flag();
  };
  return run_latency(engine, options);
}

Json machine_json(const LatencyMachine& machine) {
  return {{"name", machine.name},
          {"read_bytes_per_second", machine.read_bytes},
          {"float_operations_per_second", machine.float_operations},
          {"quantized_operations_per_second", machine.quantized_operations},
          {"seconds_per_matrix", machine.matrix_seconds}};
}

void show(const LatencyMachine& machine, const LatencyWork& work,
          const LatencyPrediction& prediction, const std::string& assumption,
          const std::optional<LatencyRun>& run) {
  print(fmt::format("machine     {}: reads {:.1f} GB/s, computes {:.0f} GOP/s ({:.0f} on floats)\n",
                    machine.name, machine.read_bytes / 1e9, machine.quantized_operations / 1e9,
                    machine.float_operations / 1e9));
  print(fmt::format("model       {}\n", assumption));
  print(fmt::format("a token     reads {}, {} of them keys, values and states\n",
                    bytes_text(static_cast<std::uint64_t>(prediction.bytes_per_token)),
                    bytes_text(static_cast<std::uint64_t>(work.kv_bytes))));
  if (!run) {
    print(fmt::format("decoding    {:.1f} tokens a second, predicted\n", prediction.decode_tps));
    print(fmt::format("prompts     {:.1f} tokens a second, predicted\n", prediction.prefill_tps));
    return;
  }
  const auto line = [](const char* name, double predicted, double measured) {
    print(fmt::format("{}  {:.1f} tokens a second, predicted {:.1f}: {:.0f} %\n", name, measured,
                      predicted, 100 * measured / predicted));
  };
  line("decoding  ", prediction.decode_tps, run->decode_tps);
  line("prompts   ", prediction.prefill_tps, run->prefill_tps);
}

/// Everything that the options ask for.
struct Wanted {
  int context = 0;
  bool is_calibrating = false;
  std::optional<double> target_bpw;
  std::optional<LatencyMachine> profile;
};

Wanted read_options(const Arguments& arguments) {
  Wanted wanted;
  wanted.context = static_cast<int>(arguments.integer("context", 0));
  wanted.is_calibrating = arguments.flag("calibrate");
  if (arguments.has("target-bpw")) wanted.target_bpw = arguments.number("target-bpw", 0.1, 64);
  if (arguments.has("profile")) wanted.profile = latency_profile(arguments.text("profile"));
  if (wanted.is_calibrating && (wanted.profile || wanted.target_bpw)) {
    throw Error(ErrorCode::usage, "only this machine and the stored weights can be run",
                "--calibrate", "leave --profile and --target-bpw out");
  }
  return wanted;
}

void show_json(const LatencyMachine& machine, const LatencyWork& work,
               const LatencyPrediction& prediction, const std::string& assumption, int context,
               const std::optional<LatencyRun>& run) {
  Json json = {{"decode_tps", prediction.decode_tps},
               {"prefill_tps", prediction.prefill_tps},
               {"bytes_per_token", prediction.bytes_per_token},
               {"kv_bytes", work.kv_bytes},
               {"context", context},
               {"prompt", work.prompt},
               {"assumption", assumption},
               {"machine", machine_json(machine)}};
  if (run) json["measured"] = {{"decode_tps", run->decode_tps}, {"prefill_tps", run->prefill_tps}};
  print_json(json);
}

int run(const Arguments& arguments) {
  Session session(arguments);
  const Wanted wanted = read_options(arguments);
  const auto path = find_model(arguments.text("MODEL"));
  const bool is_whole = has_weights(path);
  if (wanted.is_calibrating && !is_whole) {
    throw Error(ErrorCode::usage, "there are no weights to run", path.string(),
                "leave --calibrate out");
  }
  const auto model = is_whole ? session.load(path) : session.describe(path);
  static_cast<void>(model->text());  // refuses what has no tokens
  const ModelReport report =
      report_model(*model, [&](std::string_view name) { return session.scheme(name); });
  LatencyWork work = work_of(report, wanted.target_bpw);
  work.kv_bytes = cache_bytes(*model, choose_kv(session, arguments, *model).plan,
                              static_cast<std::uint64_t>(wanted.context));
  const bool is_exact = session.compute().mode == ComputeMode::exact;
  const LatencyMachine machine =
      wanted.profile ? *wanted.profile
                     : measure_latency_machine(session.threads().threads(), is_exact);
  const LatencyPrediction prediction = predict_latency(machine, work);
  std::optional<LatencyRun> measured;
  if (wanted.is_calibrating) measured = calibrate(session, arguments, model, wanted.context);
  const std::string assumption = assumption_of(report, wanted.target_bpw);
  if (arguments.flag("json")) {
    show_json(machine, work, prediction, assumption, wanted.context, measured);
  } else {
    show(machine, work, prediction, assumption, measured);
  }
  return 0;
}

constexpr Command kCommand = {
    .name = "latency",
    .summary = "Predicts how fast a model runs, from what the machine reads and computes",
    .description =
        "For every matrix the longer of reading it and computing with it, at the rates that this "
        "machine was measured at with the threads that are used, or those of a named profile. "
        "Keys and values at --context, states, and the chosen experts count; products of attention "
        "do "
        "not. "
        "On this machine the prediction is a limit: --calibrate tells how near the model comes.",
    .positionals = kPositionals,
    .groups = kGroups,
    .examples = kExamples,
    .run = run};

}  // namespace

const Command& latency_command() {
  return kCommand;
}

}  // namespace quiver::cli
