// Manifests for tests, made from small parts.
#pragma once

#include <string>

namespace quiver::test {

/// A sampler of a manifest. `rest` is further keys, each with a comma before it.
inline std::string sampler_json(const std::string& name, const std::string& symbol,
                                const std::string& result, const std::string& arguments,
                                const std::string& rest = "") {
  return R"({"name":")" + name + R"(","summary":"For a test","symbol":")" + symbol +
         R"(","result":")" + result + R"(","arguments":[)" + arguments + "]" + rest + "}";
}

/// A manifest around samplers that are separated by commas.
inline std::string manifest_json(const std::string& samplers,
                                 const std::string& library = "c-samplers.so") {
  return R"({"quiver_sampler":1,"name":"test","version":"1.0","license":"MIT","summary":"For tests",)"
         R"("library":")" +
         library + R"(","samplers":[)" + samplers + "]}";
}

}  // namespace quiver::test
