// Labels from files, and average precision by hand.
#include <fstream>

#include "core/detect/labelled_pictures.hpp"
#include "tests/detect/detect_models.hpp"
#include "tests/support/temporary_folder.hpp"

namespace quiver::test {
namespace {

const std::vector<std::string> kClasses{"circle", "square"};

void write(const std::filesystem::path& path, const std::string& text) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path) << text;
}

TEST(Labels, are_shares_of_the_picture_in_text_files) {
  const TemporaryFolder folder;
  write(folder.path() / "images/a.png", "");
  write(folder.path() / "images/b.JPG", "");
  write(folder.path() / "labels/a.txt", "1 0.5 0.5 0.2 0.4\n\n0 0.1 0.1 0.2 0.2\n");
  const auto pictures = read_labelled_pictures(folder.path(), kClasses);
  ASSERT_EQ(pictures.size(), 2U);
  EXPECT_TRUE(pictures[1].truth.empty());
  const auto boxes = pictures[0].boxes({100, 50});
  ASSERT_EQ(boxes.size(), 2U);
  EXPECT_EQ(boxes[0].class_id, 1);
  EXPECT_NEAR(boxes[0].box.x1, 40, 1e-4);
  EXPECT_NEAR(boxes[0].box.y1, 15, 1e-4);
  EXPECT_NEAR(boxes[0].box.x2, 60, 1e-4);
  EXPECT_NEAR(boxes[0].box.y2, 35, 1e-4);
}

TEST(Labels, that_are_malformed_name_their_line) {
  for (const char* line :
       {"1 0.5 0.5 0.2", "2 0.5 0.5 0.2 0.2", "0 nan 0 0 0", "0 2 0 0 0", "0 0 0 0 0 0", "x"}) {
    const TemporaryFolder folder;
    write(folder.path() / "a.png", "");
    write(folder.path() / "a.txt", std::string("0 0.5 0.5 0.2 0.2\n") + line + "\n");
    try {
      read_labelled_pictures(folder.path(), kClasses);
      ADD_FAILURE() << line;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::bad_input);
      EXPECT_NE(error.where().find("line 2"), std::string::npos) << line;
    }
  }
}

TEST(Labels, come_from_coco_files_by_name_of_the_category) {
  const TemporaryFolder folder;
  write(folder.path() / "instances.json", R"({
    "images": [{"id": 7, "file_name": "a.png", "width": 10, "height": 10}],
    "categories": [{"id": 3, "name": "square"}, {"id": 9, "name": "circle"}],
    "annotations": [{"image_id": 7, "category_id": 3, "bbox": [1, 2, 3, 4], "iscrowd": 0},
                    {"image_id": 7, "category_id": 9, "bbox": [0, 0, 5, 5], "iscrowd": 1}]})");
  const auto pictures = read_labelled_pictures(folder.path(), kClasses);
  ASSERT_EQ(pictures.size(), 1U);
  ASSERT_EQ(pictures[0].truth.size(), 2U);
  EXPECT_EQ(pictures[0].truth[0].class_id, 1);
  EXPECT_EQ(pictures[0].truth[0].box, (Box{1, 2, 4, 6}));
  EXPECT_EQ(pictures[0].truth[1].class_id, 0);
  EXPECT_TRUE(pictures[0].truth[1].is_crowd);
}

TEST(AveragePrecision, is_one_for_the_truth_and_what_hand_counting_gives) {
  LabelledDetections picture;
  picture.truth = {{{0, 0, 10, 10}, 0, false}, {{20, 0, 30, 10}, 0, false}};
  picture.found = {{{0, 0, 10, 10}, 0.9F, 0, 0}, {{20, 0, 30, 10}, 0.8F, 0, 0}};
  EXPECT_DOUBLE_EQ(average_precision({picture}, 2).at50_95, 1);
  EXPECT_EQ(average_precision({picture}, 2).class50[1], -1);
  // A false one between the two: precision 1 up to a recall of 1/2 (51 of 101 points), 2/3 above.
  picture.found = {
      {{0, 0, 10, 10}, 0.9F, 0, 0}, {{50, 50, 60, 60}, 0.85F, 0, 0}, {{20, 0, 30, 10}, 0.8F, 0, 0}};
  EXPECT_NEAR(average_precision({picture}, 1).at50, (51 + 50 * 2 / 3.0) / 101, 1e-12);
  // Inside a crowd it counts neither way.
  picture.truth.push_back({{45, 45, 70, 70}, 0, true});
  EXPECT_DOUBLE_EQ(average_precision({picture}, 1).at50, 1);
  // An object counts once, whoever comes second misses.
  picture.found.push_back({{0, 0, 10, 10}, 0.95F, 0, 0});
  EXPECT_LT(average_precision({picture}, 1).at50, 1);
}

}  // namespace
}  // namespace quiver::test
