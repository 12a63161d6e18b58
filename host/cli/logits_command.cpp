// quiver logits: what a model predicts at every token, for porting and checks.
#include "core/decode/engine.hpp"
#include "core/tensor/printable.hpp"
#include "core/tensor/safetensors_writer.hpp"
#include "host/cli/commands.hpp"
#include "host/cli/console.hpp"
#include "host/cli/interrupt.hpp"
#include "host/cli/kv_choice.hpp"
#include "host/cli/model_location.hpp"
#include "host/cli/model_text.hpp"
#include "host/cli/picture_prompt.hpp"
#include "host/cli/progress.hpp"
#include "host/cli/session.hpp"

#include <quiver/error.hpp>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <optional>

namespace quiver::cli {
namespace {

constexpr PositionalRow kPositionals[] = {{.name = "MODEL",
                                           .help = "Folder, or owner/name in the local cache",
                                           .completes = Completes::folder}};
constexpr OptionRow kOptions[] = {
    {.name = "ids", .value = "N,N,..", .help = "Token ids to run"},
    {.name = "prompt", .value = "TEXT", .help = "Text to run"},
    kImageOption,
    {.name = "chunk",
     .value = "N",
     .help = "Feed N tokens at a time through the cache, whole blocks of them; some 256 where not "
             "given"},
    {.name = "block-length",
     .value = "N",
     .help = "Let tokens see all of their block of N, as models that write whole blocks are run; "
             "without it only themselves and what comes before"},
    {.name = "intermediates",
     .help = "Also write what flows through the model: embed, block.N, hidden"},
    {.name = "output",
     .short_name = 'o',
     .value = "FILE",
     .help = "Safetensors file to write, with logits [tokens, vocabulary] in float32",
     .completes = Completes::file},
    kKvOption,
    kKvConfigOption,
    kKvRecentOption,
};
constexpr OptionGroup kGroups[] = {{"Options", kOptions}};
constexpr Example kExamples[] = {{"logits model/ --ids 1,2,3 --compute exact -o logits.safetensors",
                                  "Compare with a reference"}};

/// Values [tokens, width] that a model passes on, collected over all chunks.
struct Intermediate {
  std::string name;
  int width = 0;
  std::vector<float> values;
};

/// Writes logits as they come and intermediates at the end, so that logits never lie in memory all
/// at once.
class LogitsFile {
 public:
  LogitsFile(std::filesystem::path path, std::size_t tokens)
      : path_(std::move(path)), tokens_(static_cast<std::int64_t>(tokens)) {}

  TensorObserver observer() {
    return [this](std::string_view name, int, int width, std::span<const float> values) {
      auto found = std::ranges::find(intermediates_, name, &Intermediate::name);
      if (found == intermediates_.end()) {
        intermediates_.push_back({std::string(name), width, {}});
        found = intermediates_.end() - 1;
      }
      found->values.insert(found->values.end(), values.begin(), values.end());
    };
  }

  void write(const Logits& logits) {
    if (!writer_) {
      std::vector<TensorInfo> infos = {{"logits", DType::f32, {tokens_, logits.vocabulary}}};
      for (const Intermediate& one : intermediates_) {
        infos.push_back({one.name, DType::f32, {tokens_, one.width}});
      }
      writer_.emplace(path_, std::move(infos),
                      std::map<std::string, std::string>{{"format", "pt"}});
    }
    writer_->write("logits", std::as_bytes(std::span(logits.values)));
  }

  void finish() {
    for (const Intermediate& one : intermediates_) {
      writer_->write(one.name, std::as_bytes(std::span(one.values)));
    }
    writer_->commit();
  }

