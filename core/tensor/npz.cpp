// Reading NumPy's archives of arrays.
#include "core/tensor/npz.hpp"

#include "core/tensor/printable.hpp"
#include "core/tensor/zip_archive.hpp"

#include <quiver/error.hpp>

#include <charconv>
#include <functional>
#include <optional>
#include <string_view>

namespace quiver {

namespace {

constexpr std::string_view kSuffix = ".npy";
constexpr std::string_view kMagic = "\x93NUMPY";
constexpr std::size_t kMostHeader = 65536;  // far above what eight dimensions need

struct TypeName {
  std::string_view name;
  DType type;
};
constexpr TypeName kTypes[] = {{"<f4", DType::f32}, {"<f2", DType::f16}, {"<f8", DType::f64},
                               {"|u1", DType::u8},  {"|i1", DType::i8},  {"<u2", DType::u16},
                               {"<i2", DType::i16}, {"<u4", DType::u32}, {"<i4", DType::i32},
                               {"<u8", DType::u64}, {"<i8", DType::i64}, {"|b1", DType::boolean}};

/// The header of an array: a Python dictionary with three entries in any order.
class NpyHeader {
 public:
  NpyHeader(std::string_view text, const std::string& where) : rest_(text), where_(where) {
    expect("{");
    while (!accepts("}")) {
      const std::string_view key = quoted();
      expect(":");
      if (key == "descr") {
        type_ = read_type();
      } else if (key == "fortran_order") {
        if (!accepts("False")) throw bad("columns stand before rows");
        has_order_ = true;
      } else if (key == "shape") {
        shape_ = read_shape();
      } else {
        throw bad("the header has an unknown entry");
      }
      if (!accepts(",") && rest_.substr(0, 1) != "}") throw bad("the header is damaged");
    }
    if (!type_ || !shape_ || !has_order_) throw bad("the header is not complete");
  }

  DType type() const { return *type_; }
  std::vector<std::int64_t>& shape() { return *shape_; }

  Error bad(const std::string& what) const {
    return Error(ErrorCode::bad_input, "an array cannot be read: " + what, where_,
                 "save it again with numpy.savez, as a plain array in the order of C");
  }

 private:
  bool accepts(std::string_view text) {
    rest_.remove_prefix(std::min(rest_.find_first_not_of(' '), rest_.size()));
    if (!rest_.starts_with(text)) return false;
    rest_.remove_prefix(text.size());
    rest_.remove_prefix(std::min(rest_.find_first_not_of(' '), rest_.size()));
    return true;
  }

  void expect(std::string_view text) {
    if (!accepts(text)) throw bad("the header is damaged");
  }

  std::string_view quoted() {
    expect("'");
    const std::size_t end = rest_.find('\'');
    if (end == std::string_view::npos) throw bad("the header is damaged");
    const std::string_view text = rest_.substr(0, end);
    rest_.remove_prefix(end);
    expect("'");
    return text;
  }

  DType read_type() {
    if (!rest_.starts_with("'")) throw bad("it has fields");
    const std::string_view name = quoted();
    for (const TypeName& known : kTypes) {
      if (known.name == name) return known.type;
    }
    throw bad("elements of type " + in_quotes(name));
  }

  std::vector<std::int64_t> read_shape() {
    std::vector<std::int64_t> shape;
    expect("(");
    while (!accepts(")")) {
      std::int64_t size = -1;
      const auto [end, error] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), size);
      if (error != std::errc() || size < 0) throw bad("the shape is damaged");
      rest_.remove_prefix(static_cast<std::size_t>(end - rest_.data()));
      shape.push_back(size);
      if (shape.size() > kMaxDimensions) throw bad("more than 8 dimensions");
      if (!accepts(",") && rest_.substr(0, 1) != ")") throw bad("the shape is damaged");
    }
    return shape;
  }

  std::string_view rest_;
  const std::string& where_;
  std::optional<DType> type_;
  std::optional<std::vector<std::int64_t>> shape_;
  bool has_order_ = false;
};

