// Ways of decoding, as users ask for them: same texts, traces, canvases, infilling.
#include "host/cli/canvas_display.hpp"
#include "tests/cli/run_program.hpp"
#include "tests/support/temporary_folder.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

namespace quiver::test {
namespace {

using testing::HasSubstr;

const std::string kModel = shared_path("models/dhara-tiny-real");

ProgramResult generate(const std::vector<std::string>& more) {
  std::vector<std::string> arguments = {"generate",     kModel, "--prompt", "This section explains",
                                        "--max-tokens", "40"};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return run_program(arguments);
}

nlohmann::json generate_json(std::vector<std::string> more) {
  more.emplace_back("--json");
  const ProgramResult result = generate(more);
  EXPECT_EQ(result.status, 0) << result.err;
  return result.json();
}

std::vector<nlohmann::json> lines_of(const std::filesystem::path& path) {
  std::vector<nlohmann::json> lines;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) lines.push_back(nlohmann::json::parse(line));
  return lines;
}

TEST(Decoding, drafts_change_no_text) {
  for (const std::vector<std::string>& sampling : std::vector<std::vector<std::string>>{
           {}, {"--temp", "0.8", "--seed", "3"}, {"--repetition-penalty", "1.2"}}) {
    const auto with = [&](std::vector<std::string> more) {
      more.insert(more.end(), sampling.begin(), sampling.end());
      return generate_json(more);
    };
    const auto plain = with({"--decode", "ar"});
    EXPECT_EQ(plain.at("rounds"), 0);
    const auto drafted = with({"--decode", "self-spec", "--draft-tokens", "4"});
    EXPECT_EQ(drafted.at("ids"), plain.at("ids"));
    EXPECT_GT(drafted.at("rounds"), 0);
    EXPECT_GE(drafted.at("accepted_per_round"), 1.0);
    EXPECT_EQ(with({}).at("ids"), plain.at("ids"));
  }
}

TEST(Decoding, grammars_and_stop_strings_hold_with_drafts) {
  const std::vector<std::string> drafts = {"--decode", "self-spec", "--draft-tokens", "6"};
  for (const std::vector<std::string>& rule :
       std::vector<std::vector<std::string>>{{"--regex", "[a-z ]{20,30}\\."}, {"--stop", "the"}}) {
    auto drafted = drafts;
    drafted.insert(drafted.end(), rule.begin(), rule.end());
    auto plain = rule;
    plain.insert(plain.end(), {"--decode", "ar"});
    EXPECT_EQ(generate_json(drafted).at("text"), generate_json(plain).at("text")) << rule[0];
  }
}

TEST(Decoding, a_trace_holds_every_round_as_it_was) {
  const TemporaryFolder folder;
  const auto path = folder.path() / "trace.jsonl";
  const auto json =
      generate_json({"--decode", "self-spec", "--draft-tokens", "5", "--trace", path.string()});
  const auto lines = lines_of(path);
  ASSERT_EQ(lines.size(), json.at("rounds").get<std::size_t>());
  const std::size_t prompt = json.at("usage").at("prompt_tokens");
  // The first token comes from the prompt; the rounds give the others, one after another.
  std::vector<std::int32_t> ids{json.at("ids").at(0)};
  for (std::size_t i = 0; i < lines.size(); ++i) {
    EXPECT_EQ(lines[i].at("round"), i + 1);
    EXPECT_EQ(lines[i].at("start"), prompt + ids.size() - 1);
    EXPECT_EQ(lines[i].at("draft").at(0), ids.back());
    const auto chosen = lines[i].at("chosen").get<std::vector<std::int32_t>>();
    EXPECT_EQ(lines[i].at("accepted"), chosen.size());
    ids.insert(ids.end(), chosen.begin(), chosen.end());
  }
  if (ids.size() < 40) ids.push_back(json.at("ids").back());  // a last one needs no draft
  EXPECT_EQ(nlohmann::json(ids), json.at("ids"));
}

TEST(Decoding, a_trace_holds_every_step_over_a_canvas) {
  const TemporaryFolder folder;
  const auto path = folder.path() / "trace.jsonl";
  const auto json = generate_json({"--decode", "block-diffusion", "--block-length", "16",
                                   "--threshold", "0.4", "--trace", path.string()});
  const auto lines = lines_of(path);
  EXPECT_EQ(json.at("blocks"), 3);
  EXPECT_EQ(lines.size(), json.at("steps").get<std::size_t>());
  std::vector<std::int32_t> ids;
  for (const auto& line : lines) {
    const auto fixed = line.at("fixed").get<std::vector<int>>();
    ASSERT_EQ(fixed.size(), 16U);
    if (std::ranges::find(fixed, 0) != fixed.end()) continue;
    for (const auto& id : line.at("tokens")) ids.push_back(id);
  }
  ids.resize(40);
  EXPECT_EQ(nlohmann::json(ids), json.at("ids"));
}

TEST(Decoding, infilling_writes_towards_the_text_that_follows) {
  const auto json =
      generate_json({"--decode", "block-diffusion", "--suffix", " of the list.", "--ignore-eos"});
  EXPECT_EQ(json.at("usage").at("completion_tokens"), 40);
  EXPECT_NE(json.at("text"), generate_json({"--decode", "block-diffusion", "--ignore-eos",
                                            "--suffix", "\n\nNew in version 3.3."})
                                 .at("text"));
  const ProgramResult wrong = generate({"--suffix", "x"});
  EXPECT_EQ(wrong.status, 2);
  EXPECT_THAT(wrong.err, HasSubstr("block-diffusion"));
}

TEST(Decoding, what_does_not_fit_is_refused_in_one_line) {
  const std::string llama = shared_path("reference/convert/llama_a/checkpoint");
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
      {{"generate", llama, "--prompt", "x", "--decode", "self-spec"}, "does not predict blocks"},
      {{"generate", llama, "--prompt", "x", "--decode", "block-diffusion"},
       "does not predict blocks"},
      {{"generate", kModel, "--prompt", "x", "--decode", "ar", "--draft-tokens", "4"},
       "--draft-tokens"},
      {{"generate", kModel, "--prompt", "x", "--threshold", "0.4"}, "--threshold"},
      {{"generate", kModel, "--prompt", "x", "--decode", "block-diffusion", "--threshold", "2"},
       "--threshold"},
      {{"generate", kModel, "--prompt", "x", "--decode", "block-diffusion", "--threshold", "0.5",
        "--canvas-sampler", "confidence"},
       "exclude each other"},
      {{"generate", kModel, "--prompt", "x", "--decode", "block-diffusion", "--canvas-sampler",
        "none"},
       "none"},
      {{"generate", kModel, "--prompt", "x", "--decode", "block-diffusion", "--regex", "a+"},
       "grammar"},
      {{"generate", kModel, "--prompt", "x", "--trace", "/nowhere/trace"}, "/nowhere"},
  };
  for (const auto& [arguments, message] : cases) {
    const ProgramResult result = run_program(arguments);
    EXPECT_NE(result.status, 0) << message;
    EXPECT_THAT(result.err, HasSubstr(message));
    EXPECT_EQ(std::ranges::count(result.err, '\n'), 1) << result.err;
    EXPECT_EQ(result.out, "");
  }
}

