// Must not compile: a text that does not fit its field.
#include <quiver/entry.h>

QUIVER_DESCRIPTOR(descriptor, "a-name-that-is-longer-than-thirty-one-characters", "1.0.0", "MIT",
                  "Too long", QUIVER_OFFER_SAMPLER("one", "First"));