 private:
  std::filesystem::path path_;
  std::int64_t tokens_;
  std::vector<Intermediate> intermediates_;
  std::optional<SafetensorsWriter> writer_;
};

std::vector<std::int32_t> read_ids(const Arguments& arguments,
                                   const std::filesystem::path& folder) {
  if (arguments.has("ids")) return arguments.ids("ids");
  return ModelText(folder).encode(arguments.text("prompt"), true);
}

/// How the tokens are fed.
struct Feeding {
  Visibility visibility{};
  std::size_t chunk = 0;
};

Feeding read_feeding(const Arguments& arguments) {
  constexpr std::int64_t kLongestBlock = std::int64_t{1} << 24;
  Feeding feeding;
  if (arguments.has("block-length")) {
    const auto length = arguments.integer("block-length", 1, kLongestBlock);
    feeding.visibility = {VisibilityKind::block_causal, static_cast<std::int32_t>(length)};
  }
  feeding.chunk = static_cast<std::size_t>(
      arguments.has("chunk") ? arguments.integer("chunk", 1)
                             : std::int64_t{Engine::prompt_grid(feeding.visibility)});
  const auto block = static_cast<std::size_t>(std::max(feeding.visibility.block_length, 1));
  if (feeding.chunk % block != 0) {
    throw Error(ErrorCode::usage,
                fmt::format("chunks of {} would cut blocks of {}", feeding.chunk, block), "--chunk",
                "give a multiple of --block-length");
  }
  return feeding;
}

/// Runs all tokens; gives the likeliest next one for each.
std::vector<std::int32_t> run_tokens(Engine& engine, std::span<const std::int32_t> ids,
                                     const PromptImages* images, const Feeding& feeding,
                                     LogitsFile* file, bool is_observed) {
  std::vector<std::int32_t> likeliest;
  Sequence sequence = engine.new_sequence();
  ProgressLine progress("running", ids.size(), "tokens");
  for (std::size_t done = 0; done < ids.size();) {
    throw_if_interrupted();
    const std::size_t count = std::min(feeding.chunk, ids.size() - done);
    Feed feed{&sequence, ids.subspan(done, count), Wanted::all, RowForm::prompt,
              feeding.visibility};
    feed.images = images;
    const Logits logits =
        engine.forward({&feed, 1}, is_observed ? file->observer() : TensorObserver());
    sequence.accept(static_cast<int>(count));
    for (int row = 0; row < logits.rows; ++row) {
      const auto values = logits.row(row);
      likeliest.push_back(
          static_cast<std::int32_t>(std::ranges::max_element(values) - values.begin()));
    }
    if (file != nullptr) file->write(logits);
    done += count;
    progress.update(done);
  }
  return likeliest;
}

int run(const Arguments& arguments) {
  arguments.require_one_of({"ids", "prompt"});
  const Feeding feeding = read_feeding(arguments);
  const bool is_observed = arguments.flag("intermediates");
  if (is_observed && !arguments.has("output")) {
    throw Error(ErrorCode::usage, "--intermediates needs a file to write to", "logits",
                "give one with --output");
  }
  if (arguments.has("ids")) static_cast<void>(arguments.ids("ids"));
  const auto folder = find_model_folder(arguments.text("MODEL"));
  Session session(arguments);
  const auto model = session.load(folder);
  std::vector<std::int32_t> ids = read_ids(arguments, folder);
  if (ids.empty()) {
    throw Error(ErrorCode::usage, "the text has no tokens", "--prompt", "give some text");
  }
  Engine engine(model, choose_kv(session, arguments, *model).plan, session.threads(),
                session.compute());
  const auto images = read_prompt_pictures(arguments, engine, ids);
  std::optional<LogitsFile> file;
  if (arguments.has("output")) file.emplace(arguments.path("output"), ids.size());
  const auto likeliest =
      run_tokens(engine, ids, images.get(), feeding, file ? &*file : nullptr, is_observed);
  if (file) file->finish();
  const int vocabulary = engine.info().vocabulary;
  if (arguments.flag("json")) {
    print_json({{"tokens", ids.size()}, {"vocab", vocabulary}, {"argmax", likeliest}});
  } else {
    print(fmt::format("tokens      {}\nvocabulary  {}\nargmax      {}\n", ids.size(), vocabulary,
                      fmt::join(likeliest, ",")));
  }
  return 0;
}

constexpr Command kCommand = {
    .name = "logits",
    .summary = "Computes the logits of every token",
    .description = "argmax is the likeliest next token behind each, the lowest id among equals.",
    .positionals = kPositionals,
    .groups = kGroups,
    .examples = kExamples,
    .run = run};

}  // namespace

const Command& logits_command() {
  return kCommand;
}

}  // namespace quiver::cli
