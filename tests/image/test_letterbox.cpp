// Tests of bars around pictures, against recorded letterboxes.
#include "core/image/letterbox.hpp"

#include "tests/image/image_test.hpp"
#include "tests/tensor/refusal.hpp"

#include <gtest/gtest.h>

#include <cstring>

namespace {

using namespace quiver;
using namespace quiver::test;

class RecordedLetterbox : public testing::Test {
 protected:
  RecordedLetterbox()
      : folder(std::filesystem::path(QUIVER_SHARED_DIR) / "reference/yolo26/letterbox"),
        json(nlohmann::json::parse(read_text(folder / "expected.json"))),
        tensors(SafetensorsFile::open(folder / "expected.safetensors")) {}

  Letterbox place_of(const nlohmann::json& row, const Picture& picture) const {
    LetterboxRule rule;
    rule.side = row.at("imgsz").get<int>();
    rule.rectangle = row.at("rect").get<bool>();
    return letterbox_place(picture.size(), rule);
  }

  Picture source(const nlohmann::json& row) const {
    return read_picture(folder / row.at("file").get<std::string>());
  }

  std::vector<float> floats(const std::string& name) const {
    const TensorView& tensor = tensors.at(name);
    std::vector<float> values(tensor.data.size() / sizeof(float));
    std::memcpy(values.data(), tensor.data.data(), tensor.data.size());
    return values;
  }

  std::filesystem::path folder;
  nlohmann::json json;
  SafetensorsFile tensors;
};

TEST_F(RecordedLetterbox, places_are_equal) {
  for (const auto& row : json.at("cases")) {
    const Picture picture = source(row);
    const Letterbox place = place_of(row, picture);
    SCOPED_TRACE(row.dump());
    EXPECT_EQ(picture.size(), (PictureSize{row.at("width"), row.at("height")}));
    EXPECT_EQ(place.resized, size_of(row.at("resized")));
    EXPECT_EQ(place.size(), (PictureSize{row.at("out_width"), row.at("out_height")}));
    EXPECT_EQ(place.left, row.at("left").get<int>());
    EXPECT_EQ(place.top, row.at("top").get<int>());
    EXPECT_EQ(place.right, row.at("right").get<int>());
    EXPECT_EQ(place.bottom, row.at("bottom").get<int>());
  }
}

TEST_F(RecordedLetterbox, pictures_and_tensors_are_equal_to_the_bit) {
  for (const auto& row : json.at("cases")) {
    const auto name = row.at("name").get<std::string>();
    SCOPED_TRACE(name);
    const Picture picture = source(row);
    const Picture boxed = letterbox(picture, place_of(row, picture));
    EXPECT_EQ(boxed, as_picture(tensors.at(name + ".image_u8")));
    std::vector<float> values(boxed.rgb.size());
    to_unit_range(boxed, values);
    EXPECT_EQ(values, floats(name + ".tensor"));
  }
}

TEST_F(RecordedLetterbox, boxes_come_back) {
  for (const auto& row : json.at("cases")) {
    const auto name = row.at("name").get<std::string>();
    const Picture picture = source(row);
    const Letterbox place = place_of(row, picture);
    const auto in = floats(name + ".boxes_in");
    const auto back = floats(name + ".boxes_back");
    for (std::size_t i = 0; i < in.size(); i += 4) {
      const Box box = box_to_source(place, {in[i], in[i + 1], in[i + 2], in[i + 3]});
      EXPECT_NEAR(box.x1, back[i], 1e-4) << name;
      EXPECT_NEAR(box.y1, back[i + 1], 1e-4) << name;
      EXPECT_NEAR(box.x2, back[i + 2], 1e-4) << name;
      EXPECT_NEAR(box.y2, back[i + 3], 1e-4) << name;
    }
  }
}

TEST(LetterboxPlace, the_edges_of_the_picture_map_to_its_edges) {
  for (const PictureSize size :
       {PictureSize{30000, 2}, PictureSize{1, 1}, PictureSize{37, 5003}, PictureSize{641, 480}}) {
    for (const bool rectangle : {false, true}) {
      const Letterbox place = letterbox_place(size, {.rectangle = rectangle});
      EXPECT_EQ(std::max(place.resized.width, place.resized.height), 640);
      EXPECT_EQ(place.size().width % 32, 0);
      EXPECT_EQ(place.size().height % 32, 0);
      const auto left = static_cast<float>(place.left);
      const auto top = static_cast<float>(place.top);
      const Box whole =
          box_to_source(place, {left, top, left + static_cast<float>(place.resized.width),
                                top + static_cast<float>(place.resized.height)});
      EXPECT_EQ(whole,
                (Box{0, 0, static_cast<float>(size.width), static_cast<float>(size.height)}));
      const Box beyond = box_to_source(place, {-1e9F, -5, 1e9F, 1e9F});
      EXPECT_EQ(beyond, whole);
    }
  }
}

TEST(LetterboxPlace, bars_have_the_colour_that_is_asked_for) {
  const Picture picture = noise({4, 2});
  const Letterbox place = letterbox_place(picture.size(), {.side = 4});
  const Picture boxed = letterbox(picture, place, 9);
  ASSERT_EQ(boxed.size(), (PictureSize{4, 4}));
  for (std::size_t i = 0; i < 12; ++i) {
    EXPECT_EQ(boxed.rgb[i], 9);
    EXPECT_EQ(boxed.rgb[12 + i], picture.rgb[i]);
    EXPECT_EQ(boxed.rgb[36 + i], 9);
  }
}

TEST(LetterboxPlace, sides_below_one_are_refused) {
  expect_refused([] { letterbox_place({0, 4}, {}); }, "0 x 4", ErrorCode::usage);
  expect_refused([] { letterbox_place({4, 4}, {.side = 0}); }, "square of 0", ErrorCode::usage);
  expect_refused([] { letterbox_place({4, 4}, {.stride = -1}); }, "steps of -1", ErrorCode::usage);
  const Letterbox place = letterbox_place({4, 4}, {});
  expect_refused([&] { letterbox(noise({4, 5}), place); }, "4 x 5", ErrorCode::internal);
}

}  // namespace
