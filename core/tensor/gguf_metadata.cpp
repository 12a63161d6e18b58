// Parsing and look-up of GGUF metadata.
#include "core/tensor/gguf_metadata.hpp"

#include "core/tensor/printable.hpp"

#include <algorithm>
#include <cstring>
#include <numeric>

namespace quiver {

namespace {

constexpr std::uint64_t kMaxKeys = 65536;
/// Strings and inner arrays take memory of their own, of which all together may use this much: 16
/// million strings, where the largest vocabularies have a few hundred thousand.
constexpr std::uint64_t kMaxListBytes = (1U << 24) * sizeof(std::string_view);
constexpr int kMaxArrayDepth = 4;
constexpr std::size_t kMaxKeyBytes = 65535;

/// The least an entry takes: a key's length, a kind and one byte of value.
constexpr std::uint64_t kMinEntryBytes = 8 + 4 + 1;
/// The least an array takes: kind and count.
constexpr std::uint64_t kMinArrayBytes = 4 + 8;
constexpr std::uint64_t kMinStringBytes = 8;

/// Bytes of a value of fixed size; 0 for strings and arrays.
std::size_t size_of(GgufKind kind) noexcept {
  switch (kind) {
    case GgufKind::u8:
    case GgufKind::i8:
    case GgufKind::boolean: return 1;
    case GgufKind::u16:
    case GgufKind::i16: return 2;
    case GgufKind::u32:
    case GgufKind::i32:
    case GgufKind::f32: return 4;
    case GgufKind::u64:
    case GgufKind::i64:
    case GgufKind::f64: return 8;
    case GgufKind::string:
    case GgufKind::array: break;
  }
  return 0;
}

template <class Number>
Number load(const std::byte* from) {
  Number value;
  std::memcpy(&value, from, sizeof(Number));
  return value;
}

/// A value of fixed size from its bytes.
GgufScalar load_scalar(GgufKind kind, const std::byte* from) {
  switch (kind) {
    case GgufKind::u8: return std::uint64_t{load<std::uint8_t>(from)};
    case GgufKind::u16: return std::uint64_t{load<std::uint16_t>(from)};
    case GgufKind::u32: return std::uint64_t{load<std::uint32_t>(from)};
    case GgufKind::u64: return load<std::uint64_t>(from);
    case GgufKind::i8: return std::int64_t{load<std::int8_t>(from)};
    case GgufKind::i16: return std::int64_t{load<std::int16_t>(from)};
    case GgufKind::i32: return std::int64_t{load<std::int32_t>(from)};
    case GgufKind::i64: return load<std::int64_t>(from);
    case GgufKind::f32: return double{load<float>(from)};
    case GgufKind::f64: return load<double>(from);
    case GgufKind::boolean: return load<std::uint8_t>(from) != 0;
    case GgufKind::string:
    case GgufKind::array: break;
  }
  throw Error(ErrorCode::internal, "strings and arrays have no fixed size");
}

class EntryReader {
 public:
  explicit EntryReader(ByteCursor& cursor) : cursor_(cursor) {}

  GgufEntry read() {
    GgufEntry entry;
    entry.key = cursor_.string();
    if (entry.key.size() > kMaxKeyBytes) cursor_.fail("has a metadata key longer than 65535 bytes");
    key_ = entry.key;
    entry.kind = read_kind();
    if (entry.kind == GgufKind::array) {
      entry.value = read_array(1);
    } else if (entry.kind == GgufKind::string) {
      entry.value = GgufScalar(cursor_.string());
    } else {
      const auto bytes = cursor_.take(size_of(entry.kind));
      check_truth_values(entry.kind, bytes);
      entry.value = load_scalar(entry.kind, bytes.data());
    }
    return entry;
  }

 private:
  GgufKind read_kind() {
    const auto number = cursor_.number<std::uint32_t>();
    if (number > static_cast<std::uint32_t>(GgufKind::f64)) {
      fail("has a value of unknown kind " + std::to_string(number));
    }
    return static_cast<GgufKind>(number);
  }

  GgufArray read_array(int depth) {
    if (depth > kMaxArrayDepth) fail("has arrays nested too deeply");
    GgufArray array;
    array.kind = read_kind();
    const auto count = cursor_.number<std::uint64_t>();
    const std::size_t item_bytes = size_of(array.kind);
    if (item_bytes > 0) {
      cursor_.require_room(count, item_bytes, "array items");
      array.numbers = cursor_.take(count * item_bytes);
      check_truth_values(array.kind, array.numbers);
    } else {
      const bool is_nested = array.kind == GgufKind::array;
      cursor_.require_room(count, is_nested ? kMinArrayBytes : kMinStringBytes, "array items");
      const std::uint64_t bytes =
          count * (is_nested ? sizeof(GgufArray) : sizeof(std::string_view));
      if (bytes > kMaxListBytes - list_bytes_) fail("has more strings in arrays than can be read");
      list_bytes_ += bytes;
      for (std::uint64_t i = 0; i < count; ++i) {
        if (is_nested) {
          array.arrays.push_back(read_array(depth + 1));
        } else {
          array.strings.push_back(cursor_.string());
        }
      }
    }
    array.count = static_cast<std::size_t>(count);
    return array;
  }

