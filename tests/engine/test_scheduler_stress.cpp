// Many clients that submit and cancel at random: whatever their timing, tokens are those of a text
// alone.
#include <gtest/gtest.h>

#include <thread>

#include "tests/support/conv_model.hpp"
#include "tests/support/models.hpp"
#include "tests/support/texts.hpp"

namespace quiver::test {
namespace {

constexpr int kClients = 4;
constexpr int kRequests = 12;  // of each client

class SchedulerStress : public testing::Test {
 protected:
  SchedulerStress() {
    const auto beginning = random_tokens(random, 2 * Engine::kPromptGrid, kConvVocabulary);
    TestEngine plain{model, 1};
    for (int i = 0; i < 10; ++i) {
      const int length = 1 + static_cast<int>(random() % 120);
      TestText text{random_tokens(random, length, kConvVocabulary), 3 + i * 7, i % 2 == 0,
                    random()};
      if (i % 3 == 0) text.prompt.insert(text.prompt.begin(), beginning.begin(), beginning.end());
      alone.push_back(generate_alone(plain.engine, text));
      texts.push_back(std::move(text));
    }
    page = page_bytes(plain.engine.layout(), 1);
  }

  /// One client's requests, some of which it cancels at once, after a while, or from a callback.
  void run_client(Scheduler& scheduler, unsigned seed) const {
    std::mt19937 own(seed);
    struct Sent {
      std::size_t text;
      std::shared_ptr<Outcome> outcome;
      std::shared_ptr<std::atomic<bool>> is_cancelled;
    };
    std::vector<Sent> sent;
    for (int i = 0; i < kRequests; ++i) {
      const std::size_t which = own() % texts.size();
      const auto is_cancelled = std::make_shared<std::atomic<bool>>(false);
      Request request = texts[which].request();
      if (own() % 4 == 0) {
        // Stops as a client that has gone away: from its own callback.
        request.rules.on_token = [is_cancelled, left = own() % 6](std::int32_t) mutable {
          if (left-- != 0) return true;
          is_cancelled->store(true);
          return false;
        };
      }
      Sent one{which, nullptr, is_cancelled};
      while (one.outcome == nullptr) {
        try {
          one.outcome = submit(scheduler, request);
        } catch (const Error& error) {
          ASSERT_EQ(error.code(), ErrorCode::resources) << error.what();
          // The queue is full: one of our own, or somebody else's, has to end first.
          if (!sent.empty()) sent[own() % sent.size()].outcome->end.wait();
          std::this_thread::yield();
        }
      }
      sent.push_back(std::move(one));
      if (own() % 3 == 0) {
        const Sent& victim = sent[own() % sent.size()];
        victim.is_cancelled->store(true);
        victim.outcome->handle->cancel();
      }
    }
    for (const Sent& one : sent) check(one.text, *one.outcome, *one.is_cancelled);
  }

  void check(std::size_t text, Outcome& outcome, const std::atomic<bool>& is_cancelled) const {
    const RequestEnd end = outcome.end.get();
    const Alone& whole = alone[text];
    EXPECT_FALSE(end.error.has_value()) << end.error->what();
    if (!is_cancelled) {
      EXPECT_EQ(outcome.tokens, whole.ids);
      EXPECT_EQ(outcome.digest.values(), whole.digests);
      EXPECT_EQ(end.reason, whole.reason);
      return;
    }
    ASSERT_LE(outcome.tokens.size(), whole.ids.size());
    EXPECT_TRUE(std::equal(outcome.tokens.begin(), outcome.tokens.end(), whole.ids.begin()));
  }

  void run(int pages, std::size_t prefix_limit) const {
    TestEngine test{model, 2, "f32", {ComputeMode::exact}, static_cast<std::size_t>(pages) * page};
    {
      SchedulerOptions options;
      options.max_sequences = 6;
      options.max_waiting = 10;
      options.prefix_limit_bytes = prefix_limit;
      Scheduler scheduler(test.engine, options);
      std::vector<std::thread> clients;
      for (unsigned i = 0; i < kClients; ++i)
        clients.emplace_back([&, i] { run_client(scheduler, 100 + i); });
      for (std::thread& client : clients) client.join();
      EXPECT_EQ(scheduler.counters().requests, 0U);
      EXPECT_EQ(scheduler.counters().suspended, 0U);
    }
    EXPECT_EQ(test.engine.pool().used_bytes(), 0U);
  }

  std::mt19937 random{21};
  ConvCheckpoint checkpoint;
  std::shared_ptr<const LoadedModel> model = checkpoint.load();
  std::vector<TestText> texts;
  std::vector<Alone> alone;
  std::size_t page = 0;
};

TEST_F(SchedulerStress, clients_that_come_and_go_get_their_own_tokens) {
  run(0, std::size_t{1} << 30U);
}

TEST_F(SchedulerStress, so_they_do_when_pages_are_short) {
  run(16, std::size_t{1} << 30U);
}

TEST_F(SchedulerStress, so_they_do_without_shared_beginnings) {
  run(16, 0);
}

}  // namespace
}  // namespace quiver::test