TEST(Decoding, a_canvas_sampler_can_be_named_with_its_options) {
  EXPECT_EQ(
      generate_json({"--decode", "block-diffusion", "--block-length", "16", "--threshold", "0.7"})
          .at("ids"),
      generate_json({"--decode", "block-diffusion", "--block-length", "16", "--canvas-sampler",
                     "confidence:threshold=0.7"})
          .at("ids"));
}

TEST(Decoding, a_conversation_in_blocks_feeds_every_turn_whole) {
  const TemporaryFolder folder;
  const auto model = folder.path() / "model";
  std::filesystem::copy(kModel, model, std::filesystem::copy_options::recursive);
  std::ofstream(model / "chat_template.jinja")
      << "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant: ";
  const auto turns = [&](const std::string& mode) {
    const ProgramResult result =
        run_program({"chat", model.string(), "--decode", mode, "--max-tokens", "8", "--json"},
                    {.text = "One\nTwo\n"});
    EXPECT_EQ(result.status, 0) << result.err;
    return result.json().at("turns");
  };
  for (const std::string mode : {"block-diffusion", "self-spec"}) {
    const auto said = turns(mode);
    ASSERT_EQ(said.size(), 2U) << mode;
    EXPECT_EQ(said.at(1).at("completion_tokens"), 8) << mode;
    // What was read under the rule of blocks depends on where a feed ended.
    EXPECT_EQ(said.at(1).at("cached_tokens") == 0, mode == "block-diffusion") << mode;
  }
}

