// The processes of the MPI job that this one is part of.
#pragma once

#include "core/quantize/ranks.hpp"

#include <memory>

namespace quiver::cli {

/// The ranks of the job, or nullptr where the program was started alone. Opens
/// lib/quiver/quiver-mpi.so beside the program's folder, which stays open. Throws Error(usage)
/// where it is not installed.
std::unique_ptr<Ranks> open_ranks();

/// Ends the whole job after the exception in flight, told once, with its exit status; called in a
/// catch block, in whichever rank.
void end_job(Ranks& ranks, bool is_json);

}  // namespace quiver::cli