  void check_truth_values(GgufKind kind, std::span<const std::byte> bytes) const {
    if (kind != GgufKind::boolean) return;
    if (std::ranges::any_of(bytes, [](std::byte b) { return b > std::byte{1}; })) {
      fail("has a truth value that is neither 0 nor 1");
    }
  }

  [[noreturn]] void fail(const std::string& what) const {
    cursor_.fail(what + " under the key " + in_quotes(key_));
  }

  ByteCursor& cursor_;
  std::string_view key_;
  std::uint64_t list_bytes_ = 0;
};

}  // namespace

std::string_view gguf_kind_name(GgufKind kind) noexcept {
  constexpr std::string_view kNames[] = {"u8",      "i8",     "u16",   "i16", "u32", "i32", "f32",
                                         "boolean", "string", "array", "u64", "i64", "f64"};
  return kNames[static_cast<std::uint32_t>(kind)];
}

GgufScalar GgufArray::item(std::size_t i) const {
  if (kind == GgufKind::string) return strings[i];
  return load_scalar(kind, numbers.data() + i * size_of(kind));
}

GgufMetadata::GgufMetadata(ByteCursor& cursor, std::uint64_t count, std::string where)
    : where_(std::move(where)) {
  cursor.require_room(count, kMinEntryBytes, "metadata keys");
  if (count > kMaxKeys) cursor.fail("claims more than 65536 metadata keys");
  EntryReader reader(cursor);
  for (std::uint64_t i = 0; i < count; ++i) entries_.push_back(reader.read());
  by_key_.resize(entries_.size());
  std::iota(by_key_.begin(), by_key_.end(), 0U);
  const auto key_of = [this](std::uint32_t i) { return entries_[i].key; };
  std::ranges::sort(by_key_, {}, key_of);
  const auto twice = std::ranges::adjacent_find(by_key_, {}, key_of);
  if (twice != by_key_.end()) cursor.fail("has the key " + in_quotes(key_of(*twice)) + " twice");
}

const GgufEntry* GgufMetadata::find_entry(std::string_view key) const noexcept {
  const auto key_of = [this](std::uint32_t i) { return entries_[i].key; };
  const auto found = std::ranges::lower_bound(by_key_, key, {}, key_of);
  return found != by_key_.end() && key_of(*found) == key ? &entries_[*found] : nullptr;
}

std::span<const std::string_view> GgufMetadata::strings(std::string_view key) const {
  const GgufArray& array = array_of(entry_at(key));
  // An empty list may carry any kind.
  if (array.kind != GgufKind::string && array.count > 0) fail_kind(key, "an array of strings");
  return array.strings;
}

const GgufEntry& GgufMetadata::entry_at(std::string_view key) const {
  const GgufEntry* entry = find_entry(key);
  if (entry == nullptr) {
    throw Error(ErrorCode::bad_input, "the metadata has no key " + in_quotes(key), where_);
  }
  return *entry;
}

const GgufScalar& GgufMetadata::scalar_of(const GgufEntry& entry) const {
  const auto* scalar = std::get_if<GgufScalar>(&entry.value);
  if (scalar == nullptr) fail_kind(entry.key, "a single value");
  return *scalar;
}

const GgufArray& GgufMetadata::array_of(const GgufEntry& entry) const {
  const auto* array = std::get_if<GgufArray>(&entry.value);
  if (array == nullptr) fail_kind(entry.key, "an array");
  return *array;
}

void GgufMetadata::fail_kind(std::string_view key, std::string_view expected) const {
  const GgufEntry& entry = entry_at(key);
  std::string kind(gguf_kind_name(entry.kind));
  if (const auto* array = std::get_if<GgufArray>(&entry.value)) {
    kind += " of " + std::string(gguf_kind_name(array->kind));
  }
  throw Error(ErrorCode::bad_input,
              "the metadata key " + in_quotes(key) + " has the type " + kind + " in place of " +
                  std::string(expected),
              where_);
}

void GgufMetadata::fail_range(std::string_view key) const {
  throw Error(ErrorCode::bad_input,
              "the number under the metadata key " + in_quotes(key) + " is out of range", where_);
}

}  // namespace quiver
