// The smallest program that can run checks in itself: what `quiver` does for its own.
#include "core/plugin/check.hpp"

int main(int argc, char** argv) {
  if (!quiver::is_plugin_check_call(argc, argv)) return 2;
  return quiver::plugin_check_child_main(argc, argv);
}
