# cmake -D program=... -D prefix=... -D environment=... -D output=<file> -P discover_tests.cmake
# Writes an entry of ctest for each test case of a doctest program. doctest's own script cannot take names with `;`, `[`.
cmake_minimum_required(VERSION 3.25)
execute_process(COMMAND "${program}" --list-test-cases --no-colors
  OUTPUT_VARIABLE text RESULT_VARIABLE result)
if(NOT result EQUAL 0)
  message(FATAL_ERROR "${program} --list-test-cases: ${result}\n${text}")
endif()

# What CMake's lists cannot hold is shown by another character, and asked for by doctest's wildcard for one character.
string(REPLACE ";" "," text "${text}")
string(REPLACE "[" "(" text "${text}")
string(REPLACE "]" ")" text "${text}")
string(REPLACE "\\" "/" text "${text}")
string(REPLACE "\n" ";" names "${text}")
list(FILTER names EXCLUDE REGEX "^(\\(doctest\\) .*|=+|)$")
list(REMOVE_DUPLICATES names)

# A name that doctest did not find would run nothing and pass: hence the expression for failure.
set(properties "LABELS unit TIMEOUT 600 ENVIRONMENT [==[${environment}]==]
  SKIP_REGULAR_EXPRESSION [==[SKIPPED: ]==] FAIL_REGULAR_EXPRESSION [==[test cases: *0 ]==]")
set(script "")
foreach(name IN LISTS names)
  string(REGEX REPLACE "[,()/*\"]" "?" filter "${name}")
  string(APPEND script
    "add_test([==[${prefix}${name}]==] [==[${program}]==] [==[--test-case=${filter}]==])\n"
    "set_tests_properties([==[${prefix}${name}]==] PROPERTIES ${properties})\n")
endforeach()
file(WRITE "${output}" "${script}")
