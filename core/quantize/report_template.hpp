// The parts of the page that a report's data is put into, compiled into the program.
#pragma once

#include <string_view>

namespace quiver {

// core/quantize/report_page.html, .css and .js as they are. [any-thread]

std::string_view report_html() noexcept;
std::string_view report_css() noexcept;
std::string_view report_js() noexcept;

}  // namespace quiver
