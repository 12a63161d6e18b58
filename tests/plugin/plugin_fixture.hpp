// Folders with plugins in them, for tests of everything that looks for plugins.
#pragma once

#include "core/plugin/elf_descriptor.hpp"
#include "core/plugin/registry.hpp"
#include "tests/support/temporary_folder.hpp"

#include <quiver/entry.h>

#include <gtest/gtest.h>

#include <cstddef>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

#include <sys/stat.h>

namespace quiver::test {

namespace fs = std::filesystem;

/// A plugin that was built beside the tests.
inline fs::path subject(const std::string& name) {
  return fs::path(QUIVER_TEST_SUBJECTS) / (name + ".so");
}

inline std::vector<std::byte> read_bytes(const fs::path& path) {
  const std::string text = read_text(path);
  const auto* const begin = reinterpret_cast<const std::byte*>(text.data());
  return {begin, begin + text.size()};
}

/// The descriptor inside a plugin's bytes, to be looked at or changed.
inline quiver_descriptor& descriptor_in(std::vector<std::byte>& bytes) {
  constexpr char kMagic[8] = QUIVER_DESCRIPTOR_MAGIC;
  const auto* const magic = reinterpret_cast<const std::byte*>(kMagic);
  const auto found = std::search(bytes.begin(), bytes.end(), magic, magic + sizeof kMagic);
  if (found == bytes.end()) throw std::runtime_error("no descriptor");
  return *reinterpret_cast<quiver_descriptor*>(&*found);
}

template <std::size_t Size>
void set_text(char (&field)[Size], const std::string& text) {
  std::memset(field, 0, Size);
  std::memcpy(field, text.data(), std::min(Size, text.size()));
}

/// The bytes of the good plugin under another name and with another offer: as good, since the code
/// looks at neither.
inline std::vector<std::byte> renamed(const std::string& name, const std::string& offer) {
  std::vector<std::byte> bytes = read_bytes(subject("subject-good"));
  set_text(descriptor_in(bytes).name, name);
  set_text(descriptor_in(bytes).offers[0].name, offer);
  return bytes;
}

/// A plugin folder, a cache and a place for a lock file; nothing of the user's is touched.
class PluginFolder {
 public:
  PluginFolder() {
    fs::create_directory(path());
    ::chmod(path().c_str(), 0755);
    ::chmod(base_.path().c_str(), 0755);
  }

  fs::path path() const { return base_.path() / "plugins"; }
  fs::path base() const { return base_.path(); }

  /// Puts a file into the folder.
  fs::path add(const std::string& file_name, std::span<const std::byte> bytes) const {
    const fs::path file = path() / file_name;
    const fs::path beside = base() / "beside";
    std::ofstream(beside, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()),
               static_cast<std::streamsize>(bytes.size()));
    ::chmod(beside.c_str(), 0644);
    fs::rename(beside, file);
    return file;
  }
  fs::path add(const std::string& file_name, std::string_view text) const {
    return add(file_name, std::as_bytes(std::span(text)));
  }

  /// Puts a copy of a subject into the folder, under its own name or another.
  fs::path add_subject(const std::string& name, std::string file_name = {}) const {
    if (file_name.empty()) file_name = name + ".so";
    return add(file_name, read_bytes(subject(name)));
  }

  quiver::RegistryOptions options() const {
    quiver::RegistryOptions options;
    options.search_path.folders = {{path(), quiver::FolderSource::option, {}}};
    options.cache_file = base() / "cache" / "plugins.json";
    options.lock_file = base() / "plugins.lock";
    options.rehearsal.program = QUIVER_TEST_REHEARSAL;
    return options;
  }

  /// The same, with a program that notes each rehearsal before it does it; see rehearsals().
  quiver::RegistryOptions counting_options() const {
    const fs::path program = base() / "rehearse";
    if (!fs::exists(program)) {
      std::ofstream(program) << "#!/bin/sh\necho x >> '" << (base() / "count").string()
                             << "'\nexec '" << QUIVER_TEST_REHEARSAL << "' \"$@\"\n";
      ::chmod(program.c_str(), 0755);
    }
    quiver::RegistryOptions result = options();
    result.rehearsal.program = program;
    return result;
  }

  /// How many rehearsals there were with counting_options().
  std::size_t rehearsals() const { return read_text(base() / "count").size() / 2; }

 private:
  TemporaryFolder base_;
};

/// The entry of a file name; fails the test where there is none.
inline quiver::PluginEntry entry_of(const std::vector<quiver::PluginEntry>& entries,
                                    const std::string& file_name) {
  for (const quiver::PluginEntry& entry : entries) {
    if (entry.path.filename() == file_name) return entry;
  }
  ADD_FAILURE() << "no entry for " << file_name;
  return {};
}

/// Whether a file of this folder is mapped into this process.
inline bool is_mapped(const fs::path& folder) {
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    if (line.find(folder.string()) != std::string::npos) return true;
  }
  return false;
}

}  // namespace quiver::test
