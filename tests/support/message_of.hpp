#pragma once
#include <string>

/// What the error of type E that `f` throws says; another type of error passes through.
template <class E, class F>
std::string message_of(F&& f) {
  try {
    f();
  } catch (const E& error) {
    return error.what();
  }
  return "no error";
}
