// The sensitivity sweep against recorded tables, and what its figures must not depend on.
#include "tests/quantize/sweep_fixture.hpp"

namespace quiver::test {
namespace {

class SweepOfLlamaA : public testing::Test {
 protected:
  nlohmann::json expected = read_json_file(shared("reference/convert/llama_a/expected.json"));
  Sweep sweep{load_model(shared("reference/convert/llama_a/checkpoint")), llama_a_texts()};

  void expect_recorded(const Table& table, const char* key) const {
    expect_recorded_table(table, expected, key);
  }
};

TEST_F(SweepOfLlamaA, gives_the_recorded_divergences_of_every_width) {
  sweep.bits = {2, 3, 4, 6, 8};
  expect_recorded(sweep.run(), "sensitivity");
}

TEST_F(SweepOfLlamaA, gives_the_recorded_divergences_from_a_4_bit_stand_in) {
  sweep.reference_bits = 4;
  expect_recorded(sweep.run(), "sensitivity_uniform4");
}

TEST_F(SweepOfLlamaA, does_not_depend_on_threads_or_on_what_else_is_measured) {
  const Table whole = sweep.run();
  sweep.threads = 1;
  SweepHooks hooks;
  hooks.wants = [](std::size_t index) { return index % 3 == 1; };
  const Table part = sweep.run(hooks);
  EXPECT_GT(part.size(), 5U);
  for (const auto& [name, kl] : part) EXPECT_EQ(kl, whole.at(name)) << name;
  sweep.bits = {8};
  for (const auto& [name, kl] : sweep.run()) EXPECT_EQ(kl.at(8), whole.at(name).at(8)) << name;
}

TEST_F(SweepOfLlamaA, estimates_the_divergence_from_some_positions) {
  const Table whole = sweep.run();
  sweep.positions = 39;  // of 40
  const Table most = sweep.run();
  sweep.positions = 10;
  const Table few = sweep.run();
  double sum = 0;
  double sum_of_few = 0;
  for (const auto& [name, kl] : whole) {
    // At most one position in forty is missing, and no position diverges by more than ten means.
    EXPECT_NEAR(most.at(name).at(4), kl.at(4), 0.3 * kl.at(4)) << name;
    EXPECT_NE(few.at(name).at(4), kl.at(4)) << name;
    sum += kl.at(4);
    sum_of_few += few.at(name).at(4);
  }
  EXPECT_NEAR(sum_of_few, sum, 0.3 * sum);
}

TEST_F(SweepOfLlamaA, measures_nothing_where_a_width_keeps_the_layer) {
  sweep.bits = {4, 16};
  for (const auto& [name, kl] : sweep.run()) EXPECT_EQ(kl.at(16), 0.0) << name;
}

}  // namespace
}  // namespace quiver::test
