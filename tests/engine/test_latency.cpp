// Predictions of speed against figures worked out by hand, and the machine's measured limits.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <quiver/error.hpp>

#include "core/eval/latency.hpp"
#include "core/eval/latency_run.hpp"
#include "core/eval/machine_limits.hpp"
#include "tests/support/models.hpp"

namespace quiver::test {
namespace {

/// Reads 10 GB/s, computes 100 G or 200 G operations a second, a microsecond a matrix.
const LatencyMachine kRound{"round", 1e10, 1e11, 2e11, 1e-6, false};

/// 1000 x 1000 in 4.5 bits a weight.
LatencyMatrix square() {
  return {
      .parameters = 1'000'000, .bytes = 562'500, .columns = 1000, .bits = 4, .is_quantized = true};
}

TEST(Latency, a_token_takes_as_long_as_its_bytes_take_to_read) {
  // (562500 + 2 * 1000) / 1e10 = 56.45 us; 2e6 / 2e11 = 10 us are hidden behind it.
  const auto one = predict_latency(kRound, {.matrices = {square()}});
  EXPECT_NEAR(one.decode_seconds, 57.45e-6, 1e-12);
  EXPECT_DOUBLE_EQ(one.bytes_per_token, 562'500);
  // 1000 bytes more take 0.1 us, 50000 bytes of keys and values 5 us.
  const auto with_kv =
      predict_latency(kRound, {.matrices = {square()}, .other_bytes = 1000, .kv_bytes = 50'000});
  EXPECT_NEAR(with_kv.decode_seconds, 62.55e-6, 1e-12);
  EXPECT_NEAR(with_kv.decode_tps, 15'987.2, 0.1);
  EXPECT_DOUBLE_EQ(with_kv.bytes_per_token, 613'500);
}

TEST(Latency, a_prompt_takes_as_long_as_its_operations) {
  // 2 * 256 * 1e6 / 2e11 = 2560 us, reading takes 56; the other bytes 0.1.
  const auto prediction =
      predict_latency(kRound, {.matrices = {square()}, .other_bytes = 1000, .kv_bytes = 50'000});
  EXPECT_NEAR(prediction.prefill_seconds, 2561.1e-6, 1e-12);
  EXPECT_NEAR(prediction.prefill_tps, 256 / 2561.1e-6, 1e-6);
  // One token of a prompt reads as much as a decoded one.
  const auto short_one = predict_latency(kRound, {.matrices = {square()}, .prompt = 1});
  EXPECT_NEAR(short_one.prefill_seconds, 57.25e-6, 1e-12);
}

TEST(Latency, floats_compute_at_their_own_rate) {
  LatencyMatrix matrix = square();
  matrix.is_quantized = false;
  const auto prediction = predict_latency(kRound, {.matrices = {matrix}});
  EXPECT_NEAR(prediction.prefill_seconds, 5121e-6, 1e-12);  // 2 * 256 * 1e6 / 1e11, and 1 us
}

TEST(Latency, a_head_is_passed_by_the_last_token_of_a_prompt_alone) {
  LatencyMatrix head = square();
  head.is_last_only = true;
  const auto prediction = predict_latency(kRound, {.matrices = {head}});
  EXPECT_DOUBLE_EQ(prediction.prefill_seconds, prediction.decode_seconds);
}

TEST(Latency, a_token_reads_its_own_experts_and_a_prompt_all) {
  LatencyMatrix experts = square();
  experts.active = 0.25;
  const auto prediction = predict_latency(kRound, {.matrices = {experts}});
  EXPECT_DOUBLE_EQ(prediction.bytes_per_token, 140'625);
  EXPECT_NEAR(prediction.decode_seconds, 15.2625e-6, 1e-12);  // (140625 + 2000) / 1e10, and 1 us
  EXPECT_NEAR(prediction.prefill_seconds, 641e-6, 1e-12);     // a quarter of the operations
  experts.active = 0.001;
  EXPECT_NEAR(predict_latency(kRound, {.matrices = {experts}}).prefill_seconds, 57.25e-6, 1e-12)
      << "all experts are read";
}

TEST(Latency, profiles_follow_the_data_sheets_with_the_losses_of_few_bits) {
  const LatencyMachine& m1 = latency_profile("m1");
  const auto predict = [&](int bits) {
    // 1024 x 1024 with scale and bias of 2 bytes each for 64 weights.
    const auto bytes = static_cast<std::uint64_t>(1048576 * bits / 8 + 4 * 1048576 / 64);
    return predict_latency(m1, {.matrices = {{.parameters = 1048576,
                                              .bytes = bytes,
                                              .columns = 1024,
                                              .bits = bits,
                                              .is_quantized = true}}});
  };
  // (1114112 + 2048) / 68.25e9 * 1.15 + 5e-6, and the same with 458752 * 1.08 and 327680 * 1.12.
  EXPECT_NEAR(predict(8).decode_seconds, 23.80709e-6, 1e-11);
  EXPECT_NEAR(predict(3).decode_seconds, (460800 / 68.25e9) * 1.15 * 1.08 + 5e-6, 1e-12);
  EXPECT_NEAR(predict(2).decode_seconds, (329728 / 68.25e9) * 1.15 * 1.12 + 5e-6, 1e-12);
  // 2 * 256 * 1048576 / (2.6e12 * 0.95) + 5e-6, and the same with 0.85.
  EXPECT_NEAR(predict(8).prefill_seconds, 222.3566e-6, 1e-10);
  EXPECT_NEAR(predict(3).prefill_seconds, 247.9280e-6, 1e-10);
}

TEST(Latency, profiles_are_found_by_name_and_unknown_ones_list_them) {
  EXPECT_EQ(latency_profiles().size(), 14U);
  EXPECT_DOUBLE_EQ(latency_profile("m3-pro").read_bytes, 150e9);
  EXPECT_DOUBLE_EQ(latency_profile("m2-ultra").quantized_operations, 27.2e12);
  try {
    latency_profile("m3-ultra");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::usage);
    EXPECT_THAT(error.what(), testing::HasSubstr("m4-max"));
  }
}

TEST(Latency, nothing_to_run_is_refused) {
  EXPECT_THROW(predict_latency(kRound, {}), Error);
  EXPECT_THROW(predict_latency(kRound, {.matrices = {square()}, .prompt = 0}), Error);
}

TEST(MachineLimits, loops_are_found_by_kind_and_table) {
  const std::vector<MachineRate> rates = {{"read 1 stream", 5, 4},
                                          {"read 4 streams", 7, 3},
                                          {"fma generic", 1, 1},
                                          {"fma avx2", 2, 2},
                                          {"fma avx512", 3, 3},
                                          {"int16 dot avx2", 4, 4},
                                          {"int8 or int4 dot avx512vnni", 10, 8}};
  EXPECT_EQ(read_limit(rates).wall, 7);
  EXPECT_EQ(read_limit(rates).cpu, 4);
  EXPECT_EQ(arithmetic_limit(rates, "fma", "avx2vnni").wall, 2);
  EXPECT_EQ(arithmetic_limit(rates, "fma", "avx512vnni").wall, 3);
  EXPECT_EQ(arithmetic_limit(rates, "int16 dot", "avx2").wall, 4);
  EXPECT_EQ(arithmetic_limit(rates, "int4 dot", "avx512vnni").wall, 10);
  EXPECT_EQ(arithmetic_limit(rates, "int16 dot", "avx512vnni").cpu, 4) << "two planes of 8 bits";
  EXPECT_EQ(arithmetic_limit(rates, "int16 dot", "neon").wall, 0);
}

TEST(MachineLimits, are_measured_with_any_number_of_threads) {
  // Three parts of the buffer do not end at multiples of vectors by themselves.
  const auto rates = measure_machine(3);
  EXPECT_GT(read_limit(rates).wall, 1e8);
  for (const MachineRate& rate : rates) EXPECT_GT(rate.cpu, 0) << rate.name;
}

TEST(LatencyRun, times_the_model_and_refuses_more_tokens_than_its_context) {
  TestEngine test(load_model(shared("reference/convert/llama_a/checkpoint")));
  std::size_t calls = 0;
  LatencyRunOptions options{.prompt = 16, .context = 20, .generated = 3, .runs = 2};
  options.progress = [&](std::size_t done, std::size_t total) {
    EXPECT_EQ(total, 3U);
    EXPECT_EQ(done, ++calls);
    return true;
  };
  const LatencyRun run = run_latency(test.engine, options);
  EXPECT_EQ(calls, 3U);
  EXPECT_GT(run.decode_tps, 0);
  EXPECT_GT(run.prefill_tps, 0);
  options.progress = [](std::size_t, std::size_t) { return false; };
  EXPECT_THROW(run_latency(test.engine, options), Error);
  options.context = 1 << 30;
  EXPECT_THROW(run_latency(test.engine, options), Error);
}

}  // namespace
}  // namespace quiver::test
