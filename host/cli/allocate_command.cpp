// quiver allocate: widths for the layers of a recorded sensitivity table.
#include "host/cli/allocation_options.hpp"
#include "host/cli/commands.hpp"
#include "host/cli/console.hpp"

#include <nlohmann/json.hpp>

namespace quiver::cli {
namespace {

constexpr PositionalRow kPositionals[] = {
    {.name = "SENSITIVITY",
     .help = "JSON file with what each layer loses at each width",
     .completes = Completes::file}};
constexpr OptionGroup kGroups[] = {{"Options", kAllocationOptions}};
constexpr Example kExamples[] = {
    {"allocate sensitivity.json --candidate-bits 3,4,6,8 --target-bpw 4.5",
     "The least loss at 4.5 bits per weight, scales included"},
    {"allocate sensitivity.json --pin 'lm_head=8' --protect '*.router'",
     "The same with some layers decided"},
    {"allocate optiq/sensitivity.json --compat optiq --target-bpw 5.0",
     "What the reference package chooses from its own table"}};

int run(const Arguments& arguments) {
  const AllocationRequest request = read_allocation_request(arguments);
  const SensitivityTable table = read_sensitivity_file(arguments.path("SENSITIVITY"));
  const AllocationResult result = allocate(table, request);
  const std::string warning = allocation_warning(request, result);
  if (!warning.empty()) warn(warning);
  if (arguments.flag("json")) {
    print_json(allocation_json(table, request, result));
  } else {
    print(allocation_text(request, result));
  }
  return 0;
}

constexpr Command kCommand = {
    .name = "allocate",
    .summary = "Chooses the width of each layer from a recorded table",
    .description =
        "The table is {\"layers\": [{\"name\", \"parameters\", \"kl\": {\"4\": .., \"8\": ..}}]}; "
        "a "
        "layer may also say \"role\", \"block\", \"group_size\" and \"bytes\": {\"4\": ..}, and "
        "the "
        "table \"fixed\": {\"bytes\", \"parameters\"} of what is written besides. Sizes that it "
        "does "
        "not say are computed with scales and biases of 16 bits. The reference package's "
        "sensitivity.json and sensitivity_checkpoint.json are read as well.\n"
        "The widths chosen have the least sum of KLs of all that fit the target.",
    .positionals = kPositionals,
    .groups = kGroups,
    .examples = kExamples,
    .run = run};

}  // namespace

const Command& allocate_command() {
  return kCommand;
}

}  // namespace quiver::cli
