// The processes of the MPI job that this one is part of.
#include "host/cli/job_ranks.hpp"

#include "core/quantize/shared_work.hpp"
#include "host/cli/console.hpp"

#include <quiver/error.hpp>

#include <boost/dll/runtime_symbol_info.hpp>
#include <boost/dll/shared_library.hpp>

#include <fmt/format.h>

#include <chrono>
#include <cstdlib>
#include <thread>

namespace quiver::cli {
namespace {

/// Whether a launcher of MPI jobs started this process: Open MPI, MPICH and Slurm say so in these.
bool is_in_job() {
  for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMIX_RANK"}) {
    if (std::getenv(name) != nullptr) return true;
  }
  return false;
}

}  // namespace

std::unique_ptr<Ranks> open_ranks() {
  if (!is_in_job()) return nullptr;
  const auto program = boost::dll::program_location().parent_path();
  const auto file = program.parent_path() / "lib" / "quiver" / "quiver-mpi.so";
  static auto* const library = new boost::dll::shared_library;
  try {
    library->load(file, boost::dll::load_mode::rtld_now | boost::dll::load_mode::rtld_global);
    return std::unique_ptr<Ranks>(library->get<Ranks*()>("quiver_open_ranks")());
  } catch (const std::exception& error) {
    throw Error(
        ErrorCode::usage,
        fmt::format("this program cannot take part in jobs of several processes: {}", error.what()),
        file.string(), "build it with Open MPI installed, or start it without mpirun");
  }
}

void end_job(Ranks& ranks, bool is_json) {
  // Rank 0 looks for messages between passes through a block. It tells of the failure once, and
  // leaves nothing behind; where it cannot be reached, this rank does so after a while.
  constexpr std::chrono::seconds kGrace(20);
  const Error error = current_error();
  if (ranks.rank() != 0) {
    send_failure(ranks, error);
    std::this_thread::sleep_for(kGrace);
  }
  ranks.end_all(report(error, is_json));
}

}  // namespace quiver::cli
