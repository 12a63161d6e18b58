// Pictures in texts of the Qwen3.5 family, from the file to the logits.
#include <future>
#include <quiver/image_encoder.hpp>

#include "core/decode/scheduler.hpp"
#include "core/image/prompt_pictures.hpp"
#include "core/image/read_picture.hpp"
#include "tests/qwen3_5/qwen3_5_models.hpp"
#include "tests/support/standard_samplers.hpp"

namespace quiver::test {
namespace {

using Ids = std::vector<std::int32_t>;

struct ImageCase {
  Qwen3_5Reference reference{"image"};
  TestEngine test{load_qwen3_5(reference.folder / "checkpoint")};
  ImageSpec spec = image_spec(test.engine.model());

  const nlohmann::json& entry(const std::string& name) const {
    return reference.expected.at("cases").at(name);
  }
  std::vector<NamedPicture> pictures(const std::string& name) const {
    std::vector<NamedPicture> all;
    for (const std::string file : entry(name).at("images")) {
      all.push_back({read_picture(reference.folder / file), file});
    }
    return all;
  }
  std::shared_ptr<const PromptImages> place(const std::vector<NamedPicture>& named, Ids& ids) {
    std::vector<PromptImage> encoded;
    for (const NamedPicture& picture : named) {
      encoded.push_back(encode_picture(test.engine, spec, picture));
    }
    return place_pictures(spec, std::move(encoded), test.engine.info().hidden, ids);
  }
  double activations() const { return reference.expected.at("tolerances").at("activations_abs"); }
};

constexpr const char* kCases[] = {"one_image", "two_images"};

TEST(Qwen3_5Images, patches_are_the_recorded_pixels) {
  ImageCase images;
  for (const char* name : kCases) {
    std::vector<float> rows;
    for (const NamedPicture& picture : images.pictures(name)) {
      const Patches patches = prepare_picture(picture.picture, images.spec, picture.where);
      rows.insert(rows.end(), patches.rows.begin(), patches.rows.end());
    }
    EXPECT_EQ(rows, floats(images.reference.tensors, std::string(name) + ".pixel_values"));
  }
}

TEST(Qwen3_5Images, the_tower_gives_the_recorded_features) {
  ImageCase images;
  for (const char* name : kCases) {
    std::vector<float> features;
    for (const NamedPicture& picture : images.pictures(name)) {
      const Patches patches = prepare_picture(picture.picture, images.spec, picture.where);
      const auto own =
          images.test.engine.encode_image(patches.rows, patches.grid_height, patches.grid_width);
      features.insert(features.end(), own.begin(), own.end());
    }
    EXPECT_LE(largest_difference(
                  features, floats(images.reference.tensors, std::string(name) + ".vision_merged")),
              images.activations());
  }
}

TEST(Qwen3_5Images, positions_are_the_recorded_ones) {
  ImageCase images;
  for (const char* name : kCases) {
    Ids ids = ids_of(images.entry(name).at("input_ids"));
    const auto placed = images.place(images.pictures(name), ids);
    EXPECT_EQ(ids, ids_of(images.entry(name).at("input_ids"))) << "they have all tokens already";
    const auto want = floats(images.reference.tensors, std::string(name) + ".position_ids");
    for (std::size_t i = 0; i < ids.size(); ++i) {
      for (std::size_t axis = 0; axis < 3; ++axis) {
        EXPECT_EQ(placed->position(i)[axis], want[axis * ids.size() + i]) << i << " " << axis;
      }
    }
    const int delta = images.entry(name).at("rope_delta");
    EXPECT_EQ(placed->position(1000)[0], 1000 + delta);
  }
}

TEST(Qwen3_5Images, logits_match_whole_and_in_chunks) {
  ImageCase images;
  for (const char* name : kCases) {
    Ids ids = ids_of(images.entry(name).at("input_ids"));
    const auto placed = images.place(images.pictures(name), ids);
    const auto want = floats(images.reference.tensors, std::string(name) + ".logits");
    for (const std::size_t chunk : {ids.size(), std::size_t{1}, std::size_t{7}}) {
      Sequence sequence = images.test.engine.new_sequence();
      std::vector<float> got;
      for (std::size_t done = 0; done < ids.size(); done += chunk) {
        Feed feed{&sequence, std::span(ids).subspan(done, std::min(chunk, ids.size() - done)),
                  Wanted::all};
        feed.images = placed.get();
        const Logits part = images.test.engine.forward({&feed, 1});
        sequence.accept(static_cast<int>(feed.tokens.size()));
        got.insert(got.end(), part.values.begin(), part.values.end());
      }
      EXPECT_LE(largest_difference(got, want), images.reference.tolerance()) << name << chunk;
    }
  }
}

TEST(Qwen3_5Images, greedy_texts_behind_pictures_are_the_recorded_ones) {
  ImageCase images;
  for (const char* name : kCases) {
    Ids ids = ids_of(images.entry(name).at("input_ids"));
    const auto placed = images.place(images.pictures(name), ids);
    const Ids want = ids_of(images.entry(name).at("greedy_16"));
    GenerationOptions options;
    options.max_tokens = static_cast<int>(want.size());
    options.images = placed.get();
    for (const DecodeMode mode : {DecodeMode::autoregressive, DecodeMode::ngram}) {
      options.decode.mode = mode;
      EXPECT_EQ(write(images.test.engine, ids, SamplerChain(), options).ids, want) << name;
    }
  }
}

TEST(Qwen3_5Images, one_image_token_becomes_as_many_as_the_picture_takes) {
  ImageCase images;
  const Ids whole = ids_of(images.entry("two_images").at("input_ids"));
  Ids shortened;
  for (const std::int32_t id : whole) {
    const bool is_repeated = id == images.spec.image_token && shortened.back() == id;
    if (!is_repeated) shortened.push_back(id);
  }
  images.place(images.pictures("two_images"), shortened);
  EXPECT_EQ(shortened, whole);
  // Without a place in the text they stand in front of it.
  Ids plain{7, 8, 9};
  const auto placed = images.place(images.pictures("one_image"), plain);
  EXPECT_EQ(plain, (Ids{313, 316, 316, 316, 316, 316, 316, 314, 7, 8, 9}));
  EXPECT_FALSE(placed->features(1).empty());
  EXPECT_TRUE(placed->features(7).empty());
}

TEST(Qwen3_5Images, more_or_fewer_pictures_than_places_are_refused) {
  ImageCase images;
  Ids ids = ids_of(images.entry("two_images").at("input_ids"));
  EXPECT_THROW(images.place(images.pictures("one_image"), ids), Error);
  Ids wrong{313, 316, 316, 314, 7};  // two tokens for a picture that takes six
  EXPECT_THROW(images.place(images.pictures("one_image"), wrong), Error);
  TestEngine blind{load_qwen3_5(shared("models/qwen3_5-tiny-real"))};
  EXPECT_THROW(image_spec(blind.engine.model()), Error);
  EXPECT_THROW(blind.engine.encode_image(std::vector<float>(1536 * 4), 2, 2), Error);
}

TEST(Qwen3_5Images, texts_with_other_pictures_share_no_prompt) {
  ImageCase images;
  const Qwen3_5Reference& reference = images.reference;
  // Two pictures of one size under the same tokens, long enough to be shared.
  Picture first = images.pictures("one_image")[0].picture;
  Picture second = first;
  for (std::uint8_t& byte : second.rgb) byte = static_cast<std::uint8_t>(255 - byte);
  Ids prompt(280, 5);
  for (std::size_t i = 0; i < prompt.size(); ++i) prompt[i] = static_cast<std::int32_t>(i % 200);
  prompt[254] = images.spec.image_token;  // so that the block that is shared ends in the picture
  prompt.resize(262);
  std::vector<Ids> texts;
  std::vector<Ids> alone;
  std::vector<std::shared_ptr<const PromptImages>> placed;
  for (const Picture& picture : {first, second, first}) {
    Ids& own = texts.emplace_back(prompt);
    placed.push_back(images.place({{picture, "p"}}, own));
    GenerationOptions options;
    options.max_tokens = 8;
    options.images = placed.back().get();
    alone.push_back(write(images.test.engine, own, SamplerChain(), options).ids);
  }
  EXPECT_NE(alone[0], alone[1]) << "the pictures make a difference";
  TestEngine test{load_qwen3_5(reference.folder / "checkpoint")};
  Scheduler scheduler(test.engine);
  std::size_t shared_tokens = 0;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    Ids tokens;
    std::promise<RequestEnd> ended;
    Request request;
    request.prompt = texts[i];
    request.images = placed[i];
    request.rules.max_tokens = 8;
    request.rules.on_token = [&](std::int32_t token) {
      tokens.push_back(token);
      return true;
    };
    request.on_end = [&](const RequestEnd& end) { ended.set_value(end); };
    scheduler.submit(std::move(request));
    const RequestEnd end = ended.get_future().get();
    EXPECT_EQ(tokens, alone[i]) << i;
    EXPECT_EQ(end.shared_tokens != 0, i == 2) << i;
    shared_tokens += end.shared_tokens;
  }
  EXPECT_EQ(shared_tokens, 256U);
}

}  // namespace
}  // namespace quiver::test
