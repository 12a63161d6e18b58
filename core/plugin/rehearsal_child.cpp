// The child's side of a rehearsal: loads one plugin and looks at it closely.
#include "core/plugin/manifest_plugins.hpp"
#include "core/plugin/offers.hpp"
#include "core/plugin/options.hpp"
#include "core/plugin/plugin_library.hpp"
#include "core/plugin/rehearsal.hpp"
#include "core/plugin/rehearsal_protocol.hpp"

#include <quiver/entry.h>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <new>
#include <string>
#include <vector>

#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>

namespace quiver {
namespace {

using namespace rehearsal;

// Sanitizers reserve terabytes of addresses and report at exit what the rehearsal leaves behind.
constexpr bool kIsSanitized = std::string_view(QUIVER_ABI_SANITIZER) != "plain";

void write_line(const std::string& line) {
  // A lost line is noticed by the parent.
  [[maybe_unused]] const ssize_t count = ::write(kResultDescriptor, line.data(), line.size());
}

void enter_phase(std::string_view phase) {
  write_line(nlohmann::json{{kPhase, phase}}.dump() + "\n");
}

void write_result(PluginFault fault, std::string_view reason) {
  write_line(nlohmann::json{{kFault, fault_name(fault)}, {kReason, one_line(reason, 1000)}}.dump() +
             "\n");
}

/// The first allocation that the limit forbids ends the rehearsal, with its cause told.
[[noreturn]] void run_out_of_memory() {
  constexpr char kLine[] = "{\"fault\":\"memory-limit\",\"reason\":\"\"}\n";
  [[maybe_unused]] const ssize_t count = ::write(kResultDescriptor, kLine, sizeof kLine - 1);
  ::_exit(1);
}

/// A size in /proc/self/status, in bytes; 0 where it is not there.
std::uint64_t process_size(std::string_view key) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(key)) return std::strtoull(line.c_str() + key.size(), nullptr, 10) * 1024;
  }
  return 0;
}

void limit(int resource, rlim_t soft, rlim_t hard) {
  rlimit current{};
  if (::getrlimit(static_cast<__rlimit_resource>(resource), &current) != 0) return;
  const rlimit wanted{std::min(soft, current.rlim_max), std::min(hard, current.rlim_max)};
  ::setrlimit(static_cast<__rlimit_resource>(resource), &wanted);
}

void apply_limits(std::uint64_t cpu_s, std::uint64_t memory_bytes) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  limit(RLIMIT_CORE, 0, 0);
  limit(RLIMIT_CPU, cpu_s, cpu_s + 1);
  // Private writable memory is what a plugin eats; it is counted on top of what the host has now.
  const rlim_t data = process_size("VmData:") + memory_bytes;
  limit(RLIMIT_DATA, data, data);
  if (!kIsSanitized) {
    // Shared mappings are not data. Room is left for addresses that are only reserved.
    const rlim_t addresses = process_size("VmSize:") + 8 * memory_bytes;
    limit(RLIMIT_AS, addresses, addresses);
  }
  std::set_new_handler(&run_out_of_memory);
}

/// What the parent asked for.
struct Task {
  PluginOrigin origin = PluginOrigin::elf;
  std::uint64_t cpu_s = 0;
  std::uint64_t memory_bytes = 0;
  std::vector<PluginFile> files;
  std::vector<PluginOffer> offers;
};

std::uint64_t parse_size(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) {
    throw Error(ErrorCode::usage, "a rehearsal was called with a bad number");
  }
  return value;
}

Task parse_task(std::span<const std::string> arguments) {
  if (arguments.size() < 4) throw Error(ErrorCode::usage, "a rehearsal was called without a task");
  Task task;
  task.origin = arguments[0] == "manifest" ? PluginOrigin::manifest : PluginOrigin::elf;
  task.cpu_s = parse_size(arguments[1]);
  task.memory_bytes = parse_size(arguments[2]);
  const std::size_t file_count = parse_size(arguments[3]);
  arguments = arguments.subspan(4);
  if (file_count == 0 || file_count > kMaxFiles || arguments.size() < file_count) {
    throw Error(ErrorCode::usage, "a rehearsal was called without files");
  }
  for (std::size_t i = 0; i < file_count; ++i) {
    task.files.push_back(
        PluginFile::adopt(kFirstFileDescriptor + static_cast<int>(i), arguments[i]));
  }
  for (const std::string& argument : arguments.subspan(file_count)) {
    const std::size_t colon = argument.find(':');
    const auto kind = parse_kind(argument.substr(0, colon));
    if (!kind || colon == std::string::npos) continue;
    PluginOffer offer;
    offer.kind = *kind;
    offer.name = argument.substr(colon + 1);
    task.offers.push_back(std::move(offer));
  }
  return task;
}

