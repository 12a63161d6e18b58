// Measuring several models in one call, and showing them beside one another.
#include "host/cli/side_by_side.hpp"

#include "core/tensor/printable.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>

namespace quiver::cli {

std::vector<std::string> models_of(const Arguments& arguments) {
  std::vector<std::string> models = {arguments.text("MODEL")};
  for (const std::string& model : arguments.texts("also")) models.push_back(model);
  return models;
}

std::string side_by_side(std::span<const std::string> models, std::span<const std::string> headings,
                         std::span<const std::vector<std::string>> rows) {
  std::vector<std::string> names;
  std::size_t name_width = 5;
  for (const std::string& model : models) {
    names.push_back(printable(model));
    name_width = std::max(name_width, names.back().size());
  }
  std::string text = fmt::format("{:<{}}", "model", name_width);
  for (std::size_t column = 0; column < headings.size(); ++column) {
    text += fmt::format("  {:>12}", headings[column]);
  }
  text += '\n';
  for (std::size_t i = 0; i < rows.size(); ++i) {
    text += fmt::format("{:<{}}", names[i], name_width);
    for (const std::string& cell : rows[i]) text += fmt::format("  {:>12}", cell);
    text += '\n';
  }
  return text;
}

nlohmann::ordered_json side_by_side_json(std::span<const std::string> models,
                                         std::span<const nlohmann::ordered_json> figures) {
  nlohmann::ordered_json json = figures.front();
  json["models"] = nlohmann::ordered_json::array();
  for (std::size_t i = 0; i < figures.size(); ++i) {
    nlohmann::ordered_json row = {{"model", models[i]}};
    row.update(figures[i]);
    json["models"].push_back(std::move(row));
  }
  return json;
}

}  // namespace quiver::cli
