// How long it takes to list a folder of plugins that are known, with proof that none is opened.
#include "core/plugin/registry.hpp"
#include "core/plugin/rehearsal.hpp"

#include <quiver/entry.h>

#include <benchmark/benchmark.h>
#include <fmt/format.h>
#include <stdlib.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

namespace fs = std::filesystem;

constexpr int kPlugins = 20;

/// A folder of plugins, removed at the end.
class PluginFolder {
 public:
  PluginFolder() {
    std::string pattern = (fs::temp_directory_path() / "quiver-bench-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
    path_ = pattern;
    fs::create_directory(path_ / "plugins");
    for (int i = 0; i < kPlugins; ++i) write_plugin(i);
  }
  ~PluginFolder() { fs::remove_all(path_); }
  PluginFolder(const PluginFolder&) = delete;
  PluginFolder& operator=(const PluginFolder&) = delete;

  quiver::RegistryOptions options() const {
    quiver::RegistryOptions options;
    options.search_path.folders = {{path_ / "plugins", quiver::FolderSource::option, {}}};
    options.cache_file = path_ / "verdicts.json";
    return options;
  }

 private:
  /// A built plugin under another name, because plugins of one name, or with the same offers,
  /// shadow one another. This one answers to its interface alone and so does not mind.
  void write_plugin(int index) const {
    const fs::path source = fs::path(QUIVER_BUILD_DIR) / "lib/quiver/plugins/quant-affine.so";
    std::ifstream in(source, std::ios::binary);
    std::string bytes((std::istreambuf_iterator<char>(in)), {});
    constexpr char kMagic[] = QUIVER_DESCRIPTOR_MAGIC;
    const std::size_t at = bytes.find(std::string(kMagic, sizeof kMagic));
    if (at == std::string::npos) throw std::runtime_error(source.string() + " has no descriptor");
    const std::string name = fmt::format("bench-{}", index);
    for (const std::size_t field :
         {offsetof(quiver_descriptor, name),
          offsetof(quiver_descriptor, offers) + offsetof(quiver_offer, name)}) {
      std::memcpy(bytes.data() + at + field, name.c_str(), name.size() + 1);
    }
    const fs::path target = path_ / "plugins" / (name + ".so");
    std::ofstream(target, std::ios::binary) << bytes;
    fs::permissions(target, fs::perms::owner_all | fs::perms::group_read | fs::perms::others_read);
  }

  fs::path path_;
};

/// Files below `folder` that are mapped into this process.
int mapped_files(const std::string& folder) {
  std::ifstream maps("/proc/self/maps");
  int count = 0;
  for (std::string line; std::getline(maps, line);) count += line.find(folder) != line.npos ? 1 : 0;
  return count;
}

void list_known(benchmark::State& state) {
  const PluginFolder folder;
  const quiver::RegistryOptions options = folder.options();
  static_cast<void>(quiver::PluginRegistry(options).entries());  // rehearses them all, once
  std::ptrdiff_t good = 0;
  for (auto _ : state) {
    const std::vector<quiver::PluginEntry> entries = quiver::PluginRegistry(options).entries();
    good = std::ranges::count(entries, quiver::PluginState::ok, &quiver::PluginEntry::state);
  }
  state.counters["good"] = static_cast<double>(good);
  state.counters["opened"] = mapped_files(options.search_path.folders.front().path.string());
}

void list_unknown(benchmark::State& state) {
  const PluginFolder folder;
  quiver::RegistryOptions options = folder.options();
  options.cache_file.clear();
  for (auto _ : state) benchmark::DoNotOptimize(quiver::PluginRegistry(options).entries());
}

}  // namespace

BENCHMARK(list_known)->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK(list_unknown)->Unit(benchmark::kMillisecond)->UseRealTime()->Iterations(3);

int main(int argc, char** argv) {
  if (quiver::is_rehearsal_call(argc, argv)) return quiver::rehearsal_main(argc, argv);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}