/// Bytes of that many elements, or nothing where they are more than `limit`.
std::optional<std::size_t> bytes_of(const std::vector<std::int64_t>& shape, DType type,
                                    std::size_t limit) {
  std::size_t bytes = size_bytes(type);
  for (const std::int64_t size : shape) {
    if (size == 0) return 0;
  }
  for (const std::int64_t size : shape) {
    if (static_cast<std::uint64_t>(size) > limit / bytes) return std::nullopt;
    bytes *= static_cast<std::size_t>(size);
  }
  return bytes;
}

}  // namespace

TensorView read_npy(std::span<const std::byte> bytes, const std::string& where) {
  const auto damaged = [&](const std::string& what) {
    return Error(ErrorCode::bad_input, "an array cannot be read: " + what, where,
                 "write the file again");
  };
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (!text.starts_with(kMagic) || text.size() < kMagic.size() + 4) {
    throw damaged("it does not begin as NumPy's do");
  }
  const auto byte = [&](std::size_t at) { return static_cast<std::size_t>(bytes[at]); };
  const std::size_t version = byte(kMagic.size());
  if (version < 1 || version > 3) throw damaged("a version of the format that is not known");
  const std::size_t digits = version == 1 ? 2 : 4;
  const std::size_t begin = kMagic.size() + 2 + digits;
  std::size_t size = 0;
  if (text.size() < begin) throw damaged("it ends in its header");
  for (std::size_t i = digits; i-- > 0;) size = size << 8U | byte(kMagic.size() + 2 + i);
  if (size > kMostHeader || size > text.size() - begin) throw damaged("it ends in its header");
  std::string_view header_text = text.substr(begin, size);
  while (header_text.ends_with('\n') || header_text.ends_with(' ')) header_text.remove_suffix(1);
  NpyHeader header(header_text, where);
  TensorView view;
  view.dtype = header.type();
  view.shape = std::move(header.shape());
  view.data = bytes.subspan(begin + size);
  const auto wanted = bytes_of(view.shape, view.dtype, view.data.size());
  if (!wanted || *wanted != view.data.size()) {
    throw damaged("its shape " + shape_text(view.shape) + " does not fit its bytes");
  }
  return view;
}

NpzFile NpzFile::open(const std::filesystem::path& path) {
  NpzFile file;
  file.mapping_ = MappedFile(path);
  file.read(file.mapping_.bytes(), printable(path.native(), 4096));
  return file;
}

NpzFile NpzFile::from_bytes(std::span<const std::byte> bytes, const std::string& label) {
  NpzFile file;
  file.read(bytes, printable(label, 4096));
  return file;
}

void NpzFile::read(std::span<const std::byte> bytes, const std::string& label) {
  const std::vector<ZipEntry> entries = list_zip(bytes, label);
  names_.reserve(entries.size());
  for (const ZipEntry& entry : entries) {
    const std::string where = label + ", " + printable(entry.name);
    if (!entry.name.ends_with(kSuffix)) {
      throw Error(ErrorCode::bad_input, "the archive holds something else than arrays", where,
                  "name a file that numpy.savez has written");
    }
    std::span<const std::byte> contents = entry.data;
    if (entry.is_deflated) contents = unpacked_.emplace_back(inflate_entry(entry, label));
    tensors_.push_back(read_npy(contents, where));
    names_.push_back(entry.name.substr(0, entry.name.size() - kSuffix.size()));
    tensors_.back().name = names_.back();
  }
}

void NpzFile::release(const TensorView& tensor) const noexcept {
  const std::span<const std::byte> all = mapping_.bytes();
  const std::byte* begin = tensor.data.data();
  // Compared as std::less does, because the view may point into memory or another file.
  const std::less<const std::byte*> before;
  if (all.empty() || before(begin, all.data()) || !before(begin, all.data() + all.size())) return;
  mapping_.release(static_cast<std::size_t>(begin - all.data()), tensor.data.size());
}

}  // namespace quiver
