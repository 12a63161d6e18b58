// A sampler plugin whose misbehaviour towards the process is chosen by an environment variable.
#include <quiver/plugin.hpp>
#include <quiver/sampler.hpp>

#include <cfenv>
#include <clocale>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <locale>

namespace {

using namespace quiver;

bool is_defect(const char* name) {
  const char* defect = std::getenv("QUIVER_TEST_DEFECT");
  return defect != nullptr && std::strcmp(defect, name) == 0;
}

[[maybe_unused]] const bool constructed = [] {
  if (is_defect("prints-at-load")) std::puts("hello");
  if (is_defect("rounds-at-load")) std::fesetround(FE_UPWARD);
  if (is_defect("locale-at-load")) std::setlocale(LC_ALL, "C.UTF-8");
  return true;
}();

/// The fast and wrong arithmetic that some libraries switch on.
void flush_to_zero() {
#if defined(__x86_64__)
  __builtin_ia32_ldmxcsr(__builtin_ia32_stmxcsr() | 0x8040U);
#else
  std::fesetround(FE_UPWARD);
#endif
}

class Plain final : public Sampler {
 public:
  void apply(Candidates&, const SamplerContext&, std::span<std::byte>) const override {
    if (is_defect("prints")) std::printf("thinking");
    if (is_defect("rounds")) std::fesetround(FE_TOWARDZERO);
    if (is_defect("flushes")) flush_to_zero();
    if (is_defect("cpp-locale")) {
      std::locale::global(std::locale(std::locale::classic(), new std::ctype<char>()));
    }
  }
};

class Factory final : public SamplerFactory {
 public:
  std::span<const OptionSpec> options(std::string_view) const override { return {}; }
  Sampler* create(std::string_view offer, const Options&) const override {
    return offer == "plain" ? new Plain() : nullptr;
  }
};

const quiver_host* host_of_init = nullptr;
int inits = 0;

int init(const quiver_host* host) {
  host_of_init = host;
  if (is_defect("inits-once") && inits > 0) return 1;
  // A plugin that takes an optional service for granted.
  if (is_defect("needs-service")) {
    static_cast<void>(*static_cast<const volatile char*>(host->get("quiver.progress/1")));
  }
  ++inits;
  return 0;
}

void deinit() {
  --inits;
}

const void* get(const char* id) {
  static const Factory factory;
  const SamplerFactory& base = factory;
  if (is_defect("forgets") && inits != 2) return nullptr;
  if (is_defect("answers-all")) return &base;
  if (is_defect("answers-prefixes")) {
    return std::strncmp(id, "quiver.sampler/1", 16) == 0 ? &base : nullptr;
  }
  if (is_defect("has-none")) return nullptr;
  return id == SamplerFactory::kInterfaceId ? &base : nullptr;
}

QUIVER_DESCRIPTOR(descriptor, "bad-manners", "1.0.0", "Apache-2.0", "Misbehaves on request",
                  QUIVER_OFFER_SAMPLER("plain", "Does nothing"));

}  // namespace

extern "C" QUIVER_EXPORT const quiver_plugin_entry quiver_plugin;
const quiver_plugin_entry quiver_plugin = {sizeof(quiver_plugin_entry), &descriptor, init, deinit,
                                           get};

#if defined(EXPORTS_MORE)
extern "C" QUIVER_EXPORT int another_symbol;
int another_symbol = 1;
#endif

#if defined(NEEDS_MORE)
extern "C" int nobody_defines_this();
[[maybe_unused]] static int (*const needed)() = &nobody_defines_this;
extern "C" int (*volatile keeps_it)();
int (*volatile keeps_it)() = needed;
#endif
