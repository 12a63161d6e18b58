// Checks of every plugin: its file, its entry, and what it leaves alone in the process.
#include "core/plugin/check_plan.hpp"
#include "core/plugin/elf_exports.hpp"
#include "core/plugin/plugin_file.hpp"

#include <quiver/entry.h>

#include <boost/dll/shared_library.hpp>

#include <cfenv>
#include <clocale>
#include <cstdint>
#include <cstdio>
#include <iostream>
#include <locale>
#include <memory>
#include <string>

namespace quiver {
namespace {

void log_nothing(int, const char*) {}
const void* offer_no_service(const char*) {
  return nullptr;
}

/// A host that has nothing but what entry.h promises.
constexpr quiver_host kBareHost{sizeof(quiver_host), QUIVER_API_MAJOR, QUIVER_API_MINOR,
                                log_nothing, offer_no_service};

const quiver_plugin_entry& init_entry(const CheckSubject& subject) {
  const quiver_plugin_entry& entry = load_elf_entry(PluginFile::open(subject.file));
  require(entry.init(&kBareHost) == 0, "init refuses");
  return entry;
}

/// The plugin as a bare host sees it.
class BareLibrary final : public PluginLibrary {
 public:
  BareLibrary(const std::string& name, const quiver_plugin_entry& entry)
      : PluginLibrary(name), entry_(entry) {}

 private:
  const void* find_provider(const char* id) const override { return entry_.get(id); }

