/* The binary contract of a plugin: the descriptor that lies in its file, and its one exported
 * symbol.
 *
 * Plain C99, no library needed. Everything here is frozen within API major 1: fields are never
 * moved, resized or removed; new ones are only ever appended, and both sides look at `size` before
 * they touch a field that an older build may lack.
 */
#ifndef QUIVER_ENTRY_H
#define QUIVER_ENTRY_H

#include <stddef.h>
#include <stdint.h>

/* The API that this SDK speaks. A plugin is loaded only where the majors are equal and its minor is
 * not newer than the host's. */
#define QUIVER_API_MAJOR 2
#define QUIVER_API_MINOR 0

/* Name of the ELF section that holds the descriptor, and of the exported symbol. */
#define QUIVER_DESCRIPTOR_SECTION ".quiver.plugin"
#define QUIVER_ENTRY_SYMBOL "quiver_plugin"

/* The first eight bytes of a descriptor. */
#define QUIVER_DESCRIPTOR_MAGIC \
  { 'Q', 'U', 'I', 'V', 'E', 'R', 'P', '1' }

enum { QUIVER_MAX_OFFERS = 24 };

/* What a plugin can offer. */
enum quiver_kind {
  QUIVER_KIND_NONE = 0, /* ends the table of offers */
  QUIVER_KIND_ARCHITECTURE = 1,
  QUIVER_KIND_SAMPLER = 2,
  QUIVER_KIND_CANVAS_SAMPLER = 3,
  QUIVER_KIND_QUANT_SCHEME = 4,
  QUIVER_KIND_KV_STRATEGY = 5
};

/* One thing that a plugin offers. All texts are UTF-8 and end with a zero byte inside their field.
 */
struct quiver_offer {
  uint32_t kind;     /* enum quiver_kind */
  char name[32];     /* what users type: lower case letters, digits, '-', '_' and '.' */
  char summary[124]; /* one line for people, no final full stop */
  /* Architectures only, both separated by commas without spaces: the `model_type`s of config.json
   * that this architecture runs, and the `general.architecture`s of GGUF files that it can import.
   */
  char model_types[192];
  char gguf_architectures[96];
};

/* Who a plugin is and what it offers. Fixed size, no pointers: the host reads it from the file
 * without loading the library, and decides from it alone whether the library may be loaded. */
struct quiver_descriptor {
  char magic[8];      /* QUIVER_DESCRIPTOR_MAGIC */
  uint32_t size;      /* sizeof(struct quiver_descriptor) where the plugin was built */
  uint16_t api_major; /* QUIVER_API_MAJOR where the plugin was built */
  uint16_t api_minor;
  char abi_stamp[64];  /* QUIVER_ABI_STAMP where the plugin was built */
  uint32_t offer_size; /* sizeof(struct quiver_offer) where the plugin was built */
  char name[32];       /* unique among plugins, e.g. "sampler-standard" */
  char version[16];    /* of the plugin, e.g. "1.2.0" */
  char license[32];    /* SPDX identifier */
  char summary[124];   /* one line for people */
  struct quiver_offer offers[QUIVER_MAX_OFFERS]; /* ends early at QUIVER_KIND_NONE */
};

/* What the host gives a plugin at init. Lives as long as the process. */
struct quiver_host {
  uint32_t size; /* sizeof(struct quiver_host) where the host was built */
  uint16_t api_major;
  uint16_t api_minor;
  /* Writes one line to the host's log (stderr). level: 0 error, 1 warning, 2 information.
   * `message` is copied. [any-thread] */
  void (*log)(int level, const char* message);
  /* Optional host services by id, e.g. "quiver.progress/1"; NULL where this host has none of that
   * name, and a plugin must work without. [any-thread] */
  const void* (*get)(const char* service_id);
};

/* The one symbol that a plugin exports, named QUIVER_ENTRY_SYMBOL. */
struct quiver_plugin_entry {
  uint32_t size; /* sizeof(struct quiver_plugin_entry) where the plugin was built */
  const struct quiver_descriptor* descriptor;
  /* Prepares the plugin; `host` stays valid for the life of the process. Returns 0, or another
   * value to be refused. Counted: may be called again, each call paired with one deinit.
   * [load-thread] */
  int (*init)(const struct quiver_host* host);
  /* Undoes one init. [load-thread] */
  void (*deinit)(void);
  /* The plugin's implementation of an interface, e.g. "quiver.sampler/1", or NULL for an id that it
   * does not know exactly. The object lives as long as the library. [any-thread] */
  const void* (*get)(const char* interface_id);
};

