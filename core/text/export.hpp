// Marks what libquiver_text.so exports; everything else in it stays hidden.
#pragma once

#define QUIVER_TEXT_API __attribute__((visibility("default")))
