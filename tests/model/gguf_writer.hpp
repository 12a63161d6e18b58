// Small GGUF files made by tests.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "core/tensor/gguf.hpp"

namespace quiver::test {

using Bytes = std::vector<std::byte>;

template <class T>
Bytes bytes_of(const std::vector<T>& values) {
  Bytes bytes(values.size() * sizeof(T));
  if (!values.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

/// Collects keys and tensors; keys may be set again and removed.
class GgufWriter {
 public:
  GgufWriter& text(const std::string& key, std::string_view value) {
    Out out;
    out.string(value);
    return set(key, quiver::GgufKind::string, std::move(out.bytes));
  }
  GgufWriter& u32(const std::string& key, std::uint32_t value) {
    return plain(key, quiver::GgufKind::u32, value);
  }
  GgufWriter& i32(const std::string& key, std::int32_t value) {
    return plain(key, quiver::GgufKind::i32, value);
  }
  GgufWriter& f32(const std::string& key, float value) {
    return plain(key, quiver::GgufKind::f32, value);
  }
  GgufWriter& f64(const std::string& key, double value) {
    return plain(key, quiver::GgufKind::f64, value);
  }
  GgufWriter& flag(const std::string& key, bool value) {
    return plain(key, quiver::GgufKind::boolean, static_cast<std::uint8_t>(value));
  }
  GgufWriter& texts(const std::string& key, const std::vector<std::string>& values) {
    Out out;
    out.number(static_cast<std::uint32_t>(quiver::GgufKind::string));
    out.number(static_cast<std::uint64_t>(values.size()));
    for (const std::string& value : values) out.string(value);
    return set(key, quiver::GgufKind::array, std::move(out.bytes));
  }
  GgufWriter& i32s(const std::string& key, const std::vector<std::int32_t>& values) {
    return numbers(key, quiver::GgufKind::i32, values);
  }
  GgufWriter& f32s(const std::string& key, const std::vector<float>& values) {
    return numbers(key, quiver::GgufKind::f32, values);
  }
  GgufWriter& remove(const std::string& key) {
    std::erase_if(keys_, [&](const Key& one) { return one.name == key; });
    return *this;
  }

  /// `shape` is row-major, outermost first.
  GgufWriter& tensor(const std::string& name, const std::vector<std::int64_t>& shape,
                     quiver::GgufType type, Bytes data) {
    tensors_.push_back({name, shape, type, std::move(data)});
    return *this;
  }
  GgufWriter& tensor(const std::string& name, const std::vector<std::int64_t>& shape,
                     const std::vector<float>& values) {
    return tensor(name, shape, quiver::GgufType::f32, bytes_of(values));
  }
  GgufWriter& drop_tensor(const std::string& name) {
    std::erase_if(tensors_, [&](const Tensor& one) { return one.name == name; });
    return *this;
  }

  Bytes build() const {
    Out out;
    for (const char c : std::string_view("GGUF")) out.number(c);
    out.number(std::uint32_t{3});
    out.number(static_cast<std::uint64_t>(tensors_.size()));
    out.number(static_cast<std::uint64_t>(keys_.size()));
    for (const Key& key : keys_) {
      out.string(key.name);
      out.number(static_cast<std::uint32_t>(key.kind));
      out.append(key.value);
    }
    std::uint64_t offset = 0;
    for (const Tensor& tensor : tensors_) {
      out.string(tensor.name);
      out.number(static_cast<std::uint32_t>(tensor.shape.size()));
      for (auto i = tensor.shape.rbegin(); i != tensor.shape.rend(); ++i) out.number(*i);
      out.number(static_cast<std::uint32_t>(tensor.type));
      out.number(offset);
      offset = (offset + tensor.data.size() + 31) / 32 * 32;
    }
    for (const Tensor& tensor : tensors_) {
      out.bytes.resize((out.bytes.size() + 31) / 32 * 32);
      out.append(tensor.data);
    }
    return std::move(out.bytes);
  }

  std::filesystem::path write(const std::filesystem::path& path) const {
    const Bytes bytes = build();
    std::ofstream(path, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()),
               static_cast<std::streamsize>(bytes.size()));
    return path;
  }

 private:
  struct Out {
    Bytes bytes;
    void append(std::span<const std::byte> more) {
      bytes.insert(bytes.end(), more.begin(), more.end());
    }
    template <class T>
    void number(T value) {
      append(std::as_bytes(std::span(&value, 1)));
    }
    void string(std::string_view value) {
      number(static_cast<std::uint64_t>(value.size()));
      append(std::as_bytes(std::span(value)));
    }
  };
  struct Key {
    std::string name;
    quiver::GgufKind kind;
    Bytes value;
  };
  struct Tensor {
    std::string name;
    std::vector<std::int64_t> shape;
    quiver::GgufType type;
    Bytes data;
  };

  GgufWriter& set(const std::string& key, quiver::GgufKind kind, Bytes value) {
    remove(key);
    keys_.push_back({key, kind, std::move(value)});
    return *this;
  }
  template <class T>
  GgufWriter& plain(const std::string& key, quiver::GgufKind kind, T value) {
    Out out;
    out.number(value);
    return set(key, kind, std::move(out.bytes));
  }
  template <class T>
  GgufWriter& numbers(const std::string& key, quiver::GgufKind kind, const std::vector<T>& values) {
    Out out;
    out.number(static_cast<std::uint32_t>(kind));
    out.number(static_cast<std::uint64_t>(values.size()));
    out.append(bytes_of(values));
    return set(key, quiver::GgufKind::array, std::move(out.bytes));
  }

  std::vector<Key> keys_;
  std::vector<Tensor> tensors_;
};

/// A file from memory together with its bytes.
class GgufImage {
 public:
  explicit GgufImage(const GgufWriter& writer)
      : bytes_(writer.build()), file_(quiver::GgufFile::from_bytes(bytes_, "test.gguf")) {}
  const quiver::GgufFile& operator*() const { return file_; }

 private:
  Bytes bytes_;
  quiver::GgufFile file_;
};

}  // namespace quiver::test
