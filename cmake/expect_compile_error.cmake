# Passes if ${source} does not compile and the compiler's message matches the file's first line.
cmake_minimum_required(VERSION 3.25)
file(STRINGS "${source}" expected LIMIT_COUNT 1)
if(NOT expected MATCHES "^// expect: (.+)$")
  message(FATAL_ERROR "${source}: the first line must be `// expect: <regular expression>`")
endif()
set(expected "${CMAKE_MATCH_1}")

list(TRANSFORM includes PREPEND -I)
execute_process(COMMAND "${compiler}" -std=c++20 ${includes} -c "${source}" -o "${object}"
  RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
if(result EQUAL 0)
  message(FATAL_ERROR "${source} compiles; expected: ${expected}")
elseif(NOT output MATCHES "${expected}")
  message(FATAL_ERROR "${source}: expected: ${expected}\nfound:\n${output}")
endif()