/// A terminal of some columns, as far as drawings need one.
class Terminal {
 public:
  explicit Terminal(std::size_t columns) : columns_(columns) {}

  void write(const std::string& text) {
    for (std::size_t i = 0; i < text.size(); ++i) {
      if (text[i] == '\r') {
        column_ = 0;
      } else if (text.compare(i, 2, "\033[") == 0) {
        const std::size_t end = text.find_first_of("AJ", i);
        if (text[end] == 'A') row_ -= std::stoul(text.substr(i + 2, end - i - 2));
        if (text[end] == 'J') clear_behind();
        i = end;
      } else if (text[i] == '\n') {
        ++row_;
        column_ = 0;
      } else if ((static_cast<unsigned char>(text[i]) & 0xC0U) == 0x80U) {
        cell() += text[i];  // the rest of a character
      } else {
        if (column_ == columns_) {
          ++row_;
          column_ = 0;
        }
        ++column_;
        cell() = text[i];
      }
    }
  }
  std::string screen() const {
    std::string text;
    for (const auto& row : rows_) {
      for (const auto& cell : row) text += cell;
      text += '\n';
    }
    while (text.ends_with("\n\n")) text.pop_back();
    return text;
  }

 private:
  std::string& cell() {
    if (rows_.size() <= row_) rows_.resize(row_ + 1);
    if (rows_[row_].size() < column_) rows_[row_].resize(column_, " ");
    return rows_[row_][column_ - 1];
  }
  void clear_behind() {
    if (rows_.size() <= row_) return;
    rows_.resize(row_ + 1);
    if (rows_[row_].size() > column_) rows_[row_].resize(column_);
  }

  std::size_t columns_;
  std::vector<std::vector<std::string>> rows_;
  std::size_t row_ = 0;
  std::size_t column_ = 0;
};

TEST(CanvasDisplay, draws_each_step_over_the_one_before_and_leaves_the_text) {
  Terminal terminal(10);
  const std::vector<std::string> pieces = {"alpha ", "be\nta ", "\u00e9t\u00e9", "MASK"};
  cli::CanvasDisplay display(
      [&](std::int32_t id) -> std::string_view { return pieces[static_cast<std::size_t>(id)]; },
      [&](const std::string& text) { terminal.write(text); }, 10);
  const auto print = [&](const std::string& text) {
    terminal.write(text);
    display.note(text);
  };
  const auto show = [&](std::vector<std::int32_t> tokens, bool is_final) {
    std::vector<std::uint8_t> fixed;
    for (const std::int32_t id : tokens) fixed.push_back(id != 3 ? 1 : 0);
    display.on_canvas({0, 1, tokens, fixed, {}, is_final});
  };
  print("one\ntwelve bytes");
  show({3, 3, 3, 3}, false);
  EXPECT_EQ(terminal.screen(), "one\ntwelve byt\nes\u2592\u2592\u2592\u2592\n");
  show({0, 3, 2, 3}, false);
  EXPECT_EQ(terminal.screen(), "one\ntwelve byt\nesalpha \u2592\u00e9\nt\u00e9\u2592\n");
  show({0, 1, 2, 0}, true);
  EXPECT_EQ(terminal.screen(), "one\ntwelve byt\nesalpha be\n\u21b5ta \u00e9t\u00e9alp\nha \n");
  display.clear();
  EXPECT_EQ(terminal.screen(), "one\ntwelve byt\nes\n");
  print("alpha and more");
  EXPECT_EQ(terminal.screen(), "one\ntwelve byt\nesalpha an\nd more\n");
  display.clear();
  EXPECT_EQ(terminal.screen(), "one\ntwelve byt\nesalpha an\nd more\n");
}

}  // namespace
}  // namespace quiver::test
