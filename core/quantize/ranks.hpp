// Processes that share a sweep.
#pragma once

#include <optional>
#include <string>

namespace quiver {

/// The processes of one job, as one of them sees it. Rank 0 collects what the others find out.
/// Without a job of several processes there is none. [one-call-at-a-time]
class Ranks {
 public:
  virtual ~Ranks() = default;

  virtual int rank() const = 0;
  virtual int size() const = 0;

  /// The text that rank 0 gives, in every rank. All ranks call it.
  virtual std::string broadcast(const std::string& text) = 0;

  /// Sends a text to rank 0, which is another one.
  virtual void send(const std::string& text) = 0;

  /// In rank 0: the next text that has arrived; nothing where none has, with `waits` not before
  /// some tenths of a second have passed.
  virtual std::optional<std::string> receive(bool waits) = 0;

  /// Returns when all ranks have called it; waits without using the processor.
  virtual void wait_for_all() = 0;

  /// Ends all processes of the job, this one too, with an exit status: for those that failed, while
  /// the others would wait for them.
  virtual void end_all(int status) = 0;
};

}  // namespace quiver
