// Tests of sizes and patches against what the reference preprocessing recorded.
#include "core/image/patches.hpp"

#include "core/image/resize.hpp"
#include "tests/image/image_test.hpp"
#include "tests/tensor/refusal.hpp"

#include <gtest/gtest.h>

#include <cstring>

namespace {

using namespace quiver;
using namespace quiver::test;

TEST(SmartResize, sizes_are_those_of_the_rule) {
  const auto numbers = stored_numbers();
  for (const auto& row : numbers.at("smart")) {
    const auto& rule = row.at("rule");
    EXPECT_EQ(smart_resize(size_of(row.at("from")),
                           {rule.at(0).get<int>(), rule.at(1).get<std::int64_t>(),
                            rule.at(2).get<std::int64_t>()},
                           "picture"),
              size_of(row.at("to")))
        << row;
  }
  EXPECT_GE(numbers.at("smart").size(), 250U);
}

TEST(SmartResize, halves_are_rounded_to_even) {
  const SmartResizeRule rule{.factor = 32, .min_pixels = 1};
  EXPECT_EQ(smart_resize({48, 80}, rule, ""), (PictureSize{64, 64}));
  EXPECT_EQ(smart_resize({112, 144}, rule, ""), (PictureSize{128, 128}));
}

TEST(SmartResize, results_obey_the_limits) {
  const SmartResizeRule rule{.factor = 28, .min_pixels = 10'000, .max_pixels = 90'000};
  for (int width = 1; width < 3000; width = width * 3 / 2 + 1) {
    for (int height = 1; height < 3000; height = height * 4 / 3 + 1) {
      if (std::max(width, height) > 200 * std::min(width, height)) continue;
      const PictureSize size = smart_resize({width, height}, rule, "");
      EXPECT_EQ(size.width % 28, 0);
      EXPECT_EQ(size.height % 28, 0);
      EXPECT_GE(size.width * size.height, 10'000);
      if (size.width > 28 && size.height > 28) {
        EXPECT_LE(size.width * size.height, 90'000);
      }
    }
  }
}

TEST(SmartResize, extreme_proportions_are_refused) {
  EXPECT_EQ(smart_resize({6400, 32}, {.min_pixels = 1}, "").width, 6400);
  expect_refused([] { smart_resize({6433, 32}, {}, "strip.png"); }, "strip.png");
  expect_refused([] { smart_resize({32, 6433}, {}, "strip.png"); }, "1 : 200");
  expect_refused([] { smart_resize({0, 3}, {}, ""); }, "0 x 3", ErrorCode::usage);
  expect_refused([] { smart_resize({9, 3}, {.factor = 0}, ""); }, "of 0", ErrorCode::usage);
  expect_refused(
      [] {
        smart_resize({9, 3}, {.min_pixels = std::int64_t{1} << 62}, "");
      },
      "9 x 3", ErrorCode::usage);
}

TEST(Patches, preprocessed_pictures_are_equal_to_the_recorded_ones_to_the_bit) {
  const auto folder = std::filesystem::path(QUIVER_SHARED_DIR) / "reference/qwen3_5/image";
  const auto json = nlohmann::json::parse(read_text(folder / "expected.json"));
  const SafetensorsFile tensors = SafetensorsFile::open(folder / "expected.safetensors");
  for (const auto* name : {"one_image", "two_images"}) {
    const auto& entry = json.at("cases").at(name);
    std::vector<float> rows;
    for (std::size_t i = 0; i < entry.at("images").size(); ++i) {
      const Picture picture = read_picture(folder / entry["images"][i].get<std::string>());
      const PictureSize size = smart_resize(picture.size(), {32, 4096, 16384}, name);
      const Patches patches = cut_patches(resize_bicubic(picture, size), {});
      EXPECT_EQ(patches.grid_height, entry["image_grid_thw"][i][1].get<int>());
      EXPECT_EQ(patches.grid_width, entry["image_grid_thw"][i][2].get<int>());
      rows.insert(rows.end(), patches.rows.begin(), patches.rows.end());
    }
    const TensorView& expected = tensors.at(std::string(name) + ".pixel_values");
    ASSERT_EQ(rows.size() * sizeof(float), expected.data.size());
    EXPECT_EQ(std::memcmp(rows.data(), expected.data.data(), expected.data.size()), 0) << name;
  }
}

TEST(Patches, every_element_is_where_the_layout_says) {
  PatchSpec spec;
  spec.patch = 3;
  spec.merge = 2;
  spec.temporal = 3;
  spec.mean = {0.1F, 0.2F, 0.3F};
  spec.std = {0.5F, 0.25F, 2.0F};
  const Picture picture = noise({12, 18});
  const Patches patches = cut_patches(picture, spec);
  ASSERT_EQ(patches.grid_height, 6);
  ASSERT_EQ(patches.grid_width, 4);
  ASSERT_EQ(patches.rows.size(), 24U * spec.row_size());
  for (int y = 0; y < 18; ++y) {
    for (int x = 0; x < 12; ++x) {
      const int row = ((y / 6 * 2 + x / 6) * 2 + y / 3 % 2) * 2 + x / 3 % 2;
      for (int c = 0; c < 3; ++c) {
        const auto at = static_cast<std::size_t>(c);
        const float byte = picture.rgb[static_cast<std::size_t>((y * 12 + x) * 3 + c)];
        for (int t = 0; t < 3; ++t) {
          const int column = ((c * 3 + t) * 3 + y % 3) * 3 + x % 3;
          EXPECT_FLOAT_EQ(patches.rows[static_cast<std::size_t>(row) * spec.row_size() +
                                       static_cast<std::size_t>(column)],
                          (byte / 255.0F - spec.mean[at]) / spec.std[at]);
        }
      }
    }
  }
}

TEST(Patches, pictures_and_specs_that_do_not_fit_are_refused) {
  const Picture picture = noise({64, 48});
  expect_refused([&] { cut_patches(picture, {}); }, "64 x 48", ErrorCode::usage);
  for (const PatchSpec& spec :
       {PatchSpec{.patch = 0}, PatchSpec{.merge = -1}, PatchSpec{.temporal = 1 << 20}}) {
    expect_refused([&] { cut_patches(noise({32, 32}), spec); }, "cannot be cut", ErrorCode::usage);
  }
}

}  // namespace
