// Reading ZIP archives.
#include "core/tensor/zip_archive.hpp"

#include "core/tensor/printable.hpp"

#include <quiver/error.hpp>

#include <zlib.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <optional>
#include <string_view>
#include <utility>

namespace quiver {

namespace {

// Records of the format begin with these, little-endian.
constexpr std::uint32_t kLocalHeader = 0x04034B50;
constexpr std::uint32_t kDirectoryEntry = 0x02014B50;
constexpr std::uint32_t kDirectoryEnd = 0x06054B50;
constexpr std::uint32_t kDirectoryEnd64 = 0x06064B50;
constexpr std::uint32_t kEnd64Locator = 0x07064B50;

constexpr std::size_t kEndSize = 22;  // without the comment behind it
constexpr std::size_t kLocatorSize = 20;
constexpr std::size_t kEnd64Size = 56;
constexpr std::size_t kEntrySize = 46;
constexpr std::size_t kLocalSize = 30;

constexpr std::uint64_t kMostEntries = 65536;
constexpr std::uint64_t kMostGrowth = 100;
constexpr std::uint64_t kFreeGrowth = std::uint64_t{256} << 20U;
constexpr std::uint32_t kInWideField = 0xFFFFFFFF;

class ZipReader {
 public:
  ZipReader(std::span<const std::byte> bytes, const std::string& label)
      : bytes_(bytes), label_(label) {}

  std::vector<ZipEntry> list() {
    auto [at, count] = find_directory();
    if (count > kMostEntries) throw bad("it lists more than 65,536 files");
    std::vector<ZipEntry> entries;
    for (std::uint64_t i = 0; i < count; ++i) entries.push_back(read_entry(at));
    check(entries);
    return entries;
  }

 private:
  Error bad(const std::string& what) const {
    return Error(ErrorCode::bad_input, "the archive cannot be read: " + what, label_,
                 "the file is damaged, incomplete or no ZIP archive; write it again");
  }

  /// A little-endian number of `size` bytes at a place that has been checked.
  std::uint64_t number(std::size_t at, std::size_t size) const {
    std::uint64_t value = 0;
    for (std::size_t i = size; i-- > 0;) {
      value = value << 8U | static_cast<std::uint64_t>(bytes_[at + i]);
    }
    return value;
  }

  void require(std::uint64_t at, std::uint64_t size) const {
    if (at > bytes_.size() || size > bytes_.size() - at) throw bad("a record ends outside of it");
  }

  /// Where the directory begins, and how many entries it has.
  std::pair<std::uint64_t, std::uint64_t> find_directory() const {
    constexpr std::size_t kMostComment = 65535;
    require(0, kEndSize);
    const std::size_t last = bytes_.size() - kEndSize;
    std::optional<std::size_t> end;
    for (std::size_t back = 0; back <= std::min(last, kMostComment) && !end; ++back) {
      const std::size_t at = last - back;
      if (number(at, 4) == kDirectoryEnd && number(at + 20, 2) == back) end = at;
    }
    if (!end) throw bad("it has no directory");
    std::uint64_t count = number(*end + 10, 2);
    std::uint64_t begin = number(*end + 16, 4);
    if (*end >= kLocatorSize && number(*end - kLocatorSize, 4) == kEnd64Locator) {
      const std::uint64_t wide = number(*end - kLocatorSize + 8, 8);
      require(wide, kEnd64Size);
      const auto at = static_cast<std::size_t>(wide);
      if (number(at, 4) != kDirectoryEnd64) throw bad("its directory is not where it says");
      count = number(at + 32, 8);
      begin = number(at + 48, 8);
    }
    return {begin, count};
  }

  /// Reads an entry of the directory, and moves `at` behind it.
  ZipEntry read_entry(std::uint64_t& at) const {
    require(at, kEntrySize);
    const auto place = static_cast<std::size_t>(at);
    if (number(place, 4) != kDirectoryEntry) throw bad("its directory is damaged");
    const std::uint64_t flags = number(place + 8, 2);
    const std::uint64_t method = number(place + 10, 2);
    const auto name_size = static_cast<std::size_t>(number(place + 28, 2));
    const auto extra_size = static_cast<std::size_t>(number(place + 30, 2));
    at += kEntrySize + name_size + extra_size + number(place + 32, 2);
    require(place + kEntrySize, name_size + extra_size);
    ZipEntry entry;
    entry.name.assign(reinterpret_cast<const char*>(bytes_.data()) + place + kEntrySize, name_size);
    entry.checksum = static_cast<std::uint32_t>(number(place + 16, 4));
    entry.is_deflated = method == Z_DEFLATED;
    std::uint64_t fields[3] = {number(place + 24, 4), number(place + 20, 4), number(place + 42, 4)};
    widen(place + kEntrySize + name_size, extra_size, fields);
    entry.size = fields[0];
    const std::string name = in_quotes(entry.name);
    if ((flags & 1U) != 0) throw bad(name + " is encrypted");
    if (method != 0 && !entry.is_deflated) throw bad(name + " is compressed by another method");
    entry.data = contents(fields[2], fields[1]);
    if (!entry.is_deflated && entry.data.size() != entry.size) {
      throw bad(name + " has two sizes");
    }
    return entry;
  }

