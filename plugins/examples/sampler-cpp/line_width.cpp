// A sampler in C++: the longer a line of the text becomes, the likelier it ends.
#include <quiver/plugin.hpp>
#include <quiver/sampler.hpp>

#include <cstdint>
#include <cstring>
#include <string>

namespace {

using namespace quiver;

constexpr OptionSpec kOptions[] = {
    {"width", "Bytes after which a line should end", OptionKind::integer, 80, 1, 10000, nullptr},
    {"pull", "Added to the logits of line ends for each byte beyond", OptionKind::number, 0.5, 0,
     10, nullptr}};

/// What is known of a sequence so far. Plain bytes: the host copies them to remember a moment, and
/// puts them back when tokens are taken back.
struct State {
  std::uint64_t tokens_read;
  std::uint64_t column;
};

// One instance serves all sequences in all threads, so it never changes.
class LineWidth final : public Sampler {
 public:
  explicit LineWidth(const Options& options)
      : width_(static_cast<std::uint64_t>(options.integer("width"))),
        pull_(static_cast<float>(options.number("pull"))) {}

  std::size_t state_bytes() const override { return sizeof(State); }

  void reset(std::span<std::byte> state) const override { store({0, 0}, state); }

  void apply(Candidates& candidates, const SamplerContext& context,
             std::span<std::byte> state) const override {
    // A model without a tokenizer has no lines.
    const Vocabulary* vocabulary = context.vocabulary();
    if (vocabulary == nullptr) return;
    State now = load(state);
    const auto history = context.history();
    for (; now.tokens_read < history.size(); ++now.tokens_read) {
      const std::string_view piece = vocabulary->piece(history[now.tokens_read]);
      const std::size_t end = piece.rfind('\n');
      now.column = end == piece.npos ? now.column + piece.size() : piece.size() - end - 1;
    }
    store(now, state);
    if (now.column <= width_) return;

    const float added = pull_ * static_cast<float>(now.column - width_);
    for (std::size_t i = 0; i < candidates.count; ++i) {
      if (vocabulary->piece(candidates.ids[i]).starts_with('\n')) candidates.logits[i] += added;
    }
    candidates.is_sorted = false;
  }

 private:
  static State load(std::span<const std::byte> bytes) {
    State state;
    std::memcpy(&state, bytes.data(), sizeof state);
    return state;
  }
  static void store(const State& state, std::span<std::byte> bytes) {
    std::memcpy(bytes.data(), &state, sizeof state);
  }

  std::uint64_t width_;
  float pull_;
};

class Factory final : public SamplerFactory {
 public:
  std::span<const OptionSpec> options(std::string_view offer) const override {
    require_offered(offer);
    return kOptions;
  }

  Sampler* create(std::string_view offer, const Options& options) const override {
    require_offered(offer);
    return new LineWidth(options);
  }

 private:
  static void require_offered(std::string_view offer) {
    if (offer == "line-width") return;
    throw Error(ErrorCode::usage, "no sampler '" + std::string(offer) + "' here",
                "plugin example-line-width");
  }
};

const void* get(std::string_view id) {
  static const Factory factory;
  return provide<SamplerFactory>(id, factory);
}

}  // namespace

QUIVER_PLUGIN(get, "example-line-width", "1.0.0", "Apache-2.0", "An example of a sampler in C++",
              QUIVER_OFFER_SAMPLER("line-width", "Ends lines that grow too long"));
