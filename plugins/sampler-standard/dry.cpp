// The dry sampler: penalizes tokens that would continue a sequence that the text already holds.
#include "offer.hpp"
#include "tokens.hpp"

#include <algorithm>
#include <limits>
#include <string>
#include <vector>

namespace quiver::samplers {
namespace {

constexpr std::size_t kLongestBreaker = 40;
constexpr std::size_t kMostBreakers = 256;

constexpr OptionSpec kDryOptions[] = {
    {"multiplier", "Penalty for a repetition of the allowed length; 0 changes nothing",
     OptionKind::number, 0.8, 0, 100, nullptr},
    {"base", "Factor of the penalty for each token beyond the allowed length", OptionKind::number,
     1.75, 1, 100, nullptr},
    {"allowed_length", "Repetitions shorter than this are free", OptionKind::integer, 2, 0,
     kLargestInteger, nullptr},
    {"window", "Newest tokens of prompt and text to look at; 0 and -1 look at all",
     OptionKind::integer, -1, -1, kLargestInteger, nullptr},
    {"breakers",
     "Texts that repetitions do not reach across, separated by ; with \\n \\r \\t \\\\ \\; \\xHH",
     OptionKind::text, 0, 0, 0, "\\n;:;\";*"}};

[[noreturn]] void refuse_breakers(const std::string& what) {
  throw Error(ErrorCode::usage, what, "sampler dry, breakers",
              "separate them by ';' and write line breaks as \\n, other bytes as \\xHH");
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  refuse_breakers("\\x is not followed by two hexadecimal digits");
}

/// Takes one escape, without its backslash, off the front of `text`.
char take_escape(std::string_view& text) {
  if (text.empty()) refuse_breakers("a backslash ends the text");
  const char kind = text.front();
  text.remove_prefix(1);
  switch (kind) {
    case 'n': return '\n';
    case 'r': return '\r';
    case 't': return '\t';
    case '\\':
    case ';': return kind;
    case 'x': {
      if (text.size() < 2) refuse_breakers("\\x is not followed by two hexadecimal digits");
      const int value = hex_digit(text[0]) * 16 + hex_digit(text[1]);
      text.remove_prefix(2);
      return static_cast<char>(value);
    }
    default: refuse_breakers(std::string("unknown escape \\") + kind);
  }
}

std::vector<std::string> parse_breakers(std::string_view text) {
  std::vector<std::string> breakers;
  if (text.empty()) return breakers;
  breakers.emplace_back();
  while (!text.empty()) {
    const char c = text.front();
    text.remove_prefix(1);
    if (c == ';') {
      breakers.emplace_back();
    } else {
      breakers.back() += c == '\\' ? take_escape(text) : c;
    }
  }
  if (breakers.size() > kMostBreakers) refuse_breakers("more than 256 breakers");
  for (const std::string& breaker : breakers) {
    if (breaker.empty()) refuse_breakers("a breaker is empty");
    if (breaker.size() > kLongestBreaker) refuse_breakers("a breaker is longer than 40 bytes");
  }
  return breakers;
}

/// For each i, how many tokens before place i, going back, equal those at the end of `tokens`: the
/// Z function of the reversed tokens, in linear time. Element 0, the whole, is 0.
std::vector<std::size_t> match_lengths(std::span<const std::int32_t> tokens) {
  const std::size_t n = tokens.size();
  const auto from_end = [&](std::size_t i) { return tokens[n - 1 - i]; };
  std::vector<std::size_t> lengths(n, 0);
  std::size_t begin = 0;  // [begin, end) is the match that reaches farthest.
  std::size_t end = 0;
  for (std::size_t i = 1; i < n; ++i) {
    std::size_t length = i < end ? std::min(lengths[i - begin], end - i) : 0;
    while (i + length < n && from_end(length) == from_end(i + length)) ++length;
    lengths[i] = length;
    if (i + length > end) begin = i, end = i + length;
  }
  return lengths;
}

class Dry final : public Sampler {
 public:
  explicit Dry(const Options& options)
      : multiplier_(options.number("multiplier")),
        base_(options.number("base")),
        allowed_length_(static_cast<std::size_t>(options.integer("allowed_length"))),
        window_(options.integer("window")),
        breakers_(parse_breakers(options.text("breakers"))) {
    // Keeps base^exponent inside float32, whose largest value is e^88.72.
    constexpr double kLargestLogarithm = 88.7228391;
    if (base_ > 1.000001) {
      largest_exponent_ = static_cast<std::size_t>(kLargestLogarithm / log_of(base_));
    }
  }

