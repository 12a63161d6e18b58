// The program in which the tests' rehearsals run.
#include "core/plugin/rehearsal.hpp"

int main(int argc, char** argv) {
  return quiver::is_rehearsal_call(argc, argv) ? quiver::rehearsal_main(argc, argv) : 2;
}
