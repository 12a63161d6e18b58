// What a rehearsal's two processes agree on.
#pragma once

#include <string_view>

namespace quiver::rehearsal {

/// First argument of the child; then origin, CPU seconds, memory bytes, the number of files, their
/// paths, and the offers as KIND:NAME.
inline constexpr std::string_view kFlag = "--rehearse-plugin";

/// Set in the child, so that no rehearsal can start another whatever program it is.
inline constexpr const char* kGuardVariable = "QUIVER_IN_REHEARSAL";

/// Descriptors of the child: results as JSON lines, and the plugin's files, already open.
inline constexpr int kResultDescriptor = 3;
inline constexpr int kFirstFileDescriptor = 4;
inline constexpr int kMaxFiles = 4;

/// Keys of the lines. A line says which phase begins, or, last of all, what came out.
inline constexpr const char* kPhase = "phase";
inline constexpr const char* kFault = "fault";
inline constexpr const char* kReason = "reason";

/// The first phase: the child works, and nothing of the plugin has run.
inline constexpr std::string_view kReady = "before loading";

}  // namespace quiver::rehearsal
