// Parsing of shard lists.
#include "core/tensor/safetensors_index.hpp"

#include "core/tensor/json_events.hpp"
#include "core/tensor/printable.hpp"

#include <utility>

namespace quiver {

namespace {

/// How deep values outside the weight_map, which are skipped, may nest.
constexpr int kMaxSkippedDepth = 16;

class IndexReader final : public JsonEvents {
 public:
  explicit IndexReader(const std::string& where) : JsonEvents("the shard list", where) {}

  std::map<std::string, std::string> take() {
    if (map_.empty()) fail("has no weight_map");
    return std::move(map_);
  }

  bool null() override { return skips_value() || refuse("null"); }
  bool boolean(bool) override { return skips_value() || refuse("a truth value"); }
  bool number_integer(number_integer_t) override { return skips_value() || refuse("a number"); }
  bool number_unsigned(number_unsigned_t) override { return skips_value() || refuse("a number"); }
  bool number_float(number_float_t, const string_t&) override {
    return skips_value() || refuse("a number");
  }
  bool start_array(std::size_t) override { return opens_skipped() || refuse("an array"); }
  bool end_array() override {
    --skipped_depth_;
    return true;
  }

  bool string(string_t& file) override {
    if (!is_in_map_) return skips_value() || refuse("a string");
    constexpr std::string_view kEnding = ".safetensors";
    const bool is_plain = file.size() > kEnding.size() && file.ends_with(kEnding) &&
                          file.find('/') == string_t::npos && file.find("..") == string_t::npos &&
                          file.find('\0') == string_t::npos;
    if (!is_plain) {
      fail("puts tensor " + in_quotes(name_) + " into " + in_quotes(file) +
           ", which is not the name of a safetensors file in this folder");
    }
    if (!map_.emplace(name_, std::move(file)).second) {
      fail("gives tensor " + in_quotes(name_) + " twice");
    }
    return true;
  }

  bool start_object(std::size_t) override {
    if (depth_ == 0) {
      depth_ = 1;
      return true;
    }
    if (opens_skipped()) return true;
    if (is_in_map_) refuse("an object");
    if (std::exchange(has_map_, true)) fail("has two weight_maps");
    is_in_map_ = true;
    return true;
  }

  bool end_object() override {
    if (skipped_depth_ > 0) {
      --skipped_depth_;
    } else if (is_in_map_) {
      is_in_map_ = false;
    }
    return true;
  }

  bool key(string_t& name) override {
    if (skipped_depth_ == 0) name_ = std::move(name);
    return true;
  }

 protected:
  std::string place() const override {
    if (depth_ == 0) return "in place of an object";
    if (!is_in_map_) return "in place of " + in_quotes(name_);
    return "in place of the file name for tensor " + in_quotes(name_);
  }

 private:
  bool skips_value() const {
    return skipped_depth_ > 0 || (depth_ == 1 && !is_in_map_ && name_ != "weight_map");
  }
  bool opens_skipped() {
    if (!skips_value()) return false;
    if (++skipped_depth_ > kMaxSkippedDepth) refuse("values nested too deeply");
    return true;
  }

  std::map<std::string, std::string> map_;
  std::string name_;
  int depth_ = 0;
  int skipped_depth_ = 0;
  bool is_in_map_ = false;
  bool has_map_ = false;
};

}  // namespace

std::map<std::string, std::string> parse_safetensors_index(std::string_view json,
                                                           const std::string& where) {
  IndexReader reader(where);
  reader.read(json);
  return reader.take();
}

}  // namespace quiver
