// Checks that bad input is refused in one line that says what is wrong.
#pragma once

#include <quiver/error.hpp>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace quiver::test {

/// Runs `action`, which has to throw Error(code) whose text holds `part` and is one line.
template <class Action>
void expect_refused(Action action, const std::string& part,
                    quiver::ErrorCode code = quiver::ErrorCode::bad_input) {
  try {
    action();
    ADD_FAILURE() << "accepted, where an error with '" << part << "' is due";
  } catch (const quiver::Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    EXPECT_THAT(error.what(), testing::HasSubstr(part));
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
    EXPECT_LT(std::string(error.what()).size(), 600U);
  }
}

}  // namespace quiver::test