  /// Replaces sizes and offset that need more than 32 bits by those of the extra field.
  void widen(std::size_t at, std::size_t size, std::uint64_t (&fields)[3]) const {
    constexpr std::uint64_t kWideId = 1;
    const std::size_t end = at + size;
    while (end - at >= 4) {
      const std::uint64_t id = number(at, 2);
      const auto length = static_cast<std::size_t>(number(at + 2, 2));
      at += 4;
      if (length > end - at) throw bad("its directory is damaged");
      if (id == kWideId) {
        std::size_t next = at;
        for (std::uint64_t& field : fields) {
          if (field != kInWideField) continue;
          if (at + length - next < 8) throw bad("its directory is damaged");
          field = number(next, 8);
          next += 8;
        }
        return;
      }
      at += length;
    }
  }

  std::span<const std::byte> contents(std::uint64_t header, std::uint64_t size) const {
    require(header, kLocalSize);
    const auto at = static_cast<std::size_t>(header);
    if (number(at, 4) != kLocalHeader) throw bad("a file is not where its directory says");
    const std::uint64_t begin = header + kLocalSize + number(at + 26, 2) + number(at + 28, 2);
    require(begin, size);
    return bytes_.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(size));
  }

  /// What makes small archives large: entries that share their bytes, and too much growth.
  void check(const std::vector<ZipEntry>& entries) const {
    std::vector<const ZipEntry*> sorted;
    std::uint64_t total = 0;
    for (const ZipEntry& entry : entries) {
      sorted.push_back(&entry);
      total += std::min(entry.size, std::numeric_limits<std::uint64_t>::max() - total);
    }
    if (total > kFreeGrowth && total / kMostGrowth > bytes_.size()) {
      throw bad("its contents would be more than a hundred times as large");
    }
    std::ranges::sort(sorted, {}, [](const ZipEntry* entry) { return entry->data.data(); });
    for (std::size_t i = 1; i < sorted.size(); ++i) {
      const std::span<const std::byte> before = sorted[i - 1]->data;
      if (before.data() + before.size() > sorted[i]->data.data()) throw bad("two files overlap");
    }
    std::ranges::sort(sorted, {},
                      [](const ZipEntry* entry) { return std::string_view(entry->name); });
    for (std::size_t i = 1; i < sorted.size(); ++i) {
      if (sorted[i - 1]->name != sorted[i]->name) continue;
      throw bad("it has " + in_quotes(sorted[i]->name) + " twice");
    }
  }

  std::span<const std::byte> bytes_;
  const std::string& label_;
};

/// A raw Deflate stream that is freed with the object.
class InflateStream {
 public:
  InflateStream() { is_open_ = inflateInit2(&stream_, -MAX_WBITS) == Z_OK; }
  InflateStream(const InflateStream&) = delete;
  InflateStream& operator=(const InflateStream&) = delete;
  ~InflateStream() {
    if (is_open_) inflateEnd(&stream_);
  }

  /// Whether the whole of `from` fills the whole of `to`.
  bool run(std::span<const std::byte> from, std::span<std::byte> to) {
    if (!is_open_) return false;
    int status = Z_OK;
    while (status == Z_OK) {
      if (stream_.avail_in == 0) feed(from, stream_.next_in, stream_.avail_in);
      if (stream_.avail_out == 0) feed(to, stream_.next_out, stream_.avail_out);
      status = inflate(&stream_, Z_NO_FLUSH);
    }
    return status == Z_STREAM_END && from.empty() && to.empty() && stream_.avail_in == 0 &&
           stream_.avail_out == 0;
  }

 private:
  /// Hands out the next piece; zlib counts in 32 bits.
  template <class Byte, class Pointer>
  static void feed(std::span<Byte>& rest, Pointer& next, uInt& available) {
    constexpr std::size_t kPiece = std::size_t{1} << 30U;
    const std::size_t size = std::min(rest.size(), kPiece);
    next = reinterpret_cast<Bytef*>(const_cast<std::byte*>(rest.data()));
    available = static_cast<uInt>(size);
    rest = rest.subspan(size);
  }

  z_stream stream_{};
  bool is_open_ = false;
};

std::uint32_t checksum_of(std::span<const std::byte> bytes) {
  return static_cast<std::uint32_t>(
      crc32_z(0, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()));
}

}  // namespace

std::vector<ZipEntry> list_zip(std::span<const std::byte> archive, const std::string& label) {
  return ZipReader(archive, label).list();
}

std::vector<std::byte> inflate_entry(const ZipEntry& entry, const std::string& label) {
  // Deflate cannot make more than this of a byte, so a false size costs no more than a true one.
  constexpr std::uint64_t kMostRatio = 1032;
  std::vector<std::byte> contents;
  bool is_whole = entry.size / kMostRatio <= entry.data.size();
  if (is_whole) {
    contents.resize(static_cast<std::size_t>(entry.size));
    is_whole = InflateStream().run(entry.data, contents) && checksum_of(contents) == entry.checksum;
  }
  if (is_whole) return contents;
  throw Error(ErrorCode::bad_input, "the contents of " + in_quotes(entry.name) + " are damaged",
              label, "write the archive again");
}

}  // namespace quiver
