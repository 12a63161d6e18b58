// Parsing and checking of safetensors headers.
#include "core/tensor/safetensors_header.hpp"

#include "core/tensor/checked_math.hpp"
#include "core/tensor/json_events.hpp"
#include "core/tensor/printable.hpp"

#include <quiver/error.hpp>

#include <algorithm>
#include <optional>
#include <tuple>
#include <utility>

namespace quiver {

namespace {

/// How deep values may nest that the format does not know and that are skipped.
constexpr int kMaxSkippedDepth = 16;

class HeaderReader final : public JsonEvents {
 public:
  explicit HeaderReader(const std::string& where) : JsonEvents("the header", where) {}

  SafetensorsHeader take() { return std::move(header_); }

  bool null() override {
    // A writer without metadata may say so by null.
    const bool is_absent_metadata = place_ == Place::file && is_metadata_next_;
    return is_absent_metadata || skips_value() || refuse("null");
  }
  bool boolean(bool) override { return skips_value() || refuse("a truth value"); }
  bool number_integer(number_integer_t) override {
    return skips_value() || refuse("a negative number");
  }
  bool number_float(number_float_t, const string_t&) override {
    return skips_value() || refuse("a fraction or an oversized number");
  }
  bool number_unsigned(number_unsigned_t value) override;
  bool string(string_t& value) override;
  bool start_object(std::size_t) override;
  bool end_object() override;
  bool start_array(std::size_t) override;
  bool end_array() override;
  bool key(string_t& name) override;

 protected:
  std::string place() const override;

 private:
  enum class Place { nothing, file, metadata, entry, shape, offsets };
  enum Field : unsigned { kUnknown = 0, kDtype = 1, kShape = 2, kOffsets = 4, kAllFields = 7 };

  bool skips_value() const { return place_ == Place::entry && field_ == kUnknown; }
  bool opens_skipped() {
    if (!skips_value()) return false;
    if (++skipped_depth_ > kMaxSkippedDepth) refuse("values nested too deeply");
    return true;
  }
  bool closes_skipped() {
    if (skipped_depth_ == 0) return false;
    --skipped_depth_;
    return true;
  }
  void finish_entry();

  SafetensorsHeader header_;
  SafetensorsEntry entry_;
  Place place_ = Place::nothing;
  Field field_ = kUnknown;
  unsigned seen_fields_ = 0;
  unsigned offsets_seen_ = 0;
  int skipped_depth_ = 0;
  bool is_metadata_next_ = false;
  bool has_metadata_ = false;
  std::string metadata_key_;
};

std::string HeaderReader::place() const {
  const std::string tensor = in_quotes(entry_.tensor.name);
  switch (place_) {
    case Place::nothing: return "in place of an object";
    case Place::file:
      return is_metadata_next_ ? "in place of the metadata" : "in place of tensor " + tensor;
    case Place::metadata:
      return "in place of the string " + in_quotes(metadata_key_) + " of the metadata";
    case Place::entry: break;
    case Place::shape: return "in the shape of tensor " + tensor;
    case Place::offsets: return "in the data_offsets of tensor " + tensor;
  }
  switch (field_) {
    case kDtype: return "as the dtype of tensor " + tensor;
    case kShape: return "as the shape of tensor " + tensor;
    case kOffsets: return "as the data_offsets of tensor " + tensor;
    default: return "in tensor " + tensor;
  }
}

bool HeaderReader::number_unsigned(number_unsigned_t value) {
  if (place_ == Place::shape) {
    if (entry_.tensor.shape.size() == kMaxDimensions) refuse("too many dimensions");
    if (value > static_cast<std::uint64_t>(INT64_MAX)) refuse("an oversized number");
    entry_.tensor.shape.push_back(static_cast<std::int64_t>(value));
    return true;
  }
  if (place_ == Place::offsets) {
    if (offsets_seen_ == 2) refuse("more than two numbers");
    (offsets_seen_ == 0 ? entry_.begin : entry_.end) = value;
    ++offsets_seen_;
    return true;
  }
  return skips_value() || refuse("a number");
}

bool HeaderReader::string(string_t& value) {
  if (place_ == Place::metadata) {
    if (!header_.metadata.emplace(metadata_key_, std::move(value)).second) {
      fail("gives " + in_quotes(metadata_key_) + " of the metadata twice");
    }
    return true;
  }
  if (place_ == Place::entry && field_ == kDtype) {
    const std::optional<DType> type = dtype_from_name(value);
    if (!type) {
      fail("gives tensor " + in_quotes(entry_.tensor.name) + " the element type " +
           in_quotes(value) + ", which cannot be read");
    }
    entry_.tensor.dtype = *type;
    return true;
  }
  return skips_value() || refuse("a string");
}

bool HeaderReader::start_object(std::size_t) {
  if (opens_skipped()) return true;
  if (place_ == Place::nothing) {
    place_ = Place::file;
    return true;
  }
  if (place_ != Place::file) refuse("an object");
  place_ = is_metadata_next_ ? Place::metadata : Place::entry;
  field_ = kUnknown;
  seen_fields_ = 0;
  return true;
}

bool HeaderReader::end_object() {
  if (closes_skipped()) return true;
  if (place_ == Place::entry) finish_entry();
  place_ = place_ == Place::file ? Place::nothing : Place::file;
  return true;
}

bool HeaderReader::start_array(std::size_t) {
  if (opens_skipped()) return true;
  if (place_ != Place::entry || (field_ != kShape && field_ != kOffsets)) refuse("an array");
  place_ = field_ == kShape ? Place::shape : Place::offsets;
  return true;
}

bool HeaderReader::end_array() {
  if (closes_skipped()) return true;
  if (place_ == Place::offsets && offsets_seen_ != 2) refuse("fewer than two numbers");
  place_ = Place::entry;
  return true;
}

bool HeaderReader::key(string_t& name) {
  if (skipped_depth_ > 0) return true;
  if (place_ == Place::metadata) {
    metadata_key_ = std::move(name);
  } else if (place_ == Place::file) {
    is_metadata_next_ = name == "__metadata__";
    if (is_metadata_next_ && std::exchange(has_metadata_, true)) fail("gives the metadata twice");
    entry_ = {};
    offsets_seen_ = 0;
    if (!is_metadata_next_) entry_.tensor.name = std::move(name);
  } else {
    field_ = name == "dtype"          ? kDtype
             : name == "shape"        ? kShape
             : name == "data_offsets" ? kOffsets
                                      : kUnknown;
    if ((seen_fields_ & field_) != 0) {
      fail("gives " + in_quotes(name) + " of tensor " + in_quotes(entry_.tensor.name) + " twice");
    }
    seen_fields_ |= field_;
  }
  return true;
}

void HeaderReader::finish_entry() {
  if (seen_fields_ != kAllFields) {
    const char* missing = (seen_fields_ & kDtype) == 0   ? "dtype"
                          : (seen_fields_ & kShape) == 0 ? "shape"
                                                         : "data_offsets";
    fail("gives no " + std::string(missing) + " for tensor " + in_quotes(entry_.tensor.name));
  }
  header_.entries.push_back(std::move(entry_));
}

class LayoutChecker {
 public:
  LayoutChecker(const std::string& where, std::uint64_t data_bytes)
      : where_(where), data_bytes_(data_bytes) {}