#if defined(_WIN32)
#define QUIVER_EXPORT __declspec(dllexport)
#else
#define QUIVER_EXPORT __attribute__((visibility("default")))
#endif
#define QUIVER_IN_DESCRIPTOR_SECTION \
  __attribute__((section(QUIVER_DESCRIPTOR_SECTION), used, aligned(8)))

#define QUIVER_STRINGIFY_(x) #x
#define QUIVER_STRINGIFY(x) QUIVER_STRINGIFY_(x)

/* The ABI stamp names all that must be equal for C++ objects to cross between two binaries: the C++
 * ABI, the standard library with its ABI switches, the pointer size, and the sanitizers that change
 * layouts. The compiler's brand is left out: g++ and clang++ over one standard library mix. */
#if defined(__cplusplus)
#include <version>
#if defined(_LIBCPP_VERSION)
#define QUIVER_ABI_LIBRARY "libc++ abi" QUIVER_STRINGIFY(_LIBCPP_ABI_VERSION)
#elif defined(__GLIBCXX__)
#define QUIVER_ABI_LIBRARY "libstdc++ cxx11=" QUIVER_STRINGIFY(_GLIBCXX_USE_CXX11_ABI)
#else
#define QUIVER_ABI_LIBRARY "unknown"
#endif
#else
#define QUIVER_ABI_LIBRARY "c"
#endif
#if defined(__has_feature)
#define QUIVER_HAS_FEATURE(x) __has_feature(x)
#else
#define QUIVER_HAS_FEATURE(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || QUIVER_HAS_FEATURE(address_sanitizer)
#define QUIVER_ABI_SANITIZER "asan"
#elif defined(__SANITIZE_THREAD__) || QUIVER_HAS_FEATURE(thread_sanitizer)
#define QUIVER_ABI_SANITIZER "tsan"
#elif QUIVER_HAS_FEATURE(memory_sanitizer)
#define QUIVER_ABI_SANITIZER "msan"
#else
#define QUIVER_ABI_SANITIZER "plain"
#endif
#define QUIVER_ABI_STAMP \
  "itanium " QUIVER_ABI_LIBRARY " ptr" QUIVER_STRINGIFY(__SIZEOF_POINTER__) " " QUIVER_ABI_SANITIZER

/* Offers for the table. */
#define QUIVER_OFFER_ARCHITECTURE(name, summary, model_types, gguf_architectures) \
  { QUIVER_KIND_ARCHITECTURE, name, summary, model_types, gguf_architectures }
#define QUIVER_OFFER_SAMPLER(name, summary) \
  { QUIVER_KIND_SAMPLER, name, summary, "", "" }
#define QUIVER_OFFER_CANVAS_SAMPLER(name, summary) \
  { QUIVER_KIND_CANVAS_SAMPLER, name, summary, "", "" }
#define QUIVER_OFFER_QUANT_SCHEME(name, summary) \
  { QUIVER_KIND_QUANT_SCHEME, name, summary, "", "" }
#define QUIVER_OFFER_KV_STRATEGY(name, summary) \
  { QUIVER_KIND_KV_STRATEGY, name, summary, "", "" }

/* Writes the descriptor into its section. The arguments after the texts are the offers:
 *
 *   QUIVER_DESCRIPTOR(my_descriptor, "sampler-mine", "1.0.0", "MIT", "A sampler of mine",
 *                     QUIVER_OFFER_SAMPLER("mine", "Keeps what I like"));
 *
 * A text that does not fit its field does not compile in C++. */
#define QUIVER_DESCRIPTOR(variable, plugin_name, plugin_version, plugin_license, plugin_summary, \
                          ...)                                                                   \
  QUIVER_IN_DESCRIPTOR_SECTION static const struct quiver_descriptor variable = {                \
      QUIVER_DESCRIPTOR_MAGIC,                                                                   \
      sizeof(struct quiver_descriptor),                                                          \
      QUIVER_API_MAJOR,                                                                          \
      QUIVER_API_MINOR,                                                                          \
      QUIVER_ABI_STAMP,                                                                          \
      sizeof(struct quiver_offer),                                                               \
      plugin_name,                                                                               \
      plugin_version,                                                                            \
      plugin_license,                                                                            \
      plugin_summary,                                                                            \
      {__VA_ARGS__}}

#endif /* QUIVER_ENTRY_H */
