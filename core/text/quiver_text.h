/* C interface of the Rust crate below the text library: tokenizers, chat templates, grammars. */
#ifndef QUIVER_TEXT_H
#define QUIVER_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Private to core/text: everybody else uses the C++ classes. Every function that returns a
 * qt_status catches all failures: on anything but QT_OK it leaves its outputs alone and fills
 * `error` with one line of UTF-8 (to be freed with qt_bytes_free) unless `error` is null. Pointers
 * to inputs may be null when their size is zero.
 */
typedef int32_t qt_status;
enum {
  QT_OK = 0,
  QT_BAD_INPUT = 1, /* the file, template, grammar or request is malformed */
  QT_RESOURCES = 2, /* the machine cannot give what is needed */
  QT_INTERNAL = 3,  /* a defect of our own */
  QT_LIMIT = 4      /* the input needs more memory or time than sane input ever does */
};

/* Memory of the library; its content is UTF-8 unless said otherwise. */
typedef struct qt_bytes {
  uint8_t* data;
  size_t size;
} qt_bytes;

/* Token ids in memory of the library. */
typedef struct qt_ids {
  uint32_t* data;
  size_t size;
} qt_ids;

/* Text of the caller, unchanged during the call. */
typedef struct qt_text {
  const uint8_t* data;
  size_t size;
} qt_text;

void qt_bytes_free(qt_bytes bytes); /* [any-thread]; each result once */
void qt_ids_free(qt_ids ids);       /* [any-thread]; each result once */

/* -- tokenizers: any number of threads may use one at a time ---------------------------------- */

typedef struct qt_tokenizer qt_tokenizer;

/* Reads the bytes of a tokenizer.json. Ends within limits on time and memory whatever they are. */
qt_status qt_tokenizer_from_json(const uint8_t* json, size_t size, qt_tokenizer** out,
                                 qt_bytes* error);
void qt_tokenizer_free(qt_tokenizer* tokenizer);

/* One past the largest id. */
size_t qt_tokenizer_vocab_size(const qt_tokenizer* tokenizer);

/* `text` must be UTF-8. Special tokens written in it are recognized. */
qt_status qt_tokenizer_encode(const qt_tokenizer* tokenizer, const uint8_t* text, size_t size,
                              bool add_special_tokens, qt_ids* out, qt_bytes* error);

/* Unknown ids give no text. */
qt_status qt_tokenizer_decode(const qt_tokenizer* tokenizer, const uint32_t* ids, size_t count,
                              bool skip_special_tokens, qt_bytes* out, qt_bytes* error);

/* The token as the vocabulary spells it; false when there is none with this id. */
bool qt_tokenizer_token(const qt_tokenizer* tokenizer, uint32_t id, qt_bytes* out);

/* The id of a token in the vocabulary's spelling, -1 when there is none. */
int64_t qt_tokenizer_id(const qt_tokenizer* tokenizer, const uint8_t* token, size_t size);

bool qt_tokenizer_is_special(const qt_tokenizer* tokenizer, uint32_t id);

/* The `decoder` part of tokenizer.json as JSON; "null" when it has none. */
qt_status qt_tokenizer_decoder(const qt_tokenizer* tokenizer, qt_bytes* out, qt_bytes* error);

/* -- chat templates: any number of threads may use one at a time ------------------------------ */

typedef struct qt_template qt_template;

qt_status qt_template_compile(const uint8_t* source, size_t size, qt_template** out,
                              qt_bytes* error);
void qt_template_free(qt_template* source);

/*
 * `messages`: a JSON array; `tools`: a JSON array, or empty for none; `variables`: a JSON object
 * with everything else the template may name. `now`: what strftime_now takes for the time, in
 * seconds since 1970, or null for the clock. A template that calls raise_exception gives
 * QT_BAD_INPUT and its own words.
 */
qt_status qt_template_render(const qt_template* source, qt_text messages, qt_text tools,
                             qt_text variables, const int64_t* now, qt_bytes* out, qt_bytes* error);

/* -- grammars --------------------------------------------------------------------------------- */

typedef struct qt_vocabulary qt_vocabulary; /* any number of threads at a time */
typedef struct qt_grammar qt_grammar;       /* any number of threads at a time */
typedef struct qt_matcher qt_matcher;       /* one call at a time */

enum { QT_GRAMMAR_JSON_SCHEMA = 0, QT_GRAMMAR_REGEX = 1, QT_GRAMMAR_LARK = 2 };

/* `bytes`: those of all tokens one after the other (any bytes), token i has sizes[i] of them.
 * A special token stands for no text; grammars reach it only by name. */
qt_status qt_vocabulary_new(const uint8_t* bytes, size_t byte_count, const uint32_t* sizes,
                            const bool* special, size_t count, qt_vocabulary** out,
                            qt_bytes* error);
void qt_vocabulary_free(qt_vocabulary* vocabulary); /* grammars made from it stay valid */

/* `stops`: the tokens that end a text; one of them is allowed wherever the text may end. */
qt_status qt_grammar_compile(const qt_vocabulary* vocabulary, int32_t kind, const uint8_t* source,
                             size_t size, const uint32_t* stops, size_t stop_count,
                             qt_grammar** out, qt_bytes* error);
void qt_grammar_free(qt_grammar* grammar); /* matchers made from it stay valid */

qt_status qt_matcher_new(const qt_grammar* grammar, qt_matcher** out, qt_bytes* error);
qt_status qt_matcher_copy(const qt_matcher* matcher, qt_matcher** out, qt_bytes* error);
void qt_matcher_free(qt_matcher* matcher);

/* Bit id % 32 of words[id / 32] is set for each token that may come next, the rest is cleared. */
qt_status qt_matcher_mask(qt_matcher* matcher, uint32_t* words, size_t count, qt_bytes* error);

/* `accepted` is false, and nothing has changed, when the token may not come next. */
qt_status qt_matcher_accept(qt_matcher* matcher, uint32_t id, bool* accepted, qt_bytes* error);

/* Takes back the last `tokens` accepted tokens. */
qt_status qt_matcher_rollback(qt_matcher* matcher, size_t tokens, qt_bytes* error);

/* Nothing but a stop token may follow. */
bool qt_matcher_is_finished(const qt_matcher* matcher);

/* The text so far is complete, though more may follow. */
qt_status qt_matcher_may_stop(qt_matcher* matcher, bool* may_stop, qt_bytes* error);

#ifdef __cplusplus
}
#endif

#endif /* QUIVER_TEXT_H */