  /// Checks the entries, which are sorted by their data.
  void check(const std::vector<SafetensorsEntry>& entries) const {
    std::uint64_t position = 0;
    for (const SafetensorsEntry& entry : entries) {
      check_size(entry);
      if (entry.begin < position) fail(entry, "overlaps another tensor");
      if (entry.begin > position) {
        fail(entry,
             "leaves a gap of " + std::to_string(entry.begin - position) + " bytes in front of it");
      }
      position = entry.end;
    }
    if (position != data_bytes_) {
      throw Error(ErrorCode::bad_input,
                  "the tensors end " + std::to_string(data_bytes_ - position) +
                      " bytes before the file does",
                  where_, kHint);
    }
  }

 private:
  void check_size(const SafetensorsEntry& entry) const {
    if (entry.end < entry.begin) fail(entry, "ends before it begins");
    if (entry.end > data_bytes_) {
      fail(entry, "ends at byte " + std::to_string(entry.end) +
                      " of the data, of which the file has " + std::to_string(data_bytes_));
    }
    const auto elements = checked_elements(entry.tensor.shape);
    const auto bytes =
        elements ? checked_multiply(*elements, size_bytes(entry.tensor.dtype)) : std::nullopt;
    if (!bytes) fail(entry, "has an impossible shape " + shape_text(entry.tensor.shape));
    if (*bytes != entry.end - entry.begin) {
      fail(entry, "takes " + std::to_string(entry.end - entry.begin) + " bytes where " +
                      std::string(dtype_name(entry.tensor.dtype)) + " " +
                      shape_text(entry.tensor.shape) + " needs " + std::to_string(*bytes));
    }
  }

  [[noreturn]] void fail(const SafetensorsEntry& entry, const std::string& what) const {
    throw Error(ErrorCode::bad_input, "tensor " + in_quotes(entry.tensor.name) + " " + what, where_,
                kHint);
  }

  static constexpr const char* kHint = "the file is damaged or incomplete; fetch it again";
  const std::string& where_;
  std::uint64_t data_bytes_;
};

}  // namespace

SafetensorsHeader parse_safetensors_header(std::string_view json, std::uint64_t data_bytes,
                                           const std::string& where) {
  HeaderReader reader(where);
  reader.read(json);
  SafetensorsHeader header = reader.take();
  std::stable_sort(header.entries.begin(), header.entries.end(),
                   [](const SafetensorsEntry& a, const SafetensorsEntry& b) {
                     return std::tie(a.begin, a.end) < std::tie(b.begin, b.end);
                   });
  LayoutChecker(where, data_bytes).check(header.entries);
  return header;
}

}  // namespace quiver
