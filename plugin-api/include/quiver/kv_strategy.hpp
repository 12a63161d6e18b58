// What a strategy for storing keys and values implements.
#pragma once

#include <quiver/options.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace quiver {

/// Shape of one layer's cache.
struct KvShape {
  std::int32_t kv_heads;
  std::int32_t head_dim;
};

/// A codec of pages: a page holds the keys and values of kTokens consecutive tokens of one layer,
/// in whatever form the strategy likes. The host owns page tables, sharing, truncation and the
/// softmax over pages; the strategy only writes and reads bytes. A page is read where it lies.
///
/// Stateless: all that it knows about a sequence is in the pages, which may be copied, shared and
/// saved. A query's results do not depend on the queries beside it, and a call over several pages
/// gives the bits of a call for each of them in order. Functions throw nothing but what
/// page_bytes() throws, Error(bad_input) for shapes that it cannot store. [any-thread]; one page is
/// written by one thread at a time.
class KvStrategy {
 public:
  static constexpr int kTokens = 64;  ///< Tokens of a page.
  virtual ~KvStrategy() = default;

  /// Bytes of one page. Pages are aligned to 64 bytes.
  virtual std::size_t page_bytes(const KvShape& shape) const = 0;

  /// Writes token `slot` (0 .. kTokens - 1) of a page: `keys` and `values` are float32
  /// [kv_heads, head_dim]. A slot may be written again.
  virtual void write(const KvShape& shape, std::byte* page, int slot, std::span<const float> keys,
                     std::span<const float> values) const = 0;

  /// Tokens of one kv head in consecutive pages: slot s is slot s % kTokens of pages[s / kTokens].
  /// The pages are the host's, and so is the list of them, for as long as a call takes.
  struct Slots {
    std::span<const std::byte* const> pages;  ///< At least one.
    int kv_head;
    /// Slots [first, last) are meant, counted from the first page: 0 <= first <= last <= stride().
    /// There may be none, and pages without any.
    int first;
    int last;

    /// Numbers from one query's scores or weights to the next one's.
    int stride() const { return static_cast<int>(pages.size()) * kTokens; }
  };

  /// Dot products of `query_count` queries [query_count, head_dim] with the keys of slots ->
  /// scores[query * slots.stride() + slot]; other scores are left alone. A strategy may begin to
  /// fetch the values of these slots: accumulate() with the same slots mostly follows.
  virtual void scores(const KvShape& shape, const Slots& slots, const float* queries,
                      int query_count, float* scores) const = 0;

  /// Adds sum over slots of weights[query * slots.stride() + slot] * value to
  /// output[query * head_dim + d], slots in ascending order. Weights of other slots may be
  /// anything, and those of zero leave the output as it is where values are finite. `next` is a
  /// page whose scores() are mostly asked for next, or nullptr; it may be any page. A strategy may
  /// begin to fetch it from memory, which takes longer than computing does where a cache is long.
  virtual void accumulate(const KvShape& shape, const Slots& slots, const float* weights,
                          int query_count, float* output, const std::byte* next) const = 0;

  /// Turns queries [count, head_dim] into the space that keys are stored in, in place; the default
  /// is that space itself.
  virtual void transform_queries(const KvShape& shape, float* queries, int count) const {
    static_cast<void>(shape), static_cast<void>(queries), static_cast<void>(count);
  }

  /// Turns accumulated outputs back, in place.
  virtual void transform_outputs(const KvShape& shape, float* outputs, int count) const {
    static_cast<void>(shape), static_cast<void>(outputs), static_cast<void>(count);
  }
};

/// The provider behind KV strategy offers. [any-thread]
class KvStrategyFactory {
 public:
  static constexpr std::string_view kInterfaceId = "quiver.kv-strategy/2";
  virtual ~KvStrategyFactory() = default;

  /// Options of the strategy `offer`; they live as long as the library.
  virtual std::span<const OptionSpec> options(std::string_view offer) const = 0;

  /// Makes a strategy; the caller owns it and deletes it through its virtual destructor. Throws
  /// Error(usage) for options that do not fit together.
  virtual KvStrategy* create(std::string_view offer, const Options& options) const = 0;
};

}  // namespace quiver
