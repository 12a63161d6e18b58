// From the words of a command line to a command and its arguments.
#include "host/cli/parse.hpp"

#include "core/tensor/printable.hpp"
#include "host/cli/commands.hpp"

#include <quiver/error.hpp>

#include <fmt/format.h>
#include <boost/program_options.hpp>

#include <algorithm>
#include <set>

namespace quiver::cli {
namespace {

namespace po = boost::program_options;

constexpr const char* kPositionalKey = "quiver positional";  // no option can have this name

Error usage(const std::string& what, const std::string& where, const std::string& hint) {
  return Error(ErrorCode::usage, what, where, hint);
}

std::string help_hint(const Command& command) {
  return fmt::format("see 'quiver {} --help'", command.name);
}

/// "did you mean 'x'?" where there is something near, else `otherwise`.
std::string suggestion(const std::string& near, const std::string& otherwise) {
  return near.empty() ? otherwise : fmt::format("did you mean '{}'?", near);
}

/// Number of words that an option before the command takes: itself, and a value of its own.
std::size_t words_of_option(const std::string& word) {
  for (const OptionRow& row : global_options()) {
    if (!row.is_flag() && word == fmt::format("--{}", row.name)) return 2;
  }
  return 1;
}

Error unknown_command(const std::string& word, const std::string& group) {
  std::set<std::string> names;
  for (const Command* command : commands()) {
    if (command->is_hidden) continue;
    const std::string name(command->name);
    const std::size_t blank = name.find(' ');
    if (group.empty()) {
      names.insert(name.substr(0, blank));
    } else if (name.starts_with(group + " ")) {
      names.insert(name.substr(blank + 1));
    }
  }
  const std::vector<std::string> candidates(names.begin(), names.end());
  const std::string near = nearest(word, candidates);
  const std::string prefix = group.empty() ? "" : group + " ";
  return usage(fmt::format("there is no command {}", in_quotes(prefix + word)), "command line",
               suggestion(near.empty() ? near : "quiver " + prefix + near,
                          fmt::format("'quiver {}--help' lists them", prefix)));
}

po::options_description describe(const Command& command) {
  po::options_description description;
  for_each_option(command, [&](const OptionRow& row) {
    std::string name(row.name);
    if (row.short_name != 0) name += fmt::format(",{}", row.short_name);
    if (row.is_flag()) {
      description.add_options()(name.c_str(), "");
    } else {
      description.add_options()(name.c_str(), po::value<std::vector<std::string>>(), "");
    }
  });
  description.add_options()(kPositionalKey, po::value<std::vector<std::string>>(), "");
  return description;
}

po::parsed_options run_parser(const Command& command, std::span<const std::string> words) {
  const po::options_description description = describe(command);
  po::positional_options_description positionals;
  positionals.add(kPositionalKey, -1);
  namespace style = po::command_line_style;
  const int kStyle = style::allow_long | style::long_allow_next | style::long_allow_adjacent |
                     style::allow_short | style::short_allow_next | style::short_allow_adjacent |
                     style::allow_dash_for_short;
  const std::vector<std::string> copy(words.begin(), words.end());
  return po::command_line_parser(copy)
      .options(description)
      .positional(positionals)
      .style(kStyle)
      .run();
}

/// The parser's own complaints in our words.
po::parsed_options parse_words(const Command& command, std::span<const std::string> words) {
  try {
    return run_parser(command, words);
  } catch (const po::unknown_option& error) {
    std::vector<std::string> names;
    for_each_option(command,
                    [&](const OptionRow& row) { names.push_back("--" + std::string(row.name)); });
    const std::string given = error.get_option_name();
    throw usage(fmt::format("there is no option {}", in_quotes(given)), std::string(command.name),
                suggestion(nearest(given.substr(0, given.find('=')), names), help_hint(command)));
  } catch (const po::invalid_command_line_syntax& error) {
    const bool is_extra = error.kind() == po::invalid_syntax::extra_parameter;
    throw usage(is_extra ? "the option takes no value" : "the option needs a value",
                error.get_option_name(), help_hint(command));
  } catch (const po::error& error) {
    throw usage(error.what(), std::string(command.name), help_hint(command));
  }
}

void check_choice(const OptionRow& row, const std::string& value) {
  if (row.choices.empty()) return;
  const auto choices = split_choices(row.choices);
  if (std::ranges::find(choices, value) != choices.end()) return;
  const std::string near = nearest(value, choices);
  throw usage(fmt::format("{} is not one of {}", in_quotes(value), fmt::join(choices, ", ")),
              "--" + std::string(row.name), suggestion(near, "give one of them"));
}

void assign_positionals(const Command& command, const std::vector<std::string>& words,
                        Arguments::Values& values) {
  std::size_t row = 0;
  for (const std::string& word : words) {
    if (row == command.positionals.size()) {
      throw usage(fmt::format("there is an argument too many: {}", in_quotes(word)),
                  std::string(command.name), help_hint(command));
    }
    const PositionalRow& positional = command.positionals[row];
    values[std::string(positional.name)].push_back(word);
    if (!positional.is_repeatable) ++row;
  }
  for (const PositionalRow& positional : command.positionals) {
    if (!positional.is_required || values.contains(positional.name)) continue;
    throw usage(fmt::format("{} is missing", positional.name), std::string(command.name),
                help_hint(command));
  }
}

}  // namespace

std::vector<std::string> split_choices(std::string_view choices) {
  std::vector<std::string> result;
  while (!choices.empty()) {
    const std::size_t bar = choices.find('|');
    result.emplace_back(choices.substr(0, bar));
    choices = bar == std::string_view::npos ? std::string_view() : choices.substr(bar + 1);
  }
  return result;
}

std::string nearest(std::string_view text, std::span<const std::string> candidates) {
  constexpr std::size_t kLongest = 64;  // longer words are no slips of the keyboard
  if (text.size() > kLongest) return {};
  std::string best;
  std::size_t best_distance = std::max<std::size_t>(1, text.size() / 3) + 1;
  for (const std::string& candidate : candidates) {
    const std::size_t columns = candidate.size() + 1;
    std::vector<std::vector<std::size_t>> d(text.size() + 1, std::vector<std::size_t>(columns));
    for (std::size_t i = 0; i <= text.size(); ++i) d[i][0] = i;
    for (std::size_t j = 0; j < columns; ++j) d[0][j] = j;
    for (std::size_t i = 1; i <= text.size(); ++i) {
      for (std::size_t j = 1; j < columns; ++j) {
        const std::size_t cost = text[i - 1] == candidate[j - 1] ? 0 : 1;
        d[i][j] = std::min({d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + cost});
        if (i > 1 && j > 1 && text[i - 1] == candidate[j - 2] && text[i - 2] == candidate[j - 1]) {
          d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
        }
      }
    }
    if (d[text.size()][columns - 1] < best_distance) {
      best_distance = d[text.size()][columns - 1];
      best = candidate;
    }
  }
  return best;
}

bool asks_for(std::span<const std::string> words, std::string_view name) {
  for (const std::string& word : words) {
    if (word == "--") return false;
    if (word == name) return true;
  }
  return false;
}

CommandLine find_command(std::span<const std::string> words) {
  CommandLine line;
  std::size_t at = 0;
  while (at < words.size() && words[at].starts_with('-')) at += words_of_option(words[at]);
  at = std::min(at, words.size());
  line.words.assign(words.begin(), words.begin() + static_cast<std::ptrdiff_t>(at));
  if (at == words.size()) return line;
  const std::string first = words[at];
  const std::string second = at + 1 < words.size() ? words[at + 1] : "";
  bool is_group = false;
  for (const Command* command : commands()) {
    const std::string_view name = command->name;
    if (name.starts_with(first + " ")) is_group = true;
    const bool is_single = name == first;
    if (!is_single && name != first + " " + second) continue;
    line.command = command;
    at += is_single ? 1 : 2;
    line.words.insert(line.words.end(), words.begin() + static_cast<std::ptrdiff_t>(at),
                      words.end());
    return line;
  }
  if (!is_group) throw unknown_command(first, "");
  if (!second.empty() && !second.starts_with('-')) throw unknown_command(second, first);
  line.group = first;
  line.words.insert(line.words.end(), words.begin() + static_cast<std::ptrdiff_t>(at + 1),
                    words.end());
  return line;
}

Arguments parse_arguments(const Command& command, std::span<const std::string> words) {
  const po::parsed_options parsed = parse_words(command, words);
  Arguments::Values values;
  std::vector<std::string> positionals;
  for (const po::option& option : parsed.options) {
    if (option.string_key == kPositionalKey) {
      positionals.insert(positionals.end(), option.value.begin(), option.value.end());
      continue;
    }
    for_each_option(command, [&](const OptionRow& row) {
      if (row.name != option.string_key) return;
      std::vector<std::string>& stored = values[option.string_key];
      if (!stored.empty() && !row.is_repeatable && !row.is_flag()) {
        throw usage("the option was given twice", "--" + option.string_key, "give it once");
      }
      for (const std::string& value : option.value) check_choice(row, value);
      stored.insert(stored.end(), option.value.begin(), option.value.end());
      if (row.is_flag()) stored.emplace_back();
    });
  }
  assign_positionals(command, positionals, values);
  return Arguments(command, std::move(values));
}

}  // namespace quiver::cli
