// The pages of one sequence in one layer: as they are stored, or still as they were written.
#include "core/cache/layer_pages.hpp"

#include <cstring>
#include <iterator>

namespace quiver {
namespace {

constexpr int kPage = KvStrategy::kTokens;
static_assert(kStoreGrid % kPage == 0);

int pages_for(int tokens) {
  return (tokens + kPage - 1) / kPage;
}

std::size_t count_of(int pages) {
  return static_cast<std::size_t>(std::max(0, pages));
}

/// Pages that the row at `position` sees stored, where there are two forms.
int pages_seen_stored(const PageSizes& sizes, int position) {
  return stored_tokens(position, sizes.recent) / kPage;
}

/// Bytes of a page that tokens are written to.
std::size_t written_bytes(const PageSizes& sizes) {
  return sizes.fresh != 0 ? sizes.fresh : sizes.stored;
}

std::size_t bytes_of(const PagePtr& page) {
  return page ? page->size() : 0;
}

}  // namespace

std::size_t page_bytes(const PageSizes& sizes, int tokens) {
  const int stored = sizes.fresh != 0 ? pages_seen_stored(sizes, tokens) : pages_for(tokens);
  return count_of(stored) * sizes.stored + count_of(pages_for(tokens) - stored) * sizes.fresh;
}

std::size_t PageForms::size_bytes() const noexcept {
  return bytes_of(stored) + bytes_of(fresh);
}

std::size_t PageForms::unshared_bytes() const noexcept {
  const auto unshared = [](const PagePtr& page) {
    return page.use_count() == 1 ? page->size() : std::size_t{0};
  };
  return unshared(stored) + unshared(fresh);
}

void LayerPages::make_room(PagePool& pool, const PageSizes& sizes, int end) {
  if (sizes.stored == 0) return;
  const bool is_single = sizes.fresh == 0;
  while (size() < pages_for(end)) {
    PagePtr page = pool.allocate(written_bytes(sizes));
    pages_.push_back(is_single ? PageForms{std::move(page), {}} : PageForms{{}, std::move(page)});
  }
  if (is_single) return;
  for (int index = stored_; index < pages_seen_stored(sizes, end - 1); ++index) {
    if (!page(index).stored) page(index).stored = pool.allocate(sizes.stored);
  }
}

std::size_t LayerPages::growth_bytes(const PageSizes& sizes, int end) const {
  std::size_t bytes = count_of(pages_for(end) - size()) * written_bytes(sizes);
  if (sizes.fresh != 0) {
    bytes += count_of(pages_seen_stored(sizes, end - 1) - stored_) * sizes.stored;
  }
  return bytes;
}

bool LayerPages::can_cut(const PageSizes& sizes, int length) const noexcept {
  return sizes.fresh == 0 || length == 0 || final_ <= pages_seen_stored(sizes, length);
}

void LayerPages::cut(const PageSizes& sizes, int length) {
  pages_.resize(std::min(pages_.size(), count_of(pages_for(length))));
  if (sizes.fresh == 0) return;
  // Tokens of the others may be written again.
  stored_ = std::min(stored_, length / kPage);
  final_ = std::min(final_, size());
  for (int index = stored_; index < size() && page(index).stored; ++index) {
    page(index).stored.reset();
  }
  const int last = std::min(stored_, pages_seen_stored(sizes, length));
  for (; final_ < last; ++final_) page(final_).fresh.reset();
}

std::byte* LayerPages::writable(PagePool& pool, int index) {
  PageForms& forms = page(index);
  PagePtr& page = forms.fresh ? forms.fresh : forms.stored;
  if (page.use_count() > 1) {
    PagePtr copy = pool.allocate(page->size());
    std::memcpy(copy->bytes(), page->bytes(), page->size());
    page = std::move(copy);
  }
  return page->bytes();
}

std::vector<PageForms> LayerPages::part(int first) const {
  return {pages_.begin() + std::min(first, size()), pages_.end()};
}

void LayerPages::extend(const PageSizes& sizes, std::span<const PageForms> pages) {
  pages_.insert(pages_.end(), pages.begin(), pages.end());
  if (sizes.fresh == 0) return;
  while (stored_ < size() && page(stored_).stored) ++stored_;
  while (final_ < size() && !page(final_).fresh) ++final_;
  for (int index = stored_; index < size(); ++index) page(index).stored.reset();
}

void LayerPages::complete(std::span<PageForms> pages, int first) const {
  for (PageForms& forms : pages) {
    if (first >= stored_) return;
    if (!forms.stored) forms.stored = page(first).stored;
    ++first;
  }
}

SavedPages LayerPages::save(const PageSizes& sizes) const {
  SavedPages saved;
  saved.stored = sizes.fresh == 0 ? size() : final_;
  saved.bytes.reserve(count_of(saved.stored) * sizes.stored +
                      count_of(size() - saved.stored) * sizes.fresh);
  for (int index = 0; index < size(); ++index) {
    const Page& from = index < saved.stored ? *page(index).stored : *page(index).fresh;
    saved.bytes.insert(saved.bytes.end(), from.bytes(), from.bytes() + from.size());
  }
  return saved;
}

/// Pages of a restored text that are there in stored form alone.
int LayerPages::restored_final(const PageSizes& sizes, const SavedPages& saved, int length) const {
  return sizes.fresh == 0 ? pages_for(length) : std::max(saved.stored, final_);
}

bool LayerPages::has(const PageSizes& sizes, int index, bool is_stored) const {
  return index < (is_stored && sizes.fresh != 0 ? stored_ : size());
}

LayerPages LayerPages::restored(PagePool& pool, const PageSizes& sizes, const SavedPages& saved,
                                int length) const {
  LayerPages result;
  if (sizes.stored == 0) return result;
  result.final_ = restored_final(sizes, saved, length);
  result.stored_ = std::max(result.final_, stored_);
  const std::size_t stored_size = count_of(saved.stored) * sizes.stored;
  for (int index = 0; index < pages_for(length); ++index) {
    const bool is_stored = index < result.final_;
    PageForms& forms = result.pages_.emplace_back();
    if (has(sizes, index, is_stored)) {
      forms = page(index);
      if (is_stored) forms.fresh.reset();
      continue;
    }
    const std::size_t size = is_stored ? sizes.stored : sizes.fresh;
    const std::size_t at =
        is_stored ? count_of(index) * size : stored_size + count_of(index - saved.stored) * size;
    PagePtr& to = is_stored ? forms.stored : forms.fresh;
    to = pool.allocate(size);
    std::memcpy(to->bytes(), saved.bytes.data() + at, size);
  }
  return result;
}

std::size_t LayerPages::restore_bytes(const PageSizes& sizes, const SavedPages& saved, int length,
                                      int end) const {
  const int final = restored_final(sizes, saved, length);
  std::size_t bytes = count_of(pages_for(end) - pages_for(length)) * written_bytes(sizes);
  if (sizes.fresh != 0) {
    const int stored = std::max(final, stored_);
    bytes += count_of(pages_seen_stored(sizes, end - 1) - stored) * sizes.stored;
  }
  for (int index = 0; index < pages_for(length); ++index) {
    const bool is_stored = index < final;
    if (!has(sizes, index, is_stored)) bytes += is_stored ? sizes.stored : sizes.fresh;
  }
  return bytes;
}

std::size_t LayerPages::size_bytes() const noexcept {
  std::size_t bytes = 0;
  for (const PageForms& forms : pages_) bytes += forms.size_bytes();
  return bytes;
}

}  // namespace quiver