  void apply(Candidates& candidates, const SamplerContext& context,
             std::span<std::byte>) const override {
    if (multiplier_ == 0) return;
    largest_logit(candidates, "dry");
    change_logits(candidates, penalties(context),
                  [](double logit, double penalty) { return logit - penalty; });
  }

 private:
  /// What to take off which token.
  std::vector<TokenValue> penalties(const SamplerContext& context) const {
    const auto recent = newest(context.history(), window_);
    const std::vector<std::size_t> lengths = match_lengths(recent);
    const std::size_t longest =
        lengths.empty() ? 0 : *std::max_element(lengths.begin(), lengths.end());
    if (longest < allowed_length_ || recent.size() <= allowed_length_) return {};
    const Vocabulary* vocabulary = context.vocabulary();
    const std::size_t limit = vocabulary == nullptr
                                  ? longest
                                  : tokens_since_breaker(context.history(), *vocabulary, longest);
    if (limit < allowed_length_) return {};

    // The token after a match i places back is i - 1 places back.
    std::vector<TokenValue> found;
    for (std::size_t i = 1; i < recent.size(); ++i) {
      const std::size_t length = std::min(lengths[i], limit);
      if (length < allowed_length_) continue;
      found.push_back({recent[recent.size() - i], penalty_for(length)});
    }
    std::sort(found.begin(), found.end(), [](const TokenValue& a, const TokenValue& b) {
      return a.id != b.id ? a.id < b.id : a.value > b.value;
    });
    const auto same = [](const TokenValue& a, const TokenValue& b) { return a.id == b.id; };
    found.erase(std::unique(found.begin(), found.end(), same), found.end());
    if (vocabulary != nullptr) {
      std::erase_if(found,
                    [&](const TokenValue& t) { return holds_breaker(vocabulary->piece(t.id)); });
    }
    return found;
  }

  double penalty_for(std::size_t length) const {
    const std::size_t exponent = std::min(length - allowed_length_, largest_exponent_);
    return multiplier_ * power_of(base_, static_cast<std::int64_t>(exponent));
  }

  bool holds_breaker(std::string_view text) const {
    return std::any_of(breakers_.begin(), breakers_.end(), [&](const std::string& breaker) {
      return text.find(breaker) != std::string_view::npos;
    });
  }

  /// How many of the newest tokens follow the newest one in which a breaker ends, at most `limit`.
  std::size_t tokens_since_breaker(std::span<const std::int32_t> history,
                                   const Vocabulary& vocabulary, std::size_t limit) const {
    // A breaker may span tokens, so it may begin as many tokens earlier as it has bytes.
    const std::size_t taken = std::min(history.size(), limit + kLongestBreaker);
    std::string text;
    std::vector<std::size_t> starts;
    for (const std::int32_t id : history.last(taken)) {
      starts.push_back(text.size());
      text += vocabulary.piece(id);
    }
    std::size_t broken = 0;  // Bytes up to the end of the newest breaker.
    for (const std::string& breaker : breakers_) {
      const std::size_t place = text.rfind(breaker);
      if (place != std::string::npos) broken = std::max(broken, place + breaker.size());
    }
    const auto begin = starts.end() - static_cast<std::ptrdiff_t>(limit);
    return static_cast<std::size_t>(starts.end() - std::lower_bound(begin, starts.end(), broken));
  }

  double multiplier_;
  double base_;
  std::size_t allowed_length_;
  std::size_t largest_exponent_ = std::numeric_limits<std::size_t>::max();
  int window_;
  std::vector<std::string> breakers_;
};

constexpr SamplerOffer kOffers[] = {{"dry", kDryOptions, make_sampler<Dry>}};

}  // namespace

std::span<const SamplerOffer> dry_offers() {
  return kOffers;
}

}  // namespace quiver::samplers