  const quiver_plugin_entry& entry_;
};

/// Works with everything that the plugin offers.
void exercise(const CheckSubject& subject, const PluginLibrary& library) {
  for (const PluginOffer& offer : subject.descriptor.offers) {
    switch (offer.kind) {
      case OfferKind::architecture: exercise_architecture(library, offer); break;
      case OfferKind::sampler: exercise_sampler(library, offer); break;
      case OfferKind::canvas_sampler: exercise_canvas(library, offer); break;
      case OfferKind::quant_scheme: exercise_quant(library, offer); break;
      case OfferKind::kv_strategy: exercise_kv(library, offer); break;
    }
  }
}

std::string check_descriptor(const CheckSubject& subject) {
  require(!subject.refusal, subject.refusal.reason);
  const PluginDescriptor& descriptor = subject.descriptor;
  require(!descriptor.version.empty(), "the version is empty");
  require(!descriptor.license.empty(), "the licence is empty");
  require(!descriptor.summary.empty(), "the summary is empty");
  require(!descriptor.offers.empty(), "nothing is offered");
  for (const PluginOffer& offer : descriptor.offers) {
    require(!offer.summary.empty(), "the offer '" + offer.name + "' has no summary");
    require(offer.kind != OfferKind::architecture || !offer.model_types.empty(),
            "the architecture '" + offer.name + "' runs no model_type");
  }
  return descriptor.name + " " + descriptor.version;
}

std::string check_exports(const CheckSubject& subject) {
  const auto names = exported_symbols(PluginFile::open(subject.file).load().native());
  std::string others;
  bool has_entry = false;
  for (const std::string& name : names) {
    if (name == QUIVER_ENTRY_SYMBOL) {
      has_entry = true;
    } else if (others.size() < 200) {
      others += (others.empty() ? "" : ", ") + name;
    }
  }
  require(has_entry, "the symbol quiver_plugin is not exported");
  require(others.empty(), "exports more than quiver_plugin: " + others);
  return {};
}

std::string check_open(const CheckSubject& subject) {
  subject.load();
  return {};
}

std::string check_interfaces(const CheckSubject& subject) {
  const quiver_plugin_entry& entry = init_entry(subject);
  for (const PluginOffer& offer : subject.descriptor.offers) {
    const std::string id(interface_id(offer.kind));
    require(entry.get(id.c_str()) != nullptr, "offers '" + offer.name + "' but has no " + id);
    require(entry.get(id.c_str()) == entry.get(id.c_str()), id + " is another object each time");
  }
  return {};
}

std::string check_unknown_interface(const CheckSubject& subject) {
  const quiver_plugin_entry& entry = init_entry(subject);
  for (const char* id : {"", "quiver", "quiver.unknown/1", "com.example.unknown/1", "\xFF\xFE"}) {
    require(entry.get(id) == nullptr, "answers the unknown interface '" + std::string(id) + "'");
  }
  return {};
}

std::string check_trailing_garbage(const CheckSubject& subject) {
  const quiver_plugin_entry& entry = init_entry(subject);
  for (const OfferKind kind : kOfferKinds) {
    const std::string id(interface_id(kind));
    for (const std::string& wrong : {id + "0", id + "x", id + " ", id + "/1", " " + id,
                                     id.substr(0, id.size() - 1), id.substr(0, id.size() - 2)}) {
      require(entry.get(wrong.c_str()) == nullptr, "takes '" + wrong + "' for " + id);
    }
  }
  return {};
}

std::string check_init_twice(const CheckSubject& subject) {
  const quiver_plugin_entry& entry = init_entry(subject);
  require(entry.init(&kBareHost) == 0, "the second init refuses");
  entry.deinit();
  const std::string id(interface_id(subject.descriptor.offers.front().kind));
  require(entry.get(id.c_str()) != nullptr, "one deinit undid two inits");
  entry.deinit();
  require(entry.init(&kBareHost) == 0, "refuses to init after a deinit");
  require(entry.get(id.c_str()) != nullptr, "has no interfaces after init, deinit and init");
  entry.deinit();
  return {};
}

std::string check_no_services(const CheckSubject& subject) {
  const quiver_plugin_entry& entry = init_entry(subject);
  exercise(subject, *std::make_shared<BareLibrary>(subject.descriptor.name, entry));
  return {};
}

std::string check_stdout(const CheckSubject& subject) {
  exercise(subject, *subject.load());
  std::cout.flush();
  std::fflush(stdout);
  return {};  // whatever came out is seen by the process that reads it
}

std::string check_locale(const CheckSubject& subject) {
  const std::string before = std::setlocale(LC_ALL, nullptr);
  const std::string cpp_before = std::locale().name();
  exercise(subject, *subject.load());
  const std::string after = std::setlocale(LC_ALL, nullptr);
  require(after == before, "changes the locale from " + before + " to " + after);
  require(std::locale().name() == cpp_before, "changes the locale of C++ streams");
  return {};
}

/// The bits that steer floating-point arithmetic: rounding, trapping, flushing to zero.
std::uint64_t floating_point_control() {
  std::fenv_t state;
  std::fegetenv(&state);
#if defined(__x86_64__)
  constexpr std::uint32_t kStatus = 0x3F;  // exceptions that have occurred are no one's business
  const std::uint64_t sse = state.__mxcsr & ~kStatus;
  return sse << 16U | state.__control_word;
#elif defined(__aarch64__)
  return state.__fpcr;
#else
  return static_cast<std::uint64_t>(std::fegetround());
#endif
}

std::string check_floating_point(const CheckSubject& subject) {
  const std::uint64_t before = floating_point_control();
  const std::shared_ptr<PluginLibrary> library = subject.load();
  require(floating_point_control() == before,
          "loading it changes the floating-point control state");
  exercise(subject, *library);
  require(floating_point_control() == before, "using it changes the floating-point control state");
  return {};
}

}  // namespace

void add_general_checks(const CheckSubject& subject, std::vector<Check>& plan) {
  if (subject.origin == PluginOrigin::manifest) {
    plan.push_back({"manifest-valid", check_descriptor});
    if (subject.refusal) return;
    plan.push_back({"opens-now", check_open});
  } else {
    plan.push_back({"descriptor-valid", check_descriptor});
    if (subject.refusal) return;
    plan.push_back({"exports-one-symbol", check_exports});
    plan.push_back({"opens-now", check_open});
    plan.push_back({"offers-have-interfaces", check_interfaces});
    plan.push_back({"unknown-interface-null", check_unknown_interface});
    plan.push_back({"trailing-garbage-id-null", check_trailing_garbage});
    plan.push_back({"init-deinit-twice", check_init_twice});
    plan.push_back({"optional-host-services-absent", check_no_services});
  }
  plan.push_back({"no-stdout", check_stdout});
  plan.push_back({"locale-untouched", check_locale});
  plan.push_back({"fp-state-untouched", check_floating_point});
}

}  // namespace quiver
