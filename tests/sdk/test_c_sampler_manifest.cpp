// The reader of sampler manifests: what it takes, and that it refuses everything else by name.
#include "core/plugin/c_sampler_manifest.hpp"

#include "tests/sdk/manifest_text.hpp"
#include "tests/tensor/refusal.hpp"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

namespace {

using namespace quiver;
using quiver::test::manifest_json;
using quiver::test::sampler_json;

constexpr const char* kBasics = R"("logits","ids","count")";

void expect_bad(const std::string& text, const std::string& part) {
  SCOPED_TRACE(text.substr(0, 300));
  quiver::test::expect_refused([&] { parse_manifest(text, "x.sampler.json"); }, part,
                               ErrorCode::plugin);
}

void expect_bad_sampler(const std::string& sampler, const std::string& part) {
  expect_bad(manifest_json(sampler), part);
}

std::string with_parameter(const std::string& fields) {
  return sampler_json("s", "f", "void", std::string(kBasics) + ",{" + fields + "}");
}

TEST(CSamplerManifest, reads_every_field) {
  const auto manifest = parse_manifest(
      manifest_json(sampler_json(
          "top", "top_f", "count",
          R"("logits","ids","count","history","history_length","prompt_length","random","random",)"
          R"("vocabulary_size","position","state",)"
          R"({"name":"p","type":"f32","default":0.5,"min":0,"max":1,"summary":"How much"},)"
          R"({"name":"n","type":"u64","default":3,"min":1,"max":9})",
          R"(,"result_type":"i32","state_bytes":24)")),
      "x");
  EXPECT_EQ(manifest.name, "test");
  EXPECT_EQ(manifest.version, "1.0");
  EXPECT_EQ(manifest.license, "MIT");
  EXPECT_EQ(manifest.summary, "For tests");
  EXPECT_EQ(manifest.library, "c-samplers.so");
  ASSERT_EQ(manifest.samplers.size(), 1U);
  const CSamplerSpec& spec = manifest.samplers[0];
  EXPECT_EQ(spec.name, "top");
  EXPECT_EQ(spec.symbol, "top_f");
  EXPECT_EQ(spec.result, CResultKind::count);
  EXPECT_EQ(spec.result_type, CType::i32);
  EXPECT_EQ(spec.state_bytes, 24U);
  ASSERT_EQ(spec.arguments.size(), 13U);
  EXPECT_EQ(spec.arguments[7].kind, CArgumentKind::random);
  EXPECT_EQ(spec.arguments[12].kind, CArgumentKind::parameter);
  EXPECT_EQ(spec.arguments[12].parameter, 1U);
  ASSERT_EQ(spec.parameters.size(), 2U);
  EXPECT_EQ(spec.parameters[0].summary, "How much");
  EXPECT_EQ(spec.parameters[0].default_value, 0.5);
  EXPECT_EQ(spec.parameters[1].type, CType::u64);
  EXPECT_EQ(spec.parameters[1].minimum, 1);
  EXPECT_EQ(spec.parameters[1].maximum, 9);
}

TEST(CSamplerManifest, chooses_result_types_that_fit_the_kind) {
  const auto manifest =
      parse_manifest(manifest_json(sampler_json("a", "f", "count", kBasics) + "," +
                                   sampler_json("b", "f", "token", kBasics)),
                     "x");
  EXPECT_EQ(manifest.samplers[0].result_type, CType::size);
  EXPECT_EQ(manifest.samplers[1].result_type, CType::i32);
}

TEST(CSamplerManifest, refuses_text_that_is_cut_short_anywhere) {
  const std::string whole =
      manifest_json(with_parameter(R"("name":"p","type":"f32","default":0,"min":0,"max":1)"));
  ASSERT_NO_THROW(parse_manifest(whole, "x"));
  for (std::size_t length = 0; length < whole.size(); ++length) {
    EXPECT_THROW(parse_manifest(whole.substr(0, length), "x"), Error) << length;
  }
}

TEST(CSamplerManifest, refuses_unknown_missing_and_repeated_keys_by_name) {
  expect_bad(R"({"quiver_sampler":1,"colour":"red"})", "unknown key 'colour'");
  expect_bad(R"({"quiver_sampler":1})", "'name' is missing");
  expect_bad(R"({"quiver_sampler":1,"quiver_sampler":1})", "repeated");
  expect_bad_sampler(sampler_json("s", "f", "void", kBasics, R"(,"sumary":"x")"),
                     "unknown key 'sumary'");
  expect_bad_sampler(with_parameter(R"("name":"p","type":"f32","default":0,"min":0)"),
                     "'max' is missing");
  expect_bad_sampler(
      with_parameter(R"("name":"p","type":"f32","default":0,"min":0,"max":1,"step":1)"),
      "unknown key 'step'");
  expect_bad("{\"quiver_sampler\":1,\"\\u001b[31m\":1}", "unknown key");
}

TEST(CSamplerManifest, refuses_other_shapes_of_json) {
  for (const char* text : {"", "null", "[]", "3", "\"text\"", "{}{}", "{'a':1}", "\xFF", "{\"a\":}",
                           "{\"quiver_sampler\":1e999}", "// x\n{}"}) {
    EXPECT_THROW(parse_manifest(text, "x"), Error) << text;
  }
  expect_bad(R"({"quiver_sampler":2})", "another form");
  expect_bad(R"({"quiver_sampler":"1"})", "not a number");
  expect_bad(R"({"quiver_sampler":1,"name":7})", "not a text");
  expect_bad(manifest_json(""), "1 to 24 elements");
  expect_bad(manifest_json("3"), "not an object");
  expect_bad_sampler(sampler_json("s", "f", "void", ""), "1 to 32 elements");
}

TEST(CSamplerManifest, bounds_depth_and_size) {
  const std::string deep(100000, '[');
  expect_bad(deep, "nested too deeply");
  expect_bad("{\"samplers\":" + deep, "nested too deeply");
  expect_bad(std::string(kMaxManifestBytes + 1, ' '), "larger than");
  std::string many;
  for (int i = 0; i < 25; ++i) {
    many += (i > 0 ? "," : "") + sampler_json("s" + std::to_string(i), "f", "void", kBasics);
  }
  expect_bad(manifest_json(many), "1 to 24 elements");
  std::string arguments = kBasics;
  for (int i = 0; i < 30; ++i) arguments += ",\"random\"";
  expect_bad_sampler(sampler_json("s", "f", "void", arguments), "1 to 32 elements");
}

TEST(CSamplerManifest, takes_libraries_from_its_own_folder_only) {
  const std::string sampler = sampler_json("s", "f", "void", kBasics);
  for (const char* library : {"../x.so", "/lib/x.so", "a/b.so", ".so", "..so", ".hidden.so", "x",
                              "x.dll", "x y.so", "x\\u0000.so", "", "x.so.1"}) {
    expect_bad(manifest_json(sampler, library), "library");
  }
}

TEST(CSamplerManifest, refuses_names_and_texts_that_do_not_fit) {
  for (const char* name :
       {"", "Upper", "has space", "\\u00e9", "-x", "a/b", "a-name-of-more-than-31-characters"}) {
    expect_bad_sampler(sampler_json(name, "f", "void", kBasics), "name");
  }
  for (const char* symbol : {"", "1st", "a-b", "a b", "f()", "f\\n"}) {
    expect_bad_sampler(sampler_json("s", symbol, "void", kBasics), "symbol");
  }
  std::string text = manifest_json(sampler_json("s", "f", "void", kBasics));
  text.replace(text.find("For tests"), 9, "two\\nlines");
  expect_bad(text, "control characters");
  expect_bad_sampler(
      sampler_json("s", "f", "void", kBasics) + "," + sampler_json("s", "g", "void", kBasics),
      "two samplers");
}

TEST(CSamplerManifest, refuses_signatures_that_would_guess_a_length) {
  const std::vector<std::pair<std::string, std::string>> cases{
      {R"("count")", "neither 'logits' nor 'ids'"},
      {R"("logits")", "'count' is missing"},
      {R"("logits","count","count")", "'count' is given twice"},
      {R"("logits","logits","count")", "'logits' is given twice"},
      {R"("logits","count","history")", "'history_length' belong together"},
      {R"("logits","count","history_length")", "'history_length' belong together"},
      {R"("logits","count","state")", "'state_bytes' belong together"},
      {R"("logits","count","temperature")", "unknown argument"},
      {R"("logits","count",1)", "unknown argument"}};
  for (const auto& [arguments, part] : cases) {
    expect_bad_sampler(sampler_json("s", "f", "void", arguments), part);
  }
  expect_bad_sampler(sampler_json("s", "f", "void", kBasics, R"(,"state_bytes":8)"),
                     "'state_bytes' belong together");
}

TEST(CSamplerManifest, refuses_results_and_states_out_of_range) {
  expect_bad_sampler(sampler_json("s", "f", "float", kBasics), "unknown result");
  expect_bad_sampler(sampler_json("s", "f", "void", kBasics, R"(,"result_type":"i32")"), "may be");
  expect_bad_sampler(sampler_json("s", "f", "count", kBasics, R"(,"result_type":"f32")"), "may be");
  expect_bad_sampler(sampler_json("s", "f", "count", kBasics, R"(,"result_type":"i8")"), "may be");
  const std::string with_state = std::string(kBasics) + R"(,"state")";
  for (const char* bytes : {"0", "-8", "4097", "1.5", "1e30", "\"8\"", "null"}) {
    expect_bad_sampler(
        sampler_json("s", "f", "void", with_state, std::string(R"(,"state_bytes":)") + bytes),
        "state_bytes");
  }
}

TEST(CSamplerManifest, refuses_parameters_whose_numbers_make_no_sense) {
  const std::vector<std::pair<std::string, std::string>> cases{
      {R"("type":"f16","default":0,"min":0,"max":1)", "unknown type"},
      {R"("type":"size","default":0,"min":0,"max":1)", "unknown type"},
      {R"("type":"f32","default":2,"min":0,"max":1)", "outside min and max"},
      {R"("type":"f32","default":-1,"min":0,"max":1)", "outside min and max"},
      {R"("type":"f32","default":1,"min":2,"max":0)", "min is greater"},
      {R"("type":"f32","default":0,"min":0,"max":1e39)", "beyond"},
      {R"("type":"f32","default":"0","min":0,"max":1)", "not a number"},
      {R"("type":"i32","default":0.5,"min":0,"max":1)", "not a whole number"},
      {R"("type":"i32","default":0,"min":0,"max":2147483648)", "beyond"},
      {R"("type":"i64","default":0,"min":0,"max":1e18)", "beyond"},
      {R"("type":"u32","default":0,"min":-1,"max":1)", "beyond"},
      {R"("type":"u64","default":0,"min":-1,"max":1)", "beyond"}};
  for (const auto& [fields, part] : cases) {
    expect_bad_sampler(with_parameter(R"("name":"p",)" + fields), part);
  }
  const std::string one = R"({"name":"p","type":"f32","default":0,"min":0,"max":1})";
  expect_bad_sampler(sampler_json("s", "f", "void", std::string(kBasics) + "," + one + "," + one),
                     "two parameters");
}

}  // namespace
