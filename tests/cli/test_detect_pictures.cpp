// Pictures of every kind through `quiver detect`: bad ones, folders, patterns, drawings, progress.
#include "tests/cli/run_program.hpp"
#include "tests/image/image_test.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include <sys/resource.h>

namespace quiver::test {
namespace {

using testing::HasSubstr;
using testing::Not;

class DetectPictures : public testing::Test {
 protected:
  TemporaryFolder folder_;
  std::string detector_ = shared_path("models/yolo26-shapes");
  std::string pictures_ = shared_path("data/shapes/images");

  /// A stored picture file under a name of its own.
  std::string keep(const std::string& name, std::span<const std::byte> file) const {
    return folder_.write(name, file);
  }

  ProgramResult detect(const std::vector<std::string>& inputs,
                       const std::vector<std::string>& more = {"--json"}) const {
    std::vector<std::string> words{"detect", detector_};
    words.insert(words.end(), inputs.begin(), inputs.end());
    words.insert(words.end(), more.begin(), more.end());
    return run_program(words);
  }

  std::string a_good_one() const { return pictures_ + "/shapes_0001_00.png"; }
};

TEST_F(DetectPictures, that_are_odd_are_looked_at_in_their_own_size) {
  const std::map<std::string, std::pair<int, int>> odd = {
      {"jpeg-one-pixel", {1, 1}}, {"jpeg-wide", {30000, 2}}, {"png-tall", {2, 30000}},
      {"jpeg-cmyk", {26, 19}},    {"png-2-16", {13, 9}},     {"webp-animated", {20, 14}}};
  std::vector<std::string> files;
  for (const auto& [name, size] : odd) files.push_back(keep(name, stored_file(name)));
  const ProgramResult result = detect(files);
  ASSERT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(result.err, "");
  const auto images = result.json().at("images");
  ASSERT_EQ(images.size(), odd.size());
  for (const auto& image : images) {
    const auto name = std::filesystem::path(image.at("path").get<std::string>()).filename();
    EXPECT_EQ(image.at("width"), odd.at(name).first) << name;
    EXPECT_EQ(image.at("height"), odd.at(name).second) << name;
  }
}

TEST_F(DetectPictures, that_are_bad_get_a_line_with_their_name_and_the_others_are_looked_at) {
  const auto whole = stored_file("jpeg-420");
  const std::vector<std::pair<std::string, std::string>> bad = {
      {keep("truncated.jpg", whole.first(whole.size() / 2)), "JPEG picture cannot be read"},
      {keep("text.png", std::as_bytes(std::span("no picture", 10))), "JPEG, PNG and WebP"},
      {keep("moving.gif", std::as_bytes(std::span("GIF89a\1\0\1\0", 10))), "JPEG, PNG and WebP"},
      {keep("bomb.png", png_of_size("png-2-8", 65536, 65536)), "65536 x 65536"},
      {keep("empty.webp", {}), "empty"},
      {folder_.path() / "nowhere.png", "No such file"}};
  std::vector<std::string> files{a_good_one()};
  for (const auto& [file, message] : bad) files.push_back(file);
  files.push_back(a_good_one());
  const ProgramResult result = detect(files);
  EXPECT_EQ(result.status, 3);
  EXPECT_EQ(std::ranges::count(result.err, '\n'), std::ptrdiff_t(bad.size())) << result.err;
  const auto images = result.json().at("images");
  ASSERT_EQ(images.size(), bad.size() + 2);
  EXPECT_FALSE(images.front().at("detections").empty());
  EXPECT_EQ(images.back().at("detections"), images.front().at("detections"));
  for (std::size_t i = 0; i < bad.size(); ++i) {
    EXPECT_EQ(images[i + 1].at("path"), bad[i].first);
    EXPECT_THAT(images[i + 1].at("error").get<std::string>(), HasSubstr(bad[i].first));
    EXPECT_THAT(images[i + 1].at("error").get<std::string>(), HasSubstr(bad[i].second));
    EXPECT_THAT(result.err, HasSubstr(bad[i].first));
    EXPECT_FALSE(images[i + 1].contains("detections"));
  }
  const ProgramResult alone = detect({bad.front().first});
  EXPECT_EQ(alone.status, 3);
  EXPECT_THAT(alone.err, HasSubstr("truncated.jpg"));
  EXPECT_EQ(alone.json().at("error").at("code"), 3);
#ifndef __SANITIZE_ADDRESS__  // whose marks take memory of their own
  rusage usage{};
  getrusage(RUSAGE_CHILDREN, &usage);
  EXPECT_LT(usage.ru_maxrss, 512 * 1024) << "some child took more";
#endif
}

TEST_F(DetectPictures, come_from_folders_and_patterns_and_bad_ones_are_told_there_too) {
  keep("b.PNG", stored_file("png-2-8"));
  keep("a.jpeg", stored_file("jpeg-444"));
  keep("c.webp", stored_file("webp-lossy"));
  keep("notes.txt", std::as_bytes(std::span("no picture", 10)));
  const auto paths = [](const ProgramResult& result) {
    std::vector<std::string> names;
    const auto json = result.json();
    for (const auto& image : json.at("images")) {
      names.push_back(std::filesystem::path(image.at("path").get<std::string>()).filename());
    }
    return names;
  };
  const std::string folder = folder_.path();
  EXPECT_EQ(paths(detect({folder})), (std::vector<std::string>{"a.jpeg", "b.PNG", "c.webp"}));
  EXPECT_EQ(paths(detect({folder + "/[bc].*"})), (std::vector<std::string>{"b.PNG", "c.webp"}));
  keep("odd[1].png", stored_file("png-2-8"));
  EXPECT_EQ(paths(detect({folder + "/odd[1].png"})), (std::vector<std::string>{"odd[1].png"}));
  const ProgramResult none = detect({folder + "/*.bmp"});
  EXPECT_EQ(none.status, 3);
  EXPECT_THAT(none.err, HasSubstr("*.bmp"));
  keep("d.png", std::as_bytes(std::span("no picture", 10)));
  const ProgramResult mixed = detect({folder});
  EXPECT_EQ(mixed.status, 3);
  EXPECT_THAT(mixed.err, HasSubstr("d.png"));
  EXPECT_EQ(mixed.json().at("images").size(), 5U);
}

TEST_F(DetectPictures, are_saved_with_boxes_under_names_of_their_own) {
  std::filesystem::create_directory(folder_.path() / "other");
  const std::string copy = folder_.path() / "other" / "shapes_0001_00.png";
  std::filesystem::copy(a_good_one(), copy);
  const std::filesystem::path marked = folder_.path() / "marked" / "deep";
  const ProgramResult result = detect({a_good_one(), copy}, {"--json", "--save", marked});
  ASSERT_EQ(result.status, 0) << result.err;
  const Picture source = read_picture(a_good_one());
  for (const char* name : {"shapes_0001_00.png", "shapes_0001_00-2.png"}) {
    const Picture drawn = read_picture(marked / name);
    ASSERT_EQ(drawn.size(), source.size());
    std::size_t changed = 0;
    for (std::size_t i = 0; i < source.rgb.size(); ++i) changed += drawn.rgb[i] != source.rgb[i];
    EXPECT_GT(changed, source.rgb.size() / 50) << "hardly anything was drawn";
    EXPECT_LT(changed, source.rgb.size() / 2) << "the picture can hardly be seen";
  }
  const ProgramResult refused = detect({a_good_one()}, {"--json", "--save", "/proc/marked"});
  EXPECT_EQ(refused.status, 3);
  EXPECT_THAT(refused.err, HasSubstr("/proc/marked"));
}

TEST_F(DetectPictures, show_a_bar_on_a_terminal_and_nothing_elsewhere) {
  const ProgramResult piped = detect({pictures_});
  EXPECT_EQ(piped.err, "");
  // script gives the program a terminal; what that shows comes back on stdout.
  ProgramInput input;
  input.program = "/usr/bin/script";
  const auto on_terminal = [&](const std::string& options) {
    const std::string command = QUIVER_PROGRAM " detect " + detector_ + " " + pictures_ + " " +
                                pictures_ + " --json --threads 1 --picture-size 640 " +
                                options;  // long enough to show a bar
    return run_program({"-qec", command + " > /dev/null", "/dev/null"}, input).out;
  };
  EXPECT_THAT(on_terminal(""), HasSubstr("/48 pictures"));
  EXPECT_THAT(on_terminal("--quiet"), Not(HasSubstr("detecting")));
}

}  // namespace
}  // namespace quiver::test
