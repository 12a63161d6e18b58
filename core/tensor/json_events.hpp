// The event interface of the JSON parser with refusal as the default.
#pragma once

#include <quiver/error.hpp>

#include <nlohmann/json.hpp>

#include <string>
#include <string_view>

namespace quiver {

/// Base of readers that walk through a JSON text without building a tree, so that memory stays
/// small whatever a file holds. A derived reader overrides the events that its format allows; any
/// other event throws Error(bad_input). Numbers arrive as unsigned only when they are plain
/// non-negative integers that fit into 64 bits.
class JsonEvents : public nlohmann::json_sax<nlohmann::json> {
 public:
  /// `subject`: what is being read, as the beginning of messages ("the header"). `where`: the file.
  JsonEvents(std::string subject, std::string where)
      : subject_(std::move(subject)), where_(std::move(where)) {}

  /// Walks through `text`; throws Error(bad_input) where it is not one JSON value.
  void read(std::string_view text) {
    // The parser takes a NUL for the end of its input, so what follows one would go unread.
    if (text.find('\0') != std::string_view::npos) fail("holds a NUL byte");
    nlohmann::json::sax_parse(text.begin(), text.end(), this);
  }

  bool null() override { return refuse("null"); }
  bool boolean(bool) override { return refuse("a truth value"); }
  bool number_integer(number_integer_t) override { return refuse("a negative number"); }
  bool number_unsigned(number_unsigned_t) override { return refuse("a number"); }
  bool number_float(number_float_t, const string_t&) override {
    return refuse("a fraction or an oversized number");
  }
  bool string(string_t&) override { return refuse("a string"); }
  bool binary(binary_t&) override { return refuse("binary data"); }
  bool start_object(std::size_t) override { return refuse("an object"); }
  bool end_object() override { return true; }
  bool start_array(std::size_t) override { return refuse("an array"); }
  bool end_array() override { return true; }
  bool key(string_t&) override { return refuse("a key"); }
  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::json::exception&) override {
    fail("is not valid JSON at byte " + std::to_string(position));
  }

 protected:
  /// Throws about the whole text: "SUBJECT WHAT".
  [[noreturn]] void fail(const std::string& what) const {
    throw Error(ErrorCode::bad_input, subject_ + " " + what, where_, kFetchAgain);
  }

  /// Throws about a value of the wrong kind; place() says which one.
  [[noreturn]] bool refuse(std::string_view kind) const {
    fail("has " + std::string(kind) + " " + place());
  }

  /// Where the reader is, e.g. "as the shape of tensor 'x'".
  virtual std::string place() const { return "in an unexpected place"; }

  static constexpr const char* kFetchAgain = "the file is damaged; fetch or write it again";

 private:
  std::string subject_;
  std::string where_;
};

}  // namespace quiver
