// Ranks of an MPI job. A library of its own, which the program opens inside a job only: nobody else
// needs MPI installed or waits for it to load.
#include <mpi.h>
#include <unistd.h>

#include <cstdlib>
#include <new>

#include "core/quantize/ranks.hpp"

namespace {

constexpr int kTag = 1;
// How long receive() waits before it lets its caller look around.
constexpr int kWaits = 20;
constexpr useconds_t kWait = 10000;

class MpiRanks : public quiver::Ranks {
 public:
  MpiRanks() {
    MPI_Init(nullptr, nullptr);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank_);
    MPI_Comm_size(MPI_COMM_WORLD, &size_);
  }
  ~MpiRanks() override { MPI_Finalize(); }

  int rank() const override { return rank_; }
  int size() const override { return size_; }

  std::string broadcast(const std::string& text) override {
    unsigned long long size = text.size();
    MPI_Bcast(&size, 1, MPI_UNSIGNED_LONG_LONG, 0, MPI_COMM_WORLD);
    std::string copy = rank_ == 0 ? text : std::string(size, '\0');
    MPI_Bcast(copy.data(), static_cast<int>(size), MPI_CHAR, 0, MPI_COMM_WORLD);
    return copy;
  }

  void send(const std::string& text) override {
    MPI_Send(text.data(), static_cast<int>(text.size()), MPI_CHAR, 0, kTag, MPI_COMM_WORLD);
  }

  std::optional<std::string> receive(bool waits) override {
    for (int i = 0;; ++i) {
      int has_arrived = 0;
      MPI_Status status;
      MPI_Iprobe(MPI_ANY_SOURCE, kTag, MPI_COMM_WORLD, &has_arrived, &status);
      if (has_arrived != 0) {
        int size = 0;
        MPI_Get_count(&status, MPI_CHAR, &size);
        std::string text(static_cast<std::size_t>(size), '\0');
        MPI_Recv(text.data(), size, MPI_CHAR, status.MPI_SOURCE, kTag, MPI_COMM_WORLD,
                 MPI_STATUS_IGNORE);
        return text;
      }
      if (!waits || i == kWaits) return std::nullopt;
      ::usleep(kWait);
    }
  }

  void wait_for_all() override {
    MPI_Request request;
    MPI_Ibarrier(MPI_COMM_WORLD, &request);
    for (int have_all_called = 0;;) {
      MPI_Test(&request, &have_all_called, MPI_STATUS_IGNORE);
      if (have_all_called != 0) return;
      ::usleep(kWait);
    }
  }

  void end_all(int status) override { MPI_Abort(MPI_COMM_WORLD, status); }

 private:
  int rank_ = 0;
  int size_ = 1;
};

}  // namespace

/// The ranks of this process's job. The caller deletes them. Called once.
extern "C" __attribute__((visibility("default"))) quiver::Ranks* quiver_open_ranks() {
  return new MpiRanks;
}
