// Rehearsals: each way of being bad gets its own verdict, and this process is none the worse.
#include "core/plugin/rehearsal.hpp"

#include "core/plugin/elf_descriptor.hpp"
#include "core/plugin/plugin_file.hpp"
#include "tests/plugin/plugin_fixture.hpp"

#include <quiver/error.hpp>

#include <gmock/gmock.h>

#include <cstdlib>

namespace quiver {
namespace {

using testing::HasSubstr;

// Sanitizers take memory of their own and report in their own way where one of them sees the crash
// first, so only the fact that something is wrong is the same then.
constexpr bool kIsSanitized = std::string_view(QUIVER_ABI_SANITIZER) != "plain";

Verdict verdict_on(const std::string& name, RehearsalLimits limits = {}) {
  const PluginFile file = PluginFile::open(quiver::test::subject(name));
  const DescriptorReading reading =
      read_descriptor(quiver::test::read_bytes(file.path()), host_api());
  EXPECT_FALSE(reading.refusal) << reading.refusal.reason;
  PluginEntry entry;
  entry.path = file.path();
  entry.descriptor = reading.descriptor.value();
  return rehearse(entry, {&file, 1}, {limits, QUIVER_TEST_REHEARSAL});
}

struct Case {
  const char* name;
  PluginFault fault;
  const char* words;  ///< In the reason.
};

class BadPlugin : public testing::TestWithParam<Case> {};

TEST_P(BadPlugin, GetsAVerdictOfItsOwn) {
  const Case& expected = GetParam();
  const Verdict verdict = verdict_on(expected.name);
  EXPECT_EQ(fault_name(verdict.fault), fault_name(expected.fault)) << verdict.reason;
  EXPECT_THAT(verdict.reason, HasSubstr(expected.words));
  EXPECT_FALSE(quiver::test::is_mapped(QUIVER_TEST_SUBJECTS));
}

INSTANTIATE_TEST_SUITE_P(
    Rehearsal, BadPlugin,
    testing::Values(
        Case{"subject-aborts", PluginFault::crashed,
             "crashed with SIGABRT while loading: the subject gives up"},
        Case{"subject-prints", PluginFault::prints_to_stdout, "'Hello from the subject'"},
        Case{"subject-exits", PluginFault::exited, "ended the process with status 0 while loading"},
        Case{"subject-undefined-symbol", PluginFault::load_failed,
             "undefined symbol: symbol_that_nobody_defines"},
        Case{"subject-other-descriptor", PluginFault::bad_entry, "another descriptor"},
        Case{"subject-small-entry", PluginFault::bad_entry, "entry is incomplete"},
        Case{"subject-init-fails", PluginFault::init_failed, "its init returned 7"},
        Case{"subject-no-interface", PluginFault::missing_interface, "quiver.sampler/1"},
        Case{"subject-answers-all", PluginFault::answers_unknown_interface, "unknown interface id"},
        Case{"subject-factory-throws", PluginFault::factory_failed, "no sampler today"},
        Case{"subject-factory-throws-int", PluginFault::factory_failed, "no std::exception"},
        Case{"subject-makes-nothing", PluginFault::factory_failed, "made nothing"},
        Case{"subject-bad-options", PluginFault::factory_failed, "'factor' is not in its range"}),
    [](const auto& test) {
      std::string name = std::string(test.param.name).substr(std::strlen("subject-"));
      std::replace(name.begin(), name.end(), '-', '_');
      return name;
    });

TEST(Rehearsal, FindsNothingWrongWithAGoodPlugin) {
  for (const char* name : {"subject-good", "subject-wants-option", "subject-wagon"}) {
    const Verdict verdict = verdict_on(name);
    EXPECT_TRUE(verdict.is_ok()) << name << ": " << verdict.reason;
  }
}

TEST(Rehearsal, SeesAnExceptionThatLeavesAConstructor) {
  // Whether it gets through the loader or ends the process there is up to the C++ runtime.
  const Verdict verdict = verdict_on("subject-throws");
  EXPECT_TRUE(verdict.fault == PluginFault::crashed || verdict.fault == PluginFault::load_failed);
  EXPECT_THAT(verdict.reason, HasSubstr("the subject throws while it is loaded"));
}

TEST(Rehearsal, TellsTheSignalOfACrash) {
  const Verdict verdict = verdict_on("subject-crashes");
  if (kIsSanitized) {  // the sanitizer turns the signal into an exit of its own
    EXPECT_FALSE(verdict.is_ok());
    return;
  }
  EXPECT_EQ(verdict.fault, PluginFault::crashed);
  EXPECT_EQ(verdict.reason, "crashed with SIGSEGV while loading");
  EXPECT_EQ(verdict.signal, SIGSEGV);
}

TEST(Rehearsal, SeesACrashInDeinit) {
  const Verdict verdict = verdict_on("subject-deinit-crashes");
  EXPECT_FALSE(verdict.is_ok());
  EXPECT_THAT(verdict.reason, HasSubstr("while deinitializing"));
}

TEST(Rehearsal, SeesACrashAtExit) {
  if (kIsSanitized)
    GTEST_SKIP() << "under a sanitizer the child leaves without running destructors";
  const Verdict verdict = verdict_on("subject-crashes-at-exit");
  EXPECT_EQ(verdict.reason, "crashed with SIGSEGV at exit");
}

TEST(Rehearsal, EndsAPluginThatNeverComesBack) {
  RehearsalLimits limits;
  limits.wall = std::chrono::milliseconds(700);
  const Verdict verdict = verdict_on("subject-sleeps", limits);
  EXPECT_EQ(verdict.fault, PluginFault::wall_limit);
  EXPECT_EQ(verdict.reason, "did not come to an end within 0.7 s while loading");
}

TEST(Rehearsal, EndsAPluginThatBurnsTheCpu) {
  RehearsalLimits limits;
  limits.cpu = std::chrono::seconds(1);
  const Verdict verdict = verdict_on("subject-spins", limits);
  EXPECT_EQ(verdict.fault, PluginFault::cpu_limit);
  EXPECT_THAT(verdict.reason, HasSubstr("1 s of CPU time while loading"));
}

TEST(Rehearsal, EndsAPluginThatEatsMemory) {
  RehearsalLimits limits;
  limits.memory_bytes = 64U << 20U;
  if (kIsSanitized) {  // a sanitizer that gets no memory may not even get to its own report
    limits.wall = std::chrono::milliseconds(900);
    EXPECT_FALSE(verdict_on("subject-eats-memory", limits).is_ok());
    return;
  }
  const Verdict verdict = verdict_on("subject-eats-memory", limits);
  EXPECT_EQ(fault_name(verdict.fault), "memory-limit") << verdict.reason;
  EXPECT_THAT(verdict.reason, HasSubstr("more than 64 MiB of memory while loading"));
}

TEST(Rehearsal, EndsAPluginThatEatsSharedMemory) {
  if (kIsSanitized) GTEST_SKIP() << "addresses cannot be limited under a sanitizer";
  RehearsalLimits limits;
  limits.memory_bytes = 64U << 20U;
  const Verdict verdict = verdict_on("subject-eats-shared-memory", limits);
  EXPECT_EQ(fault_name(verdict.fault), "memory-limit") << verdict.reason;
}

TEST(Rehearsal, LeavesNoProcessBehind) {
  // The subject forks a child that keeps every pipe open and never ends.
  const Verdict verdict = verdict_on("subject-forks");
  EXPECT_TRUE(verdict.is_ok()) << verdict.reason;
}

TEST(Rehearsal, InitializesTwice) {
  // Its second init fails only where the first was not undone.
  EXPECT_TRUE(verdict_on("subject-second-init-fails").is_ok());
}

TEST(Rehearsal, SaysWhenTheProgramCannotRehearse) {
  const PluginFile file = PluginFile::open(quiver::test::subject("subject-good"));
  PluginEntry entry;
  entry.path = file.path();
  EXPECT_THROW(rehearse(entry, {&file, 1}, {{}, "/bin/true"}), Error);
  EXPECT_THROW(rehearse(entry, {&file, 1}, {{}, "/none/such/program"}), Error);
}

TEST(Rehearsal, NeverStartsAnother) {
  ::setenv("QUIVER_IN_REHEARSAL", "1", 1);
  const PluginFile file = PluginFile::open(quiver::test::subject("subject-good"));
  EXPECT_THROW(rehearse(PluginEntry(), {&file, 1}, {{}, QUIVER_TEST_REHEARSAL}), Error);
  ::unsetenv("QUIVER_IN_REHEARSAL");
}

}  // namespace
}  // namespace quiver
