// NumPy's archives of arrays, made by a test.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace quiver::test {

/// An archive of float32 arrays as numpy.savez writes it, but for checksums and dates.
class NpzImage {
 public:
  void add(const std::string& name, std::span<const std::int64_t> shape,
           std::span<const std::byte> data) {
    std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (";
    for (const std::int64_t size : shape) header += std::to_string(size) + ",";
    header += "), }\n";
    std::string array = "\x93NUMPY\x01";
    array += '\0';
    array += number(header.size(), 2) + header;
    array.append(reinterpret_cast<const char*>(data.data()), data.size());
    const std::string file = name + ".npy";
    const std::string sizes = number(array.size(), 4) + number(array.size(), 4);
    // Version, flags, method, time and date; then the checksum, which readers of stored entries
    // need not know.
    const std::string common = number(20, 2) + std::string(8, '\0') + number(0, 4) + sizes +
                               number(file.size(), 2) + number(0, 2);
    directory_ += "PK\x01\x02" + number(20, 2) + common + std::string(10, '\0') +
                  number(files_.size(), 4) + file;
    files_ += "PK\x03\x04" + common + file + array;
    ++count_;
  }

  std::string bytes() const {
    return files_ + directory_ + "PK\x05\x06" + number(0, 4) + number(count_, 2) +
           number(count_, 2) + number(directory_.size(), 4) + number(files_.size(), 4) +
           number(0, 2);
  }

 private:
  /// Little-endian.
  static std::string number(std::size_t value, std::size_t size) {
    std::string text;
    for (std::size_t i = 0; i < size; ++i) text += static_cast<char>(value >> (8 * i));
    return text;
  }

  std::string files_;
  std::string directory_;
  std::size_t count_ = 0;
};

}  // namespace quiver::test