/// Throws where an interface is missing or one too many is there; `fault` then says which.
void check_interfaces(const PluginLibrary& plugin, std::span<const PluginOffer> offers,
                      PluginFault& fault) {
  const auto refuse = [&](PluginFault found, std::string what) {
    fault = found;
    throw Error(ErrorCode::plugin, std::move(what));
  };
  for (const PluginOffer& offer : offers) {
    const std::string_view id = interface_id(offer.kind);
    if (plugin.provider(id) == nullptr) {
      refuse(PluginFault::missing_interface,
             fmt::format("offers the {} '{}', but has no interface {}", kind_noun(offer.kind),
                         offer.name, id));
    }
    for (const std::string& unknown :
         {std::string("quiver.unknown/1"), std::string(id) + "0", std::string(id) + " ",
          std::string(id.substr(0, id.find('/'))), std::string()}) {
      if (plugin.provider(unknown) != nullptr) {
        refuse(PluginFault::answers_unknown_interface,
               fmt::format("gives something for the unknown interface id '{}'", unknown));
      }
    }
  }
}

/// Makes what an offer promises, with default options, and destroys it. A sampler that insists on
/// an option says so with Error(usage), which is its right.
template <class Factory>
void make_default(const PluginLibrary& plugin, const PluginOffer& offer) {
  const auto* const factory = plugin.get<Factory>();
  const std::string subject = fmt::format("{} '{}'", kind_noun(offer.kind), offer.name);
  const PluginOptions options(subject, offer_options(plugin, offer));
  try {
    plugin.hold(call_plugin(plugin.name(), "asked for " + subject,
                            [&] { return factory->create(offer.name, options); }));
  } catch (const Error& error) {
    if (error.code() != ErrorCode::usage) throw;
  }
}

void check_factory(const PluginLibrary& plugin, const PluginOffer& offer) {
  switch (offer.kind) {
    case OfferKind::sampler: return make_default<SamplerFactory>(plugin, offer);
    case OfferKind::canvas_sampler: return make_default<CanvasSamplerFactory>(plugin, offer);
    case OfferKind::kv_strategy: return make_default<KvStrategyFactory>(plugin, offer);
    case OfferKind::quant_scheme: {
      const auto* const scheme = plugin.get<QuantScheme>();
      const bool is_sane = call_plugin(plugin.name(), "asked for its formats", [&] {
        return scheme->name() == offer.name && !scheme->formats().empty();
      });
      if (!is_sane) {
        throw Error(ErrorCode::plugin,
                    fmt::format("provides no formats under the name '{}'", offer.name));
      }
      return;
    }
    case OfferKind::architecture: return;  // needs a model
  }
}

std::shared_ptr<PluginLibrary> load(const Task& task) {
  return task.origin == PluginOrigin::elf
             ? load_elf_plugin(task.files.front())
             : load_manifest_plugin(task.files.front(), task.files.back());
}

/// Goes through all phases; `fault` is what an exception means at any moment.
void rehearse_all(const Task& task, PluginFault& fault) {
  fault = PluginFault::load_failed;
  enter_phase("while loading");
  task.files.back().load();
  if (task.origin == PluginOrigin::elf) {
    fault = PluginFault::bad_entry;
    load_elf_entry(task.files.front());
  }
  fault = PluginFault::init_failed;
  enter_phase("while initializing");
  std::shared_ptr<PluginLibrary> plugin = load(task);
  enter_phase("while deinitializing");
  plugin.reset();
  enter_phase("while initializing a second time");
  plugin = load(task);

  enter_phase("when asked for its interfaces");
  fault = PluginFault::missing_interface;
  check_interfaces(*plugin, task.offers, fault);
  fault = PluginFault::factory_failed;
  for (const PluginOffer& offer : task.offers) {
    enter_phase(fmt::format("when asked for {} '{}'", kind_noun(offer.kind), offer.name));
    check_factory(*plugin, offer);
  }
  if (task.origin == PluginOrigin::manifest) {
    enter_phase("when called on a few candidates");
    rehearse_manifest_plugin(task.files.front(), task.files.back());
  }
  enter_phase("while deinitializing");
}

int rehearse_task(std::span<const std::string> arguments) {
  PluginFault fault = PluginFault::load_failed;
  try {
    const Task task = parse_task(arguments);
    apply_limits(task.cpu_s, task.memory_bytes);
    enter_phase(kReady);
    rehearse_all(task, fault);
  } catch (const Error& error) {
    write_result(fault, error.message());
    return 0;
  } catch (const std::exception& exception) {
    write_result(fault, exception.what());
    return 0;
  }
  // Now, so that what the plugin left in a buffer is seen.
  std::cout.flush();
  std::fflush(nullptr);
  enter_phase("at exit");
  write_result(PluginFault::none, "");
  return 0;
}

}  // namespace

bool is_rehearsal_call(int argc, const char* const* argv) noexcept {
  return argc > 1 && argv[1] == kFlag;
}

int rehearsal_main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + std::min(argc, 2), argv + argc);
  const int status = rehearse_task(arguments);
  if (kIsSanitized) ::_exit(status);
  return status;
}

}  // namespace quiver
