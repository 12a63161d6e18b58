// quiver convert FILE.gguf: as if the file had been imported first.
#include "tests/cli/convert_program.hpp"

#include <csignal>

namespace quiver::test {
namespace {

using testing::HasSubstr;

class ConvertGguf : public ConvertProgram {
 protected:
  void SetUp() override { use_gguf(); }

  /// Everything beside the file and the text.
  std::vector<std::string> made() const {
    std::vector<std::string> names = folder_.list();
    std::erase(names, "model.gguf");
    std::erase(names, "text.jsonl");
    return names;
  }
};

TEST_F(ConvertGguf, gives_what_importing_and_converting_give) {
  const auto json = converted({"--report"});
  EXPECT_EQ(json.at("layers").size(), 23U);
  EXPECT_EQ(made(), std::vector<std::string>{"out"});
  const std::string imported = (folder_.path() / "imported").string();
  ASSERT_EQ(run_program({"import", source_, "-o", imported}).status, 0);
  const std::string direct = out_;
  source_ = imported;
  out_ = (folder_.path() / "second").string();
  converted();
  // These name the source.
  EXPECT_THAT(
      differing_files(direct, out_),
      testing::UnorderedElementsAre("optiq_metadata.json", "sensitivity.json", "report.html"));
}

TEST_F(ConvertGguf, goes_on_after_an_interruption_with_the_same_bytes) {
  const ProgramResult stopped = convert({}, signal_after(6, SIGINT));
  EXPECT_EQ(stopped.status, 130);
  EXPECT_EQ(made(), std::vector<std::string>{"out.sweep.json"});
  const ProgramResult killed = convert({"--resume"}, signal_after(3, SIGKILL));
  EXPECT_EQ(killed.signal, SIGKILL);
  EXPECT_EQ(made().size(), 2U);  // the unpacked file stays until the next run
  EXPECT_EQ(convert({"--resume"}).status, 0);
  EXPECT_EQ(made(), std::vector<std::string>{"out"});
  const std::string resumed = out_;
  out_ = (folder_.path() / "whole").string();
  EXPECT_EQ(convert().status, 0);
  EXPECT_THAT(differing_files(resumed, out_), testing::IsEmpty());
}

TEST_F(ConvertGguf, files_that_are_no_models_are_refused_and_leave_nothing) {
  folder_.write("model.gguf", std::string_view("GGUF, but not really"));
  const ProgramResult result = convert({"--quiet"});
  EXPECT_EQ(result.status, 3);
  EXPECT_THAT(result.err, HasSubstr("model.gguf"));
  EXPECT_TRUE(made().empty());
  folder_.write("out/config.json", std::string_view("{}"));
  EXPECT_EQ(convert().status, 2);  // before the file is read
}

}  // namespace
}  // namespace quiver::test
