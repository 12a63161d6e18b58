/* entry.h as a C99 program uses it: compiled with -std=c99 -pedantic -Werror. */
#include <quiver/entry.h>

static int init(const struct quiver_host* host) {
  return host->size == 0;
}
static void deinit(void) {}
static const void* get(const char* interface_id) {
  return interface_id[0] != 0 ? NULL : NULL;
}

QUIVER_DESCRIPTOR(descriptor, "plain-c", "1.0.0", "MIT", "A descriptor in C",
                  QUIVER_OFFER_SAMPLER("one", "First"),
                  QUIVER_OFFER_ARCHITECTURE("two", "Second", "a,b", "c"));

extern const struct quiver_plugin_entry quiver_plugin;
QUIVER_EXPORT const struct quiver_plugin_entry quiver_plugin = {sizeof(struct quiver_plugin_entry),
                                                                &descriptor, init, deinit, get};

/* The layout is frozen: these numbers never change within API major 1. */
typedef char offer_is_frozen[sizeof(struct quiver_offer) == 448 ? 1 : -1];
typedef char descriptor_is_frozen[offsetof(struct quiver_descriptor, abi_stamp) == 16 &&
                                          offsetof(struct quiver_descriptor, name) == 84 &&
                                          offsetof(struct quiver_descriptor, offers) == 288
                                      ? 1
                                      : -1];
