// A sampler plugin that is good, or bad in the one way that SUBJECT_FAULT names.
#include <quiver/plugin.hpp>
#include <quiver/sampler.hpp>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <stdexcept>
#include <vector>

#include <unistd.h>

#include <csignal>

#define GOOD 0
#define CRASHES 1
#define ABORTS 2
#define SLEEPS 3
#define SPINS 4
#define EATS_MEMORY 5
#define PRINTS 6
#define EXITS 7
#define THROWS 8
#define FACTORY_THROWS 9
#define FACTORY_THROWS_INT 10
#define MAKES_NOTHING 11
#define INIT_FAILS 12
#define SECOND_INIT_FAILS 13
#define NO_INTERFACE 14
#define ANSWERS_ALL 15
#define BAD_OPTIONS 16
#define CRASHES_AT_EXIT 17
#define FORKS 18
#define WANTS_OPTION 19
#define EATS_SHARED_MEMORY 20
#define INSISTS_LATER 21
#define UNDEFINED_SYMBOL 22
#define NO_ENTRY 23
#define OTHER_DESCRIPTOR 24
#define SMALL_ENTRY 25
#define DEINIT_CRASHES 26
#ifndef SUBJECT_FAULT
#define SUBJECT_FAULT GOOD
#endif

#if SUBJECT_FAULT == EATS_SHARED_MEMORY
#include <sys/mman.h>
#endif
#ifndef SUBJECT_NAME
#define SUBJECT_NAME "subject"
#endif
#ifndef SUBJECT_OFFER
#define SUBJECT_OFFER SUBJECT_NAME
#endif

namespace {

/// What happens while the library is loaded.
struct AtLoad {
  AtLoad() {
#if SUBJECT_FAULT == CRASHES
    std::raise(SIGSEGV);
#elif SUBJECT_FAULT == ABORTS
    std::fputs("the subject gives up\n", stderr);
    std::abort();
#elif SUBJECT_FAULT == SLEEPS
    for (;;) ::pause();
#elif SUBJECT_FAULT == SPINS
    for (volatile unsigned i = 0;;) i = i + 1;
#elif SUBJECT_FAULT == EATS_MEMORY
    for (;;) std::memset(new char[1U << 20U], 1, 1U << 20U);
#elif SUBJECT_FAULT == EATS_SHARED_MEMORY
    for (;;) {
      void* const block =
          ::mmap(nullptr, 1U << 24U, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
      if (block == MAP_FAILED) throw std::bad_alloc();
    }
#elif SUBJECT_FAULT == PRINTS
    std::puts("Hello from the subject");
#elif SUBJECT_FAULT == EXITS
    std::_Exit(0);
#elif SUBJECT_FAULT == THROWS
    throw std::runtime_error("the subject throws while it is loaded");
#elif SUBJECT_FAULT == FORKS
    // The child keeps the pipes open, and hangs.
    if (::fork() == 0) {
      for (;;) ::pause();
    }
#endif
  }
  ~AtLoad() {
#if SUBJECT_FAULT == CRASHES_AT_EXIT
    std::raise(SIGSEGV);
#endif
  }
};
const AtLoad at_load;

#if SUBJECT_FAULT == UNDEFINED_SYMBOL
}  // namespace
extern "C" int symbol_that_nobody_defines();
namespace {
const int needs_symbol = symbol_that_nobody_defines();
#endif

/// Multiplies all logits.
class Scale final : public quiver::Sampler {
 public:
  explicit Scale(double factor) : factor_(static_cast<float>(factor)) {}

  void apply(quiver::Candidates& candidates, const quiver::SamplerContext&,
             std::span<std::byte>) const override {
    for (std::size_t i = 0; i < candidates.count; ++i) candidates.logits[i] *= factor_;
  }

 private:
  float factor_;
};

constexpr std::array<quiver::OptionSpec, 2> kOptions = {{
    {"factor", "What logits are multiplied by", quiver::OptionKind::number,
     SUBJECT_FAULT == BAD_OPTIONS ? 9.0 : 1.0, 0.0, 4.0, nullptr},
    {"label", "A name for nothing", quiver::OptionKind::text, 0, 0, 0, "none"},
}};

class Factory final : public quiver::SamplerFactory {
 public:
  std::span<const quiver::OptionSpec> options(std::string_view) const override { return kOptions; }

  quiver::Sampler* create(std::string_view, const quiver::Options& options) const override {
    const bool is_default = options.text("label") == "none";
    if (SUBJECT_FAULT == FACTORY_THROWS) throw std::runtime_error("no sampler today");
    if (SUBJECT_FAULT == FACTORY_THROWS_INT) throw 42;
    if (SUBJECT_FAULT == MAKES_NOTHING) return nullptr;
    if (SUBJECT_FAULT == WANTS_OPTION && is_default) {
      throw quiver::Error(quiver::ErrorCode::usage, "the option 'label' is needed");
    }
    if (SUBJECT_FAULT == INSISTS_LATER && !is_default) throw std::runtime_error("not that label");
    return new Scale(options.number("factor"));
  }
};

#if SUBJECT_FAULT != NO_ENTRY
const Factory factory;

const void* get(std::string_view id) {
  if (SUBJECT_FAULT == NO_INTERFACE) return nullptr;
  if (SUBJECT_FAULT == ANSWERS_ALL) return &factory;
  return quiver::provide<quiver::SamplerFactory>(id, factory);
}

int inits = 0;

int init(const quiver_host* host) {
  ++inits;
  if (SUBJECT_FAULT == INIT_FAILS || (SUBJECT_FAULT == SECOND_INIT_FAILS && inits == 2)) return 7;
  return host != nullptr && host->size >= sizeof(quiver_host) ? 0 : 1;
}
#endif

}  // namespace

QUIVER_DESCRIPTOR(subject_descriptor, SUBJECT_NAME, "1.0.0", "Apache-2.0", "A subject of tests",
                  QUIVER_OFFER_SAMPLER(SUBJECT_OFFER, "Multiplies logits"));

#if SUBJECT_FAULT != NO_ENTRY
#if SUBJECT_FAULT == OTHER_DESCRIPTOR
const quiver_descriptor other_descriptor = {QUIVER_DESCRIPTOR_MAGIC,
                                            sizeof(quiver_descriptor),
                                            1,
                                            0,
                                            "another",
                                            0,
                                            "another",
                                            "1",
                                            "MIT",
                                            "",
                                            {}};
#define DESCRIPTOR other_descriptor
#else
#define DESCRIPTOR subject_descriptor
#endif
extern "C" QUIVER_EXPORT const quiver_plugin_entry quiver_plugin;
const quiver_plugin_entry quiver_plugin = {
    SUBJECT_FAULT == SMALL_ENTRY ? 8 : sizeof(quiver_plugin_entry), &DESCRIPTOR, &init,
    [] {
      --inits;
      if (SUBJECT_FAULT == DEINIT_CRASHES) std::raise(SIGSEGV);
    },
    [](const char* id) -> const void* { return id != nullptr ? get(id) : nullptr; }};
#endif
